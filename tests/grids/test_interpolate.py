"""Interpolation: exact where it must be, the adjoint, the seam, missing neighbours."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.interpolate import interpolation
from physdiff.grids.latlon import LatLonGrid
from physdiff.grids.points import PointGrid

LIKE = torch.zeros((), dtype=torch.float64)
UNEVEN = torch.tensor([0.0, 0.3, 1.0, 1.1])
GRIDS: list[Grid] = [
    CartesianGrid(6, 2.0, periodic=False),
    CartesianGrid((5, 8), (1.0, 3.0), (0.5, -1.0), periodic=False),
    CartesianGrid((4, 3), periodic=False, points=(UNEVEN, torch.tensor([-1.0, 0.0, 5.0]))),
    CartesianGrid((4, 5, 3), (1.0, 2.0, 3.0), periodic=False),
    LatLonGrid([60.0, 50.0, 20.0], [-10.0, 0.0, 5.0, 20.0]),
]


def normal(*shape: int, key: str) -> torch.Tensor:
    return Rng(2).child(key).normal(shape, like=LIKE)


def inner_points(grid: Grid, n: int) -> torch.Tensor:
    """Points between the outermost grid points, x, y, z order."""
    share = Rng(3).uniform((n, grid.ndim), like=LIKE)
    low, high = (torch.stack([f(a) for a in reversed(grid.axes())]) for f in (torch.min, torch.max))
    return low + share * (high - low)


@pytest.mark.parametrize("grid", GRIDS, ids=Grid.summary)
def test_exact_for_functions_linear_along_every_axis(grid: Grid) -> None:
    """All products of first powers, 2^d of them, with random factors."""
    points = inner_points(grid, 20)
    axes = list(reversed(torch.meshgrid(*grid.axes(), indexing="ij")))
    on_grid, at_points = torch.zeros(grid.shape).double(), torch.zeros(20).double()
    for powers in torch.cartesian_prod(*[torch.arange(2)] * grid.ndim).reshape(-1, grid.ndim):
        factor = float(normal(1, key=str(powers.tolist())))
        on_grid += factor * torch.stack([a ** int(p) for a, p in zip(axes, powers, strict=True)]).prod(0)
        at_points += factor * (points ** powers).prod(1)
    # coordinates up to 60, their product up to 1e3
    torch.testing.assert_close(interpolation(grid, points)(on_grid), at_points, rtol=1e-12, atol=1e-11)


CLOSED: list[Grid] = [CartesianGrid((5, 4), (2.0, 1.0)), LatLonGrid([-60.0, 0.0, 60.0], [0.0, 90.0, 180.0, 270.0])]


@pytest.mark.parametrize("grid", [*GRIDS, *CLOSED], ids=Grid.summary)
def test_grid_points_give_their_values_and_weights_sum_to_one(grid: Grid) -> None:
    points = torch.stack([a.flatten() for a in reversed(torch.meshgrid(*grid.axes(), indexing="ij"))], dim=1)
    values = normal(2, 3, *grid.shape, key="v")
    torch.testing.assert_close(interpolation(grid, points)(values), values.reshape(2, 3, -1), rtol=1e-9, atol=1e-9)
    assert torch.allclose(interpolation(grid, inner_points(grid, 9)).weight.sum(1), torch.ones(9).double(), rtol=1e-14)


@given(seed=st.integers(0, 1000))
def test_adjoint_identity(seed: int) -> None:
    grid = [*GRIDS, CartesianGrid((3, 4), 1.0)][seed % 6]
    rng = Rng(seed)
    operator = interpolation(grid, inner_points(grid, 7))
    x, r = rng.child(0).normal((2, *grid.shape), like=LIKE), rng.child(1).normal((2, 7), like=LIKE)
    assert float((operator(x) * r).sum()) == pytest.approx(float((x * operator.adjoint(r)).sum()), abs=1e-12)


def test_adjoint_is_the_gradient() -> None:
    grid = GRIDS[1]
    operator = interpolation(grid, inner_points(grid, 6))
    x, r = normal(*grid.shape, key="x").requires_grad_(), normal(6, key="r")
    (gradient,) = torch.autograd.grad((operator(x) * r).sum(), x)
    torch.testing.assert_close(gradient, operator.adjoint(r))


def test_the_seam_of_a_periodic_axis() -> None:
    values = torch.tensor([1.0, 2.0, 3.0, 5.0], dtype=torch.float64)
    line = CartesianGrid(4, 4.0)
    assert interpolation(line, torch.tensor([[3.0], [3.25], [3.999999999999], [4.0], [0.0]]))(values).tolist() == pytest.approx([5, 4, 1, 1, 1])
    circle = LatLonGrid([0.0], [0.0, 90.0, 180.0, 270.0])
    points = torch.tensor([[292.5, 0.0], [-67.5, 0.0], [360.0, 0.0], [-45.0, 0.0]])
    assert interpolation(circle, points)(values[None]).tolist() == pytest.approx([4, 4, 1, 3])


def test_a_shifted_periodic_field_gives_shifted_values() -> None:
    grid, shift = CartesianGrid((6, 9), (3.0, 4.5)), 2
    points = Rng(4).uniform((12, 2), like=LIKE) * torch.tensor([4.5, 3.0])
    moved = torch.remainder(points + torch.tensor([shift * 0.5, 0.0]), torch.tensor([4.5, 3.0]).double())
    values = normal(*grid.shape, key="v")
    torch.testing.assert_close(interpolation(grid, moved)(values.roll(shift, 1)), interpolation(grid, points)(values), rtol=1e-10, atol=1e-10)


def test_second_order_between_the_points() -> None:
    errors = []
    for n in (16, 32, 64):
        grid = CartesianGrid((n, 2 * n), (1.0, 2.0))
        points = inner_points(grid, 500)
        f = [torch.sin(2 * torch.pi * y) * torch.cos(torch.pi * x) for x, y in (grid.coordinates(), points.unbind(1))]
        errors.append(float((interpolation(grid, points)(f[0]) - f[1]).abs().max()))
    assert errors[0] / errors[2] == pytest.approx(16, rel=0.15)


def test_a_missing_neighbour_counts_only_if_it_has_weight() -> None:
    grid = CartesianGrid((3, 3), 3.0, periodic=False)
    values = torch.arange(9.0).reshape(3, 3)
    values[1, 2] = torch.nan
    at = interpolation(grid, torch.tensor([[1.5, 1.5], [1.5, 0.5], [2.0, 1.5], [2.5, 2.5]]))(values)
    assert at[[0, 1, 3]].tolist() == [4, 1, 8]
    assert bool(at[2].isnan())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtype_of_the_values_is_kept(dtype: torch.dtype) -> None:
    operator = interpolation(GRIDS[1], inner_points(GRIDS[1], 4))
    assert operator(torch.ones(2, 5, 8, dtype=dtype)).dtype == dtype
    assert operator.adjoint(torch.ones(4, dtype=dtype)).dtype == dtype


def test_values_of_another_grid_are_refused() -> None:
    operator = interpolation(GRIDS[1], inner_points(GRIDS[1], 4))
    for shape in ((8, 5), (40,), (2, 5, 7)):
        with pytest.raises(ShapeError, match=r"expected values of shape \(..., 5, 8\)"):
            operator(torch.zeros(shape))
    with pytest.raises(ShapeError, match=r"expected \(..., 4\), got \(4, 2\)"):
        operator.adjoint(torch.zeros(4, 2))


def test_points_outside_are_named() -> None:
    with pytest.raises(InputError, match="point 1 has x = 9"):
        interpolation(GRIDS[0], torch.tensor([[1.0], [9.0]]))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_among_scattered_points(axes: int) -> None:
    """Exact for linear fields, at a point its own value, second order between, an adjoint."""
    g = torch.Generator().manual_seed(axes)
    points = torch.rand(400, axes, generator=g, dtype=torch.float64)
    places = 0.2 + 0.6 * torch.rand(50, axes, generator=g, dtype=torch.float64)
    at = interpolation(PointGrid(points), places)
    slope = torch.randn(axes, generator=g, dtype=torch.float64)
    torch.testing.assert_close(at(points @ slope + 2), places @ slope + 2, rtol=0, atol=1e-7)  # the ridge of 1e-9 through a solve
    torch.testing.assert_close(at.weight.sum(1), torch.ones(50, dtype=torch.float64))
    here = interpolation(PointGrid(points), points[:20])
    values = torch.randn(3, 400, generator=g, dtype=torch.float64)
    torch.testing.assert_close(here(values), values[:, :20], rtol=0, atol=1e-10)
    r = torch.randn(3, 50, generator=g, dtype=torch.float64)
    torch.testing.assert_close((at(values) * r).sum(), (values * at.adjoint(r)).sum())


def test_gaps_between_scattered_points_are_refused() -> None:
    g = torch.Generator().manual_seed(0)
    left, right = torch.rand(2, 100, 2, generator=g) * torch.tensor([0.3, 1.0])
    grid = PointGrid(torch.cat([left, right + torch.tensor([0.7, 0.0])]))
    interpolation(grid, torch.tensor([[0.15, 0.5]]))
    with pytest.raises(InputError, match=r"expected places among the points, got \[0.5, 0.5\], 0\.\d+ from the nearest"):
        interpolation(grid, torch.tensor([[0.5, 0.5]]))
    with pytest.raises(InputError, match="within the box of the points"):
        interpolation(grid, torch.tensor([[2.0, 0.5]]))
