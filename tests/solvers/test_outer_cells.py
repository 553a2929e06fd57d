"""Ghost cells against their definitions, sides, signs, corners, walls' coordinates, refusals."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.outer_cells import OuterCells

GRID = CartesianGrid((3, 5), extent=(1.5, 2.0), origin=(10.0, 20.0), periodic=False)
F = torch.arange(15, dtype=torch.float64).reshape(1, 3, 5) + 1
ROW = F[0, 1]


def extended(boundary, direction=0, **kwargs):
    return OuterCells(GRID, ("f",), boundary).extend({"f": F}, direction, 2, t=0.5, **kwargs)["f"][0]


def test_each_condition_along_x():
    assert extended(Outflow())[1].tolist() == [6, 6, *ROW.tolist(), 10, 10]
    assert extended(Reflecting())[1].tolist() == [7, 6, *ROW.tolist(), 10, 9]
    assert extended(Dirichlet(3.0))[1].tolist() == [3, 3, *ROW.tolist(), 3, 3]
    assert extended(Dirichlet(3.0), mirrored=True)[1].tolist() == [-1, 0, *ROW.tolist(), -4, -3]
    # h = 0.4: the first ghost is one cell from its image, the second three
    torch.testing.assert_close(extended(Neumann(0.5))[1], torch.tensor([7.6, 6.2, *ROW.tolist(), 10.2, 9.6], dtype=torch.float64))


def test_along_y_and_by_side():
    got = extended({"x": Outflow(), "y": (Dirichlet(-1.0), Reflecting())}, 1)
    assert got[:, 2].tolist() == [-1, -1, 3, 8, 13, 13, 8]


def test_periodic_axes_wrap():
    grid = CartesianGrid((3, 5), periodic=(False, True))
    got = OuterCells(grid, ("f",), Outflow()).extend({"f": F}, 0, 2, t=0.0)["f"][0, 1]
    assert got.tolist() == [9, 10, *ROW.tolist(), 6, 7]


def test_components_across_the_wall_change_sign():
    ghosts = OuterCells(GRID, ("momentum_x", "momentum_y", "density"), Reflecting())
    u = {name: F for name in ("momentum_x", "momentum_y", "density")}
    for direction, name in enumerate(("momentum_x", "momentum_y")):
        made = ghosts.extend(u, direction, 1, t=0.0)
        for field in u:
            ghost, image = made[field].movedim(-1 - direction, 0)[0], F.movedim(-1 - direction, 0)[0]
            torch.testing.assert_close(ghost, -image if field == name else image)


def test_values_may_vary_along_the_wall_in_time_and_by_sample():
    seen = []

    def value(x, y, t):
        seen.append((x.clone(), y.clone()))
        return x + 100 * y + 10000 * t

    ghosts = OuterCells(GRID, ("f",), {"x": (Dirichlet(value), Outflow()), "y": Outflow()})
    wide = ghosts.extend({"f": F}, 1, 1, t=0.5)
    made = ghosts.extend(wide, 0, 2, t=0.5, wider=[1, 0])["f"][0]
    y = torch.tensor([9.75, 10.25, 10.75, 11.25, 11.75], dtype=torch.float64)  # one ghost row at either end
    torch.testing.assert_close(made[:, 0], 20 + 100 * y + 5000)
    assert seen[0][0].shape == (5, 1)
    two = torch.tensor([1.0, 7.0])
    made = OuterCells(GRID, ("f",), Dirichlet(two)).extend({"f": F.expand(2, 3, 5)}, 0, 1, t=0.0)["f"]
    assert made[:, 0, 0].tolist() == [1.0, 7.0]


def test_places_are_those_of_the_cells_that_ghosts_copy():
    grid = CartesianGrid(4, extent=4.0, periodic=False)
    for condition, wanted in ((Outflow(), [0.5, 0.5]), (Reflecting(), [1.5, 0.5]), (Neumann(3.0), [1.5, 0.5]), (Dirichlet(7.0), [0.0, 0.0])):
        (x,) = OuterCells(grid, ("f",), condition).places(0, 2)
        assert x[:2].tolist() == wanted and x[2:6].tolist() == [0.5, 1.5, 2.5, 3.5]
    (x,) = OuterCells(CartesianGrid(4, extent=4.0), ("f",), None).places(0, 2)
    assert x.tolist() == [2, 3, 0, 1, 2, 3, 0, 1]


@pytest.mark.parametrize(("boundary", "words"), [
    (None, "the axis y is open and nothing is said about `f`"),
    ({"x": Outflow()}, "the axis y is open and nothing is said about `f` at its ends; give boundary=Outflow"),
    (Robin(1.0, 1.0), "expected Outflow, Reflecting, Dirichlet or Neumann for `f` along y, got Robin"),
    ({"g": Outflow()}, "expected axes .y, x. or fields .f., got 'g'"),
])
def test_ends_without_a_usable_condition_are_refused(boundary, words):
    with pytest.raises(InputError, match=words):
        OuterCells(GRID, ("f",), boundary)


def test_too_few_cells_are_refused():
    with pytest.raises(InputError, match="expected at least 4 cells along y, got 3"):
        OuterCells(GRID, ("f",), Outflow()).extend({"f": F}, 1, 4, t=0.0)
