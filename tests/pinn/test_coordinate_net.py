"""A network as a field: columns, units, closed axes, grids, files, refusals."""

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.networks.mlp import MLP
from physdiff.pinn.coordinate_net import CoordinateNet


def net(**options):
    torch.manual_seed(0)
    settings = {"lower": (-1.0, 2.0, 0.0), "upper": (1.0, 5.0, 4.0), "periodic": (False, True, False), "mean": (0.0, 300.0), "std": (1.0, 10.0)}
    return CoordinateNet(MLP(4, 2, width=6, depth=2), ("u", "T"), **(settings | options)).double()


def test_a_closed_axis_closes_with_all_derivatives():
    field = net()
    points = torch.tensor([[0.3, 2.5, 1.0], [0.3, 5.5, 1.0]], dtype=torch.float64, requires_grad=True)
    values = field(points)
    (slope,) = torch.autograd.grad(values.sum(), points)
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(slope[0], slope[1])
    assert float(values[0, 1].detach()) == pytest.approx(300, abs=60)


def test_open_columns_are_brought_to_minus_one_and_one():
    field = CoordinateNet(torch.nn.Identity(), ("a", "b"), lower=(10.0, 0.0), upper=(20.0, 4.0))
    assert field(torch.tensor([[10.0, 4.0], [15.0, 1.0]])).tolist() == [[-1, 1], [0, -0.5]]


def test_on_a_grid_it_is_the_values_at_the_points():
    field, grid, times = net(), CartesianGrid((3, 5), extent=(3.0, 2.0), origin=(2.0, -1.0), periodic=(True, False)), torch.tensor([0.0, 1.5])
    window = field.on_grid(grid, times)
    assert window.shape == (1, 2, 2, 3, 5)
    x, y = grid.coordinates()
    place = torch.stack((x[1, 3], y[1, 3], torch.tensor(1.5, dtype=torch.float64)))
    torch.testing.assert_close(window[0, :, 1, 1, 3], field(place[None])[0].detach())
    with pytest.raises(InputError, match="times from 0 to 4, got 0 to 5"):
        field.on_grid(grid, torch.tensor([0.0, 5.0]))
    with pytest.raises(InputError, match="no times"):
        field.on_grid(grid)


def test_it_comes_back_from_its_description():
    field = net()
    again = build(describe(field)).double()
    again.load_state_dict(field.state_dict())
    points = torch.rand(4, 3, dtype=torch.float64)
    torch.testing.assert_close(again(points), field(points), rtol=0, atol=0)


def test_what_does_not_fit_is_refused_in_words():
    with pytest.raises(InputError, match="lower < upper"):
        net(lower=(1.0, 2.0, 0.0))
    with pytest.raises(InputError, match="3 flags periodic"):
        net(periodic=(True,))
    with pytest.raises(ShapeError, match=r"points \(n, 3\)"):
        net()(torch.zeros(4, 2))
    with pytest.raises(ShapeError, match="2 outputs"):
        CoordinateNet(MLP(2, 3), ("u", "v"), lower=(0.0, 0.0), upper=(1.0, 1.0))(torch.zeros(4, 2))
