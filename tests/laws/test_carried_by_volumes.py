"""Advection and diffusion by finite volumes: order of a smooth wave, a front that stays within its bounds, and what is kept."""

import math

import pytest
import torch

from physdiff.grids.boundary import Dirichlet, Outflow
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.exact import gaussian_puff, plane_wave
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL, WENO5
from physdiff.solvers.solve import solve

TIMES = torch.tensor([0.0, 0.5], dtype=torch.float64)


def law(diffusivity, velocity, **options):
    return AdvectionDiffusion(diffusivity, velocity, conservative=True, **options)


def wave(x, t, *, h=0.0):
    """Means over cells of width h of a wave that moves and decays."""
    k = math.pi
    share = math.sin(k * h / 2) / (k * h / 2) if h else 1.0
    return 2 + share * plane_wave((x,), t, wave_vector=(k,), diffusivity=0.02, velocity=(0.7,), phase=0.3)


@pytest.mark.parametrize(("reconstruction", "order", "least"), [(MUSCL(), 2.0, 5e-4), (WENO5("Z"), 5.0, 1e-5)])
def test_order_of_a_smooth_wave(reconstruction, order, least):
    errors = []
    for n in (16, 32) if order > 2 else (64, 128):
        grid = CartesianGrid(n, extent=2.0)
        x, h = grid.coordinates()[0], grid.spacing[0]
        start = {"c": wave(x, 0.0, h=h)[None]}
        # steps of order 3 that do not count beside order 5
        steps = 24 * n // 16 * (1 if order < 3 else n // 16)
        end = solve(FiniteVolume(law(0.02, (0.7,)), grid, reconstruction=reconstruction), start, TIMES, substeps=steps)
        errors.append(float((end["c"][0, -1] - wave(x, 0.5, h=h)).abs().mean()))
        assert abs(float(end["c"][0, -1].mean() - start["c"].mean())) < 1e-14
    found = math.log2(errors[-2] / errors[-1])
    # in the mean; MUSCL flattens extremes
    assert abs(found - order) < 0.4 and errors[-1] < least, (found, errors)


def test_a_puff_in_the_plane():
    errors = []
    for n in (24, 48):
        grid = CartesianGrid((n, n + n // 3), extent=(1.5, 2.0))
        kind = {"diffusivity": 0.01, "velocity": (0.7, -0.4), "centre": (0.8, 0.9), "width": 0.18, "extent": (2.0, 1.5)}
        start, want = (gaussian_puff(grid.coordinates(), t, **kind) for t in (0.0, 0.5))
        end = solve(FiniteVolume(law(0.01, (0.7, -0.4)), grid), {"c": start[None]}, TIMES, cfl=0.5)["c"][0, -1]
        errors.append(float((end - want).abs().mean() / want.mean()))
        assert float(end.min()) > -1e-12
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.5 and errors[1] < 0.03, errors


def test_a_front_without_diffusion_stays_within_its_bounds_and_keeps_what_it_carries():
    grid = CartesianGrid(100, extent=1.0)
    x = grid.coordinates()[0]
    front = ((x > 0.2) & (x < 0.5)).double()[None]
    end = solve(FiniteVolume(law(0.0, (1.0,)), grid), {"c": front}, torch.tensor([0.0, 1.0], dtype=torch.float64), cfl=0.8)["c"][:, -1]
    assert float(end.min()) > -1e-12 and float(end.max()) < 1 + 1e-12 and abs(float(end.sum() - front.sum())) < 1e-11
    # MUSCL smears a front over a few of 100 cells in a turn
    assert float((end - front).abs().mean()) < 0.06


def test_what_enters_fills_a_column():
    grid = CartesianGrid(40, extent=2.0, periodic=False)
    stepper = FiniteVolume(law(0.01, (1.0,)), grid, boundary={"x": (Dirichlet(1.0), Outflow())})
    out = solve(stepper, {"c": torch.zeros(1, 40, dtype=torch.float64)}, torch.tensor([0.0, 0.5, 3.0], dtype=torch.float64), cfl=0.5)["c"][0]
    # Ogata and Banks: half of what enters arrives at x = t, up to the second term (1 / sqrt(pi Pe) = 0.08)
    middle = float(out[1][9:11].mean())
    assert 0.5 < middle < 0.62 and float((out[2] - 1).abs().max()) < 1e-3
