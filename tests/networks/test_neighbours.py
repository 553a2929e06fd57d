"""Who is near whom by brute force; averages that keep constants, whatever the order of the points."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.networks.neighbours import PointAverage, neighbours


@pytest.mark.parametrize("periodic", [None, (True, False)])
def test_pairs_by_brute_force(periodic):
    torch.manual_seed(0)
    points, queries = torch.rand(30, 2, dtype=torch.float64), torch.rand(7, 2, dtype=torch.float64)
    found = neighbours(points, queries, radius=0.2, least=2, periodic=periodic)
    pairs = set(zip(found.points.tolist(), found.places.tolist(), strict=True))
    for j, y in enumerate(queries):
        off = y - points
        if periodic:
            off[:, 0] = torch.remainder(off[:, 0] + 0.5, 1) - 0.5
        away = off.norm(dim=1)
        near = {int(i) for i in (away <= 0.2).nonzero()} | set(away.argsort()[:2].tolist())
        assert {i for i, place in pairs if place == j} == near
        own = found.places == j
        torch.testing.assert_close(found.offsets[own], off[found.points[own]] / 0.2)
    assert found.counts.tolist() == [sum(1 for _, place in pairs if place == j) for j in range(7)]


def test_a_place_without_points_around_takes_the_nearest(monkeypatch):
    monkeypatch.setattr("physdiff.networks.neighbours._PAIRS", 5)  # place by place
    found = neighbours(torch.tensor([[0.1], [0.9], [0.5]]), torch.tensor([[0.2], [0.95], [0.6]]), radius=1e-3)
    assert found.points.tolist() == [0, 1, 2] and found.places.tolist() == [0, 1, 2]


def test_constants_and_means_before_training_and_no_order_ever():
    torch.manual_seed(0)
    points, queries = torch.rand(40, 2, dtype=torch.float64), torch.rand(9, 2, dtype=torch.float64)
    net, near = PointAverage(3, 2).double(), neighbours(points, queries, radius=0.3)
    f = torch.randn(2, 40, 3, dtype=torch.float64)
    torch.testing.assert_close(net(torch.ones_like(f), near), torch.ones(2, 9, 3, dtype=torch.float64))
    inside = near.points[near.places == 4]
    torch.testing.assert_close(net(f, near)[:, 4], f[:, inside].mean(1))
    with torch.no_grad():
        net.second.weight.normal_()
    order = torch.randperm(40)
    torch.testing.assert_close(net(f[:, order], neighbours(points[order], queries, radius=0.3)), net(f, near), rtol=1e-10, atol=1e-10)


def test_what_are_no_points_is_refused():
    for points, queries in ((torch.rand(3, 2), torch.rand(3, 1)), (torch.rand(3), torch.rand(3, 1)), (torch.rand(0, 1), torch.rand(3, 1))):
        with pytest.raises(ShapeError, match="neighbours"):
            neighbours(points, queries, radius=0.1)
