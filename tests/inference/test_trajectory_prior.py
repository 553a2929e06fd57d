"""Composed scores: the published table of errors on AR(1), exact where a window covers all, the Kalman smoother, worded errors."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.exact import ar1_covariance, ar1_target, plain_prior, plain_spec
from physdiff.inference.guided import Guided
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.trajectory_prior import ComposedDenoiser, trajectory_prior
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import FramesToChannels
from physdiff.transforms.normalizer import Normalizer

LIKE = torch.zeros((), dtype=torch.float64)
# card of the project, checked there by a second program; relative error of the composed score
TABLE = {0.05: (0.0105, 1e-4, 0, 0), 0.3: (0.187, 0.044, 0.0024, 0), 1.0: (0.309, 0.177, 0.062, 0.0077), 3.0: (0.149, 0.117, 0.072, 0.027)}


def windows(width: int) -> GaussianDenoiser:
    """AR(1) of correlation 0.9 and unit variance, as windows (1, width, 1)."""
    return GaussianDenoiser(EDMSchedule(), torch.zeros(1, width, 1).double(), dense_covariance(ar1_covariance(width, 0.9)))


def ar1_prior(width: int) -> DiffusionPrior:
    return plain_prior(windows(width), plain_spec((1, width, 1)), sampler=ExactLinear(), steps=2)


@pytest.mark.parametrize("sigma", TABLE)
@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_the_composition_error_of_an_autoregression(sigma, k) -> None:
    """Root mean square over trajectories of the noised law, L = 32, exactly; 5 % of the table or half of its last digit."""
    exact, composed = windows(32), ComposedDenoiser(windows(2 * k + 1), 2 * k + 1)
    t = exact.schedule.time_of(-math.log(sigma))
    unit = torch.eye(32, dtype=torch.float64).reshape(32, 1, 32, 1)
    # scores as matrices: s = (D - I) x / sigma^2, acting on x ~ N(0, C + sigma^2)
    s, c = (((d(unit, t) - unit) / sigma**2).reshape(32, 32).T for d in (exact, composed))
    law = ar1_covariance(32, 0.9) + sigma**2 * torch.eye(32)
    size = [float(torch.trace(m @ law @ m.T).sqrt()) for m in (c - s, s)]
    assert size[0] / size[1] == pytest.approx(TABLE[sigma][(1, 2, 4, 8).index(k)], rel=0.05, abs=6e-5)


def test_a_window_that_covers_all_is_exact() -> None:
    x = Rng(0).normal((3, 1, 7, 1), like=LIKE)
    for t in (torch.tensor(0.4).double(), torch.tensor([0.1, 0.5, 0.9]).double()):
        torch.testing.assert_close(ComposedDenoiser(windows(7), 7, max_batch=2)(x, t), windows(7)(x, t), rtol=0, atol=1e-12)


def test_frames_keep_their_places_and_batches_their_times() -> None:
    """Even and odd windows, several trajectories and times at once, one by one."""
    x, t = Rng(1).normal((3, 1, 6, 1), like=LIKE), torch.tensor([0.2, 0.5, 0.8]).double()
    for width in (1, 2, 3, 4):
        single, whole = windows(width), ComposedDenoiser(windows(width), width, max_batch=4)(x, t)
        for b in range(3):
            for i in range(6):
                first = min(max(i - width // 2, 0), 6 - width)
                wanted = single(x[b : b + 1, :, first : first + width], t[b])[:, :, i - first]
                torch.testing.assert_close(whole[b : b + 1, :, i], wanted, rtol=0, atol=1e-12)


def smoothed(prior: DiffusionPrior, n: int = 1000, **options):
    """T4 from a composed prior: mean and variance of n draws, guided with the covariance of the chain."""
    target = ar1_target(4, 0.9, seen=(0, 3), y=torch.tensor([1.0, -1.0]), std=0.5)
    posterior = Posterior(prior, Observation(MatrixOperator(target.matrix, target.window.shape), target.y, std=target.std))
    sampler = Guided(covariance=dense_covariance(ar1_covariance(4, 0.9)), max_batch=n, **options)
    x = sampler.sample(posterior, n, rng=Rng(0)).members.reshape(n, 4)
    return x.mean(0) - target.posterior_mean, x.var(0) / target.posterior_covariance.diagonal(), target.posterior_covariance.diagonal().sqrt()


def test_the_kalman_smoother_from_one_window() -> None:
    """Exact but for Heun's 40 steps: 4 standard errors and 1 % for those."""
    off, ratio, std = smoothed(trajectory_prior(ar1_prior(4), 4, sampler=Heun(), steps=40))
    assert bool((off.abs() < 4 * std / math.sqrt(1000) + 0.01 * std).all()) and bool(((ratio - 1).abs() < 4 * math.sqrt(2 / 1000) + 0.02).all())


