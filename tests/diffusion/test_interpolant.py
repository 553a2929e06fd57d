"""Paths and their derivatives, the exact means of Gaussian ends, and what a loss is smallest for."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.interpolant import GAMMAS, Drift, GaussianDrift, Interpolant, ends_of, interpolant_loss
from physdiff.diffusion.parametrize import noise_of, velocity_of
from physdiff.diffusion.schedule import RectifiedSchedule

LIKE = torch.zeros((), dtype=torch.float64)
PATHS = [Interpolant(p, g, scale=0.8) for p in ("linear", "trigonometric") for g in GAMMAS]
PATHS += [Interpolant("encoding-decoding", "sine"), Interpolant("one-sided")]


def ids(path: Interpolant) -> str:
    return f"{path.path} {path.gamma}"


def normal(*shape: int, key: str) -> torch.Tensor:
    return Rng(4).child(key).normal(shape, like=LIKE)


def gaussian(path: Interpolant, covariance: float = 0.3) -> GaussianDrift:
    means, variances = torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([0.8, 0.3], dtype=torch.float64)
    shared = torch.full((1, 1, 1), covariance, dtype=torch.float64)
    return GaussianDrift(path, means.reshape(2, 1, 1, 1), variances.reshape(2, 1, 1, 1), covariance=shared)


@pytest.mark.parametrize("path", PATHS, ids=ids)
def test_derivatives_and_ends(path: Interpolant) -> None:
    t = torch.tensor([0.07, 0.3, 0.45, 0.62, 0.94], dtype=torch.float64)
    p, ahead, behind = path(t), path(t + 1e-6), path(t - 1e-6)
    for name in ("a", "b", "gamma"):
        slope = (getattr(ahead, name) - getattr(behind, name)) / 2e-6
        assert torch.allclose(getattr(p, "d" + name), slope, atol=1e-8)
    first, last = path(0.0), path(1.0)
    assert (float(last.a), float(last.b), float(last.gamma)) == pytest.approx((0, 1, 0), abs=1e-15)
    if path.two_sided:
        assert (float(first.a), float(first.b), float(first.gamma)) == pytest.approx((1, 0, 0), abs=1e-15)
        assert bool(torch.isfinite(torch.stack([first.da, first.db, last.da, last.db])).all())
    else:
        assert float(first.gamma) == 1 and float(first.b) == 0


@pytest.mark.parametrize("path", PATHS[:2] + PATHS[4:5] + PATHS[8:], ids=ids)
def test_exact_means_are_the_regressions_on_the_point(path: Interpolant) -> None:
    """Slopes and intercepts of v and h on x_t from moments: cov(target, x_t)/var(x_t), with the joint law written out."""
    drift, t = gaussian(path), torch.tensor(0.3, dtype=torch.float64)
    p = path(t)
    joint = torch.tensor([[0.8, 0.3, 0.0], [0.3, 0.3, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    mean = torch.tensor([0.5, -1.0, 0.0]).double()
    point, rate, z = torch.stack([p.a, p.b, p.gamma]), torch.stack([p.da, p.db, 0 * p.a]), torch.tensor([0.0, 0, 1]).double()
    x = normal(5, 1, 1, 1, key="x")
    off = (x - point @ mean) / (point @ joint @ point)
    v, h = drift(x, t)
    assert torch.allclose(v, rate @ mean + (rate @ joint @ point) * off, rtol=1e-12)
    assert torch.allclose(h, (z @ joint @ point) * off, rtol=1e-12)


def test_both_ends_follow_from_the_two_means() -> None:
    for path in (PATHS[0], PATHS[4]):
        drift, t = gaussian(path), torch.tensor([0.2, 0.7], dtype=torch.float64)
        x = normal(2, 1, 1, 1, key="x")
        p = path(t)
        x_0, x_1 = ends_of(drift(x, t), x, p)
        shape = (-1, 1, 1, 1)
        total = p.a**2 * 0.8 + p.b**2 * 0.3 + 2 * p.a * p.b * 0.3 + p.gamma**2
        off = (x - (0.5 * p.a - p.b).reshape(shape)) / total.reshape(shape)
        assert torch.allclose(x_0, 0.5 + (p.a * 0.8 + p.b * 0.3).reshape(shape) * off, rtol=1e-9)
        assert torch.allclose(x_1, -1.0 + (p.b * 0.3 + p.a * 0.3).reshape(shape) * off, rtol=1e-9)


class Shifted(Drift):
    def __init__(self, inner: Drift, dv: float, dh: float) -> None:
        super().__init__()
        self.inner, self.interpolant, self.dv, self.dh = inner, inner.interpolant, dv, dh

    def forward(self, x_t, t, cond=None):
        v, h = self.inner(x_t, t)
        return v + self.dv, h + self.dh


def test_the_loss_is_smallest_for_the_exact_means_and_antithetic_noise_has_less_variance() -> None:
    drift, n = gaussian(Interpolant("linear", "brownian")), 20_000
    x_0 = 0.5 + math.sqrt(0.8) * normal(n, 1, 1, 1, key="0")
    rest = math.sqrt(0.3 - 0.3**2 / 0.8)
    ends = (x_0, -1.0 + 0.3 / 0.8 * (x_0 - 0.5) + rest * normal(n, 1, 1, 1, key="1"))
    t = Rng(4).child("t").uniform((n,), like=LIKE).clamp(1e-3, 1 - 1e-3)
    z = normal(n, 1, 1, 1, key="z")
    best = interpolant_loss(drift, ends, t, noise=z)
    for dv, dh in ((0.2, 0.0), (0.0, 0.2), (-0.2, 0.1)):
        other = interpolant_loss(Shifted(drift, dv, dh), ends, t, noise=z)
        gain = other - best
        # the cross term has mean zero; what is left is the square of the shift, halved
        assert float(gain.mean()) == pytest.approx(0.5 * (dv**2 + dh**2), abs=4 * float(gain.std()) / math.sqrt(n))
    shifted = Shifted(drift, 0.2, 0.2)
    plain, both = (interpolant_loss(shifted, ends, t, noise=z, antithetic=a) for a in (False, True))
    assert float(both.mean()) == pytest.approx(float(plain.mean()), rel=0.05) and float(both.var()) < 0.8 * float(plain.var())


def test_missing_entries_do_not_count() -> None:
    drift = gaussian(Interpolant())
    x, z = normal(2, 1, 1, 4, key="x"), normal(2, 1, 1, 4, key="z")
    means, variances = (v.expand(2, 1, 1, 4) for v in (drift.means, drift.variances))
    wide = GaussianDrift(drift.interpolant, means, variances, covariance=drift.covariance.expand(1, 1, 4))
    t, seen = torch.full((2,), 0.4, dtype=torch.float64), torch.tensor([1.0, 1.0, 0.0, 0.0])
    bad = torch.where(seen > 0, x, torch.full_like(x, 1e6))
    full = interpolant_loss(wide, (0 * x, x), t, noise=z, weights=seen)
    assert torch.allclose(full, interpolant_loss(wide, (0 * x, bad), t, noise=z, weights=seen), rtol=1e-12)


def test_flow_matching_is_the_denoiser_on_the_rectified_schedule() -> None:
    """One-sided: v + gamma' h is minus the velocity of the probability flow at 1 - t, v the posterior mean, h that of the noise."""
    variance = torch.full((1, 1, 1), 0.3, dtype=torch.float64)
    means, variances = torch.stack([0 * variance, variance - 1]), torch.stack([0 * variance, variance])
    drift = GaussianDrift(Interpolant("one-sided"), means, variances, covariance=0 * variance)
    schedule = RectifiedSchedule()
    denoiser = GaussianDenoiser(schedule, variance - 1, DiagonalCovariance(variance))
    t, x = torch.tensor([0.2, 0.7], dtype=torch.float64), normal(2, 1, 1, 1, key="x")
    mean = denoiser(x, 1 - t)
    v, h = drift(x, t)
    assert torch.allclose(v, mean, rtol=1e-12) and torch.allclose(h, noise_of(mean, x, 1 - t, schedule=schedule), rtol=1e-12)
    assert torch.allclose(v - h, -velocity_of(mean, x, 1 - t, schedule=schedule), rtol=1e-12)


def test_refusals() -> None:
    for options in (("spiral",), ("linear", "pink"), ("encoding-decoding", "none")):
        with pytest.raises(InputError):
            Interpolant(*options)
    with pytest.raises(InputError, match="gamma below 1"):
        Interpolant("trigonometric", "sine", scale=1.2)
    with pytest.raises(ShapeError, match="GaussianDrift"):
        GaussianDrift(Interpolant(), torch.zeros(2, 1), torch.zeros(2, 1), covariance=torch.zeros(3))
