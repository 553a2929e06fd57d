"""The share of a network: one where it is exact, zero where the Gaussian is, the factor that mends it in between, on windows it has not seen."""

from __future__ import annotations

import pytest
import torch
import xarray as xr
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.cli import fit as fit_module
from physdiff.cli.fit import train_prior
from physdiff.cli.options import Training
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.objective import LogNormalNoise, denoising_loss
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.training.network_share import network_share, with_share
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import calendar, line, tiny


class Towards(Saved, nn.Module):
    """A network that makes the denoiser `base + factor (exact - base)`, so that 1 / factor mends it."""

    def __init__(self, exact: MixtureDenoiser, base: GaussianDenoiser, factor: float) -> None:
        super().__init__()
        self.exact, self.base, self.factor, self.ndim = exact, base, factor, 1

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """F = factor (D_exact - D_base) / c_out, from the scaled input."""
        t = self.base.schedule.time_of(-4 * c_noise.double())
        alpha, sigma = self.base.schedule(t)
        variance = self.base.covariance.mean_function(lambda c: c)[0]
        x_t = x[:, :, None] * (alpha**2 * variance + sigma**2).sqrt().reshape(-1, 1, 1, 1)
        added = (self.exact(x_t, t) - self.base(x_t, t)) / self.base.posterior_variance(t).sqrt().reshape(-1, 1, 1, 1)
        return self.factor * added[:, :, 0]


def two_profiles(count: int = 100, *, seed: int = 3) -> xr.Dataset:
    """One of two profiles on 16 points, and a little noise: the posterior mean is known, and far from linear."""
    ds = line(count, 2)
    x, rng = torch.linspace(0, 6.283, 17)[:-1], Rng(seed)
    sign = 2.0 * rng.child("sign").integers(0, 2, (2 * count, 1)) - 1
    values = sign * torch.sin(x) + 0.2 * rng.child("noise").normal((2 * count, 16))
    return ds.assign(u=ds["u"].copy(data=values.reshape(ds["u"].shape).numpy()))


def towards(factor: float) -> tuple[DiffusionPrior, TrajectoryWindows]:
    """A prior of the profiles whose network is `factor` times what is missing to the exact denoiser, and windows its Gaussian has not seen."""
    prior, _ = prepare(two_profiles(), Recipe(history=0, horizon=1, wavelet="none"), network=tiny)
    base = prior.denoiser.base
    x = torch.linspace(0, 6.283, 17)[:-1]
    means, one = prior.encode(torch.stack([torch.sin(x), -torch.sin(x)])[:, None, None]), prior.encode(torch.ones(1, 1, 1, 16))
    scale = float((one - prior.encode(torch.zeros(1, 1, 1, 16))).mean())
    exact = MixtureDenoiser(base.schedule, torch.tensor([0.5, 0.5]).double(), means.double(), stds=torch.full((2,), 0.2 * scale).double())
    denoiser = PreconditionedDenoiser(Towards(exact, base, factor), base.schedule, base=base)
    return DiffusionPrior(denoiser, prior.transform, prior.spec, sampler=prior.sampler, steps=prior.steps), FRESH


FRESH = TrajectoryWindows(two_profiles(seed=5), history=0, horizon=1)


@pytest.mark.parametrize(("factor", "expected"), [(1.0, 1.0), (1.6, 1 / 1.6), (4.0, 0.25), (0.5, 1.0), (-1.0, 0.0)])
def test_it_is_the_factor_that_makes_the_denoiser_exact(factor, expected) -> None:
    """The exact posterior mean leaves an error orthogonal to every function of the noisy state."""
    prior, windows = towards(factor)
    # 200 windows at 8 levels leave a few per cent
    assert network_share(prior, windows, rng=Rng(0)) == pytest.approx(expected, rel=0.06, abs=1e-6)


def test_it_is_the_minimum_of_the_loss() -> None:
    """By hand: the weighted error of `with_share` over a grid of shares, at the same levels and noise."""
    prior, windows = towards(2.0)
    share = network_share(prior, windows, rng=Rng(0))
    losses = {}
    z = torch.cat([prior.encode(windows[i]["x"][None]) for i in range(200)])
    for w in (share - 0.05, share, share + 0.05):
        total = 0.0
        denoiser = with_share(prior, w).denoiser
        for level in range(8):
            t = LogNormalNoise().times(denoiser.schedule, range(200), Rng(0).child("level", level))
            eps = Rng(0).child("noise", level).normal_each(range(200), z.shape[1:], like=z)
            total += float(denoising_loss(denoiser, z, t, noise=eps).sum())
        losses[w] = total
    assert min(losses, key=losses.get) == share


def test_a_network_has_no_share_in_gaussian_fields() -> None:
    """Where the base is right there is nothing to add: what a network of no training adds is held at nearly nothing."""
    prior, data = prepare(line(80, 4), Recipe(history=0, horizon=1), network=tiny)
    with torch.no_grad():
        for p in prior.denoiser.network.parameters():
            p.add_(0.3 * Rng(1).normal(p.shape))
    assert prior.train().training
    assert network_share(prior, data.train_windows, rng=Rng(0)) < 0.1
    assert prior.training


def test_a_share_scales_what_is_added_and_is_saved(tmp_path) -> None:
    prior, _ = towards(1.0)
    x, t = Rng(5).normal((3, *prior.latent_shape)), torch.tensor(0.4)
    base, whole = prior.denoiser.base(x, t), prior.denoiser(x, t)
    half = with_share(prior, 0.5)
    torch.testing.assert_close(half.denoiser(x, t), base + 0.5 * (whole - base))
    assert with_share(half, 1.0).denoiser(x, t).equal(whole)
    plain, _ = prepare(line(), Recipe(history=0, horizon=1), network=tiny)
    path = with_share(plain, 0.25).save(tmp_path / "a.prior")
    assert DiffusionPrior.load(path).denoiser.share == 0.25
    with pytest.raises(InputError, match="within 0 and 1"):
        with_share(prior, 1.5)
    with pytest.raises(InputError, match="network"):
        with_share(DiffusionPrior(prior.denoiser.base, prior.transform, prior.spec, sampler=prior.sampler), 0.5)
    with pytest.raises(InputError, match="with_gaussian"):
        network_share(prepare(line(), Recipe(history=1, horizon=1), network=tiny)[0], [], rng=Rng(0))


@pytest.mark.parametrize(("frames", "horizon"), [(60, 1), (62, 3), (24, 1), (60, 30)])
def test_training_leaves_the_last_fifth_out(frames, horizon, capsys, monkeypatch) -> None:
    """No frame of a kept window is trained on; few windows, or long ones that overlap most others, are all trained on."""
    seen = []
    monkeypatch.setattr(fit_module, "fit_module", lambda module, data, **_: seen.append(len(data.train_windows)))
    ds = calendar(frames)
    prior = train_prior(ds, Recipe(history=0, horizon=horizon, anomaly="all"), training=Training(max_steps=1), network=tiny)
    windows = frames - horizon + 1
    kept = windows // 5 if windows >= 25 and horizon < 20 else 0
    assert seen == [windows - kept - (horizon - 1 if kept else 0)]
    assert (f"on the last {kept} windows" in capsys.readouterr().out) == bool(kept)
    assert 0 <= prior.denoiser.share <= 1 and not prior.training