def test_the_kalman_smoother_from_windows_of_three() -> None:
    """The law of noised windows is not that of the noised chain: corrections at every level lead back. Means to a tenth of a standard deviation,
    variances to an eighth; without corrections the variances in between are off by more.
    """
    prior = trajectory_prior(ar1_prior(3), 4, steps=40)
    off, ratio, std = smoothed(prior)
    plain_off, plain_ratio, _ = smoothed(trajectory_prior(ar1_prior(3), 4, sampler=Heun(), steps=40))
    print(off / std, ratio, plain_off / std, plain_ratio)
    assert bool((off.abs() < 0.1 * std + 4 * std / math.sqrt(1000)).all()) and bool(((ratio - 1).abs() < 0.125 + 4 * math.sqrt(2 / 1000)).all())


def test_transforms_are_taken_over_frame_by_frame() -> None:
    """A normaliser, frames among the channels: draws of the long prior have the chain's mean, spread and correlation."""
    scale = Normalizer(("channel",), torch.full((1, 1, 1), 5.0), torch.full((1, 1, 1), 2.0))
    chain = Compose((scale, FramesToChannels(3)))
    folded = GaussianDenoiser(EDMSchedule(), torch.zeros(3, 1, 1).double(), dense_covariance(ar1_covariance(3, 0.9)))
    prior = DiffusionPrior(folded, chain, plain_spec((1, 3, 1)), sampler=ExactLinear(), steps=2)
    x = trajectory_prior(prior, 9, steps=24).sample(400, rng=Rng(2), max_batch=400)
    assert x.shape == (400, 1, 9, 1) and float(x.mean()) == pytest.approx(5, abs=0.3)
    # windows of three (k = 1) lose correlation (0.76 to 0.89 found) and a tenth of the spread: the composition's own bias, not the transform's
    correlation = torch.corrcoef(x.reshape(400, 9).T)
    assert float(x.std()) == pytest.approx(2, rel=0.15) and correlation.diagonal(1).numpy() == pytest.approx(0.9, abs=0.2)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="width of 1 or more"):
        ComposedDenoiser(windows(3), 0)
    with pytest.raises(ShapeError, match="3 frames or more, got 2"):
        ComposedDenoiser(windows(3), 3)(torch.zeros(1, 1, 2, 1), torch.tensor(0.5))
    with pytest.raises(InputError, match="expected no condition"):
        ComposedDenoiser(windows(3), 3)(torch.zeros(1, 1, 4, 1), torch.tensor(0.5), torch.zeros(1))
    with pytest.raises(InputError, match="at least the 3 frames of a window, got 2"):
        trajectory_prior(ar1_prior(3), 2)
    uneven = Normalizer(("channel", "time"), torch.zeros(1, 3, 1), torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1))
    with pytest.raises(InputError, match="treats all frames alike"):
        trajectory_prior(DiffusionPrior(windows(3), uneven, plain_spec((1, 3, 1)), sampler=Heun()), 6)
