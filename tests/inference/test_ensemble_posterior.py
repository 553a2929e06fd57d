"""Ensemble Kalman as a posterior sampler: the exact posterior on Gaussians, black boxes, localisation, masks, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.ensemble_posterior import EnsembleKalman, flat_readings, flat_taper, prior_draws
from physdiff.inference.exact import GaussianTarget, ar1_covariance, ar1_target, plain_prior
from physdiff.inference.exact_posterior import exact_posterior
from physdiff.inference.noise import CorrelatedNoise, StudentNoise
from physdiff.inference.observation import MatrixOperator, Observation, Operator
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors

LIKE = torch.zeros((), dtype=torch.float64)


class BlackBox(Operator):
    """Values through numpy: no gradient."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().cpu().numpy()[:, 0, [0, 3], 0] * 1.0)


def t4() -> GaussianTarget:
    return ar1_target(4, 0.9, seen=(0, 3), y=torch.tensor([1.0, -1.0]), std=0.5)


@pytest.mark.parametrize("method", ["eki", "etkf", "enkf"])
def test_the_posterior_of_a_trajectory(method) -> None:
    """T4, 2000 members of exact prior draws. The sample's gain has an error of the order of that of the mean: 6 standard errors, not 4."""
    target, n = t4(), 2000
    ensemble = EnsembleKalman(method, max_batch=n).sample(target.posterior(sampler=ExactLinear(), steps=2), n, rng=Rng(0))
    x, std = ensemble.members.reshape(n, 4).double(), target.posterior_covariance.diagonal().sqrt()
    assert bool(((x.mean(0) - target.posterior_mean).abs() < 6 * std / math.sqrt(n)).all())
    assert bool(((x.var(0) / std**2 - 1).abs() < 6 * math.sqrt(2 / n)).all())
    # residuals at their noise: E |y - x|^2/R of the exact posterior
    off = (target.y - target.posterior_mean[[0, 3]]) ** 2 + target.posterior_covariance.diagonal()[[0, 3]]
    assert float(ensemble.info["misfit"].mean()) == pytest.approx(float(off.mean()) / 0.25, rel=0.15)
    assert float(ensemble.info["exponents"].sum()) == pytest.approx(1) and 0.3 < float(ensemble.info["spread"]) < 0.6


def test_a_black_box_gives_what_the_same_matrix_gives() -> None:
    target = t4()
    known = target.posterior(sampler=ExactLinear(), steps=2)
    box = Posterior(known.prior, Observation(BlackBox(), target.y, std=0.5))
    for method in ("eki", "enkf"):
        sampler = EnsembleKalman(method, ensemble=50)
        torch.testing.assert_close(sampler.sample(box, 9, rng=Rng(1)).members, sampler.sample(known, 9, rng=Rng(1)).members)


@pytest.mark.parametrize("method", ["eki", "etkf", "enkf"])
def test_correlated_noise(method) -> None:
    """Errors of both readings that go together: 2000 members against the exact posterior, tolerances as above; independent noise is far from it."""
    target, n = t4(), 2000
    known = target.posterior(sampler=ExactLinear(), steps=2)
    noise = CorrelatedNoise(0.25 * torch.tensor([[1.0, 0.9], [0.9, 1.0]], dtype=torch.float64))
    posterior = Posterior(known.prior, Observation(known.observations[0].operator, target.y, noise=noise))
    exact = exact_posterior(posterior)
    x = EnsembleKalman(method, max_batch=n).sample(posterior, n, rng=Rng(0)).members.reshape(n, 4)
    std = exact.posterior_covariance.diagonal().sqrt()
    assert bool(((x.mean(0) - exact.posterior_mean).abs() < 6 * std / math.sqrt(n)).all())
    assert bool(((x.var(0) / std**2 - 1).abs() < 6 * math.sqrt(2 / n)).all())
    assert float(((target.posterior_mean - exact.posterior_mean) / std).abs().max()) > 12 / math.sqrt(n)


def line(points: list[list[float]], n: int = 24) -> Posterior:
    """A field on a line with a correlation length of a few cells, read by sensors with noise 0.2."""
    spec = FieldSpec(("u",), ("1",), CartesianGrid(n, extent=float(n), periodic=False), 1.0)
    prior = plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(1, 1, n).double(), dense_covariance(ar1_covariance(n, 0.7))), spec)
    y = torch.ones(1, 1, len(points))
    return Posterior(prior.with_sampler(ExactLinear(), 2), Observation(Sensors(spec, torch.tensor(points)), y, std=0.2))


