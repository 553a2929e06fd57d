"""Cartesian grids: nodes and cell centres, given axes, finding points."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid


def float64(values: list[float]) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_periodic_points_are_nodes_and_open_ones_cell_centres() -> None:
    nodes, centres = CartesianGrid((4, 5), (2.0, 10.0), (1.0, -3.0), periodic=(True, False)).axes()
    assert nodes.tolist() == [1.0, 1.5, 2.0, 2.5]
    assert centres.tolist() == [-2.0, 0.0, 2.0, 4.0, 6.0]


def test_coordinates_are_x_first_and_vary_along_their_own_axis() -> None:
    grid = CartesianGrid((2, 3, 4), (1.0, 2.0, 3.0))
    assert grid.dims == ("z", "y", "x")
    for direction, storage in ((0, 2), (1, 1), (2, 0)):
        moved = grid.coordinates()[direction].movedim(storage, 0)
        assert torch.equal(moved, grid.axes()[storage][:, None, None].expand_as(moved))


def test_one_number_serves_all_axes() -> None:
    grid = CartesianGrid((4, 8), 2.0, 1.0, periodic=False)
    assert (grid.extent, grid.origin, grid.periodic, grid.spacing) == ((2.0, 2.0), (1.0, 1.0), (False, False), (0.5, 0.25))
    assert CartesianGrid(6).shape == (6,)
    assert CartesianGrid(6).dims == ("x",)


@pytest.mark.parametrize("periodic", [True, False])
def test_weights_integrate_to_second_order_or_better(periodic: bool) -> None:
    """The mean of a smooth function; on a periodic axis to rounding."""
    errors = []
    for n in (16, 32, 64):
        x = CartesianGrid((n, 3), (2.0, 1.0), periodic=periodic).coordinates()[1]
        f = torch.exp(torch.sin(torch.pi * x)) if periodic else torch.exp(x)
        exact = 1.2660658777520084 if periodic else (torch.tensor(2.0).double().exp().item() - 1) / 2  # I_0(1), (e^2 - 1)/2
        errors.append(abs(float((CartesianGrid((n, 3), (2.0, 1.0), periodic=periodic).weights() * f).sum()) - exact))
    if periodic:
        assert max(errors) < 1e-13
    else:
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
        assert errors[1] / errors[2] == pytest.approx(4, rel=0.02)


def test_given_axes_keep_points_and_weigh_their_cells() -> None:
    y, x = float64([0.0, 1.0, 4.0]), float64([10.0, 11.0])
    grid = CartesianGrid((3, 2), periodic=False, points=(y, x))
    assert all(map(torch.equal, grid.axes(), (y, x)))
    assert not grid.uniform
    # cells of y: -0.5 .. 0.5 .. 2.5 .. 5.5
    assert grid.origin == (-0.5, 9.5)
    assert grid.extent == (6.0, 2.0)
    torch.testing.assert_close(grid.weights(), torch.outer(float64([1.0, 2.0, 3.0]) / 6, float64([0.5, 0.5])))


def test_a_given_axis_is_the_grids_own() -> None:
    y, x = float64([0.0, 1.0]), float64([0.0, 1.0])
    grid = CartesianGrid((2, 2), periodic=False, points=(y, x))
    y += 5
    assert grid.axes()[0].tolist() == [0.0, 1.0]


def test_uniform_points_are_the_uniform_grid() -> None:
    uniform = CartesianGrid((4, 6), (2.0, 3.0), (1.0, -1.0), periodic=False)
    given_axes = CartesianGrid((4, 6), periodic=False, points=uniform.axes())
    assert uniform.same_as(given_axes)
    torch.testing.assert_close(given_axes.weights(), uniform.weights())
    points = float64([[-0.9, 1.1], [1.7, 2.9], [0.3, 2.0]])
    torch.testing.assert_close(given_axes.locate(points), uniform.locate(points))


@given(data=st.data())
def test_locate_inverts_the_axes(data: st.DataObject) -> None:
    periodic = data.draw(st.tuples(st.booleans(), st.booleans()))
    grid = CartesianGrid((5, 7), (3.0, 0.5), (-1.0, 100.0), periodic=periodic)
    index = [data.draw(st.floats(0, n - 1)) for n in grid.shape]
    place = [o + (i + (0 if p else 0.5)) * h for o, i, h, p in zip(grid.origin, index, grid.spacing, periodic, strict=True)]
    found = grid.locate(float64(place[::-1]))
    # the coordinate 100 keeps 1e-14, a spacing is 0.07
    torch.testing.assert_close(found, float64([index]), rtol=0, atol=1e-11)


def test_locate_on_a_periodic_axis_reaches_the_seam_and_stays_below_the_size() -> None:
    grid = CartesianGrid(8, 2.0, -1.0)
    assert grid.locate(float64([[0.875], [1.0], [-1.0 - 1e-17], [-1.0 - 1e-12]])).flatten().tolist()[:3] == [7.5, 0.0, 0.0]
    assert float(grid.locate(float64([[-1e-18]])).max()) < 8
    assert float(CartesianGrid(8, 2.0).locate(float64([[-1e-18]]))) == 0


def test_between_a_wall_and_the_outermost_point_the_index_is_held() -> None:
    grid = CartesianGrid(4, 4.0, periodic=False)
    assert grid.locate(float64([[0.0], [0.5], [3.5], [4.0]])).flatten().tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("bad", [(0.5, 2.1), (-0.1, 0.5), (0.5, float("nan"))])
def test_points_outside_are_named(periodic: bool, bad: tuple[float, float]) -> None:
    points = float64([[0.5, 0.5], list(bad)])
    with pytest.raises(InputError, match=r"point 1 has [xy] = .*expected 0 to [12]; drop it"):
        CartesianGrid((4, 5), (2.0, 1.0), periodic=periodic).locate(points)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": ()}, "1 to 3 positive sizes"),
        ({"shape": (1, 2, 3, 4)}, "1 to 3 positive sizes"),
        ({"shape": (3, 0)}, "1 to 3 positive sizes"),
        ({"shape": 3, "extent": 0.0}, "positive finite number"),
        ({"shape": (3, 4), "extent": (1.0,)}, "one value or 2"),
        ({"shape": 3, "periodic": True, "points": (torch.arange(3.0),)}, "cannot be periodic"),
        ({"shape": 4, "periodic": False, "points": (torch.arange(3.0),)}, "axes of sizes"),
        ({"shape": 3, "periodic": False, "points": (torch.tensor([0.0, 2.0, 1.0]),)}, "increasing coordinates along x"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CartesianGrid(**arguments)
