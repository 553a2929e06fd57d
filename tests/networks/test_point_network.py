"""The point operator as a network of fields: order of points, grids, storage, refusals."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.fno import FNO
from physdiff.networks.point_network import PointNetwork
from physdiff.networks.point_operator import grid_points


def stirred(net: PointNetwork) -> PointNetwork:
    torch.manual_seed(0)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    return net.double()


def test_it_knows_its_points_and_not_their_order() -> None:
    points, x, order = torch.rand(40, 2), torch.randn(2, 3, 40).double(), torch.randperm(40)
    net = stirred(PointNetwork(3, 2, grid=8, width=8, modes=2).on(points))
    other = net.on(points[order]).double()
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(x[..., order]), net(x)[..., order], rtol=0, atol=1e-10)
    assert net.at((40,)) is net
    again = build(describe(net)).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x)) and net(x).shape == (2, 2, 40)


def test_on_a_grid_its_points_are_the_cells() -> None:
    net = stirred(PointNetwork(1, 1, ndim=2, periodic=(False, True), grid=8, width=8, modes=2).at((6, 5)))
    x = torch.randn(1, 1, 6, 5).double()
    torch.testing.assert_close(net.points, grid_points((6, 5), (False, True), like=torch.zeros(())).double())
    assert net(x).shape == x.shape
    x[..., 0, 0].add_(1)
    moved = net(x).detach()
    x[..., 0, 0].sub_(1)
    far = (moved - net(x)).abs().detach()
    assert float(far[0, 0, 0, 0]) > 0 and net.operator is not None and net.operator.periodic == (False, True)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(NotFitted, match="to know its points"):
        PointNetwork(1, 1)(torch.zeros(1, 1, 4))
    net = PointNetwork(1, 1, grid=4, width=4, modes=1).on(torch.rand(5, 2))
    with pytest.raises(ShapeError, match="values at 5 points"):
        net(torch.zeros(1, 1, 4))
    with pytest.raises(InputError, match="expected PointNetwork for values at 5 scattered points, got FNO"):
        FNO(1, 1, ndim=1).on(torch.rand(5, 2))
