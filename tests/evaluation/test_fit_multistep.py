"""Fitted coefficients: what they win on starts they have not seen, and what they cannot lose."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.fitted_multistep import FittedMultistep
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import VPSchedule
from physdiff.evaluation.fit_multistep import fit_multistep
from physdiff.evaluation.path_grid import cheapest_path, step_costs
from tests.evaluation.test_path_grid import SCHEDULE, WIDE, mixture, white
from tests.laws.test_sampler_orders import START, mixture as t_ode
from tests.laws.test_samplers import lam_grid, reference

SEEN, UNSEEN = (80 * Rng(k).normal((n, 1, 1, 1), like=WIDE) for k, n in ((0, 64), (1, 512)))


@pytest.fixture(scope="module")
def end() -> Tensor:
    return UniPC(3).run(mixture(), UNSEEN, timesteps(SCHEDULE, 400), rng=Rng(0))


def error(sampler: Sampler, times: Tensor, end: Tensor) -> float:
    return float((sampler.run(mixture(), UNSEEN, times, rng=Rng(0)) - end).square().mean().sqrt())


@pytest.mark.parametrize("steps", [6, 8])
def test_on_unseen_starts_it_errs_less_than_classical_coefficients_on_the_same_grid(steps: int, end: Tensor) -> None:
    times, cost = step_costs(mixture(), SEEN)
    for grid in (timesteps(SCHEDULE, steps), times[cheapest_path(cost, steps)]):
        classical = min(error(s, grid, end) for s in (ExponentialMultistep(2), ExponentialMultistep(3), UniPC(2)))
        assert error(fit_multistep(mixture(), SEEN, grid), grid, end) < 0.6 * classical
        # one free number a step is a gain too
        assert error(fit_multistep(mixture(), SEEN, grid, order=2), grid, end) < error(ExponentialMultistep(2), grid, end)


def test_on_the_cards_flow_five_steps_err_less_than_with_statistics_of_the_model() -> None:
    """T-ODE of the methods card: order 2 leaves 0.21 in 5 steps, DPM-Solver-v3 with the model's statistics 0.13, two fitted means 0.10."""
    grid, (mean, variance) = lam_grid(VPSchedule(), 5), t_ode().moments()
    alpha, sigma = VPSchedule()(grid[0])
    seen = alpha * mean + torch.sqrt(alpha**2 * variance + sigma**2) * Rng(3).normal((64, 1, 1, 1), like=WIDE)
    goal = torch.from_numpy(reference()).reshape(64, 1, 1, 1)
    off = []
    for sampler in (ExponentialMultistep(2), fit_multistep(t_ode(), seen, grid, order=2), fit_multistep(t_ode(), seen, grid)):
        off.append(float((sampler.run(t_ode(), START, grid, rng=Rng(0)) - goal).square().mean().sqrt()))
    assert off == pytest.approx([0.209, 0.101, 0.076], rel=0.03)


def test_it_converges_at_least_at_first_order(end: Tensor) -> None:
    errors = [error(fit_multistep(mixture(), SEEN, timesteps(SCHEDULE, n), nodes=4 * n), timesteps(SCHEDULE, n), end) for n in (8, 16, 32)]
    slopes = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert min(slopes) > 0.85


def test_no_step_errs_more_than_one_of_first_order_from_the_same_state_and_more_means_err_less() -> None:
    """The objective at the starts of the fit: the ridge is small, so it falls with each free number."""
    grid, off = timesteps(SCHEDULE, 8), []
    exact = _fine(grid)
    for order in (2, 3, 4):
        fitted = fit_multistep(mixture(), SEEN, grid, order=order)
        for node in (2, 5):
            own, worse = ((_at(s, grid, node) - exact[node]).norm() for s in (fitted, _undone(fitted, node)))
            assert float(own) <= float(worse)
        off.append(float((_at(fitted, grid, 7) - exact[7]).norm()))
    assert off[2] < 0.85 * off[0]


def _fine(grid: Tensor) -> list[Tensor]:
    """The flow at the nodes."""
    states = [SEEN]
    for t, s in zip(grid[:-2], grid[1:-1], strict=True):
        lams = torch.linspace(float(SCHEDULE.lam(t)), float(SCHEDULE.lam(s)), 41, dtype=torch.float64)
        between = SCHEDULE.time_of(lams)
        between[0], between[-1] = t, s
        states.append(UniPC(3).run(mixture(), states[-1], between, rng=Rng(0)))
    return states


def _at(sampler: FittedMultistep, grid: Tensor, node: int) -> Tensor:
    """The state at a node: a run whose later steps are not looked at."""
    seen = []

    class Watched(type(mixture())):  # type: ignore[misc]
        def forward(self, x_t, t, cond=None):
            seen.append(x_t)
            return super().forward(x_t, t, cond)

    model = mixture()
    model.__class__ = Watched
    sampler.run(model, SEEN, grid, rng=Rng(0))
    return seen[node]


def _undone(sampler: FittedMultistep, node: int) -> FittedMultistep:
    """The step that ends at the node made one of order 1."""
    weights = sampler.weights.clone()
    weights[node - 1] = 0
    weights[node - 1, 0] = 1
    return FittedMultistep(sampler.times, weights)


def test_where_nothing_can_be_learnt_the_coefficients_are_classical() -> None:
    """D of a narrow Gaussian hardly moves: the ridge alone decides, and the rows are those of the exponential method of order 3."""
    denoiser, grid = white(1e-9), timesteps(SCHEDULE, 6)
    fitted = fit_multistep(denoiser, 80 * Rng(0).normal((8, 1, 1, 16), like=WIDE), grid, order=3)
    x = 80 * Rng(1).normal((4, 1, 1, 16), like=WIDE)
    plain = ExponentialMultistep(3).run(denoiser, x, grid, rng=Rng(0))
    torch.testing.assert_close(fitted.run(denoiser, x, grid, rng=Rng(0)), plain, rtol=1e-6, atol=1e-12)


def test_errors_are_worded() -> None:
    with pytest.raises(InputError, match="order 2 or more, got 1"):
        fit_multistep(mixture(), SEEN, timesteps(SCHEDULE, 4), order=1)
    with pytest.raises(InputError, match="strictly decreasing"):
        fit_multistep(mixture(), SEEN, timesteps(SCHEDULE, 4).flip(0))
