"""Gaussian and mixture denoisers against brute-force conditioning, quadrature and Tweedie's formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser, given_entries
from physdiff.diffusion.covariance import DiagonalCovariance, LowRankCovariance, dense_covariance
from physdiff.diffusion.parametrize import score_of
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule, VPSchedule
from physdiff.transforms.wavelet import WaveletTransform

LIKE = torch.zeros((), dtype=torch.float64)
SHAPE, SIZE = (1, 1, 2, 3), 6


def normal(*shape: int, key: str) -> Tensor:
    return Rng(5).child(key).normal(shape, like=LIKE)


def spd(size: int) -> Tensor:
    a = normal(size, size, key="spd")
    return a @ a.T / size + 0.05 * torch.eye(size, dtype=torch.float64)


def gaussian(schedule=None, gain: Tensor | None = None) -> GaussianDenoiser:
    return GaussianDenoiser(schedule or VPSchedule(), normal(*SHAPE, key="mean"), dense_covariance(spd(SIZE)), gain=gain)


@pytest.mark.parametrize("schedule", [VPSchedule(), EDMSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_gaussian_equals_conditioning_the_joint_vector(schedule) -> None:
    denoiser, c = gaussian(schedule), spd(SIZE)
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    x_t = normal(3, *SHAPE, key="x")
    mean, eye = denoiser.mean.flatten(), torch.eye(SIZE, dtype=torch.float64)
    for i in range(3):
        alpha, sigma = schedule(t[i])
        gain = alpha * c @ torch.linalg.inv(alpha**2 * c + sigma**2 * eye)
        expected = mean + gain @ (x_t[i].flatten() - alpha * mean)
        posterior = c - alpha * gain @ c
        assert torch.allclose(denoiser(x_t, t)[i].flatten(), expected, atol=1e-11)
        columns = denoiser.covariance_given(t[i])(eye.reshape(SIZE, *SHAPE)).reshape(SIZE, SIZE)
        assert torch.allclose(columns, posterior, atol=1e-11)
        assert float(denoiser.posterior_variance(t)[i]) == pytest.approx(float(posterior.diagonal().mean()), rel=1e-9)
        u = sigma / alpha
        assert torch.allclose(columns, torch.linalg.inv(torch.linalg.inv(c) + eye / u**2), atol=1e-11)


def test_posterior_covariance_is_tweedies_jacobian() -> None:
    denoiser, t = gaussian(), torch.tensor(0.4, dtype=torch.float64)
    alpha, sigma = denoiser.schedule(t)
    x = normal(1, *SHAPE, key="x")
    jacobian = torch.autograd.functional.jacobian(lambda v: denoiser(v, t), x).reshape(SIZE, SIZE)
    eye = torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SHAPE)
    assert torch.allclose(sigma**2 / alpha * jacobian, denoiser.covariance_given(t)(eye).reshape(SIZE, SIZE), atol=1e-13)


def test_ends_of_the_noise_range_are_finite() -> None:
    denoiser, x = gaussian(RectifiedSchedule()), normal(2, *SHAPE, key="x")
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    assert torch.allclose(denoiser(x, zero), x, atol=1e-13)
    assert torch.allclose(denoiser(x, one), denoiser.mean.expand_as(x), atol=1e-13)
    assert float(denoiser.posterior_variance(zero)) == 0
    assert float(denoiser.posterior_variance(one)) == pytest.approx(float(spd(SIZE).diagonal().mean()))
    point = GaussianDenoiser(RectifiedSchedule(), torch.ones(SHAPE), DiagonalCovariance(torch.zeros(SHAPE)))
    for t in (zero, 0.5 * one, one):
        assert torch.equal(point(x.float(), t), torch.ones_like(x, dtype=torch.float32))


def test_noisy_has_the_moments_of_x_t() -> None:
    denoiser, t = gaussian(), torch.tensor(0.3, dtype=torch.float64)
    alpha, sigma = denoiser.schedule(t)
    eye = torch.eye(SIZE, dtype=torch.float64)
    centre = denoiser.noisy(torch.zeros(1, *SHAPE, dtype=torch.float64), t)
    root = (denoiser.noisy(eye.reshape(SIZE, *SHAPE), t) - centre).reshape(SIZE, SIZE)
    assert torch.allclose(centre[0], alpha * denoiser.mean)
    assert torch.allclose(root @ root.T, alpha**2 * spd(SIZE) + sigma**2 * eye, atol=1e-13)


def mixture(stds: Tensor | None = None) -> MixtureDenoiser:
    weights = torch.tensor([0.4, 0.6], dtype=torch.float64)
    return MixtureDenoiser(VPSchedule(), weights, normal(2, *SHAPE, key="means"), stds=torch.tensor([0.35, 0.5]).double() if stds is None else stds)


def test_mixture_obeys_tweedies_formula() -> None:
    stds = normal(2, *SHAPE, key="stds").abs() + 0.1
    for denoiser in (mixture(), mixture(stds)):
        x_t = normal(4, *SHAPE, key="x").requires_grad_()
        t = torch.tensor([0.05, 0.2, 0.5, 0.9], dtype=torch.float64)
        (score,) = torch.autograd.grad(denoiser.log_prob(x_t, t).sum(), x_t)
        assert torch.allclose(score_of(denoiser(x_t, t), x_t, t, schedule=denoiser.schedule), score, rtol=1e-9, atol=1e-10)


def test_mixture_density_and_mean_by_quadrature() -> None:
    schedule = VPSchedule()
    weights, means, stds = (torch.tensor(v, dtype=torch.float64) for v in ([0.4, 0.6], [-1.5, 1.0], [0.35, 0.5]))
    denoiser = MixtureDenoiser(schedule, weights, means.reshape(2, 1, 1, 1), stds=stds)
    grid = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    prior = (weights * torch.distributions.Normal(means, stds).log_prob(grid[:, None]).exp()).sum(1)
    for lam, x in ((-1.0, 0.3), (1.0, -0.4), (2.0, 0.1)):
        t = schedule.time_of(lam)
        alpha, sigma = schedule(t)
        x_t = torch.full((1, 1, 1, 1), x, dtype=torch.float64)
        joint = prior * torch.distributions.Normal(alpha * grid, sigma).log_prob(x_t.squeeze()).exp()
        total = torch.trapezoid(joint, grid)
        # smooth integrands that vanish at the ends: the trapezoidal rule is exact to rounding
        assert float(denoiser.log_prob(x_t, t).exp()) == pytest.approx(float(total), rel=1e-10)
        assert float(denoiser(x_t, t)) == pytest.approx(float(torch.trapezoid(grid * joint, grid) / total), rel=1e-10)


def test_mixture_of_one_is_the_gaussian() -> None:
    mean, std = normal(*SHAPE, key="mean"), normal(*SHAPE, key="std").abs()
    one = MixtureDenoiser(VPSchedule(), torch.ones(1), mean[None], stds=std[None])
    other = GaussianDenoiser(VPSchedule(), mean, DiagonalCovariance(std**2))
    x_t, t = normal(3, *SHAPE, key="x"), torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    assert torch.allclose(one(x_t, t), other(x_t, t), atol=1e-12)
    assert torch.allclose(one.moments()[1], std**2)


def test_far_outside_the_mixture_is_still_finite() -> None:
    x_t = torch.full((1, *SHAPE), 1e4)
    assert mixture()(x_t, torch.tensor(1e-4)).isfinite().all()


def test_given_entries_is_conditioning_by_the_precision_matrix() -> None:
    mean, c, known = normal(SIZE, key="m"), spd(SIZE), [1, 4]
    rest = [0, 2, 3, 5]
    offset, gain, covariance = given_entries(mean, c, known)
    y = normal(2, key="y")
    precision = torch.linalg.inv(c)
    inside = torch.linalg.inv(precision[rest][:, rest])
    expected = mean[rest] - inside @ precision[rest][:, known] @ (y - mean[known])
    conditional = offset + gain @ y
    assert torch.allclose(conditional[rest], expected, atol=1e-11)
    assert torch.equal(conditional[known], y)
    assert torch.allclose(covariance[rest][:, rest], inside, atol=1e-11)
    assert covariance[known].abs().max() == 0


@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 2), ("db2", 1), ("db4", 1)])
def test_pixel_equals_wavelet_for_a_conditional_gaussian(wavelet: str, levels: int) -> None:
    shape, size = (1, 1, 4, 8), 32
    transform = WaveletTransform(wavelet, levels, shape=(1, 4, 8), dims=("y", "x"), periodic=(True, True))
    eye = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    w = transform.encode(eye).reshape(size, size).T  # z = w x
    assert torch.allclose(w @ w.T, torch.eye(size, dtype=torch.float64), atol=1e-11)
    known = [0, 3, 9, 10, 20, 31]
    offset, narrow, c = given_entries(normal(size, key="mean"), spd(size), known)
    gain = torch.zeros(size, size, dtype=torch.float64)
    gain[:, known] = narrow
    pixel = GaussianDenoiser(VPSchedule(), offset.reshape(shape), dense_covariance(c), gain=gain)
    z_shape = transform.out_shape(shape)
    wave = GaussianDenoiser(VPSchedule(), (w @ offset).reshape(z_shape), dense_covariance(w @ c @ w.T), gain=w @ gain @ w.T)
    x_t, t = normal(3, *shape, key="x"), torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    cond = torch.zeros(1, size, dtype=torch.float64)
    cond[:, known] = normal(6, key="y")
    cond = cond.reshape(1, *shape)
    out = wave(transform.encode(x_t), t, transform.encode(cond))
    assert torch.allclose(transform.decode(out), pixel(x_t, t, cond), atol=1e-11)
    # what is known comes back whatever the noisy state says
    known_values = transform.decode(out).flatten(1)[:, known]
    assert torch.allclose(known_values, cond.flatten(1)[:, known].expand(3, -1), atol=1e-11)


def test_conditions_and_shapes_are_checked() -> None:
    denoiser = gaussian(gain=torch.ones(SIZE, 2, dtype=torch.float64))
    with pytest.raises(InputError, match="condition"):
        denoiser(normal(1, *SHAPE, key="x"), torch.tensor(0.5))
    with pytest.raises(ShapeError, match="gain"):
        gaussian(gain=torch.ones(2, 2))
    with pytest.raises(ShapeError, match="weights"):
        MixtureDenoiser(VPSchedule(), torch.ones(3), torch.ones(2, 1, 1, 1), stds=torch.ones(2))


def test_saved_and_built_again() -> None:
    x_t, t = normal(2, *SHAPE, key="x"), torch.tensor([0.2, 0.7], dtype=torch.float64)
    for denoiser in (gaussian(), mixture()):
        assert torch.equal(build(describe(denoiser))(x_t, t), denoiser(x_t, t))
        assert not denoiser.state_dict()


def test_covariance_of_a_mixture(monkeypatch) -> None:
    """Against the definition E[x x^T] - E[x] E[x]^T written out; beyond the largest matrix the same where all variances are one."""
    weights, means = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), normal(3, *SHAPE, key="modes")
    for stds in (torch.full((3,), 0.4).double(), normal(3, *SHAPE, key="spreads").abs()):
        mixture = MixtureDenoiser(VPSchedule(), 5 * weights, means, stds=stds)
        flat, wide = means.flatten(1), stds.reshape(3, -1).expand(3, SIZE)
        second = sum(w * (torch.outer(m, m) + torch.diag(s**2)) for w, m, s in zip(weights, flat, wide, strict=True))
        exact = second - torch.outer(weights @ flat, weights @ flat)
        unit = torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SHAPE)
        torch.testing.assert_close(mixture.covariance()(unit).flatten(1), exact, rtol=0, atol=1e-12)
        with monkeypatch.context() as patch:
            patch.setattr("physdiff.diffusion.analytic._MOST_DENSE", 2)
            large = mixture.covariance()
        assert isinstance(large, LowRankCovariance) and large.eigenvectors.shape == (3, SIZE)
        if stds.ndim == 1:
            torch.testing.assert_close(large(unit).flatten(1), exact, rtol=0, atol=1e-12)
        assert abs(float(large.mean_function(lambda c: c)) - float(exact.trace()) / SIZE) < 1e-12
