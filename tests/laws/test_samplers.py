"""Orders and golden values of the samplers on targets whose answer is known (methods card diffusion, section 2)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from scipy.stats import norm
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser, given_entries
from physdiff.diffusion.covariance import DiagonalCovariance, dense_covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import (
    CosineSchedule,
    EDMSchedule,
    RectifiedSchedule,
    Schedule,
    VESchedule,
    VPSchedule,
)
from physdiff.transforms.wavelet import WaveletTransform

WEIGHTS, MEANS, STDS = np.array([0.4, 0.6]), np.array([-1.5, 1.0]), np.array([0.35, 0.5])
LIKE = torch.zeros((), dtype=torch.float64)
ALL = {
    "ddim": DDIM(),
    "half": DDIM(0.5),
    "ddpm": DDPM(),
    "heun": Heun(),
    "churn": Heun(10.0),
}


def lam_grid(schedule: Schedule, steps: int) -> Tensor:
    return schedule.time_of(torch.linspace(-4, 3, steps + 1, dtype=torch.float64))


# ---------------------------------------------------------------------------------------------------------------- T-ODE


def reference() -> np.ndarray:
    """End points of the flow at lam = 3 by an adaptive 8th-order method in y = x/alpha, typed independently in numpy."""

    def noise(lam: float, y: np.ndarray) -> np.ndarray:
        alpha, sigma = math.sqrt(1 / (1 + math.exp(-2 * lam))), math.sqrt(1 / (1 + math.exp(2 * lam)))
        v, d = alpha**2 * STDS**2 + sigma**2, alpha * y[:, None] - alpha * MEANS
        logit = np.log(WEIGHTS) - d**2 / (2 * v) - np.log(v) / 2
        share = np.exp(logit - logit.max(1, keepdims=True))
        return sigma * (share / share.sum(1, keepdims=True) * d / v).sum(1)

    alpha = [math.sqrt(1 / (1 + math.exp(-2 * lam))) for lam in (-4, 3)]
    start = norm.ppf((np.arange(64) + 0.5) / 64) / alpha[0]
    out = solve_ivp(lambda lam, y: -math.exp(-lam) * noise(lam, y), (-4, 3), start, method="DOP853", rtol=1e-13, atol=1e-13)
    return alpha[1] * out.y[:, -1]


@pytest.fixture(scope="module")
def ode_reference() -> Tensor:
    return torch.from_numpy(reference()).reshape(64, 1, 1, 1)


@pytest.mark.parametrize(
    ("sampler", "order", "card", "golden"),
    [
        (DDIM(), 1, ("9.0e-02", "2.8e-02", "6.9e-03"), (8.9777e-2, 2.80546e-2, 6.94626e-3)),
        (Heun(), 2, ("1.4e-02", "8.7e-04", "5.4e-05"), (1.43806e-2, 8.65322e-4, 5.38117e-5)),
    ],
    ids=["ddim", "heun"],
)
def test_order_and_golden_errors_of_the_flow(sampler: Sampler, order: int, card, golden, ode_reference: Tensor) -> None:
    schedule = VPSchedule()
    weights, means, stds = (torch.from_numpy(v) for v in (WEIGHTS, MEANS, STDS))
    denoiser = MixtureDenoiser(schedule, weights, means.reshape(2, 1, 1, 1), stds=stds)
    start = torch.from_numpy(norm.ppf((np.arange(64) + 0.5) / 64)).reshape(64, 1, 1, 1)
    error = {}
    for steps in (20, 80, 160, 320):
        out = sampler.run(denoiser, start, lam_grid(schedule, steps), rng=Rng(0))
        error[steps] = float((out - ode_reference).square().mean().sqrt())
    assert tuple(f"{error[n]:.1e}" for n in (20, 80, 320)) == card
    assert tuple(error[n] for n in (20, 80, 320)) == pytest.approx(golden, rel=0.01)
    for coarse, fine in ((80, 160), (160, 320)):
        assert math.log2(error[coarse] / error[fine]) == pytest.approx(order, abs=0.15)


# ---------------------------------------------------------------------------------------------------------------- T-SDE


class Basis:
    """Stands for an Rng: the noise of step i is the unit vector i + 2, so that a state lists its own coefficients."""

    def __init__(self, step: int = 0) -> None:
        self.step = step

    def child(self, *keys: int | str) -> Basis:
        return Basis(int(keys[-1]))

    def normal_each(self, indices, shape, *, like: Tensor) -> Tensor:
        out = torch.zeros(len(indices), *shape, dtype=like.dtype)
        out[..., 2 + self.step] = 1
        return out


def moments(sampler: Sampler, schedule: Schedule, times: Tensor, *, mean: float, std: float, start: tuple[float, float]) -> tuple[float, float]:
    """Exact mean and std of an affine sampler's output: the state holds the coefficients of (x_T, 1, z_0, z_1, ...)."""
    size = len(times) + 1
    centre = torch.zeros(1, 1, size, dtype=torch.float64)
    centre[..., 1] = mean
    denoiser: Denoiser = GaussianDenoiser(schedule, centre, DiagonalCovariance(torch.full_like(centre, std**2)))
    x = torch.zeros(1, 1, 1, size, dtype=torch.float64)
    x[..., 1], x[..., 0] = start
    out = sampler.run(denoiser, x, times, rng=Basis()).flatten()
    return float(out[1]), float(torch.sqrt(out[0] ** 2 + out[2:].square().sum()))


