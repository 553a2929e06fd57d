"""The common door of networks of fields."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.networks.cno import CNO
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.mwt import MWT
from physdiff.networks.transformer import AxialViT, DiT
from physdiff.networks.transolver import Transolver
from physdiff.networks.unet import UNet
from physdiff.networks.wno import WNO


@pytest.mark.parametrize("network", [AxialViT, DiT, Transolver, UNet])
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


@pytest.mark.slow
@pytest.mark.parametrize("network", [AxialViT, CNO, MWT, Transolver, WNO])
def test_compilers_see_one_graph(network):
    options = {"depth": 1} if network in (AxialViT, Transolver) else {}
    net = network(2, 1, ndim=1, periodic=(True,), width=8, **options).at((16,)).double()
    x = torch.randn(2, 2, 16, dtype=torch.float64)
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="eager")(x), net(x), rtol=1e-10, atol=1e-10)  # the order of sums
