"""Rates on faces against loops over cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.grids.boundary import Dirichlet, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.solvers.staggered import StaggeredFlow

NU, KAPPA, LIFT, LID = 0.3, 0.2, 1.5, 0.7
SHAPE, SPACING = (6, 5), (0.25, 0.4)


@pytest.mark.parametrize("slip", [False, True])
def test_rates_are_those_of_loops(slip):
    grid = CartesianGrid(SHAPE, extent=(1.5, 2.0), periodic=False)
    solid = torch.zeros(SHAPE, dtype=torch.bool)
    solid[2, 2] = True
    walls = {"velocity_x": {"x": Dirichlet(), "y": (Dirichlet(), Dirichlet(LID))}, "velocity_y": Dirichlet(), "buoyancy": Reflecting()}
    stepper = StaggeredFlow(BuoyantFlow(NU, KAPPA, lift=LIFT), grid, walls, solid=solid, slip=slip)
    g = torch.Generator().manual_seed(0)
    u = stepper.from_centres({n: torch.randn(1, *SHAPE, dtype=torch.float64, generator=g) for n in stepper.pde.fields})
    rates = stepper.rates.all(stepper._state(u, 0.0), 0.0)
    x, y = (f[0].numpy() for f in stepper.faces(u))
    b, block, (h, w) = u["buoyancy"][0].numpy(), solid.numpy(), SPACING
    sign = 1.0 if slip else -1.0

    def along_y(j, k):
        """velocity_x at height j beside face k: mirrored at walls and at the obstacle."""
        if j < 0 or j >= SHAPE[0]:
            return (2 * LID if j >= SHAPE[0] else 0.0) - x[min(max(j, 0), SHAPE[0] - 1), k]
        return x[j, k]

    for j in range(SHAPE[0]):
        for k in range(1, SHAPE[1]):
            if block[j, k - 1] or block[j, k]:
                assert float(rates["velocity_x"][0, j, k]) == 0.0
                continue
            right, left = (x[j, k] + x[j, k + 1]) ** 2 / 4, (x[j, k] + x[j, k - 1]) ** 2 / 4
            up = (y[j + 1, k - 1] + y[j + 1, k]) / 2 * (x[j, k] + along_y(j + 1, k)) / 2
            down = (y[j, k - 1] + y[j, k]) / 2 * (x[j, k] + along_y(j - 1, k)) / 2
            viscous = (x[j, k + 1] - 2 * x[j, k] + x[j, k - 1]) / w**2
            for other in (j - 1, j + 1):
                covered = np.mean([block[other, k - 1], block[other, k]]) if 0 <= other < SHAPE[0] else 0.0
                viscous += (along_y(other, k) + covered * sign * x[j, k] - x[j, k]) / h**2
            want = -(right - left) / w - (up - down) / h + NU * viscous
            assert float(rates["velocity_x"][0, j, k]) == pytest.approx(want, abs=1e-12), (j, k)
    lifted = LIFT * (b[1:] + b[:-1]) / 2
    lower = StaggeredFlow(BuoyantFlow(NU, KAPPA, lift=0.0), grid, walls, solid=solid, slip=slip)
    without = lower.rates.all(lower._state(u, 0.0), 0.0)
    found = (rates["velocity_y"] - without["velocity_y"])[0, 1:-1].numpy()
    np.testing.assert_allclose(found, lifted * ~(block[1:] | block[:-1]), atol=1e-12)


def test_sizes():
    grid = CartesianGrid((4, 5), extent=(2.0, 5.0))
    stepper = StaggeredFlow(BuoyantFlow(torch.tensor([0.1, 0.3]), 0.2), grid)
    u = {n: torch.full((2, 4, 5), v) for n, v in zip(stepper.pde.fields, (3.0, -2.0, 0.0), strict=True)}
    advection, diffusion = stepper.rates.sizes(stepper._state(u, 0.0), 0.0)
    assert advection == pytest.approx(3.0 / 1.0 + 2.0 / 0.5) and diffusion == pytest.approx(4 * 0.3 * (1 + 4), rel=1e-6)


def test_a_lid_over_fluid_at_rest_counts():
    walls = {"velocity_x": {"x": Dirichlet(), "y": (Dirichlet(), Dirichlet(lambda x, y, t: 2 * x))}, "velocity_y": Dirichlet()}
    stepper = StaggeredFlow(IncompressibleFlow(0.0), CartesianGrid((4, 5), periodic=False), walls)
    still = {n: torch.zeros(1, 4, 5) for n in stepper.pde.fields}
    assert stepper.limit(still) == pytest.approx(stepper.tableau.careful() / (2.0 * 5))


@pytest.mark.parametrize("side", [0, 1])
def test_an_open_end_lets_out_and_brings_nothing_in(side):
    """The end's own faces: carried out by their own speed where it points outwards, swept along the end by what crosses it."""
    grid = CartesianGrid(SHAPE, extent=(1.5, 2.0), periodic=False)
    ends = (Outflow(), Dirichlet(1.0)) if side == 0 else (Dirichlet(1.0), Outflow())
    walls = {"velocity_x": {"x": ends, "y": Dirichlet()}, "velocity_y": {"x": Reflecting(), "y": Dirichlet()}}
    stepper = StaggeredFlow(IncompressibleFlow(0.0), grid, walls)
    g = torch.Generator().manual_seed(5)
    state = stepper._state({n: torch.randn(1, *SHAPE, dtype=torch.float64, generator=g) for n in stepper.pde.fields}, 0.0)
    x, y = state["velocity_x"][0], state["velocity_y"][0]
    (h, w), last = SPACING, SHAPE[1] * side
    inner, cell = (1, 0) if side == 0 else (last - 1, last - 1)
    found = stepper.rates.all(state, 0.0)["velocity_x"][0, :, last]
    assert bool((x[:, last] > 0).any()) and bool((x[:, last] < 0).any())
    for j in range(SHAPE[0]):
        u = float(x[j, last])
        out = max(u, 0.0) if side else max(-u, 0.0)
        below, above = (float(x[k, last]) if 0 <= k < SHAPE[0] else -u for k in (j - 1, j + 1))
        down, up = float(y[j, cell]), float(y[j + 1, cell])
        swept = (up * (above + u) / 2 - down * (below + u) / 2 - u * (up - down)) / h
        assert float(found[j]) == pytest.approx(-swept - out * (u - float(x[j, inner])) / w, abs=1e-12)