def exact(schedule: Schedule, t: Tensor, mean: float, std: float) -> tuple[float, float]:
    alpha, sigma = (float(c) for c in schedule(t))
    return alpha * mean, math.hypot(alpha * std, sigma)


@pytest.mark.parametrize(
    ("sampler", "card", "order"),
    [
        (DDIM(), ("4.2e-02", "1.1e-02", "2.7e-03"), 1),
        (DDIM(0.5), ("4.9e-02", "1.3e-02", "3.4e-03"), 1),
        (DDPM(), ("7.6e-02", "2.1e-02", "5.4e-03"), 1),
        (DDIM(1.0), ("7.6e-02", "2.1e-02", "5.4e-03"), 1),
        (Heun(10.0), ("2.3e-02", "1.6e-03", "1.0e-04"), 2),
    ],
    ids=["ddim", "half", "ddpm", "eta1", "churn"],
)
def test_exact_moments_of_stochastic_samplers(sampler: Sampler, card: tuple[str, ...], order: int) -> None:
    schedule, mean, std = VPSchedule(), 0.7, 0.5
    errors = []
    for steps in (20, 80, 320):
        times = lam_grid(schedule, steps)
        got = moments(sampler, schedule, times, mean=mean, std=std, start=exact(schedule, times[0], mean, std))
        wanted = exact(schedule, times[-1], mean, std)
        assert got[0] == pytest.approx(wanted[0], abs=1e-13)
        errors.append(abs(got[1] - wanted[1]))
    assert tuple(f"{e:.1e}" for e in errors) == card
    assert math.log2(errors[1] / errors[2]) / 2 == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    "schedule",
    [VPSchedule(), CosineSchedule(), VESchedule(), EDMSchedule(), RectifiedSchedule()],
    ids=lambda s: type(s).__name__,
)
def test_a_point_mass_keeps_its_marginal_for_every_kernel_and_step(sampler: Sampler, schedule: Schedule) -> None:
    for steps in (1, 3, 7):
        times = torch.linspace(1.0, 0.15, steps + 1, dtype=torch.float64)
        start = exact(schedule, times[0], 0.7, 0.0)
        got = moments(sampler, schedule, times, mean=0.7, std=0.0, start=start)
        assert got == pytest.approx(exact(schedule, times[-1], 0.7, 0.0), rel=1e-11)