def test_localisation_leaves_far_entries_of_a_small_ensemble() -> None:
    posterior = line([[2.5], [3.5]])
    plain, local = (EnsembleKalman("etkf", ensemble=10, radius=r).sample(posterior, 10, rng=Rng(2)).members for r in (None, 4.0))
    before = prior_draws(posterior, 10, rng=Rng(2).child("prior"))
    # out of reach of both sensors (twice the radius): to rounding of an eigenproblem
    torch.testing.assert_close(local[..., 13:], before[..., 13:], rtol=0, atol=1e-10)
    torch.testing.assert_close(local[..., 2:4].mean(0), torch.ones(1, 1, 2).double(), rtol=0, atol=0.3)
    assert float((plain.mean(0) - before.mean(0))[..., 13:].abs().max()) > 0.05


def test_weights_stand_in_the_order_of_the_readings() -> None:
    """Two fields, two frames of three, one reading missing: a weight of one where the sensor stands on the entry."""
    spec = FieldSpec(("a", "b"), ("1", "1"), CartesianGrid(6, extent=6.0, periodic=False), 1.0, 3)
    sensors = Sensors(spec, torch.tensor([[0.5], [4.5]]), frames=(0, 2))
    y = torch.zeros(2, 2, 2)
    y[1, 0, 0] = torch.nan
    o = Observation(sensors, y, std=1.0)
    taper = flat_taper((o,), 0.4)
    x = Rng(0).normal((1, *spec.shape), like=LIKE)
    predicted, _, _ = flat_readings((o,), x)
    assert taper.shape == (36, 7) and predicted.shape == (1, 7)
    for k in range(7):
        rows = taper[:, k].reshape(2, 3, 6)[0, 0].argmax()
        assert float((x[0, :, :, rows] - predicted[0, k]).abs().min()) < 1e-12


def test_entries_without_values_stay_without() -> None:
    posterior = line([[2.5]])
    mask = torch.ones(24, dtype=torch.bool)
    mask[10:14] = False
    spec = FieldSpec(("u",), ("1",), posterior.prior.spec.grid, 1.0, mask=mask)
    prior = plain_prior(posterior.prior.denoiser, spec, sampler=ExactLinear(), steps=2)
    ensemble = EnsembleKalman().sample(
        Posterior(prior, Observation(Sensors(spec, torch.tensor([[2.5]])), torch.ones(1, 1, 1), std=0.2)), 5, rng=Rng(0)
    )
    assert torch.equal(ensemble.members.isfinite().all(0)[0, 0], mask)


class Broken(BlackBox):
    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x) / 0


def test_bad_input() -> None:
    target = t4()
    posterior = target.posterior(sampler=ExactLinear(), steps=2)
    with pytest.raises(InputError, match="got 'ekf'"):
        EnsembleKalman("ekf")
    with pytest.raises(InputError, match="ensemble of 2 or more"):
        EnsembleKalman(ensemble=1)
    with pytest.raises(InputError, match="take 'etkf'"):
        EnsembleKalman("enkf", radius=1.0)
    with pytest.raises(InputError, match="1 to 5 members of an ensemble of 5, got 6"):
        EnsembleKalman(ensemble=5).sample(posterior, 6, rng=Rng(0))
    with pytest.raises(InputError, match="which have a place, got MatrixOperator"):
        EnsembleKalman(radius=1.0).sample(posterior, 2, rng=Rng(0))
    heavy = Observation(posterior.observations[0].operator, target.y, noise=StudentNoise(0.5))
    with pytest.raises(InputError, match="expected normal noise, independent or correlated, got StudentNoise, which has no Kalman update; take a w"):
        EnsembleKalman().sample(Posterior(posterior.prior, heavy), 2, rng=Rng(0))
    local = line([[2.5], [3.5]])
    turned = Observation(local.observations[0].operator, torch.ones(1, 1, 2), noise=CorrelatedNoise(torch.eye(2) + 1))
    with pytest.raises(InputError, match="localisation: expected independent noise, got CorrelatedNoise, under which readings are mixed"):
        EnsembleKalman(radius=1.0).sample(Posterior(local.prior, turned), 2, rng=Rng(0))
    far = Observation(MatrixOperator(target.matrix, target.window.shape), target.y + 500, std=0.5)
    with pytest.raises(InputError, match="expected readings in the prior's units"):
        EnsembleKalman().sample(Posterior(posterior.prior, far), 2, rng=Rng(0))
    with pytest.raises(Diverged, match="keep its input within its domain"):
        EnsembleKalman().sample(Posterior(posterior.prior, Observation(Broken(), target.y, std=0.5)), 2, rng=Rng(0))
