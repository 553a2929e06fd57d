"""Constraints: the published numbers, exact conditional laws, what Euclidean projection does instead, samplers and flows that end on a constraint."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import dense_covariance
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.constraints import ConstrainedDenoiser, condition_gaussian, constrain, constrained_flow, ensemble_covariance, project
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.exact import GaussianTarget, plain_prior, plain_spec
from physdiff.inference.guided import GuidedDenoiser, prior_covariance
from physdiff.inference.mapped import BlackBox, Mapped, MappedLinear, joined
from physdiff.inference.observation import MatrixOperator
from physdiff.inference.posterior import Posterior
from physdiff.inference.weighted_cells import block_means, grid_cells

LIKE = torch.zeros((), dtype=torch.float64)


def d(*values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def total(size: int) -> MatrixOperator:
    return MatrixOperator(torch.ones(1, size, dtype=torch.float64), (1, 1, size))


def covariance(size: int, seed: int = 1) -> torch.Tensor:
    a = Rng(seed).normal((size, size), like=LIKE)
    return a @ a.T + 0.1 * torch.eye(size)


def test_the_published_numbers_of_conservation() -> None:
    """posterior.md 6.5: a discretised integral with trapezoid weights."""
    m, s, g = d(1, 2, 3, 2, 1), torch.diag(d(0.1, 0.4, 0.9, 0.4, 0.1)), d([0.125, 0.25, 0.25, 0.25, 0.125])
    mean, left = condition_gaussian(m, s, g, value=d(2.3))
    torch.testing.assert_close(mean, d(1.034286, 2.274286, 3.617143, 2.274286, 1.034286), rtol=0, atol=1e-6)
    torch.testing.assert_close(left.diagonal(), d(0.098571, 0.308571, 0.437143, 0.308571, 0.098571), rtol=0, atol=1e-6)
    assert abs(float(g @ left @ g.T)) < 1e-15
    mean, _ = condition_gaussian(m, s, g, value=d(2.3), std=0.1)
    torch.testing.assert_close(mean, d(1.031414, 2.251309, 3.565445, 2.251309, 1.031414), rtol=0, atol=1e-6)
    assert float(g @ mean) == pytest.approx(2.274869, abs=1e-6)


def test_the_published_numbers_of_projection() -> None:
    """posterior.md 6.4: a plane in one step, and Gauss-Newton on a circle."""
    x = d(1, 2, 3).reshape(1, 1, 1, 3)
    torch.testing.assert_close(project(x, total(3), 3.0).flatten(), d(0, 1, 2), rtol=0, atol=1e-14)
    circle, start, seen = Mapped(lambda u: u.flatten(1).square().sum(1, keepdim=True)), d(2, 1).reshape(1, 1, 1, 2), []
    for steps, expected in enumerate((0.80, 0.089, 1.8e-3, 8.2e-7, 1.7e-13), 1):
        try:
            u = project(start, circle, 1.0, iterations=steps, tolerance=1e-11)
        except Diverged as error:
            seen.append(str(error))
            assert f"off by {expected:.2g} " in str(error) or f"off by {expected:.1g}" in str(error)
        else:
            torch.testing.assert_close(u.flatten(), d(0.894427, 0.447214), rtol=0, atol=1e-6)
            assert steps == 5 and abs(float(u.square().sum()) - 1) < 1e-12
    assert len(seen) == 4


def test_matherons_rule_is_conditioning_and_euclidean_projection_is_not() -> None:
    """An affine map of the draws: its matrix, column by column, gives the law exactly, without any draw."""
    c, g, b = covariance(5), Rng(2).normal((2, 5), like=LIKE), d(0.7, -1.2)
    operator, shape = MatrixOperator(g, (1, 1, 5)), (1, 1, 5)
    unit = torch.cat([torch.zeros(1, 5).double(), torch.eye(5).double()]).reshape(6, *shape)
    mean, left = condition_gaussian(torch.zeros(5), c, g, value=b)
    for metric in (dense_covariance(c), lambda v: (v.flatten(1) @ c).reshape(v.shape)):
        out = project(unit, operator, b, metric=metric).flatten(1)
        shift, matrix = out[0], (out[1:] - out[0]).T
        torch.testing.assert_close(shift, mean, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(matrix @ c @ matrix.T, left, rtol=1e-9, atol=1e-11)
    out = project(unit, operator, b).flatten(1)
    matrix = (out[1:] - out[0]).T
    keep = torch.eye(5).double() - g.T @ torch.linalg.solve(g @ g.T, g)
    torch.testing.assert_close(matrix @ c @ matrix.T, keep @ c @ keep, rtol=1e-9, atol=1e-11)
    assert float((keep @ c @ keep - left).norm() / left.norm()) > 0.1
    # the same where the covariance is a multiple of the identity
    torch.testing.assert_close(keep * 2, condition_gaussian(torch.zeros(5), 2 * torch.eye(5), g, value=b)[1], rtol=1e-10, atol=1e-12)


def test_soft_constraints_perturb_and_keep_the_posterior_law() -> None:
    """Mean and covariance of 20000 draws, within 4 standard errors, against condition_gaussian with noise."""
    c, g, b, n = covariance(3), d([1.0, 0.5, -0.5]), d(0.7), 20000
    draws = (Rng(3).normal((n, 3), like=LIKE) @ torch.linalg.cholesky(c).T).reshape(n, 1, 1, 3)
    out = project(draws, MatrixOperator(g, (1, 1, 3)), b, metric=dense_covariance(c), std=0.5, rng=Rng(4)).flatten(1)
    mean, left = condition_gaussian(torch.zeros(3), c, g, value=b, std=0.5)
    var = left.diagonal()
    assert bool(((out.mean(0) - mean).abs() <= 4 * (var / n).sqrt()).all())
    assert bool(((torch.cov(out.T) - left).abs() <= 4 * math.sqrt(2 / n) * (var[:, None] * var).sqrt()).all())


def test_mass_of_a_window_given_its_boundary() -> None:
    """A field on a line of which both ends and the mean are known: met to rounding, in single precision too; ends that contradict are refused."""
    spec = FieldSpec(("c",), ("kg m-3",), CartesianGrid((9, 8), periodic=False), 1.0, 2)
    ends = torch.zeros(spec.grid.shape, dtype=torch.bool)
    ends[[0, -1]] = True
    known = joined(grid_cells(spec, ends), block_means(spec, spec.grid.shape))
    assert isinstance(known, MappedLinear)
    value = torch.cat([torch.full((32,), 1.5), torch.tensor([2.0, 2.5])]).double()
    members = 2 + Rng(5).normal((40, *spec.shape), like=LIKE)
    for metric in (None, "ensemble"):
        out = constrain(Ensemble.equal(members.float()), known, value, metric=metric)
        assert out.members.dtype == torch.float32 and float(out.info["constraint_moved"]) > 0
        # single precision: 2 over 1.7e7; where no more members than constraints are there the ensemble cannot do it
        assert float((known(out.members.double()) - value).abs().max()) < 1e-6
    with pytest.raises(InputError, match="use more members, or the Euclidean metric"):
        constrain(Ensemble.equal(members[:5]), known, value)
    twice = joined(block_means(spec, spec.grid.shape), block_means(spec, spec.grid.shape))
    with pytest.raises(InputError, match="values contradict each other"):
        project(members, twice, d(1, 1, 2, 2))
    # a row that comes twice with one value does no harm
    torch.testing.assert_close(project(members, twice, 1.5), project(members, block_means(spec, spec.grid.shape), 1.5))


def test_the_ensembles_own_covariance() -> None:
    members = Rng(6).normal((7, 1, 2, 3), like=LIKE)
    matrix = torch.cov(members.flatten(1).T)
    v = Rng(7).normal((2, 1, 2, 3), like=LIKE)
    torch.testing.assert_close(ensemble_covariance(members)(v).flatten(1), v.flatten(1) @ matrix)
    weighted = Ensemble(members, torch.arange(7).double())
    with pytest.raises(InputError, match="use ensemble.resample"):
        constrain(weighted, total(6), 1.0)
    operator = MatrixOperator(torch.ones(1, 6), (1, 2, 3))
    kept = constrain(weighted, operator, 1.0, metric=None)
    assert torch.equal(kept.log_weights, weighted.log_weights) and float(kept.info["constraint_before"]) > 0
    torch.testing.assert_close(operator(kept.members), torch.ones(7, 1).double())


def target(size: int = 4) -> GaussianTarget:
    return GaussianTarget(torch.zeros(size).double(), covariance(size), Rng(8).normal((1, size), like=LIKE), d(0.5), d(0.3))


def test_any_sampler_ends_on_the_constraint() -> None:
    """Prior and posterior draws by a constrained denoiser; with C it is the denoiser of the conditional law in the limit of no noise."""
    posterior, operator = target().posterior(steps=12), total(4)
    guided = GuidedDenoiser(posterior, prior_covariance(posterior))
    times = timesteps(EDMSchedule(), 12)
    z = Rng(9).normal((5, 1, 1, 4), like=LIKE) * EDMSchedule().sigma(times[0])
    for denoiser in (posterior.prior.denoiser, guided):
        end = Heun().run(ConstrainedDenoiser(denoiser, posterior.decode, operator, value=2.0), z, times, rng=Rng(0))
        torch.testing.assert_close(operator(end), torch.full((5, 1), 2.0).double(), rtol=0, atol=1e-10)
        bent = Mapped(lambda x: x.flatten(1).square().sum(1, keepdim=True))
        end = Heun().run(ConstrainedDenoiser(denoiser, posterior.decode, bent, value=2.0, iterations=8), z, times, rng=Rng(0))
        torch.testing.assert_close(bent(end), torch.full((5, 1), 2.0).double(), rtol=0, atol=1e-8)
    with pytest.raises(InputError, match="got BlackBox"):
        ConstrainedDenoiser(guided, posterior.decode, BlackBox(lambda x: x.flatten(1)), value=0.0)


def test_a_constrained_flow_obeys_at_its_end_and_is_the_flow_where_nothing_is_asked() -> None:
    """Gaussian data N(mu, s^2) have the velocity in closed form; without a correction the end has their law, with one it lies on the plane."""
    mu, s = 1.5, 0.4

    def velocity(x, t):
        # E[x1 - z | x_t] for x_t = t x1 + (1 - t) z
        gain = (t * s**2 - (1 - t)) / (t**2 * s**2 + (1 - t) ** 2)
        return mu + gain * (x - t * mu)

    z = Rng(10).normal((4000, 1, 1, 3), like=LIKE)
    calls = []
    free = constrained_flow(velocity, z, lambda x: (calls.append(1), x)[1], steps=40)
    assert len(calls) == 40
    # every step from the noise: x_t is where the mean end would put it, so the spread shrinks; the mean does not move
    assert float((free.mean() - mu).abs()) < 4 * s / math.sqrt(12000)
    for options in ({}, {"mixes": 3}, {"mixes": 2, "refresh": 5, "rng": Rng(11)}):
        end = constrained_flow(velocity, z[:50], lambda x: project(x, total(3), 6.0), steps=10, **options)
        torch.testing.assert_close(end.flatten(1).sum(1), torch.full((50,), 6.0).double())
        assert float((end.mean() - 2.0).abs()) < 1e-12
    for wrong in ({"steps": 0}, {"mixes": 0}, {"refresh": 2}):
        with pytest.raises(InputError, match="constrained_flow: expected"):
            constrained_flow(velocity, z, lambda x: x, **wrong)
    with pytest.raises(Diverged, match="take more steps"):
        constrained_flow(lambda x, t: x / 0, z, lambda x: x)


def test_worded_errors() -> None:
    x = torch.zeros(2, 1, 1, 3, dtype=torch.float64)
    with pytest.raises(ShapeError, match=r"matrix \(k, d\) and value"):
        condition_gaussian(torch.zeros(3), torch.eye(2), torch.ones(1, 3), value=torch.ones(1))
    with pytest.raises(InputError, match="std: expected a non-negative"):
        condition_gaussian(torch.zeros(2), torch.eye(2), torch.ones(1, 2), value=torch.ones(1), std=-1.0)
    with pytest.raises(InputError, match="no spread along it"):
        condition_gaussian(torch.zeros(2), torch.diag(d(1, 0)), d([0.0, 1.0]), value=d(1.0))
    with pytest.raises(InputError, match="weight draws by it"):
        project(x, BlackBox(lambda z: z.flatten(1)), 0.0)
    with pytest.raises(InputError, match="that torch can differentiate"):
        project(x, Mapped(lambda z: z.detach().flatten(1)), 0.0)
    for operator, rng in ((total(3), None), (Mapped(lambda z: z.flatten(1)), Rng(0))):
        with pytest.raises(InputError, match="a linear operator and an rng"):
            project(x, operator, 0.0, std=0.1, rng=rng)
    with pytest.raises(InputError, match="two members or more"):
        ensemble_covariance(x[:1])
    with pytest.raises(InputError, match="metric 'ensemble', None or a covariance, got 'euclid'"):
        constrain(Ensemble.equal(x), total(3), 0.0, metric="euclid")
    assert isinstance(
        Posterior(
            plain_prior(GaussianDenoiser(EDMSchedule(), torch.zeros(1, 1, 3), dense_covariance(torch.eye(3))), plain_spec((1, 1, 3))),
            target(3).posterior().observations,
        ),
        Posterior,
    )
