"""Posteriors through a decoder: exact where it is linear (principal components), towards the readings where it is not."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.ddim import DDPM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.guided import Guided
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.twisted_smc import TwistedSMC
from physdiff.networks.transformer import DiT
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.fit_autoencoder import AutoencoderTraining, fit_autoencoder
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.transform import Sample
from tests.training.problems import line

POINTS, LATENT, SEEN, STD = 8, 3, (1, 6), 0.3


def principal() -> tuple[Posterior, torch.Tensor, torch.Tensor]:
    """A Gaussian prior of three leading patterns of a line, two points read; mean and covariance of the posterior by Bayes' rule on the latents."""
    grid = CartesianGrid((POINTS,), extent=(1.0,), periodic=True)
    spec = FieldSpec(("u",), ("m",), grid, 1.0, frames=1)
    x = torch.randn(400, 1, 1, POINTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x = 1.0 + x + x.roll(1, -1) + x.roll(2, -1)
    coder = Autoencoder(POINTS / LATENT, POINTS, 0).fitted_from(lambda: iter([Sample(x)]), spec).double()
    z = coder.encode(x).flatten(1)
    spread = torch.cov(z.T)
    denoiser = GaussianDenoiser(EDMSchedule(), z.mean(0).reshape(LATENT, 1, 1), dense_covariance(spread))
    prior = DiffusionPrior(denoiser, coder, spec, sampler=Heun(), steps=40)
    pick = torch.eye(POINTS, dtype=torch.float64)[list(SEEN)]
    y = torch.tensor([2.0, -0.5], dtype=torch.float64)
    decoded = coder.decode(torch.cat([torch.zeros(1, LATENT), torch.eye(LATENT)]).double().reshape(-1, LATENT, 1, 1)).flatten(1)
    offset, d = decoded[0], (decoded[1:] - decoded[0]).T
    h = pick @ d
    gain = spread @ h.T @ torch.linalg.inv(h @ spread @ h.T + STD**2 * torch.eye(2).double())
    centre = z.mean(0) + gain @ (y - pick @ offset - h @ z.mean(0))
    left = spread - gain @ h @ spread
    observation = Observation(MatrixOperator(pick, (1, 1, POINTS)), y, std=STD)
    return Posterior(prior, observation), offset + d @ centre, d @ left @ d.T


@pytest.mark.parametrize("method", [Guided(), TwistedSMC(DDPM(), 100)], ids=["guided", "smc"])
def test_principal_components_give_the_exact_posterior(method) -> None:
    posterior, mean, covariance = principal()
    n = 400
    found = method.sample(posterior, n, rng=Rng(0)).resample(Rng(1)) if isinstance(method, TwistedSMC) else method.sample(posterior, n, rng=Rng(0))
    x = found.members.flatten(1)
    # 4 standard errors of 400 draws; of particles that share ancestors a quarter is taken for independent; 2 and 10 % for steps of the samplers
    n_eff, steps = (n, 0.1) if isinstance(method, Guided) else (n / 4, 0.2)
    std = covariance.diagonal().sqrt()
    assert bool(((x.mean(0) - mean).abs() < (4 / n_eff**0.5 + 0.02) * std).all())
    off = torch.cov(x.T) - covariance
    assert bool((off.abs() < (4 * (2 / n_eff) ** 0.5 + steps) * torch.outer(std, std)).all())
    # the readings moved the mean by more than these tolerances
    assert float((mean - 1.0).abs().max() / std.min()) > 1.0


@pytest.mark.slow
@pytest.mark.parametrize("method", [Guided(steps=12), TwistedSMC(DDPM(), 12)], ids=["guided", "smc"])
def test_readings_are_met_through_a_trained_decoder(method) -> None:
    recipe = Recipe(history=0, horizon=1, gaussian="yes")
    ds = line()
    coder = fit_autoencoder(ds, recipe, Autoencoder(2.0, 4, 8, blocks=1), training=AutoencoderTraining(max_steps=20))
    prior, data = prepare(ds, recipe, network=partial(DiT, width=16, depth=1, patch=1), autoencoder=coder)
    fit(DiffusionModule(prior), data, max_steps=3)
    pick = torch.eye(16)[[3, 11]]
    y = torch.tensor([1.5, -1.0])
    free = prior.sample(32, rng=Rng(0)).flatten(1) @ pick.T
    found = method.sample(Posterior(prior, Observation(MatrixOperator(pick, (1, 1, 16)), y, std=0.2)), 32, rng=Rng(0))
    told = found.members.flatten(1) @ pick.T
    miss, before = (torch.tensor(float((v - y).square().mean())).sqrt() for v in (told, free))
    assert bool(found.members.isfinite().all()) and miss < 0.4 * before
