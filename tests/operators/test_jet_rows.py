"""Rows of jets that are made when they are asked for, and those of points."""

import torch

from physdiff.operators.jet import Jet
from physdiff.operators.jet_orders import closed

ORDERS = closed([(2, 0), (0, 1)])


def test_rows_are_made_once_and_only_when_asked_for():
    calls = []

    def make(i):
        calls.append(i)
        return torch.full((3,), float(i))

    jet = Jet.later(make, torch.Size([3]), ORDERS, taken=frozenset({(0, 0)}))
    assert jet.shape == (3,) and calls == []
    assert jet.row(2).tolist() == [2.0] * 3 and jet.row(2) is jet.row(2) and calls == [2]
    assert jet.data.tolist() == [[float(i)] * 3 for i in range(4)] and sorted(calls) == [0, 1, 2, 3]


def test_a_law_makes_the_row_it_reads_and_no_other():
    seen = []
    data = torch.randn(4, 5)

    def make(i):
        seen.append(i)
        return data[i]

    u = Jet.later(make, torch.Size([5]), ORDERS, taken=frozenset({(0, 0)}))
    advected = (u * u.partial(0)).value
    assert sorted(seen) == [0, ORDERS.index((1, 0))]
    torch.testing.assert_close(advected, data[0] * data[ORDERS.index((1, 0))])


def test_points_stay_points_under_what_is_done_to_features():
    x = torch.randn(5, 2)
    slopes = torch.zeros(4, 2)
    slopes[ORDERS.index((1, 0)), 0] = slopes[ORDERS.index((0, 1)), 1] = 1
    points, scale = Jet.line(x, slopes, ORDERS), torch.tensor([2.0, 3.0])
    moved = (points - torch.tensor([1.0, -1.0])) * scale
    assert moved.slopes is not None
    torch.testing.assert_close(moved.value, (x - torch.tensor([1.0, -1.0])) * scale)
    torch.testing.assert_close(moved.data[1:], (slopes[1:] * scale)[:, None].expand(3, 5, 2))
    by_point = points * torch.arange(5.0)[:, None]  # no longer the same everywhere
    assert by_point.slopes is None
    torch.testing.assert_close(by_point.data, points.data * torch.arange(5.0)[:, None])


def test_a_number_for_each_point_is_no_number_for_each_feature():
    x = Jet.line(torch.arange(4.0), torch.tensor([0.0, 1.0, 0.0, 0.0]), ORDERS)
    wind = torch.tensor([1.0, 2.0, 3.0, 4.0])  # as many points as orders: shapes alone would not tell
    torch.testing.assert_close((x * wind).data, x.data * wind)
    assert (x + wind).value.tolist() == [1, 3, 5, 7] and (x + wind).row(1).tolist() == [1] * 4
