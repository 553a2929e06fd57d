"""Moments of the flow and of both SDEs between Gaussian ends, orders, points as bases, known answers at the ends."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.interpolant import Drift, GaussianDrift, Interpolant
from physdiff.diffusion.interpolant_sampler import InterpolantSampler
from physdiff.evaluation.sampler_gain import _Impulses

M, V, C = (0.5, -1.0), (0.8, 0.3), 0.3
PATHS = [Interpolant("linear", g) for g in ("brownian", "quadratic", "none")]
PATHS.insert(2, Interpolant("trigonometric", "brownian", scale=0.9))


def ids(path: Interpolant) -> str:
    return f"{path.path} {path.gamma}"


def gaussian(path: Interpolant, means=M, variances=V, covariance: float = C) -> GaussianDrift:
    both = (torch.tensor(v, dtype=torch.float64).reshape(2, 1, 1, 1) for v in (means, variances))
    return GaussianDrift(path, *both, covariance=torch.full((1, 1, 1), covariance, dtype=torch.float64))


def moments(drift: Drift, sampler: InterpolantSampler, *, start: tuple[float, float], backward: bool = False) -> tuple[float, float]:
    """Exact mean and standard deviation of what an affine sampler gives for x ~ N(start): its response to each of its noises."""
    rows: dict = {}
    mean, std = start
    sampler.run(drift, torch.full((1, 1, 1, 1), mean, dtype=torch.float64), rng=_Impulses(rows), backward=backward)
    x = torch.full((len(rows) + 2, 1, 1, 1), mean, dtype=torch.float64)
    x[-1] += std
    out = sampler.run(drift, x, rng=_Impulses(rows), backward=backward).flatten()
    return float(out[0]), float((out[1:] - out[0]).square().sum().sqrt())


@pytest.mark.parametrize("path", PATHS, ids=ids)
@pytest.mark.parametrize("backward", [False, True])
def test_the_flow_carries_mean_and_one_deviation_to_mean_and_one_deviation(path: Interpolant, backward: bool) -> None:
    (m, s), (m_e, s_e) = ((M[k], math.sqrt(V[k])) for k in ((1, 0) if backward else (0, 1)))
    found = [moments(gaussian(path), InterpolantSampler(n, cut=0.0), start=(m, s), backward=backward) for n in (40, 80, 160)]
    errors = [max(abs(f[0] - m_e), abs(f[1] - s_e)) for f in found]
    # the flow is smooth in r up to both ends: order 2, so that Richardson's extrapolation reaches the exact answer
    assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.3)
    best = [(4 * fine - coarse) / 3 for coarse, fine in zip(found[1], found[2], strict=True)]
    assert best == pytest.approx((m_e, s_e), abs=2e-6)


@pytest.mark.parametrize("noise", [0.1, 1.0])
@pytest.mark.parametrize("path", PATHS[:3], ids=ids)
def test_both_sdes_keep_the_marginals(path: Interpolant, noise: float) -> None:
    for backward in (False, True):
        (m, s), (m_e, s_e) = ((M[k], math.sqrt(V[k])) for k in ((1, 0) if backward else (0, 1)))
        errors = []
        for steps in (30, 60, 120):
            found = moments(gaussian(path), InterpolantSampler(steps, noise, cut=1e-7), start=(m, s), backward=backward)
            errors.append(max(abs(found[0] - m_e), abs(found[1] - s_e)))
        assert errors[2] < 1e-3
        assert math.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.4)  # weak order 2


def test_moments_of_the_sde_to_one_in_a_million() -> None:
    """Richardson's extrapolation of the second-order errors at 120 and 240 steps removes them; what remains is of fourth order and the cut."""
    drift = gaussian(PATHS[0])
    for noise in (0.1, 1.0):
        coarse, fine = (moments(drift, InterpolantSampler(n, noise, cut=1e-8), start=(M[0], math.sqrt(V[0]))) for n in (120, 240))
        assert (4 * fine[1] - coarse[1]) / 3 == pytest.approx(math.sqrt(V[1]), abs=1e-6)
        assert (4 * fine[0] - coarse[0]) / 3 == pytest.approx(M[1], abs=1e-6)


def test_a_known_base_spreads_to_the_law_of_the_data() -> None:
    """x_0 is a point: only the noise at the beginning, and on the way, makes an ensemble."""
    drift = gaussian(Interpolant("linear", "brownian"), variances=(0.0, 0.3), covariance=0.0)
    errors = []
    for steps in (20, 40):
        found = moments(drift, InterpolantSampler(steps, 0.5, shape="decreasing", cut=1e-6), start=(M[0], 0.0))
        errors.append(max(abs(found[0] - M[1]), abs(found[1] - math.sqrt(0.3))))
    assert errors[0] < 4e-3 and errors[1] < 1.1e-3


def test_the_one_sided_path_is_flow_matching() -> None:
    drift = gaussian(Interpolant("one-sided"), means=(0.0, -1.0), variances=(0.0, 0.3), covariance=0.0)
    for noise in (0.0, 0.5):
        found = moments(drift, InterpolantSampler(200, noise, cut=1e-6), start=(0.0, 1.0))
        assert found == pytest.approx((-1.0, math.sqrt(0.3)), abs=1e-3)


def test_rows_depend_on_their_own_noise_alone() -> None:
    drift, sampler = gaussian(PATHS[0]), InterpolantSampler(5, 0.3)
    x = Rng(1).normal((3, 1, 1, 1), like=torch.zeros((), dtype=torch.float64))
    assert torch.equal(sampler.run(drift, x, rng=Rng(0))[:2], sampler.run(drift, x[:2], rng=Rng(0)))


def test_refusals() -> None:
    with pytest.raises(InputError, match="cut > 0 with noise"):
        InterpolantSampler(10, 0.1, cut=0.0)
    for options in ({"steps": 0}, {"noise": -1.0}, {"shape": "square"}, {"cut": 0.5}):
        with pytest.raises(InputError):
            InterpolantSampler(**options)
    with pytest.raises(InputError, match="fades with gamma, got 'constant' on a quadratic path; take one of bump, gamma"):
        InterpolantSampler(4, 0.1, shape="constant").run(gaussian(PATHS[1]), torch.zeros(1, 1, 1, 1), rng=Rng(0))
    broken = gaussian(PATHS[0], means=(math.nan, 0.0))
    with pytest.raises(Diverged, match="step 1 of 4"):
        InterpolantSampler(4).run(broken, torch.zeros(1, 1, 1, 1), rng=Rng(0))
