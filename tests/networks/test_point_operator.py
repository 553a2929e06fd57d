"""Operators between points: symmetry, any clouds, gradients, storage, an exact operator learned on clouds never seen."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.point_operator import PointOperator, grid_points


def made(**options) -> PointOperator:
    torch.manual_seed(0)
    net = PointOperator(2, 3, (8, 6), width=8, modes=2, layers=2, **options).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    return net


def test_the_order_of_the_points_does_not_matter_and_any_cloud_will_do():
    net, x, points, places = made(), torch.randn(2, 2, 50).double(), torch.rand(50, 2).double(), torch.rand(5, 2).double()
    order = torch.randperm(50)
    torch.testing.assert_close(net(x[..., order], points[order], places), net(x, points, places), rtol=1e-10, atol=1e-10)
    assert net(x, points).shape == (2, 3, 50) and net(x[..., :7], points[:7], places).shape == (2, 3, 5)
    alone = net(x, points, places[3:4])
    torch.testing.assert_close(alone[..., 0], net(x, points, places)[..., 3], rtol=1e-10, atol=1e-10)


def test_circles_have_no_seam():
    net, x, points = made(periodic=True), torch.randn(1, 2, 40).double(), torch.rand(40, 2).double()
    ends = torch.tensor([[0.3, 0.0], [0.3, 1.0 - 1e-12]]).double()
    # the kernel of the way back sees the coordinate itself, its neighbours and offsets are those across the seam
    with torch.no_grad():
        net.leave.first.weight[:, 2:] = 0
    y = net(x, points, ends)
    torch.testing.assert_close(y[..., 0], y[..., 1], rtol=1e-6, atol=1e-6)


def test_gradients_reach_every_weight_and_it_is_stored():
    net, x, points = made(), torch.randn(2, 2, 40).double(), torch.rand(40, 2).double()
    x.requires_grad_()
    net(x, points).square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in (x, *net.parameters()))
    again = build(describe(net)).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x, points), net(x, points))


def test_cells_lie_where_the_house_puts_them():
    torch.testing.assert_close(grid_points((2, 4), (True, False), like=torch.zeros(()))[:3], torch.tensor([[0, 0.125], [0, 0.375], [0, 0.625]]))


def test_what_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match="PointOperator"):
        made()(torch.zeros(1, 2, 4).double(), torch.zeros(5, 2).double())
    with pytest.raises(InputError, match="reach"):
        PointOperator(1, 1, reach=0.0)


@pytest.mark.slow
def test_an_exact_operator_is_learned_and_holds_on_other_points():
    """u -> du/dx of few waves on a circle, on 60 random points, tested on 80 others."""
    torch.manual_seed(0)
    net = PointOperator(1, 1, (32,), periodic=True, width=16, modes=6, layers=2)

    def case(count: int, n: int) -> tuple[torch.Tensor, ...]:
        points, k = torch.rand(n, 1), torch.arange(1, 4)
        a, phase = torch.randn(count, 3, 1) / k[:, None], 2 * torch.pi * torch.rand(count, 3, 1)
        angle = 2 * torch.pi * k[:, None] * points[:, 0] + phase
        return (a * angle.sin()).sum(1, keepdim=True), (a * k[:, None] * angle.cos()).sum(1, keepdim=True), points

    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(400):
        x, y, points = case(32, 60)
        optimizer.zero_grad()
        (net(x, points) - y).square().mean().backward()
        optimizer.step()
    x, y, points = case(64, 80)
    with torch.no_grad():
        error = (net(x, points) - y).norm() / y.norm()
    assert error < 0.3, error  # random points leave gaps of several cells; 1 is the zero field
