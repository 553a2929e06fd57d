"""EnKG: exact on Gaussians by a black box, why fixed steps collapse, the fixed step against the gradient by hand, worded errors."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.ensemble_guided import EnsembleGuided, fixed_step
from physdiff.inference.exact import GaussianTarget
from physdiff.inference.mapped import BlackBox
from physdiff.inference.noise import CorrelatedNoise, StudentNoise
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior

LIKE = torch.zeros((), dtype=torch.float64)
A = torch.tensor([[1, 0.4], [-0.2, 0.7]], dtype=torch.float64)
Y = torch.tensor([0.8, -0.4], dtype=torch.float64)


def t2(std: float = 1.0) -> GaussianTarget:
    return GaussianTarget(torch.zeros(2).double(), 0.5 * torch.eye(2).double(), A, Y, torch.full((2,), std).double())


def boxed(target: GaussianTarget, steps: int = 20) -> Posterior:
    prior = target.posterior(EDMSchedule(sigma_max=20.0), steps=steps).prior
    return Posterior(prior, Observation(BlackBox(lambda x: x.flatten(1) @ A.T), Y, std=float(target.std[0])))


@pytest.mark.parametrize(("std", "updates"), [(1.0, 1), (0.1, 2)])
def test_the_posterior_of_a_gaussian_by_a_black_box(std, updates) -> None:
    """6 standard errors of 1000 members, as `EnsembleKalman`'s test, and what 16 steps of the flow do to a variance (5 %)."""
    target, n = t2(std), 1000
    run = EnsembleGuided(16, updates, max_batch=n).sample(boxed(target, 16), n, rng=Rng(1))
    x, c = run.members.flatten(1), target.posterior_covariance
    assert bool(((x.mean(0) - target.posterior_mean).abs() < 6 * (c.diagonal() / n).sqrt() + 0.02 * c.diagonal().sqrt()).all())
    root = torch.linalg.cholesky(c)
    found = torch.linalg.solve_triangular(root, torch.linalg.solve_triangular(root, torch.cov(x.T), upper=False).T, upper=False)
    assert float((found - torch.eye(2)).abs().max()) < 6 * math.sqrt(2 / n) + 0.07
    assert int(run.info["operator_calls"]) == 12 * updates


def test_fixed_steps_collapse_at_the_readings() -> None:
    """Published steps end where A x = y, without spread, for readings as blunt as the prior too: a tenth of the noise changes nothing."""
    ends = []
    for std in (1.0, 0.1):
        run = EnsembleGuided(24, 2, length=2.0).sample(boxed(t2(std)), 64, rng=Rng(1))
        assert float(run.info["contraction"]) < 0.01
        ends.append(run.members.flatten(1).mean(0))
    torch.testing.assert_close(ends[0] @ A.T, Y, rtol=0, atol=0.05)
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=1e-9)
    assert float((ends[0] - t2().posterior_mean).abs().max()) > 0.3


def test_a_fixed_step_goes_against_the_gradient_of_the_misfit() -> None:
    """For linear readings: C A^T R^-1 (A x - y), C the sample covariance with divisor N, of the length that the norm of c gives."""
    x, y, std = Rng(0).normal((7, 2), like=LIKE), torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0]).double()
    predicted = x @ A.T
    c = ((predicted - y) / std) @ ((predicted - predicted.mean(0)) / std).T / 7
    covariance = (x - x.mean(0)).T @ (x - x.mean(0)) / 7
    wanted = x - 0.3 / c.norm() * (predicted - y) / std**2 @ A @ covariance
    torch.testing.assert_close(fixed_step(x, predicted, y, std=std, length=0.3), wanted, rtol=1e-12, atol=1e-12)
    assert torch.equal(fixed_step(x, torch.zeros(7, 2), torch.zeros(2), std=std, length=1.0), x)


def test_bad_input() -> None:
    posterior = boxed(t2(), 8)
    with pytest.raises(InputError, match="EnsembleGuided length"):
        EnsembleGuided(length=0.0)
    with pytest.raises(InputError, match="got 0, 8, None and None"):
        EnsembleGuided(updates=0)
    with pytest.raises(InputError, match="1 to 4 members of an ensemble of 4, got 5"):
        EnsembleGuided(ensemble=4).sample(posterior, 5, rng=Rng(0))
    with pytest.raises(Diverged, match="keep the operator within its domain"):
        broken = BlackBox(lambda x: x.flatten(1) / 0)
        EnsembleGuided().sample(Posterior(posterior.prior, Observation(broken, Y, std=0.1)), 4, rng=Rng(0))
    with pytest.raises(InputError, match="expected normal noise, independent or correlated, got StudentNoise"):
        EnsembleGuided().sample(Posterior(posterior.prior, Observation(MatrixOperator(A, (1, 1, 2)), Y, noise=StudentNoise(1.0))), 4, rng=Rng(0))


def test_correlated_noise() -> None:
    """The same readings, their noise turned by hand beforehand, give the same members."""
    target = t2()
    c = torch.tensor([[1.0, 0.6], [0.6, 0.8]], dtype=torch.float64)
    values, vectors = torch.linalg.eigh(c)
    prior = boxed(target).prior
    one = Observation(MatrixOperator(A, (1, 1, 2)), Y, noise=CorrelatedNoise(c))
    other = Observation(MatrixOperator(vectors.T @ A, (1, 1, 2)), vectors.T @ Y, std=values.sqrt())
    a, b = (EnsembleGuided(8).sample(Posterior(prior, o), 64, rng=Rng(0)).members for o in (one, other))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
