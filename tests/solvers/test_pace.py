"""Steps by a share of the stable limit: flows that speed up between two frames, and limits next to walls."""

import math

import pytest
import torch

from physdiff.grids.boundary import Dirichlet, Robin
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.diffusion_sorption import DiffusionSorption
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

GRID = CartesianGrid(32, extent=2.0)
X = GRID.coordinates()[0]


class Counted(RungeKutta):
    """Counts its steps and how often its limit is measured."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.steps, self.measured = 0, 0

    def step(self, u, t, dt):
        self.steps += 1
        return super().step(u, t, dt)

    def limit(self, u, t=0.0):
        self.measured += 1
        return super().limit(u, t)


def carried(speed):
    """A law whose speed is a function of time."""
    return Counted(AdvectionDiffusion(0.0, (lambda x, t: speed(torch.as_tensor(t, dtype=x.dtype)) + 0 * x,)), Spectral(GRID))


@pytest.mark.parametrize("first", [0.01, 0.1])
def test_a_flow_that_speeds_up_a_hundredfold_within_a_frame(first):
    stepper = carried(lambda t: first * torch.exp(5 * t))
    end = solve(stepper, {"c": torch.sin(math.pi * X)[None]}, torch.tensor([0.0, 1.0], dtype=torch.float64), cfl=0.5)["c"][0, -1]
    moved = first * (math.exp(5.0) - 1) / 5
    # order 4 of steps at half the limit of the shortest wave, which for this one is a tenth of it
    assert float((end - torch.sin(math.pi * (X - moved))).abs().max()) < 2e-3
    assert stepper.measured < stepper.steps


def test_a_flow_that_bursts_is_taken_again():
    """At rest when the step is chosen: one step would do, and its end tells that it does not."""
    stepper = carried(lambda t: 40 * torch.exp(-(((t - 0.5) / 0.2) ** 2)))
    end = solve(stepper, {"c": torch.sin(math.pi * X)[None]}, torch.tensor([0.0, 0.45], dtype=torch.float64), cfl=0.5)["c"][0, -1]
    moved = 40 * 0.2 * math.sqrt(math.pi) / 2 * (math.erf(-0.05 / 0.2) - math.erf(-0.5 / 0.2))
    assert float((end - torch.sin(math.pi * (X - moved))).abs().max()) < 2e-2


def test_a_flow_that_does_not_change_is_marched_in_equal_steps():
    law, u = AdvectionDiffusion(0.01, (1.0,)), {"c": torch.sin(math.pi * X)[None]}
    stepper, times = Counted(law, Spectral(GRID)), torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    by_limit = solve(stepper, u, times, cfl=0.2)["c"]
    limit = RungeKutta(law, Spectral(GRID)).limit(u)
    counts = [math.ceil(span / (0.2 * limit)) for span in (1.0, 2.0)]
    assert stepper.steps == sum(counts) and stepper.measured < stepper.steps / 5
    alike = solve(RungeKutta(law, Spectral(GRID)), u, times[:2], substeps=counts[0])["c"]
    assert float((by_limit[:, :2] - alike).abs().max()) < 1e-13  # rounding of where the steps begin


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("n", [32, 128])
def test_the_limit_next_to_walls_is_below_that_of_the_whole_matrix(order, n):
    grid = CartesianGrid(n, periodic=False)
    x = grid.coordinates()[0]
    sorption = DiffusionSorption(), FiniteDifference(grid, order=order, boundary={"x": (Dirichlet(1.0), Robin(1.0, 5e-4))})
    heat = AdvectionDiffusion(1.0, (0.0,)), FiniteDifference(grid, order=order, boundary=Dirichlet(0.0))
    for (law, D), start in ((sorption, 0.5 + 0.1 * torch.sin(9 * x)), (sorption, 0.1 + torch.exp(-12 * x)), (heat, x)):
        stepper, (name,) = RungeKutta(law, D), law.fields
        matrix = torch.autograd.functional.jacobian(lambda v, s=stepper, k=name: s.rhs({k: v[None]}, 0.0)[k][0], start)
        stable = stepper.tableau.careful() / float(torch.linalg.eigvals(matrix).abs().max())
        found = stepper.limit({name: start[None]})
        assert 0.7 * stable < found < 1.0 * stable, (found / stable, law)


def test_sorption_at_the_whole_limit_does_not_oscillate():
    grid = CartesianGrid(96, periodic=False)
    D = FiniteDifference(grid, boundary={"x": (Dirichlet(1.0), Robin(1.0, 5e-4))})
    times = torch.tensor([0.0, 30.0], dtype=torch.float64)
    u = solve(RungeKutta(DiffusionSorption(), D), {"u": torch.full((1, 96), 0.05, dtype=torch.float64)}, times, cfl=1.0)["u"][0]
    # it enters from the left and falls to the right; the start is not monotone at the right end alone
    assert float(u[-1].diff().max()) < 0 and 0 < float(u.min()) and float(u.max()) < 1
