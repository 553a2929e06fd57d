"""The common door of networks of fields."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.transformer import DiT
from physdiff.networks.unet import UNet


@pytest.mark.parametrize("network", [UNet, DiT])
def test_every_network_is_built_and_called_alike(network):
    net = network(3, 2, ndim=2, periodic=(False, True), width=8)
    assert isinstance(net, FieldNetwork) and (net.in_channels, net.out_channels, net.ndim) == (3, 2, 2)
    assert torch.equal(net(torch.randn(2, 3, 5, 8), torch.tensor(0.1)), torch.zeros(2, 2, 5, 8))
    for wrong in ((2, 2, 5, 8), (2, 3, 5), (2, 3, 5, 8, 1)):
        with pytest.raises(ShapeError, match=f"{network.__name__}: expected \\(B, 3, \\*axes\\) with 2 axes"):
            net(torch.zeros(wrong), torch.tensor(0.1))


def test_it_cannot_be_built_itself():
    with pytest.raises(TypeError, match="abstract"):
        FieldNetwork()