@pytest.mark.parametrize("sampler", [DDIM(), DDPM(), Heun()], ids=["ddim", "ddpm", "heun"])
@pytest.mark.parametrize("schedule", [CosineSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_converges_from_infinite_noise_to_clean(sampler: Sampler, schedule: Schedule) -> None:
    errors = []
    for steps in (50, 100, 200):
        got = moments(sampler, schedule, timesteps(schedule, steps), mean=0.7, std=0.5, start=(0.0, 1.0))
        # pure noise holds nothing of the data: the mean is right from the first step on
        assert got[0] == pytest.approx(0.7, abs=1e-12)
        errors.append(abs(got[1] - 0.5))
    order = 2 if isinstance(sampler, Heun) else 1
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.2)


def test_exact_start_removes_the_bias_of_a_short_noise_range() -> None:
    schedule, mean, std = VPSchedule(0.1, 5.0), 1.5, 0.5
    times = timesteps(schedule, 200)
    alpha, sigma = (float(c) for c in schedule(1.0))
    wrong = moments(Heun(), schedule, times, mean=mean, std=std, start=(0.0, 1.0))
    # the card's closed form, for N(0, 1) in place of N(alpha m, alpha^2 c^2 + sigma^2)
    assert wrong[0] - mean == pytest.approx(-alpha * mean * std / math.hypot(alpha * std, sigma), rel=1e-3)
    right = moments(Heun(), schedule, times, mean=mean, std=std, start=exact(schedule, times[0], mean, std))
    assert right == pytest.approx((mean, std), abs=1e-3)


# --------------------------------------------------------------------------------------------------------------- T-SPEC


@pytest.mark.parametrize(
    ("kind", "golden"),
    [
        ("uniform_lam", {8: (0.28, 0.28), 16: (0.15, 0.15), 32: (0.079, 0.079)}),
        ("edm", {8: (0.38, 0.46), 16: (0.22, 0.25), 32: (0.114, 0.134)}),
    ],
)
def test_uniform_lam_is_the_minimax_grid_on_a_red_spectrum(kind: str, golden: dict[int, tuple[float, float]]) -> None:
    spectrum = torch.arange(1, 65, dtype=torch.float64) ** -3
    spectrum = (64 * spectrum / spectrum.sum()).reshape(1, 1, 64)
    schedule = EDMSchedule()
    denoiser = GaussianDenoiser(schedule, torch.zeros_like(spectrum), DiagonalCovariance(spectrum))
    for steps, card in golden.items():
        # the card stops at u_min: the last step, to the mean, is left out
        times = timesteps(schedule, steps + 1, kind)[:-1]
        start = torch.sqrt(spectrum + schedule.sigma(1.0) ** 2)[None]
        out = DDIM().run(denoiser, start, times, rng=Rng(0))[0]
        error = (out / torch.sqrt(spectrum + schedule.sigma(times[-1]) ** 2) - 1).abs()
        # golden values are given to two or three digits
        assert (float(error.mean()), float(error.max())) == pytest.approx(card, rel=0.025)


# ----------------------------------------------------------------------------------------------------------- marginals


class Together:
    """Stands for an Rng: one generator for all rows, which costs a hundredth of a key for each."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(2)

    def child(self, *keys: int | str) -> Together:
        return self

    def normal_each(self, indices, shape, *, like: Tensor) -> Tensor:
        return torch.randn(len(indices), *shape, generator=self.generator, dtype=like.dtype)


@pytest.mark.parametrize("sampler", ALL.values(), ids=ALL)
def test_samples_of_a_mixture_have_its_moments(sampler: Sampler) -> None:
    schedule, n, shape = VPSchedule(), 500, (1, 1, 2, 2)
    means = 1.2 * Rng(0).child("means").normal((2, *shape), like=LIKE)
    denoiser = MixtureDenoiser(schedule, torch.tensor([0.3, 0.7]), means, stds=torch.tensor([0.4, 0.6]).double())
    start = Rng(1).normal((n, *shape), like=LIKE)
    # 150 steps: the discretisation error of the std, 1.2 %, is below the 3 % standard error of n = 500
    out = sampler.run(denoiser, start, timesteps(schedule, 150), rng=Together())
    mean, variance = denoiser.moments()
    standard_error = (variance / n).sqrt()
    assert ((out.mean(0) - mean).abs() < 4 * standard_error).all()
    squared = (out - mean).square()
    assert ((squared.mean(0) - variance).abs() < 4 * squared.std(0) / n**0.5).all()
    near = ((out[:, None] - means).square().flatten(2).sum(2).argmin(1) == 0).double().mean()
    assert float(near) == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / n) + 0.02)


# ------------------------------------------------------------------------------------------------------ pixel = wavelet


@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 2), ("db2", 1), ("db4", 1)])
def test_conditional_samples_are_the_same_in_pixels_and_in_wavelets(wavelet: str, levels: int) -> None:
    shape, size = (1, 1, 4, 8), 32
    transform = WaveletTransform(wavelet, levels, shape=(1, 4, 8), dims=("y", "x"), periodic=(True, True))
    w = transform.encode(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).reshape(size, size).T
    root = Rng(0).child("root").normal((size, size), like=LIKE)
    known = [0, 3, 9, 10, 20, 31]
    offset, narrow, c = given_entries(Rng(0).normal((size,), like=LIKE), root @ root.T / size, known)
    gain = torch.zeros(size, size, dtype=torch.float64)
    gain[:, known] = narrow
    schedule, z_shape = VPSchedule(), transform.out_shape(shape)
    pixel = GaussianDenoiser(schedule, offset.reshape(shape), dense_covariance(c), gain=gain)
    wave = GaussianDenoiser(schedule, (w @ offset).reshape(z_shape), dense_covariance(w @ c @ w.T), gain=w @ gain @ w.T)
    cond = torch.zeros(1, size, dtype=torch.float64)
    cond[:, known] = Rng(0).child("y").normal((6,), like=LIKE)
    cond = cond.reshape(1, *shape)
    noise, times = Rng(1).normal((3, *shape), like=LIKE), timesteps(schedule, 20)
    for sampler in (DDIM(), Heun()):
        in_pixels = sampler.run(pixel, noise, times, cond=cond, rng=Rng(2))
        in_waves = sampler.run(wave, transform.encode(noise), times, cond=transform.encode(cond), rng=Rng(2))
        assert torch.allclose(transform.decode(in_waves), in_pixels, atol=1e-9)
        assert torch.allclose(in_pixels.flatten(1)[:, known], cond.flatten(1)[:, known].expand(3, -1), atol=1e-9)
