"""Denoisers of residuals: exact where all is Gaussian, dressed forecasts before training, a mean that stays as it is."""

from __future__ import annotations

import pickle
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.data.convert import to_dataset
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.centred import CentredDenoiser, around_mean, residual_noise
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import NetworkMap
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.schedule import CosineSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.unet import UNet
from physdiff.training.build import build_forecaster
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.trajectories import prepare_trajectories


class Twice(Saved, nn.Module):
    """The condition's first channel, doubled."""

    ndim = 2

    def forward(self, c: Tensor) -> Tensor:
        return 2 * c[:, :1]


@cache
def made(spectral: bool = False):  # noqa: ANN201
    spec = FieldSpec(("u",), ("1",), CartesianGrid(8, 1.0, periodic=False), 1.0, frames=4)
    x = torch.randn(64, 1, 4, 8, generator=torch.Generator().manual_seed(0)) * torch.linspace(1, 3, 8)
    ds = to_dataset(x, spec, np.arange(4.0), batch="sample")

    def small(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int = 4) -> nn.Module:
        return UNet(i, o, ndim=ndim, periodic=periodic, width=4, attention=False)

    like, windows = prepare_trajectories(ds, [{"u": (0,)}], network=small)
    assert like.cond_spec is not None
    mean = build_forecaster(like.spec, like.transform, cond_spec=like.cond_spec, cond_transform=like.cond_transform, network=small)
    return around_mean(mean, windows, network=small, spectral=spectral), windows, mean


def test_the_posterior_mean_of_a_gaussian_around_a_linear_mean() -> None:
    schedule, variances = CosineSchedule(), torch.rand(1, 3, 5, dtype=torch.float64) + 0.1
    inner = GaussianDenoiser(schedule, torch.zeros(1, 3, 5, dtype=torch.float64), DiagonalCovariance(variances))
    denoiser = CentredDenoiser(NetworkMap(Twice()), inner)
    c, x_t = (torch.randn(4, 1, 3, 5, dtype=torch.float64) for _ in range(2))
    for sigma in (0.05, 1.0, 20.0):  # noise over signal
        t = schedule.time_of(-torch.tensor([sigma], dtype=torch.float64).log()).expand(4)
        alpha, s = (v[0] for v in schedule(t))
        gain = alpha * variances / (alpha**2 * variances + s**2)
        torch.testing.assert_close(denoiser(x_t, t, c), 2 * c + gain * (x_t - alpha * 2 * c), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spectral", [False, True])
def test_before_training_it_is_the_forecast_with_errors_of_its_size(spectral: bool, tmp_path) -> None:  # noqa: ANN001
    prior, windows, mean = made(spectral)
    cond = windows[0]["cond"][None]
    drawn = prior.eval().with_sampler(DPMSolver2M(), 6)  # widens a standard normal law by 2 %
    draws, middle = drawn.sample(64, cond=cond, rng=Rng(0)), mean.sample(1, cond=cond, rng=Rng(0))
    assert torch.equal(draws[:, :, 0], middle[:, :, 0].expand(64, -1, -1))  # the first frame is known
    windows_z = mean.encode(torch.stack([windows[i]["x"] for i in range(64)]))
    # the second pair of frames, of which nothing is known; the untrained network's mean is zero there
    sizes = [z[:, :, 1].square().mean(0) for z in (mean.encode(draws), windows_z)]
    if spectral:
        assert abs(float(sizes[0].mean() / sizes[1].mean()) - 1) < 0.25  # homogeneous: right on the average, not at each point
    else:
        assert float((sizes[0] / sizes[1] - 1).abs().max()) < 0.6  # 64 draws: 18 % each, the largest of 16 some 40 %
    again = DiffusionPrior.load(prior.save(tmp_path / "prior.pt"))
    assert torch.equal(again.sample(2, cond=cond, rng=Rng(1)), prior.sample(2, cond=cond, rng=Rng(1)))


def test_training_leaves_the_mean_alone() -> None:
    prior, windows, mean = made.__wrapped__()  # its own: it is trained
    denoiser = prior.denoiser
    assert isinstance(denoiser, CentredDenoiser)
    before = [p.clone() for p in mean.parameters()]
    assert not denoiser.train().mean.training
    fit(DiffusionModule(prior, 1e-2, 0.0, noise=residual_noise(prior)), TrajectoryDataModule(windows, batch_size=8), max_steps=2, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, mean.parameters(), strict=True))
    assert any(bool(p.abs().sum() > 0) for p in denoiser.inner.network.head.parameters())  # type: ignore[union-attr]


def test_errors_say_what_to_do() -> None:
    prior, windows, mean = made()
    with pytest.raises(InputError, match="two windows"):
        around_mean(mean, torch.utils.data.Subset(windows, [0]))
    with pytest.raises(InputError, match="cond="):
        prior.denoiser(torch.zeros(1, *prior.latent_shape), torch.tensor(0.5))
    plain = prepare_trajectories(few(), [{"u": (0,)}], network=partial(UNet, width=4))[0]
    with pytest.raises(InputError, match="around_mean"):
        residual_noise(plain)


def few():  # noqa: ANN201
    spec = FieldSpec(("u",), ("1",), CartesianGrid(8, 1.0, periodic=False), 1.0, frames=4)
    return to_dataset(torch.randn(2, 1, 4, 8), spec, np.arange(4.0), batch="sample")


class Counted(Twice):
    """How often it is asked."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, c: Tensor) -> Tensor:
        Counted.calls += 1
        return self.scale * super().forward(c)


def test_a_walk_asks_for_the_mean_once_and_never_for_a_stale_one() -> None:
    schedule = CosineSchedule()
    inner = GaussianDenoiser(schedule, torch.zeros(1, 1, 4), DiagonalCovariance(torch.full((1, 1, 4), 0.25)))
    denoiser = CentredDenoiser(NetworkMap(Counted()), inner).eval()
    x, t, cond = torch.randn(3, 1, 1, 4), torch.tensor(0.5), torch.randn(3, 1, 1, 4)
    Counted.calls = 0
    first = denoiser(x, t, cond)
    assert torch.equal(denoiser(x, t, cond), first) and Counted.calls == 1
    assert torch.equal(pickle.loads(pickle.dumps(denoiser))(x, t, cond), first)  # noqa: S301 - our own
    other = denoiser(x, t, cond + 1)
    assert not torch.equal(other, first)
    cond.add_(1)  # in place
    torch.testing.assert_close(denoiser(x, t, cond), other)
    with torch.no_grad():
        denoiser.mean.network.scale.mul_(2)  # as load_state_dict does
    assert not torch.allclose(denoiser(x, t, cond), other)
    asked = cond.clone().requires_grad_()
    denoiser(x, t, asked).sum().backward()
    assert asked.grad is not None and float(asked.grad.abs().max()) > 0
    torch.testing.assert_close(torch.func.vmap(lambda c: denoiser(x, t, c))(torch.stack([cond, cond + 1]))[0], denoiser(x, t, cond))
