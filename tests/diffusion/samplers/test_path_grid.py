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
from physdiff.diffusion.samplers.exponential import UniPC
from physdiff.diffusion.samplers.path_grid import cheapest_path, step_costs
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import EDMSchedule

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
