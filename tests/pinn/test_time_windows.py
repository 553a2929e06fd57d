"""Networks side by side in time: each sees its span as [-1, 1], jets pass, later windows start from the ones before."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.networks.mlp import MLP
from physdiff.operators.taylor import Taylor
from physdiff.pinn.collocated import Known, Matched
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.time_windows import TimeWindows, joined_windows, known_in_window, matched_in_window, windowed_net

T = torch.float64


def nets():
    torch.manual_seed(0)
    base = CoordinateNet(MLP(2, 1, width=4, depth=1), ("u",), lower=(0.0, 1.0), upper=(2.0, 4.0), mean=(3.0,), std=(2.0,)).double()
    return base, [windowed_net(base, MLP(2, 1, width=4, depth=1), t) for t in ((1.0, 2.0), (2.0, 4.0))]


def test_the_whole_is_each_part_in_its_window():
    _, (first, second) = nets()
    whole = joined_windows([first, second])
    points = torch.tensor([[0.3, 3.5], [1.2, 1.1], [0.5, 2.0], [1.9, 1.999]], dtype=T)
    wanted = torch.cat((second(points[:1]), first(points[1:2]), second(points[2:3]), first(points[3:])))
    torch.testing.assert_close(whole(points), wanted)
    # derivatives too, in the units of the whole
    x, t = points.unbind(-1)
    D = Taylor((x,), t, orders=((2, 0), (0, 1)))
    u = whole.fields(D.points())["u"]
    for rows, net in ((slice(0, 1), second), (slice(1, 2), first)):
        own = Taylor((x[rows],), t[rows], orders=((2, 0), (0, 1)))
        v = net.fields(own.points())["u"]
        torch.testing.assert_close(D.value(D.dt(u))[rows], own.value(own.dt(v)))
        torch.testing.assert_close(D.value(D.lap(u))[rows], own.value(own.lap(v)))


def test_known_values_of_a_window():
    _, (first, _) = nets()
    start = Known(torch.tensor([[0.1, 1.0], [1.0, 1.0]], dtype=T), {"u": torch.zeros(2, dtype=T)}, weight=7.0)
    wall = Known(torch.tensor([[0.0, 1.5], [0.0, 2.0], [0.0, 3.0]], dtype=T), {"u": torch.arange(3, dtype=T)})
    early = known_in_window([start, wall], (1.0, 2.0), start=1.0, before=None)
    assert [len(k.points) for k in early] == [2, 2] and early[0].values["u"].tolist() == [0, 0]
    late = known_in_window([start, wall], (2.0, 4.0), start=1.0, before=first)
    # at a wall its own value is believed
    corner = Known(torch.tensor([[0.0, 1.0], [0.4, 1.0]], dtype=T), {"u": torch.zeros(2, dtype=T)})
    assert known_in_window([corner, wall], (2.0, 4.0), start=1.0, before=first)[0].points.tolist() == [[0.4, 2.0]]
    assert late[0].weight == 7 and late[0].points.tolist() == [[0.1, 2.0], [1.0, 2.0]] and late[1].values["u"].tolist() == [1, 2]
    torch.testing.assert_close(late[0].values["u"], first(late[0].points)[:, 0].detach())


def test_pairs_of_a_window():
    left = torch.tensor([[0.0, 1.5], [0.0, 2.0], [0.0, 3.0]], dtype=T)
    right = left + torch.tensor([2.0, 0.0], dtype=T)
    (found,) = matched_in_window([Matched(left, right, "slope", 3.0)], (2.0, 4.0))
    assert found.points[:, 1].tolist() == [2, 3] and found.others[:, 0].tolist() == [2, 2] and (found.what, found.weight) == ("slope", 3.0)
    assert not matched_in_window([Matched(left[:1], right[:1])], (2.0, 4.0))


def test_edges_must_fit():
    with pytest.raises(InputError, match="one more increasing edge"):
        TimeWindows([MLP(2, 1, width=2, depth=1)], (-1.0, 0.0, 1.0))
