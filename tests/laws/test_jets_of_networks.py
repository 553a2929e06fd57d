"""Every coordinate network passes jets: its derivatives by Taylor mode are those of reverse mode."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from physdiff.networks.embedding import PeriodicFeatures
from physdiff.networks.mlp import MLP, FourierMLP
from physdiff.networks.modified_mlp import ModifiedMLP, PirateNet
from physdiff.networks.separable import SeparableNetwork
from physdiff.networks.siren import SIREN
from physdiff.operators.taylor import Taylor

NETWORKS = {
    "mlp": lambda: MLP(2, 2, width=5, depth=2, factorised=True),
    "fourier": lambda: FourierMLP(2, 2, width=5, depth=1, waves=4, activation="gelu"),
    "modified": lambda: ModifiedMLP(2, 2, width=5, depth=2, waves=4, activation="silu", factorised=True),
    "pirate": lambda: PirateNet(2, 2, width=4, depth=1),
    "siren": lambda: SIREN(2, 2, width=5, depth=2, omega=3.0, factorised=True),
    "separable": lambda: SeparableNetwork(2, 2, rank=3, width=4, depth=1, activation="softplus"),
    "periodic": lambda: nn.Sequential(PeriodicFeatures((2.0, None), 2), SIREN(5, 2, width=4, depth=1, omega=2.0)),
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_jets_are_reverse_mode(name):
    torch.manual_seed(0)
    net = NETWORKS[name]().double()
    for p in net.parameters():
        nn.init.normal_(p, std=0.5)
    x, t = torch.randn(2, 4, dtype=torch.float64)
    jet = net(Taylor((x,), t, orders=[(2, 0), (0, 1)]).points())
    points = torch.stack((x, t), 1).requires_grad_()
    value = net(points)[:, 1]
    (first,) = torch.autograd.grad(value.sum(), points, create_graph=True)
    (second,) = torch.autograd.grad(first[:, 0].sum(), points)
    u = jet[..., 1]
    torch.testing.assert_close(u.value, value)
    torch.testing.assert_close(u.partial(1).value, first[:, 1])
    torch.testing.assert_close(u.partial(0).value, first[:, 0])
    torch.testing.assert_close(u.partial(0).partial(0).value, second[:, 0], rtol=1e-9, atol=1e-9)
