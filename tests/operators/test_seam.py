"""Fields that jump where a periodic box closes, and steep ones that do not."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.seam import check_seam
from physdiff.operators.spectral import Spectral

LINE = CartesianGrid(64, extent=2.0)
PLANE = CartesianGrid((20, 36), extent=(1.0, 3.0))


def x_of(grid):
    """From 0 to 1 along x."""
    return grid.coordinates()[0] / grid.extent[-1]


@pytest.mark.parametrize(
    "field",
    [
        lambda x: x,
        lambda x: 1e4 + 1e-3 * x**2,
        lambda x: torch.cos(math.pi * x),
        lambda x: torch.exp(-x / 0.3),
        lambda x: torch.sin(2 * math.pi * x) + 3 * x,
        lambda x: torch.tanh((x - 0.5) / 0.1),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_field_that_does_not_meet_itself_is_refused(field, dtype):
    if dtype == torch.float32 and field(torch.zeros(())) > 1e3:
        pytest.skip("the slope is below the rounding of such numbers")
    with pytest.raises(InputError, match=r"u: expected a field that is periodic along x, got a jump.*FiniteDifference with a boundary.*trend"):
        check_seam(field(x_of(LINE)).to(dtype), LINE, "u")


@pytest.mark.parametrize("shift", range(0, 64, 3))
def test_steep_periodic_fields_pass_wherever_the_front_lies(shift):
    x = LINE.axes()[0] / 2 - 0.5
    h = 1 / 64
    # a shock as wide as a spectral grid can hold, between smooth flanks; a bell of one point; a box
    shock = torch.tanh(x / (0.7 * h)) - 2 * x
    for f in (shock, torch.exp(-((x / h) ** 2)), (x.abs() < 0.2).double(), torch.sin(2 * math.pi * x), 300 + 1e-9 * torch.sin(2 * math.pi * x)):
        check_seam(f.roll(shift), LINE, "u")


def test_fronts_made_by_burgers_pass_at_the_seam():
    # the steepest that the exact solution of viscosity 0.01/pi gets on 256 points
    from_zero = CartesianGrid(256, extent=2.0)
    slope = math.pi * 50
    x = from_zero.axes()[0] - 1
    check_seam((-torch.tanh(slope * x) + x).roll(128), from_zero, "u")


def test_noise_and_constants_pass():
    g = torch.Generator().manual_seed(0)
    for grid in (CartesianGrid(8), LINE, PLANE, CartesianGrid((6, 7, 8))):
        check_seam(torch.randn(500, *grid.shape, generator=g), grid, "u")
        check_seam(torch.full(grid.shape, 0.1), grid, "u")
        check_seam(torch.zeros(2, *grid.shape), grid, "u")
    # a transform and back leaves rounding, which may fall in any order
    flat = torch.full((3, *LINE.shape), 1.0, dtype=torch.float64) + 2e-16 * torch.arange(64)
    check_seam(flat, LINE, "u")


def test_axis_and_sample_are_named():
    x, y = PLANE.coordinates()
    wave = torch.sin(2 * math.pi * x / 3).expand(4, 5, -1, -1).clone()
    check_seam(wave, PLANE, "u")
    wave[2] += 4 * y
    with pytest.raises(InputError, match=r"periodic along y, got a jump of 3.8 from its last point to its first in sample 2, .* at most 0.2"):
        check_seam(wave, PLANE, "u")
    open_along_y = CartesianGrid((20, 36), extent=(1.0, 3.0), periodic=(False, True))
    check_seam(wave, open_along_y, "u")
    with pytest.raises(ShapeError, match="last axes"):
        check_seam(wave[..., 1:], PLANE, "u")


def test_what_is_refused_has_wrong_derivatives_everywhere():
    slope = Spectral(LINE).grad(x_of(LINE))[0]
    # the slope is 1/2, and half of the box that lies away from the seam misses it by about as much
    assert float((slope - 0.5)[16:48].square().mean().sqrt()) > 0.25
