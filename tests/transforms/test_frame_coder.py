"""The two coders of frames have what a latent prior asks of them."""

from __future__ import annotations

import pytest

from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.mesh_autoencoder import MeshAutoencoder


@pytest.mark.parametrize("kind", [Autoencoder, MeshAutoencoder])
def test_each_is_one_and_unfitted_at_first(kind):
    coder = kind()
    assert isinstance(coder, FrameCoder) and coder.channels is None and coder.width == 32
    with pytest.raises(TypeError, match="abstract"):
        FrameCoder()
