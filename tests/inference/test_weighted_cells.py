"""Sums over cells: adjoints on every grid, exact block means and line integrals, beams against their closed form, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.interpolate import interpolation
from physdiff.grids.latlon import EARTH_RADIUS, LatLonGrid
from physdiff.inference.weighted_cells import WeightedCells, block_means, footprints, grid_cells, line_integrals

LIKE = torch.zeros((), dtype=torch.float64)
GLOBE = LatLonGrid(torch.linspace(88.75, -88.75, 72), torch.arange(0, 360, 2.5))
POLES = LatLonGrid(torch.linspace(-90, 90, 37), torch.arange(0, 360, 5.0))
REGION = LatLonGrid(torch.linspace(58, 50, 33), torch.linspace(-10, 2, 49))
BOX = CartesianGrid((12, 18), extent=(2.0, 3.0), origin=(-1.0, 0.5), periodic=False)
RING = CartesianGrid((12, 18), extent=(2.0, 3.0), origin=(-1.0, 0.5))
STRETCHED = CartesianGrid((5, 6), points=(torch.tensor([0.0, 1, 3, 4, 9]), torch.tensor([0.0, 0.5, 1, 2, 4, 5])), periodic=False)
CUBE = CartesianGrid((4, 6, 8), periodic=(False, True, False))
GRIDS = {"globe": GLOBE, "poles": POLES, "region": REGION, "box": BOX, "ring": RING, "stretched": STRETCHED, "cube": CUBE}


def spec(grid, frames: int = 2, mask=None) -> FieldSpec:
    return FieldSpec(("u", "v"), ("K", "K"), grid, 1.0, frames, mask)


def places(grid, n: int, rng: Rng, inner: float = 0.0) -> torch.Tensor:
    """Random places, `inner` of each axis away from its ends."""
    columns = []
    for k, axis in enumerate(reversed(grid.axes())):
        low, high = float(axis.min()), float(axis.max())
        columns.append(low + (inner + (1 - 2 * inner) * rng.child(k).uniform((n,), like=LIKE)) * (high - low))
    return torch.stack(columns, 1)


def make(kind: str, grid, rng: Rng, frames, names) -> WeightedCells:
    s, choice = spec(grid), {"names": names, "frames": frames}
    if kind == "cells":
        return grid_cells(s, rng.uniform(grid.shape) < 0.3, **choice)
    if kind == "blocks":
        return block_means(s, tuple(next(b for b in (3, 2, 1) if n % b == 0) for n in grid.shape), **choice)
    if kind == "lines":
        return line_integrals(s, places(grid, 4, rng.child("a"), 0.2), places(grid, 4, rng.child("b"), 0.2), **choice)
    widths = {"globe": 600e3, "poles": 1500e3, "region": 60e3, "box": 0.3, "ring": 0.3, "stretched": 8.0, "cube": 0.4}
    width = widths[next(k for k, g in GRIDS.items() if g is grid)]
    return footprints(s, places(grid, 3, rng, 0.2), width, share=0.1, **choice)


@settings(max_examples=16)
@given(data=st.data())
def test_adjoint_on_every_grid(data) -> None:
    grid = GRIDS[data.draw(st.sampled_from(sorted(GRIDS)))]
    rng = Rng(data.draw(st.integers(0, 2**20)))
    frames, names = data.draw(st.sampled_from([None, (0,), (-1, 0)])), data.draw(st.sampled_from([None, ("v",), ("v", "u")]))
    operator = make(data.draw(st.sampled_from(["cells", "blocks", "lines", "beams"])), grid, rng, frames, names)
    x = rng.child("x").normal((2, *spec(grid).shape), like=LIKE)
    readings = operator(x)
    r = rng.child("r").normal(tuple(readings.shape), like=LIKE)
    # thousands of products of numbers near one, times lengths of up to 1e7 m
    torch.testing.assert_close((readings * r).sum() / readings.norm(), (x * operator.adjoint(r)).sum() / readings.norm(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["globe", "region", "box", "cube"])
def test_block_means_keep_the_mean_and_equal_loops(name) -> None:
    grid = GRIDS[name]
    s, x = spec(grid), Rng(1).normal((1, *spec(grid).shape), like=LIKE)
    area = grid.weights()
    whole = block_means(s, grid.shape)(x)
    torch.testing.assert_close(whole[..., 0], (x * area).flatten(3).sum(3), rtol=1e-12, atol=1e-14)
    sides = tuple(3 if n % 3 == 0 else 2 if n % 2 == 0 else n for n in grid.shape)
    if name in ("region",):
        sides = (11, 7)
    found = block_means(s, sides)(x)[0, 1, 0]
    i = 0
    for corner in torch.cartesian_prod(*[torch.arange(0, n, b) for n, b in zip(grid.shape, sides, strict=True)]).tolist():
        cut = tuple(slice(c, c + b) for c, b in zip(corner, sides, strict=True))
        assert float(found[i]) == pytest.approx(float((x[0, 1, 0][cut] * area[cut]).sum() / area[cut].sum()), rel=1e-12)
        i += 1
    assert i == len(found)


def test_masks_and_gaps() -> None:
    mask = torch.ones(BOX.shape, dtype=torch.bool)
    mask[:3, :9] = False
    mask[3, 0] = False
    s, x = spec(BOX, mask=mask), Rng(2).normal((1, 2, 2, *BOX.shape), like=LIKE)
    assert torch.equal(grid_cells(s)(x)[0, 0, 0], x[0, 0, 0][mask])
    means = block_means(s, (3, 9))
    # one block of eight has no cells at all, the next has lost one of 27
    assert means(x).shape[-1] == 7
    torch.testing.assert_close(means(x)[0, 0, 0, 1], x[0, 0, 0, 3:6, :9][mask[3:6, :9]].mean())
    # what is missing in the windows outside the mask does not matter
    assert bool(means(torch.where(mask, x, torch.nan)).isfinite().all())
    with pytest.raises(InputError, match="got reading 0 over a cell that the mask leaves out; drop or move it"):
        line_integrals(s, torch.tensor([[1.0, -0.9]]), torch.tensor([[1.5, 0.5]]))
    with pytest.raises(InputError, match="expected 98% of each beam on the grid"):
        footprints(s, torch.tensor([[1.9, -0.4]]), 0.35)


def test_lines_are_exact_on_linear_fields_and_on_the_interpolant() -> None:
    """A linear field is its own interpolant: length times the value in the middle. Between kinks a bilinear one is quadratic along the line."""
    for grid in (BOX, STRETCHED, CUBE):
        s, rng = spec(grid), Rng(3)
        a, b = (places(grid, 6, rng.child(k)) for k in (0, 1))
        slope = torch.tensor([2.0, -3.0, 0.5])[: grid.ndim].double()
        shape = [1] * grid.ndim
        # periodic axes are flat: a linear field is not periodic
        slope = torch.where(torch.tensor(list(reversed(grid.periodic))), 0.0, slope)
        field = 1.5 + sum(c * g for c, g in zip(slope, grid.coordinates(), strict=True)) + torch.zeros(shape)
        x = field.expand(1, 2, 2, *grid.shape)
        expected = (b - a).norm(dim=1) * (1.5 + (a + b) / 2 @ slope)
        torch.testing.assert_close(line_integrals(s, a, b)(x)[0, 0, 0], expected, rtol=1e-12, atol=1e-12)
    # the interpolant of anything, by very many points
    x, a, b = Rng(4).normal((1, 2, 2, *RING.shape), like=LIKE), torch.tensor([[0.6, -0.95]]).double(), torch.tensor([[3.45, 0.97]]).double()
    share = (torch.arange(200000) + 0.5).double()[:, None] / 200000
    fine = line_integrals(spec(RING), a, b)(x)[0, 0, 0]
    along = interpolation(RING, a + share * (b - a))(x[0, 0, 0]).mean() * (b - a).norm()
    # midpoint rule with 2e5 points on kinks: 1e-9
    assert float(fine[0]) == pytest.approx(float(along), abs=1e-8)


def test_lines_on_the_sphere_are_great_circles() -> None:
    s = spec(GLOBE)
    one = torch.ones(1, *s.shape).double()
    lines = line_integrals(s, torch.tensor([[0.0, 0.0], [-20.0, 60.0], [350.0, 10.0]]), torch.tensor([[90.0, 0.0], [160.0, 60.0], [20.0, 40.0]]))
    low, high = math.radians(10), math.radians(40)
    arc = math.acos(math.sin(low) * math.sin(high) + math.cos(low) * math.cos(high) * math.cos(math.radians(30)))
    expected = torch.tensor([math.pi / 2, math.pi / 3, arc], dtype=torch.float64) * EARTH_RADIUS
    torch.testing.assert_close(lines(one)[0, 0, 0], expected, rtol=1e-12, atol=0)
    # sin(latitude) along a meridian, 0 to 60 N: 1 - cos 60; and cos(longitude) along the equator, over the seam
    x = torch.stack([torch.sin(GLOBE.coordinates()[1]), torch.cos(GLOBE.coordinates()[0])])[None, :, None].expand(1, 2, 2, *GLOBE.shape)
    two = line_integrals(s, torch.tensor([[30.0, 0.0], [-45.0, 0.0]]), torch.tensor([[30.0, 60.0], [45.0, 0.0]]))(x)[0, :, 0] / EARTH_RADIUS
    # bilinear interpolation misses h^2/12 of the curvature: 1.6e-4
    assert float(two[0, 0]) == pytest.approx(0.5, rel=4e-4) and float(two[1, 1]) == pytest.approx(math.sqrt(2), rel=4e-4)


def test_beams_have_the_closed_form_of_smoothing() -> None:
    """A wave k under a Gaussian beam of width s comes out times exp(-k^2 s^2/2), in the plane; sums over cells are exact to their aliasing."""
    x_axis, y_axis = RING.coordinates()
    k, fwhm = 2 * math.pi / 3.0, 0.5
    wave = torch.cos(k * (x_axis - 0.5)) + 0 * y_axis
    points = torch.tensor([[0.5, 0.0], [1.3, 0.7], [3.49, -0.99]]).double()
    found = footprints(spec(RING), points, fwhm)(wave.expand(1, 2, 2, *RING.shape))[0, 0, 0]
    damped = math.exp(-0.5 * (k * fwhm / (2 * math.sqrt(2 * math.log(2)))) ** 2)
    # cut at four standard deviations: 3e-4 of the mass
    torch.testing.assert_close(found, damped * torch.cos(k * (points[:, 0] - 0.5)), rtol=0, atol=5e-4)
    # a linear field is read at the centre, up to the pixels' lopsidedness about it
    ramp = (1 + 2 * BOX.coordinates()[0]).expand(1, 2, 2, *BOX.shape)
    centre = torch.tensor([[2.05, 0.1]]).double()
    assert float(footprints(spec(BOX), centre, 0.4)(ramp)[0, 0, 0]) == pytest.approx(5.1, abs=2e-3)


def test_beams_on_the_sphere_are_round_everywhere() -> None:
    """The mean of sin(latitude) about a centre depends on its latitude alone by one factor, at the pole and across the seam too."""
    s, fwhm = spec(GLOBE), 1000e3
    centres = torch.tensor([[0.0, 10.0], [359.9, 50.0], [77.0, 89.9], [200.0, -85.0]])
    x = torch.sin(GLOBE.coordinates()[1]).expand(1, 2, 2, *GLOBE.shape)
    found = footprints(s, centres, fwhm)(x)[0, 0, 0] / torch.sin(torch.deg2rad(centres[:, 1].double()))
    width = fwhm / (2 * math.sqrt(2 * math.log(2))) / EARTH_RADIUS
    theta = torch.linspace(0, 4 * width, 20001).double()
    kernel = torch.exp(-0.5 * (theta / width) ** 2) * torch.sin(theta)
    # zonal functions are eigenfunctions of averaging over rotations (Funk and Hecke): the factor of degree one
    factor = float((kernel * torch.cos(theta)).sum() / kernel.sum())
    torch.testing.assert_close(found, torch.full((4,), factor).double(), rtol=2e-3, atol=0)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: footprints(spec(REGION), torch.tensor([[-9.9, 54.0]]), 60e3), InputError, "of beam 0 at -9.9, 54; drop it or lower `share`"),
        (lambda: footprints(spec(REGION), torch.tensor([[-4.0, 54.0]]), 30e3), InputError, "beams of 1.5 cells or more, .* m at point 0, got 3e"),
        (lambda: footprints(spec(REGION), torch.tensor([[30.0, 54.0]]), 60e3), InputError, "point 0 has longitude 30"),
        (lambda: footprints(spec(REGION), torch.tensor([[-4.0, 54.0]]), 0.0), InputError, "fwhm: expected a positive"),
        (lambda: block_means(spec(BOX), (5, 6)), InputError, "blocks that divide the grid's"),
        (lambda: block_means(spec(BOX), 0), InputError, "blocks that divide"),
        (lambda: line_integrals(spec(BOX), torch.tensor([[1.0, 0.0]]), torch.tensor([[9.0, 0.0]])), InputError, "point 1 has x = 9"),
        (lambda: line_integrals(spec(BOX), torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]])), InputError, "the same twice for line 0"),
        (lambda: line_integrals(spec(BOX), torch.zeros(2, 2), torch.zeros(1, 2)), ShapeError, "starts and ends"),
        (lambda: line_integrals(spec(GLOBE), torch.tensor([[0.0, 10.0]]), torch.tensor([[180.0, -10.0]])), InputError, "no one great circle"),
        (lambda: grid_cells(spec(BOX), torch.ones(3, 3, dtype=torch.bool)), ShapeError, "booleans of the grid's shape"),
        (lambda: WeightedCells(spec(BOX), torch.zeros(1, 1).long(), -torch.ones(1, 1)), InputError, "use MatrixOperator"),
        (lambda: WeightedCells(spec(BOX), torch.zeros(1, 1).long(), torch.zeros(1, 1)), InputError, "not all zero"),
        (lambda: WeightedCells(spec(BOX), torch.full((1, 1), 216), torch.ones(1, 1)), ShapeError, "below 216"),
        (lambda: grid_cells(spec(BOX), names=("u", "u")), InputError, "one or more names, each once"),
        (lambda: grid_cells(spec(BOX), frames=(2,)), InputError, "expected frames within 0 to 1, got 2"),
        (lambda: grid_cells(spec(BOX))(torch.zeros(1, 2, 3, 12, 18)), ShapeError, "expected windows of 2 frames, got 3"),
    ],
)
def test_worded_errors(make, error, said) -> None:
    with pytest.raises(error, match=said):
        make()


def test_it_can_be_saved() -> None:
    x = Rng(5).normal((1, *spec(BOX).shape), like=LIKE)
    operator = block_means(spec(BOX), (3, 3), names=("v",), frames=(1,))
    assert torch.equal(build(describe(operator))(x), operator(x))
