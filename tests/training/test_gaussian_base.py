"""The Gaussian under a prior has the moments of the training windows, in coefficients and in physical units."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import default_collate

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.sample_covariance import pairwise_distance, tapered_covariance
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
    local = tapered_covariance(pixels, pairwise_distance(prior.spec.grid), length=4.0)
    unit = torch.eye(24).reshape(24, 1, 1, 4, 6)
    columns = (tail.encode(unit) - tail.encode(0 * unit)).flatten(1).double()
    matrix = local(unit.double()).flatten(1)
    expected = columns.T @ matrix @ columns
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


def test_only_networks_get_one() -> None:
    prior, data = prepare(line(), Recipe(history=0, horizon=1), network=tiny)
    bare = DiffusionPrior(prior.denoiser.base, prior.transform, prior.spec, sampler=prior.sampler)
    assert isinstance(bare.denoiser, GaussianDenoiser) and bare.sample(2, rng=Rng(0)).shape == (2, *prior.spec.shape)
    with pytest.raises(InputError, match="network"):
        with_gaussian(bare, data.train_windows)
