"""A law as a witness: observing that its residual is zero moves a posterior, linear and nonlinear, beside the sensors.

The prior is a Gaussian random field over windows (B, 1, T, x), smooth in time and space, which knows nothing of the law.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import FourierCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import field_spectrum, plain_prior, separable_covariance
from physdiff.inference.guided import Guided, GuidedDenoiser, prior_covariance
from physdiff.inference.observation import Observation
from physdiff.inference.physics import PhysicsResidual
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve

LIKE = torch.zeros((), dtype=torch.float64)
FRAMES, POINTS, DT = 10, 24, 0.02
GRID = CartesianGrid(POINTS, extent=1.0)
WAVE = 2 * math.pi


def smooth_prior(name: str, steps: int) -> DiffusionPrior:
    spec = FieldSpec((name,), ("1",), GRID, DT, FRAMES)
    spectrum = field_spectrum(GRID, alpha=3.0, tau=WAVE, std=1.0)
    unit = torch.eye(POINTS, dtype=torch.float64)
    space = FourierCovariance(spectrum.reshape(1, 1, POINTS), 1)(unit.reshape(POINTS, 1, 1, POINTS)).reshape(POINTS, POINTS)
    apart = DT * (torch.arange(FRAMES).double()[:, None] - torch.arange(FRAMES))
    time = torch.exp(-(apart**2) / (2 * 0.1**2)) + 1e-6 * torch.eye(FRAMES, dtype=torch.float64)
    return plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(spec.shape).double(), separable_covariance(time, space)), spec, steps=steps)


def carried_wave() -> Tensor:
    """An exact solution of advection and diffusion: two modes that travel at speed one and decay."""
    (x,), t = GRID.axes(), DT * torch.arange(FRAMES, dtype=torch.float64)[:, None]
    modes = ((1, 1.0, 0.3), (2, 0.7, 2.0))
    return sum(a * torch.exp(-0.01 * (WAVE * k) ** 2 * t) * torch.cos(WAVE * k * (x - t) + phase) for k, a, phase in modes)[None, None]


def steepening_wave(law: Burgers) -> Tensor:
    (x,) = GRID.axes()
    start = 0.5 * torch.sin(WAVE * x) + 0.15 * torch.cos(2 * WAVE * x)
    times = DT * torch.arange(FRAMES, dtype=torch.float64)
    return solve(ETDRK4(law, Spectral(GRID)), {"u": start[None]}, times, substeps=10)["u"][:, None]


def sensors(spec: FieldSpec, truth: Tensor, *, std: float) -> Observation:
    places = Rng(1).uniform((5, 1), like=LIKE)
    operator = Sensors(spec, places, frames=(0, 4, 9))
    clean = operator(truth)[0]
    return Observation(operator, clean + std * Rng(9).normal(tuple(clean.shape), like=LIKE), std=std)


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def test_a_linear_law_as_an_observation() -> None:
    prior = smooth_prior("c", 40)
    operator = PhysicsResidual(AdvectionDiffusion(0.01, (1.0,)), Spectral(GRID), prior.spec)
    truth = carried_wave()
    data, law = sensors(prior.spec, truth, std=0.02), Observation(operator, y=0.0, std=0.2)
    before = prior.sample(32, rng=Rng(0))
    blind = Guided().sample(Posterior(prior, data), 32, rng=Rng(0)).members
    ensemble = Guided().sample(Posterior(prior, (data, law)), 32, rng=Rng(0))
    informed = ensemble.members
    assert "surprise" in ensemble.info  # affine, found by trying: the path with a matrix
    # measured: 12.6 for the prior, 5.6 with sensors alone, 0.1 with the law, whose own tolerance is 0.2
    assert rms(operator(informed)) < 0.2 < 0.02 * rms(operator(before))
    assert rms(operator(informed)) < 0.05 * rms(operator(blind))
    # the draws fit the sensors as well as their noise allows ...
    assert 0.5 < rms(data.residual(informed) / 0.02) < 1.3
    # ... and what the sensors do not see is carried there by the law
    error, spread = rms(informed.mean(0) - truth[0]), float(informed.std(0).mean())
    assert error < 0.3 * rms(blind.mean(0) - truth[0])
    assert 0.5 < error / spread < 2


def test_matrix_and_conjugate_gradients_agree_on_a_linear_law() -> None:
    prior = smooth_prior("c", 10)
    operator = PhysicsResidual(AdvectionDiffusion(0.01, (1.0,)), Spectral(GRID), prior.spec)
    posterior = Posterior(prior, (sensors(prior.spec, carried_wave(), std=0.05), Observation(operator, y=0.0, std=1.0)))
    x_t = Rng(2).normal((2, *prior.latent_shape), like=LIKE)
    for t in (0.9, 0.5, 0.2):
        results = [
            GuidedDenoiser(posterior, prior_covariance(posterior), matrix=m, iterations=500, tolerance=1e-9)(x_t, torch.tensor(t))
            for m in (True, False)
        ]
        # a relative residual of 1e-9 and condition numbers of some 1e4
        torch.testing.assert_close(*results, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_nonlinear_law_as_an_observation() -> None:
    """Burgers: no matrix serves two states, so each step solves its own system by conjugate gradients (Gauss-Newton)."""
    viscosity = 0.03
    law = Burgers(viscosity=viscosity)
    prior = smooth_prior("u", 20)
    operator = PhysicsResidual(law, Spectral(GRID), prior.spec)
    truth = steepening_wave(law)
    data, tolerance = sensors(prior.spec, truth, std=0.02), Observation(operator, y=0.0, std=0.5)
    before = prior.sample(8, rng=Rng(0))
    blind = Guided().sample(Posterior(prior, data), 8, rng=Rng(0)).members
    ensemble = Guided(iterations=150).sample(Posterior(prior, (data, tolerance)), 8, rng=Rng(0))
    informed = ensemble.members
    assert "solve_error" in ensemble.info
    # measured: 14.6 for the prior, 4.9 with sensors alone, 0.29 with the law
    assert rms(operator(informed)) < 0.05 * rms(operator(before)) and rms(operator(informed)) < 0.1 * rms(operator(blind))
    assert rms(data.residual(informed) / 0.02) < 1.3
    assert rms(informed.mean(0) - truth[0]) < 0.75 * rms(blind.mean(0) - truth[0])
