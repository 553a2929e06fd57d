"""Time grids by dynamic programming: the optimum over all subsets, and closed forms."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import FourierCovariance
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.exponential import ExponentialMultistep, UniPC
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule
from physdiff.evaluation.path_grid import cheapest_path, divergence_costs, step_costs

SCHEDULE = EDMSchedule(0.002, 80.0)
WIDE = torch.zeros((), dtype=torch.float64)


def white(c: float) -> GaussianDenoiser:
    return GaussianDenoiser(SCHEDULE, torch.zeros(1, 1, 16, dtype=torch.float64), FourierCovariance(torch.full((1, 1, 16), c**2).double(), 1))


def mixture() -> MixtureDenoiser:
    means = torch.tensor([-1.5, 1.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    return MixtureDenoiser(SCHEDULE, torch.tensor([0.4, 0.6]).double(), means, stds=torch.tensor([0.35, 0.5]).double())


@pytest.mark.parametrize("steps", [1, 2, 3, 5, 9])
def test_the_cheapest_path_is_that_of_all_subsets(steps: int) -> None:
    cost = Rng(3).normal((10, 10), like=WIDE).abs()
    inner = min(combinations(range(1, 9), steps - 1), key=lambda c: sum(float(cost[i, j]) for i, j in pairwise((0, *c, 9))))
    assert cheapest_path(cost, steps) == [0, *inner, 9]


@pytest.mark.parametrize("c", [0.5, 3.0])
def test_on_an_isotropic_gaussian_the_angles_are_equal(c: float) -> None:
    denoiser = white(c)
    x = denoiser.noisy(Rng(0).normal((16, 1, 1, 16), like=WIDE), torch.ones(()).double())
    times, cost = step_costs(denoiser, x, nodes=100)
    u = SCHEDULE.noise_ratio(times)
    theta = torch.atan(torch.where(times == 0, 0.0, u) / c)
    # one step multiplies every amplitude by cos(dtheta) exactly: closed form of all costs, but for the fine run's own error
    upper = torch.ones_like(cost, dtype=torch.bool).triu(1)
    exact = 1 - torch.cos(theta[:, None] - theta[None, :])
    assert float((cost - exact)[upper].abs().max()) < 3e-3
    for steps in (4, 8):
        found = theta[cheapest_path(cost, steps)]
        equal = torch.linspace(float(theta[0]), 0, steps + 1, dtype=torch.float64)
        # 100 nodes are a factor 1.113 apart in u, 0.053 in theta at most (at u = c): a node is within half of that, and the optimum is flat
        assert float((found - equal).abs().max()) < 0.055


def test_the_path_beats_equal_steps_of_lam_on_starts_it_has_not_seen() -> None:
    denoiser = mixture()
    seen, unseen = (80 * Rng(k).normal((256, 1, 1, 1), like=WIDE) for k in (0, 1))
    times, cost = step_costs(denoiser, seen)
    exact = UniPC(3).run(denoiser, unseen, timesteps(SCHEDULE, 400), rng=Rng(0))

    def error(grid: torch.Tensor) -> float:
        return float((DDIM().run(denoiser, unseen, grid, rng=Rng(0)) - exact).square().mean().sqrt())

    for steps in (6, 10):
        assert error(times[cheapest_path(cost, steps)]) < 0.8 * error(timesteps(SCHEDULE, steps))


CARD = (20.0, 0.388, 0.203, 0.119, 0.071, 0.044, 0.027, 0.016, 0.010)  # methods card diffusion, 11.1: std 0.5, 8 steps, u from 20 to 0.01


def test_divergence_on_an_isotropic_gaussian_is_the_closed_form_and_its_grid_the_cards() -> None:
    c, schedule = 0.5, EDMSchedule(0.01, 20.0)
    denoiser = GaussianDenoiser(schedule, torch.zeros(1, 1, 64).double(), FourierCovariance(torch.full((1, 1, 64), c**2).double(), 1))
    times, cost = divergence_costs(denoiser, c * Rng(0).normal((64, 1, 1, 64), like=WIDE), nodes=120)
    ratio = torch.exp(-schedule.lam(times[:-1]))
    for i, j in ((0, 20), (8, 40), (48, 49), (50, 90), (0, 119)):
        u = torch.logspace(float(ratio[j].log10()), float(ratio[i].log10()), 4001, dtype=torch.float64)
        # E D^2 = c^4/(c^2 + u^2) per entry, and D is a martingale
        exact = 64 * torch.trapezoid(u**-2 * c**4 * (1 / (c**2 + u**2) - 1 / (c**2 + ratio[i] ** 2)), u.log())
        # 4096 independent entries, each with a relative error of a square, 1.4: 2 % for one step, which share their noise; 4 of them
        assert float(cost[i, j]) == pytest.approx(float(exact), rel=0.09)
    path = cheapest_path(cost, 9)
    assert path[-2:] == [119, 120]
    # nodes are a factor 1.066 apart; the card's three digits, and an optimum that is flat: two nodes
    assert [float(v) for v in ratio[path[:-1]]] == pytest.approx(list(CARD), rel=0.14)


def test_more_steps_diverge_less_and_the_path_less_than_equal_steps_of_lam() -> None:
    denoiser = mixture()
    clean = UniPC(3).run(denoiser, 80 * Rng(2).normal((256, 1, 1, 1), like=WIDE), timesteps(SCHEDULE, 100), rng=Rng(0))
    times, cost = divergence_costs(denoiser, clean, rng=Rng(3))
    found = []
    for steps in (5, 9, 15, 25):
        path = cheapest_path(cost, steps)
        equal = [int((times - t).abs().argmin()) for t in timesteps(SCHEDULE, steps)]
        found.append([sum(float(cost[i, j]) for i, j in pairwise(p)) for p in (path, equal)])
    values = torch.tensor(found)
    assert bool((values[:, 0] < values[:, 1]).all()) and bool((values[1:, 0] < values[:-1, 0]).all())


@pytest.mark.slow
def test_the_reverse_sde_of_order_two_gains_by_the_path_of_least_divergence() -> None:
    """Wasserstein distance of 20 000 draws to a mixture, 20 steps: 0.045 where equal steps of lam leave 0.097. Its own noise is 0.01."""
    denoiser, n = mixture(), 20_000
    clean = UniPC(3).run(denoiser, 80 * Rng(2).normal((1024, 1, 1, 1), like=WIDE), timesteps(SCHEDULE, 100), rng=Rng(0))
    times, cost = divergence_costs(denoiser, clean, rng=Rng(3))
    start, noise = 80 * Rng(5).normal((n, 1, 1, 1), like=WIDE), Shared(6)
    exact = UniPC(3).run(denoiser, start, timesteps(SCHEDULE, 100), rng=Rng(0)).flatten().sort().values
    off = []
    for grid in (times[cheapest_path(cost, 20)], timesteps(SCHEDULE, 20)):
        out = ExponentialMultistep(2, noise=1.0).run(denoiser, start, grid, rng=noise)
        off.append(float((out.flatten().sort().values - exact).abs().mean()))
    assert off[0] < 0.06 < 0.08 < off[1]


class Shared:
    """Stands for an Rng: one generator for all rows, which is faster than a key each."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def child(self, *keys: int | str) -> Shared:
        return self

    def normal_each(self, indices: range, shape: tuple[int, ...], *, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(len(indices), *shape, generator=self.generator, dtype=like.dtype)


def test_divergence_from_infinite_noise_is_finite() -> None:
    denoiser = GaussianDenoiser(RectifiedSchedule(), torch.zeros(1, 1, 16).double(), FourierCovariance(torch.ones(1, 1, 16).double(), 1))
    times, cost = divergence_costs(denoiser, Rng(0).normal((16, 1, 1, 16), like=WIDE), nodes=30)
    path = cheapest_path(cost, 6)
    assert bool(cost[0, 1:-1].isfinite().all()) and float(times[path[0]]) == 1 and float(times[path[-1]]) == 0


def test_all_nodes_are_a_path_and_modes_or_energy_count() -> None:
    spectrum = ((1 + torch.fft.fftfreq(32, 1 / 32.0, dtype=torch.float64).abs()) ** -3).reshape(1, 1, 32)
    denoiser = GaussianDenoiser(SCHEDULE, torch.zeros(1, 1, 32, dtype=torch.float64), FourierCovariance(spectrum / spectrum.mean(), 1))
    x = denoiser.noisy(Rng(0).normal((16, 1, 1, 32), like=WIDE), torch.ones(()).double())
    (times, modes), (_, energy) = (step_costs(denoiser, x, nodes=20, weight=w) for w in ("modes", "energy"))
    assert cheapest_path(modes, 20) == list(range(21))
    assert float(times[0]) == 1 and float(times[-1]) == 0 and bool(modes[0, 1:].isfinite().all()) and math.isinf(float(modes[3, 3]))
    # large scales are settled earlier: where energy counts the levels are noisier
    levels = [SCHEDULE.noise_ratio(times[cheapest_path(c, 6)][1:-1]).log().mean() for c in (modes, energy)]
    assert float(levels[1]) > float(levels[0])


def test_errors_are_worded() -> None:
    with pytest.raises(InputError, match="1 to 3 steps"):
        cheapest_path(torch.ones(4, 4), 4)
    with pytest.raises(InputError, match="three nodes or more, got 2"):
        step_costs(white(1.0), torch.zeros(2, 1, 1, 16), nodes=2)
    with pytest.raises(InputError, match="weight"):
        step_costs(white(1.0), torch.zeros(2, 1, 1, 16), weight="norm")
    with pytest.raises(InputError, match="three nodes or more, got 2"):
        divergence_costs(white(1.0), torch.zeros(2, 1, 1, 16), nodes=2)
