"""What every grid shares: comparison by place, and the summary for messages."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import GridMismatch
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid, wrapped
from physdiff.grids.latlon import LatLonGrid

GRIDS: list[Grid] = [
    CartesianGrid(7, 2.0),
    CartesianGrid((5, 8), (1.0, 3.0), (0.5, -1.0), periodic=(False, True)),
    CartesianGrid((2, 3, 4), (1.0, 2.0, 3.0), periodic=False),
    CartesianGrid((2, 3), periodic=False, points=(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0, 4.0]))),
    LatLonGrid([60.0, 30.0, 0.0], [0.0, 90.0, 180.0, 270.0]),
    LatLonGrid([10.0, 12.0], [350.0, 355.0, 359.0], radius=3.39e6),
]


@pytest.mark.parametrize("grid", GRIDS, ids=Grid.summary)
def test_what_every_grid_promises(grid: Grid) -> None:
    assert len(grid.dims) == len(grid.periodic) == grid.ndim == len(grid.axes())
    assert tuple(a.numel() for a in grid.axes()) == grid.shape
    assert all(c.shape == grid.shape and c.dtype == torch.float64 for c in grid.coordinates())
    weights = grid.weights()
    assert weights.shape == grid.shape
    assert bool((weights > 0).all())
    assert float(weights.sum()) == pytest.approx(1, abs=1e-14)
    # grid points are where they say, in x, y, z order
    points = torch.stack([a.flatten() for a in reversed(torch.meshgrid(*grid.axes(), indexing="ij"))], dim=1)
    index = torch.cartesian_prod(*[torch.arange(n) for n in grid.shape]).reshape(-1, grid.ndim).double()
    torch.testing.assert_close(grid.locate(points), index, rtol=0, atol=1e-9)


@pytest.mark.parametrize("grid", GRIDS, ids=Grid.summary)
def test_a_grid_built_again_is_the_same(grid: Grid) -> None:
    again = build(describe(grid))
    assert grid.same_as(again)
    assert torch.equal(grid.weights(), again.weights())
    grid.check_same(again, "data")


def test_every_grid_is_itself_alone() -> None:
    for i, a in enumerate(GRIDS):
        for j, b in enumerate(GRIDS):
            assert a.same_as(b) == (i == j)


@pytest.mark.parametrize(("shift", "same"), [(0.9e-4, True), (1.1e-4, False)])
def test_places_agree_within_a_share_of_a_spacing(shift: float, same: bool) -> None:
    moved = CartesianGrid((4, 10), (1.0, 5.0), (0.0, shift * 0.5))
    assert CartesianGrid((4, 10), (1.0, 5.0)).same_as(moved) is same


def test_mismatch_names_both() -> None:
    with pytest.raises(GridMismatch, match=r"data: expected CartesianGrid with x 7 \(0 to 1.71429, periodic\), got LatLonGrid .*regrid"):
        GRIDS[0].check_same(GRIDS[4], "data")


def test_wrapped_stays_below_the_size() -> None:
    index = torch.tensor([-1e-18, -0.25, 0.0, 7.75, 8.0, 17.5], dtype=torch.float64)
    assert wrapped(index, 8).tolist() == [0.0, 7.75, 0.0, 7.75, 0.0, 1.5]
