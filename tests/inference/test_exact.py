"""Closed forms against the fixed instances T1 to T6 of the method cards, brute force, quadrature and their own draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import FourierCovariance
from physdiff.diffusion.schedule import EDMSchedule, VPSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import (
    FieldTarget,
    FourierFilter,
    GaussianTarget,
    MixtureTarget,
    ar1_target,
    field_spectrum,
    plain_spec,
    separable_covariance,
)
from physdiff.inference.noise import GaussianNoise

LIKE = torch.zeros((), dtype=torch.float64)
# The published numbers have six decimals.
DIGITS = 1e-6


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def t1(y: float = 0.8) -> GaussianTarget:
    return GaussianTarget(d(0.0), d([0.5]), d([1.0]), d(y), d(1.0))


def t2() -> GaussianTarget:
    return GaussianTarget(d(0.0, 0.0), torch.diag(d(0.5, 0.5)), d([1.0, 0.4], [-0.2, 0.7]), d(0.8, -0.4), d(1.0, 1.0))


def t3(y: float = 0.2) -> MixtureTarget:
    stds = d([0.1, 0.2], [0.2, 0.1]).sqrt()
    return MixtureTarget(d(0.3, 0.7), d([-1.0, -1.0], [1.0, 1.0]), stds, d([1.0, 0.5]), d(y), d(0.5))


def close(value, expected, digits: float = DIGITS) -> None:
    torch.testing.assert_close(torch.as_tensor(value, dtype=torch.float64), expected, rtol=0, atol=digits)


def test_t1() -> None:
    close(t1().posterior_mean, d(0.266667))
    close(t1().posterior_covariance, d([0.333333]))
    close(t1().log_evidence, d(-1.335004)[0])


def test_t2() -> None:
    close(t2().posterior_mean, d(0.290621, -0.013419))
    close(t2().posterior_covariance, d([0.331731, -0.032547], [-0.032547, 0.380552]))
    close(t2().log_evidence, d(-2.456120)[0])


def test_t3() -> None:
    target = t3()
    close(target.posterior_weights, d(0.069466, 0.930534))
    close(target.posterior_means, d([-0.575, -0.575], [0.452632, 0.863158]))
    close(target.posterior_covariances, d([[0.075, -0.025], [-0.025, 0.175]], [[0.115789, -0.021053], [-0.021053, 0.094737]]))
    close(target.posterior_mean, d(0.381246, 0.763255))
    close(target.posterior_covariance, d([0.181218, 0.074205], [0.074205, 0.234008]))
    close(target.log_evidence, d(-2.610344)[0])


def test_t4() -> None:
    target = ar1_target(4, 0.9, seen=(0, 3), y=d(1.0, -1.0), std=0.5)
    close(target.posterior_mean, d(0.520154, 0.172745, -0.172745, -0.520154))
    close(target.posterior_covariance.diagonal(), d(0.174228, 0.253444, 0.253444, 0.174228))
    assert target.window.shape == (1, 4, 1)


def field(size: tuple[int, ...] = (3, 4)) -> FieldTarget:
    grid = CartesianGrid(size, extent=tuple(2 * math.pi * n / size[0] for n in size))
    spectrum = field_spectrum(grid, alpha=1.0, tau=1.5, std=1.0)
    decay = (-0.3 * torch.arange(math.prod(size), dtype=torch.float64).reshape(size)).exp()
    # equal at k and -k
    transfer = (decay + torch.roll(torch.flip(decay, tuple(range(len(size)))), (1,) * len(size), tuple(range(len(size))))) / 2
    return FieldTarget(FieldSpec(("u",), ("1",), grid, 1.0), spectrum, transfer, Rng(3).normal(size, like=LIKE), 0.2)


def test_t5_every_mode_against_the_matrices_it_diagonalises() -> None:
    target = field()
    shape, size = target.spec.shape, 12
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    covariance = FourierCovariance(target.spectrum.reshape(shape), 2)(unit).reshape(size, size)
    matrix = FourierFilter(target.transfer)(unit).reshape(size, size).T
    dense = GaussianTarget(torch.zeros(size).double(), covariance, matrix, target.y.flatten(), torch.full((size,), target.std, dtype=torch.float64))
    # twelve modes in float64
    torch.testing.assert_close(target.posterior_mean.flatten(), dense.posterior_mean, rtol=0, atol=1e-13)
    after = FourierCovariance(target.posterior_spectrum.reshape(shape), 2)(unit).reshape(size, size)
    torch.testing.assert_close(after, dense.posterior_covariance, rtol=0, atol=1e-13)
    assert math.isclose(target.log_evidence, dense.log_evidence, rel_tol=1e-12)


def test_t6_ratio_of_two_evidences() -> None:
    expected = torch.distributions.Normal(LIKE, LIKE + math.sqrt(1.5)).log_prob(d(0.8, -1.7)).diff()
    close(t1(-1.7).log_evidence - t1(0.8).log_evidence, expected[0], 1e-12)


def test_evidence_and_posterior_of_the_mixture_by_quadrature() -> None:
    """On a lattice of 401 x 401 the trapezoid rule is exact to rounding for densities that vanish smoothly at its edges."""
    target = t3()
    axis = torch.linspace(-5, 5, 401, dtype=torch.float64)
    x = torch.cartesian_prod(axis, axis)
    prior = sum(
        w * torch.distributions.Normal(m, s).log_prob(x).sum(1).exp() for w, m, s in zip(target.weights, target.means, target.stds, strict=True)
    )
    joint = prior * torch.distributions.Normal(x @ target.matrix[0], target.std[0]).log_prob(target.y[0]).exp() * (10 / 400) ** 2
    evidence = joint.sum()
    assert math.isclose(float(evidence.log()), target.log_evidence, rel_tol=1e-9)
    close(joint @ x / evidence, target.posterior_mean, 1e-9)


@pytest.mark.parametrize("target", [t2(), t3()], ids=["gaussian", "mixture"])
def test_exact_draws_have_the_moments(target) -> None:
    n = 20000
    x = target.draw(n, rng=Rng(0)).flatten(1)
    c = target.posterior_covariance
    # 4 standard errors of a mean; those of a variance are below sqrt(3/n) of it for laws with a kurtosis below 4
    assert bool(((x.mean(0) - target.posterior_mean).abs() <= 4 * (c.diagonal() / n).sqrt()).all())
    assert bool(((x.var(0) / c.diagonal() - 1).abs() <= 4 * math.sqrt(3 / n)).all())


@pytest.mark.parametrize("target", [t2(), t3()], ids=["gaussian", "mixture"])
def test_the_posterior_object_holds_the_same_problem(target) -> None:
    posterior = target.posterior(VPSchedule(), steps=7)
    x = Rng(1).normal((3, *target.window.shape), like=LIKE)
    expected = torch.distributions.Normal(x.flatten(1) @ target.matrix.T, target.std).log_prob(target.y).sum(1)
    torch.testing.assert_close(posterior.log_likelihood(x), expected, rtol=1e-12, atol=0)
    assert torch.equal(posterior.decode(x), x)
    assert posterior.prior.steps == 7 and isinstance(posterior.prior.denoiser.schedule, VPSchedule)


def test_posterior_denoiser_is_the_conditional_mean_given_both() -> None:
    """E[x_0 | x_t, y] by conditioning the joint vector (x_0, x_t, y)."""
    target, schedule, t = t2(), EDMSchedule(), torch.tensor(0.6, dtype=torch.float64)
    alpha, sigma = schedule(t)
    x_t = d([0.3, -1.2])
    both = torch.cat([alpha * torch.eye(2, dtype=torch.float64), target.matrix])
    noise = torch.diag(torch.cat([(sigma**2).expand(2), target.std**2]))
    gain = target.covariance @ both.T @ torch.linalg.inv(both @ target.covariance @ both.T + noise)
    expected = target.mean + gain @ (torch.cat([x_t[0], target.y]) - both @ target.mean)
    got = target.posterior_denoiser(schedule)(x_t.reshape(1, 1, 1, 2), t).flatten()
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_field_spectrum_has_the_formula_and_the_standard_deviation() -> None:
    grid = CartesianGrid((4, 6), extent=(1.0, 3.0))
    spectrum = field_spectrum(grid)
    assert spectrum[0, 0] == 0
    assert math.isclose(float(spectrum[1, 2]), ((2 * math.pi) ** 2 * (1 + (2 / 3) ** 2) + 9) ** -4, rel_tol=1e-12)
    # the variance of a point is the mean of the spectrum
    assert math.isclose(float(field_spectrum(grid, std=2.5).mean()), 6.25, rel_tol=1e-12)
    with pytest.raises(InputError, match="uniform periodic grid"):
        field_spectrum(CartesianGrid(4, periodic=False))


def test_separable_covariance_is_the_kronecker_product() -> None:
    a, b = (m @ m.T for m in (Rng(1).normal((3, 3), like=LIKE), Rng(2).normal((4, 4), like=LIKE)))
    unit = torch.eye(12, dtype=torch.float64).reshape(12, 1, 3, 4)
    torch.testing.assert_close(separable_covariance(a, b)(unit).reshape(12, 12), torch.kron(a, b), rtol=0, atol=1e-12)


def test_worded_errors() -> None:
    with pytest.raises(ShapeError, match="GaussianTarget: expected mean"):
        GaussianTarget(d(0.0), d([0.5]), d([1.0]), d(0.8, 0.3), d(1.0))
    with pytest.raises(ShapeError, match="plain_spec"):
        plain_spec((3,))
    assert isinstance(t1().posterior().observations[0].noise, GaussianNoise)
