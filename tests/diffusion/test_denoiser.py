"""The abstract denoiser: what a final class must give, and the default weight."""

from __future__ import annotations

import pytest
import torch

from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.schedule import RectifiedSchedule


class Identity(Denoiser):
    """Says that nothing is noise."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = RectifiedSchedule()

    def forward(self, x_t, t, cond=None):
        return x_t


def test_forward_is_required() -> None:
    with pytest.raises(TypeError, match="abstract"):
        type("Nothing", (Denoiser,), {})()


def test_default_weight_is_edms_for_unit_data() -> None:
    t = torch.tensor([0.25, 0.5], dtype=torch.float64)
    # u = 1/3 and 1: (u^2 + 1)/u^2 = 10 and 2
    assert torch.allclose(Identity().weight(t), torch.tensor([10.0, 2.0], dtype=torch.float64), rtol=1e-14)
