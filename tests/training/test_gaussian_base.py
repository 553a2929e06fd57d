"""The Gaussian under a prior has the moments of the training windows, in coefficients and in physical units."""

from __future__ import annotations

import pytest
import torch
import xarray as xr
from torch.utils.data import default_collate

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.sample_covariance import pairwise_distance, tapered_covariance
from physdiff.diffusion.taper_choice import choose_inflation, choose_taper
from physdiff.training import gaussian_base
from physdiff.training.gaussian_base import with_gaussian
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.compose import Compose
from tests.training.problems import calendar, line, tiny


def training_windows(data) -> dict:
    return default_collate([data.train_windows[i] for i in range(len(data.train_windows))])


@pytest.mark.parametrize("wavelet", ["none", "haar", "db2"])
def test_the_covariance_is_that_of_the_pixels_in_every_representation(wavelet) -> None:
    """Sandwiching with the wavelet by hand: C_z = W C W^T, W column by column."""
    prior, data = prepare(calendar(120), Recipe(history=0, horizon=1, anomaly="all", wavelet=wavelet), network=tiny)
    base, batch = prior.denoiser.base, training_windows(data)
    cut = 3 if wavelet != "none" else len(prior.transform.parts)  # anomaly, normaliser, frames
    head, tail = Compose(tuple(prior.transform.parts[:cut])), Compose(tuple(prior.transform.parts[cut:]))
    pixels = head.encode(batch["x"])
    distance = pairwise_distance(prior.spec.grid)
    taper = choose_taper(pixels, distance)
    local = tapered_covariance(pixels, distance, taper.shrink, length=taper.length)
    unit = torch.eye(24).reshape(24, 1, 1, 4, 6)
    columns = (tail.encode(unit) - tail.encode(0 * unit)).flatten(1).double()
    matrix = local(unit.double()).flatten(1)
    expected = choose_inflation(pixels, distance, taper) * columns.T @ matrix @ columns
    size = expected.shape[0]
    got = base.covariance(torch.eye(size, dtype=torch.float64).reshape(size, *prior.latent_shape)).flatten(1)
    # kept in float32
    assert torch.allclose(got, expected, atol=1e-5 * float(expected.diagonal().max()))
    assert torch.allclose(base.mean.flatten(), prior.encode(batch["x"]).mean(0).flatten(), atol=1e-5)


def test_large_windows_get_leading_patterns(monkeypatch) -> None:
    monkeypatch.setattr(gaussian_base, "_DENSE", 31)  # these have 32 entries
    prior, data = prepare(line(), Recipe(history=1, horizon=2, gaussian="yes"), network=tiny)
    batch = training_windows(data)
    z = prior.encode(batch["x"], prior.complete(batch["cond"])).double()
    # half as many patterns as windows keep the trace, whatever they leave out
    assert prior.denoiser.base.covariance.mean_function(lambda c: c).item() == pytest.approx(z.flatten(1).var(0).mean().item(), rel=1e-4)


def test_errors_of_a_first_guess_are_those_of_unseen_windows(monkeypatch) -> None:
    monkeypatch.setattr(gaussian_base, "_DENSE", 0)  # patterns of the coefficients themselves
    prior, data = prepare(calendar(80), Recipe(history=2, horizon=2, gaussian="yes"), network=tiny)
    batch = training_windows(data)
    honest = prior.encode(batch["x"], prior.complete(batch["cond"], batch["guess"])).double()
    fitted = prior.encode(batch["x"], prior.complete(batch["cond"])).double()
    seen, unseen = (z.flatten(1).var(0).mean().item() for z in (fitted, honest))
    assert seen < 0.95 * unseen
    assert prior.denoiser.base.covariance.mean_function(lambda c: c).item() == pytest.approx(unseen, rel=1e-4)


def with_viscosity(samples: int = 60) -> xr.Dataset:
    """Samples of a line with a parameter beside the field."""
    ds = line(samples, 4)
    values = torch.exp(0.5 * Rng(5).normal((samples,)) - 3)
    return ds.assign(viscosity=ds["u"].copy(data=values.reshape(-1, 1, 1).expand(ds["u"].shape).numpy()))


@pytest.mark.parametrize("gaussian", ["yes", "patterns"])
def test_a_parameter_is_one_direction_of_its_own(gaussian) -> None:
    prior, data = prepare(with_viscosity(), Recipe(history=0, horizon=4, gaussian=gaussian, parameters=("viscosity",)), network=tiny)
    base, batch = prior.denoiser.base, training_windows(data)
    z = prior.encode(batch["x"]).double()
    assert z.shape[1] == 4 * 2 + 1  # frames in two wavelet bands, and the parameter
    unit = torch.full((8,), 8**-0.5, dtype=torch.float64)
    along, across = torch.zeros(2, *prior.latent_shape, dtype=torch.float64)
    along[-1, 0], across[-1, 0, 0] = unit, 1.0
    across[-1, 0] -= across[-1, 0] @ unit * unit
    got = base.covariance(torch.stack([along, across]))
    # the sample variance with divisor n is size^2 = 4; the others have what the leading patterns leave over
    torch.testing.assert_close(got[0], 4 * along, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(got[1], base.covariance.rest * across, rtol=1e-5, atol=1e-5)
    assert (z[:, -1, 0] @ unit).var(correction=0).item() == pytest.approx(4, rel=1e-4)
    # the fields' part is that of a prior without the parameter
    plain, _ = prepare(line(60, 4), Recipe(history=0, horizon=4, gaussian=gaussian), network=tiny)
    probe = Rng(6).normal((2, *plain.latent_shape)).double()
    padded = torch.cat([probe, 0 * probe[:, :1]], 1)
    torch.testing.assert_close(base.covariance(padded)[:, :-1], plain.denoiser.base.covariance(probe), rtol=1e-4, atol=1e-4)
    draws = prior.sample(3, rng=Rng(0))
    nu = draws[:, 1].flatten(1)
    assert bool((nu > 0).all()) and torch.equal(nu.amin(1), nu.amax(1))


def test_patterns_hold_all_but_a_ten_thousandth() -> None:
    prior, data = prepare(line(60, 4), Recipe(history=0, horizon=4, gaussian="patterns"), network=tiny)
    covariance, z = prior.denoiser.base.covariance, prior.encode(training_windows(data)["x"]).double().flatten(1)
    total = z.var(0).sum().item()
    assert covariance.mean_function(lambda c: c).item() * z.shape[1] == pytest.approx(total, rel=1e-4)
    values = torch.linalg.eigvalsh(torch.cov(z.T)).flip(0)
    rank = min(30, int((values.cumsum(0) < (1 - 1e-4) * total).sum()) + 1)
    torch.testing.assert_close(covariance.eigenvalues.double(), values[:rank], rtol=1e-3, atol=1e-5)


def test_only_networks_get_one() -> None:
    prior, data = prepare(line(), Recipe(history=0, horizon=1), network=tiny)
    bare = DiffusionPrior(prior.denoiser.base, prior.transform, prior.spec, sampler=prior.sampler)
    assert isinstance(bare.denoiser, GaussianDenoiser) and bare.sample(2, rng=Rng(0)).shape == (2, *prior.spec.shape)
    with pytest.raises(InputError, match="network"):
        with_gaussian(bare, data.train_windows)
