"""Preconditioning: unit sizes at every level, the built-in linear answer, shapes and dtypes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved, build, describe
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.schedule import EDMSchedule, RectifiedSchedule, VPSchedule
from physdiff.networks.unet import UNet

LIKE = torch.zeros((), dtype=torch.float64)
SCHEDULES = [VPSchedule(), EDMSchedule(), RectifiedSchedule()]


class Recorder(Saved, nn.Module):
    """Remembers its input and gives a constant number back."""

    def __init__(self, value: float = 0.0, channels: int = 1, ndim: int = 1, bf16: bool = False) -> None:
        super().__init__()
        self.value, self.channels, self.ndim = value, channels, ndim
        self.scale = nn.Parameter(torch.ones((), dtype=torch.bfloat16 if bf16 else torch.float64))
        self.seen: Tensor | None = None
        self.noise: Tensor | None = None

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        self.seen, self.noise = x, noise
        return torch.full_like(x[:, : self.channels], self.value) * self.scale


def normal(*shape: int, key: str) -> Tensor:
    return Rng(2).child(key).normal(shape, like=LIKE)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_zero_network_is_the_wiener_denoiser(schedule) -> None:
    std, x_t = 0.7, normal(4, 1, 1, 6, key="x")
    t = torch.tensor([0.05, 0.3, 0.7, 0.98], dtype=torch.float64)
    denoiser = PreconditionedDenoiser(Recorder(), schedule, std)
    variances = torch.full((1, 1, 6), std**2, dtype=torch.float64)
    gaussian = GaussianDenoiser(schedule, torch.zeros_like(variances), DiagonalCovariance(variances))
    assert torch.allclose(denoiser(x_t, t), gaussian(x_t, t), rtol=1e-12)
    # the weight is one over the posterior variance of such data
    assert torch.allclose(denoiser.weight(t), 1 / gaussian.posterior_variance(t), rtol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_input_and_target_have_unit_variance_at_every_level(schedule) -> None:
    std, n = 0.7, 200_000
    clean, eps = std * normal(1, 1, 1, n, key="clean"), normal(1, 1, 1, n, key="eps")
    for time in (0.03, 0.4, 0.95):
        t = torch.tensor(time, dtype=torch.float64)
        alpha, sigma = schedule(t)
        x_t = alpha * clean + sigma * eps
        network = Recorder()
        denoiser = PreconditionedDenoiser(network, schedule, std)
        rest = (clean - denoiser(x_t, t).detach()) * denoiser.weight(t).sqrt()
        # 4 standard errors of a variance: 4 sqrt(2/n) = 0.013
        assert float(network.seen.var()) == pytest.approx(1, abs=0.013)
        assert float(rest.var()) == pytest.approx(1, abs=0.013)
        assert float(network.noise) == pytest.approx(0.25 * float(torch.log(sigma / alpha)), rel=1e-12)


@pytest.mark.parametrize("schedule", [VPSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_ends_are_finite_and_clean_is_the_identity(schedule) -> None:
    denoiser, x = PreconditionedDenoiser(Recorder(1.0), schedule), normal(2, 1, 1, 6, key="x")
    assert torch.allclose(denoiser(x, torch.tensor(0.0)), x, rtol=1e-14)
    assert denoiser(x, torch.tensor(1.0)).isfinite().all()


def base(schedule) -> GaussianDenoiser:
    variances = torch.linspace(0.01, 4, 6, dtype=torch.float64).reshape(1, 1, 6)
    return GaussianDenoiser(schedule, normal(1, 1, 6, key="mean"), DiagonalCovariance(variances))


def test_with_a_gaussian_base_the_optimal_network_of_gaussian_data_is_zero() -> None:
    schedule, t = VPSchedule(), torch.tensor([0.1, 0.8], dtype=torch.float64)
    x_t = normal(2, 1, 1, 6, key="x")
    denoiser = PreconditionedDenoiser(Recorder(0.0), schedule, base=base(schedule))
    assert torch.equal(denoiser(x_t, t), base(schedule)(x_t, t))
    ones = PreconditionedDenoiser(Recorder(1.0), schedule, base=base(schedule))(x_t, t) - denoiser(x_t, t)
    spread = base(schedule).posterior_variance(t).sqrt().reshape(2, 1, 1, 1)
    assert torch.allclose(ones, spread.expand_as(ones), rtol=1e-12)
    assert torch.allclose(denoiser.weight(t), 1 / base(schedule).posterior_variance(t), rtol=1e-12)
    with pytest.raises(InputError, match="same schedule"):
        PreconditionedDenoiser(Recorder(), EDMSchedule(), base=base(schedule))


def test_frames_are_squeezed_or_kept_by_the_number_of_axes() -> None:
    t = torch.tensor(0.5)
    for frames, ndim, seen in ((1, 2, (2, 1, 3, 4)), (1, 3, (2, 1, 1, 3, 4)), (5, 3, (2, 1, 5, 3, 4))):
        network = Recorder(ndim=ndim)
        x = normal(2, 1, frames, 3, 4, key="x")
        assert PreconditionedDenoiser(network, VPSchedule())(x, t).shape == x.shape
        assert network.seen.shape == seen
    for frames, ndim in ((5, 2), (1, 1)):
        with pytest.raises(ShapeError, match="FramesToChannels"):
            PreconditionedDenoiser(Recorder(ndim=ndim), VPSchedule())(normal(2, 1, frames, 3, 4, key="x"), t)


def test_conditions_are_channels_which_are_never_scaled() -> None:
    network, x, t = Recorder(channels=2), normal(3, 2, 1, 4, key="x"), torch.tensor([0.2, 0.5, 0.9])
    denoiser = PreconditionedDenoiser(network, VPSchedule())
    cond = normal(1, 5, 1, 4, key="c")
    denoiser(x, t, cond)
    assert network.seen.shape == (3, 7, 4)
    assert torch.equal(network.seen[:, 2:], cond.squeeze(2).expand(3, 5, 4))
    with pytest.raises(ShapeError, match="cond_transform"):
        denoiser(x, t, normal(2, 5, 1, 4, key="c"))
    with pytest.raises(ShapeError, match="cond_transform"):
        denoiser(x, t, normal(1, 5, 1, 3, key="c"))


def test_a_bf16_network_keeps_the_state_in_float32() -> None:
    network = Recorder(bf16=True)
    x = normal(2, 1, 1, 4, key="x").float()
    out = PreconditionedDenoiser(network, VPSchedule())(x, torch.tensor(0.01))
    assert network.seen.dtype == torch.bfloat16
    assert network.noise.dtype == out.dtype == torch.float32
    # c_skip x is not rounded to bf16 (8 bits)
    expected = PreconditionedDenoiser(Recorder(), VPSchedule())(x.double(), torch.tensor(0.01))
    assert torch.allclose(out.double(), expected, rtol=1e-6)


def test_a_unet_learns_and_is_saved() -> None:
    torch.manual_seed(0)
    network = UNet(3, 1, ndim=2, width=8, multipliers=(1, 2), attention=False)
    denoiser = PreconditionedDenoiser(network, EDMSchedule())
    x, cond, t = normal(2, 1, 1, 5, 6, key="x").float(), normal(1, 2, 1, 5, 6, key="c").float(), torch.tensor([0.2, 0.6])
    denoiser(x, t, cond).square().sum().backward()
    assert network.head.inner.weight.grad.abs().sum() > 0
    again = build(describe(denoiser))
    again.load_state_dict(denoiser.state_dict())
    assert torch.equal(again(x, t, cond), denoiser(x, t, cond))
