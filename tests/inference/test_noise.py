"""Log densities against torch.distributions and scipy, moments of draws, missing readings and their gradients, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.noise import CorrelatedNoise, GaussianNoise, PoissonNoise, StudentNoise, fitted_to

LIKE = torch.zeros((), dtype=torch.float64)
RESIDUAL = Rng(1).normal((3, 2, 4), like=LIKE)


@pytest.mark.parametrize("std", [0.3, torch.tensor([0.1, 1.0, 2.0, 5.0]), torch.linspace(0.1, 0.8, 8).reshape(2, 4)], ids=["one", "row", "each"])
def test_log_prob_is_that_of_torch(std) -> None:
    scale = torch.as_tensor(std, dtype=torch.float64).expand(2, 4)
    expected = torch.distributions.Normal(0.0, scale).log_prob(RESIDUAL).sum((1, 2))
    torch.testing.assert_close(GaussianNoise(std).log_prob(RESIDUAL), expected, rtol=1e-14, atol=0)


def test_extra_variance_adds_to_the_noise() -> None:
    extra = Rng(2).uniform((3, 2, 4), like=LIKE)
    expected = torch.distributions.Normal(0.0, (0.25 + extra).sqrt()).log_prob(RESIDUAL).sum((1, 2))
    torch.testing.assert_close(GaussianNoise(0.5).log_prob(RESIDUAL, extra), expected, rtol=1e-14, atol=0)


def test_missing_readings_count_nothing_and_give_no_gradient() -> None:
    x = RESIDUAL.clone().requires_grad_()
    gaps = torch.zeros(2, 4, dtype=torch.bool)
    gaps[0, 1] = gaps[1, 3] = True
    y = torch.where(gaps, torch.nan, 0.0).double()
    value = GaussianNoise(0.5).log_prob(y - x)
    dense = torch.distributions.Normal(0.0, LIKE + 0.5).log_prob(RESIDUAL)
    torch.testing.assert_close(value, dense[:, ~gaps].sum(1), rtol=1e-14, atol=0)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(gradient, torch.where(gaps, 0.0, -RESIDUAL / 0.25), rtol=1e-14, atol=0)


def test_sums_in_float64_whatever_comes() -> None:
    many = torch.full((1, 10**6), 0.1)
    # float32 addition of a million equal terms would be off by some 1e-3 of the sum
    expected = 10**6 * torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor(0.1, dtype=torch.float32).double())
    torch.testing.assert_close(GaussianNoise(1.0).log_prob(many)[0], expected.double(), rtol=1e-9, atol=0)


@pytest.mark.parametrize("std", [0.0, -1.0, float("nan"), float("inf"), torch.tensor([1.0, 0.0])])
def test_std_must_be_positive(std) -> None:
    with pytest.raises(InputError, match="expected positive finite standard deviations, got"):
        GaussianNoise(std)


def test_axes_of_length_one_may_be_left_out() -> None:
    like = torch.empty(2, 1, 5)
    assert torch.equal(GaussianNoise(torch.arange(1, 11).reshape(2, 5)).variance(like), torch.arange(1, 11).double().reshape(2, 1, 5) ** 2)
    with pytest.raises(ShapeError, match=r"std: expected shape \(2, 1, 5\)"):
        GaussianNoise(torch.ones(7)).variance(like)
    with pytest.raises(ShapeError, match="expected shape"):
        fitted_to(torch.ones(5), (2, 5), "y")


def test_it_can_be_saved() -> None:
    noise = build(describe(GaussianNoise(torch.tensor([0.5, 2.0]))))
    assert torch.equal(noise.std, torch.tensor([0.5, 2.0], dtype=torch.float64))


def spread_out(n: int, seed: int = 3) -> torch.Tensor:
    """A covariance of eigenvalues from 0.1 on."""
    a = Rng(seed).normal((n, n), like=LIKE)
    return a @ a.T + 0.1 * torch.eye(n)


def test_correlated_noise_is_that_of_scipy_block_by_block() -> None:
    c, std = spread_out(4), torch.tensor([[0.5], [2.0]]).double()
    value = CorrelatedNoise(c, std).log_prob(RESIDUAL)
    rows = [stats.multivariate_normal(cov=c * s**2).logpdf(RESIDUAL[:, i]) for i, s in enumerate((0.5, 2.0))]
    torch.testing.assert_close(value, torch.as_tensor(sum(rows)), rtol=1e-11, atol=0)
    # all readings together, two by four of them
    whole = spread_out(8)
    expected = stats.multivariate_normal(cov=whole).logpdf(RESIDUAL.flatten(1))
    torch.testing.assert_close(CorrelatedNoise(whole).log_prob(RESIDUAL), torch.as_tensor(expected), rtol=1e-11, atol=0)
    # a diagonal one is independent noise
    one = CorrelatedNoise(torch.diag(torch.arange(1, 5).double() ** 2)).log_prob(RESIDUAL)
    torch.testing.assert_close(one, GaussianNoise(torch.arange(1, 5).double()).log_prob(RESIDUAL), rtol=1e-12, atol=0)


def test_correlated_noise_with_gaps_and_extra_variance_is_the_marginal_law() -> None:
    """Every sample with gaps of its own; the law of what is left has the covariance cut to it."""
    c, std, extra = spread_out(4), torch.linspace(0.5, 2, 8).reshape(2, 4).double(), Rng(4).uniform((3, 2, 4), like=LIKE)
    r = RESIDUAL.clone()
    r[0, 0, 1] = r[1, 1] = r[2, 1, 3] = torch.nan
    for more in (None, extra):
        value = CorrelatedNoise(c, std).log_prob(r, more)
        for b in range(3):
            total = 0.0
            for i in range(2):
                seen = r[b, i].isfinite()
                cov = std[i, :, None] * c * std[i] + torch.diag(extra[b, i] if more is not None else torch.zeros(4).double())
                total += stats.multivariate_normal(cov=cov[seen][:, seen]).logpdf(r[b, i, seen]) if bool(seen.any()) else 0.0
            assert float(value[b]) == pytest.approx(float(total), rel=1e-10)
    x = RESIDUAL.clone().requires_grad_()
    y = torch.where(r[:1].isnan(), torch.nan, 0.0)
    assert torch.autograd.gradcheck(lambda z: CorrelatedNoise(c, std).log_prob(y - z), (x,))


def test_decorrelated_residuals_have_the_law_of_the_correlated_ones() -> None:
    """An orthogonal map: products with R^-1 and the determinant are kept, and single precision stays so."""
    seen = torch.tensor([[True, True, False, True], [False, True, True, True]])
    for noise in (GaussianNoise(torch.linspace(0.1, 0.8, 8).reshape(2, 4)), CorrelatedNoise(spread_out(4), 0.3)):
        turned, variance = noise.decorrelated(RESIDUAL, seen)
        assert turned.shape == (3, 6) and variance.dtype == torch.float64
        expected = noise.log_prob(torch.where(seen, RESIDUAL, torch.nan))
        torch.testing.assert_close(torch.distributions.Normal(0.0, variance.sqrt()).log_prob(turned).sum(1), expected, rtol=1e-11, atol=0)
        torch.testing.assert_close(turned.square().sum(1), (RESIDUAL * seen).square().flatten(1).sum(1), rtol=1e-12, atol=0)
        assert noise.decorrelated(RESIDUAL.float(), seen)[0].dtype == torch.float32
        # the diagonal of the covariance
        torch.testing.assert_close(noise.variance(RESIDUAL[0]), noise.std.expand(2, 4) ** 2 * getattr(noise, "covariance", torch.eye(4)).diagonal())


def test_errors_of_sensors_fall_off_with_distance() -> None:
    grid = LatLonGrid(torch.linspace(58, 50, 17), torch.linspace(-10, 2, 25))
    places = torch.tensor([[0.0, 51.0], [0.0, 52.0], [-5.0, 55.0]])
    noise = CorrelatedNoise.by_distance(grid, places, std=0.5, length=100e3, share=0.8)
    degree = math.pi / 180 * grid.radius
    assert float(noise.covariance[0, 1]) == pytest.approx(0.8 * math.exp(-degree / 100e3), rel=1e-9)
    assert float(noise.covariance[1, 1]) == 1.0 and float(noise.variance(torch.empty(3))[1]) == 0.25
    with pytest.raises(InputError, match="drop a reading that comes twice"):
        CorrelatedNoise.by_distance(grid, places[[0, 0]], std=0.5, length=100e3)
    for wrong in ({"length": -1.0}, {"length": 1.0, "share": 1.5}):
        with pytest.raises(InputError, match="expected a"):
            CorrelatedNoise.by_distance(grid, places, std=0.5, **wrong)


@pytest.mark.parametrize("dof", [1.0, 4.0, 200.0])
def test_student_noise_is_that_of_scipy(dof) -> None:
    scale = torch.linspace(0.1, 0.8, 8).reshape(2, 4).double()
    expected = torch.as_tensor(stats.t.logpdf(RESIDUAL, dof, scale=scale)).sum((1, 2))
    torch.testing.assert_close(StudentNoise(scale, dof).log_prob(RESIDUAL), expected, rtol=1e-12, atol=0)
    extra = torch.tensor(0.3, dtype=torch.float64)
    wider = torch.as_tensor(stats.t.logpdf(RESIDUAL, dof, scale=(scale**2 + 0.3).sqrt())).sum((1, 2))
    torch.testing.assert_close(StudentNoise(scale, dof).log_prob(RESIDUAL, extra), wider, rtol=1e-12, atol=0)
    expected = scale**2 * (dof / (dof - 2) if dof > 2 else 1.0)
    torch.testing.assert_close(StudentNoise(scale, dof).variance(RESIDUAL[0]), expected)


def test_counts_have_the_law_of_scipy_and_negative_expectations_are_impossible() -> None:
    y = torch.tensor([0.0, 3.0, torch.nan, 12.0, 0.0]).double()
    rate = torch.tensor([[0.5, 2.0, 1.0, 15.0, 0.0], [0.1, 3.0, torch.nan, 9.0, 0.2]]).double()
    value = PoissonNoise().log_likelihood(y, rate)
    for b in range(2):
        expected = sum(stats.poisson.logpmf(float(y[i]), float(rate[b, i])) for i in (0, 1, 3, 4))
        assert float(value[b]) == pytest.approx(expected, rel=1e-12)
    assert float(PoissonNoise().log_likelihood(y, rate - 0.3)[0]) == -math.inf
    assert float(PoissonNoise().log_likelihood(y[1:2], rate[:1, 4:])[0]) == -math.inf
    with pytest.raises(InputError, match="use log_likelihood"):
        PoissonNoise().log_prob(rate)


def test_counts_are_continued_for_states_on_their_way() -> None:
    """The law itself from max(y, 1)/2 on; below a parabola of the same value and slope there, which has a top and no hole."""
    zero, rate = torch.zeros(()).double(), torch.linspace(-20, 20, 4001, dtype=torch.float64)[:, None].requires_grad_()
    for y in (0.0, 1.0, 7.0):
        count, edge = torch.tensor([y]).double(), max(y, 1.0) / 2
        value = PoissonNoise().log_likelihood(count, rate, zero)
        (slope,) = torch.autograd.grad(value.sum(), rate)
        value, law = value.detach(), torch.as_tensor(stats.poisson.logpmf(y, rate.detach().clamp_min(1e-9)))[:, 0]
        above = rate[:, 0] >= edge
        torch.testing.assert_close(value[above], law[above], rtol=1e-10, atol=1e-12)
        assert bool(value.isfinite().all()) and float(value.diff().abs().max()) < 1
        # slope steps of a spacing of 0.01 times a curvature up to 4
        assert float(slope[:, 0].diff().abs().max()) < 0.05
        assert bool((value.diff()[:1000] > 0).all())
        wide = PoissonNoise().log_likelihood(count, rate.detach(), torch.tensor(max(y, 1.0)).double())
        torch.testing.assert_close(wide, value / 2)


def test_draws_have_the_moments_of_their_law() -> None:
    """4 standard errors, of the mean s/sqrt(n) and of the covariance of normal numbers sqrt(2/n) of their variances."""
    n, predicted, c = 20000, torch.tensor([3.0, 10.0, 0.5]).double(), spread_out(3)
    many = predicted.expand(n, 3)
    draw = CorrelatedNoise(c, 0.5).sample(many, rng=Rng(1)) - predicted
    scale = c.diagonal() / 4
    assert bool((torch.cov(draw.T) - c / 4).abs().le(4 * math.sqrt(2 / n) * (scale[:, None] * scale).sqrt()).all())
    for noise, variance in ((GaussianNoise(0.5), 0.25), (StudentNoise(0.5, 6.0), 0.375), (PoissonNoise(), predicted)):
        draw = noise.sample(many, rng=Rng(2))
        variance = torch.as_tensor(variance).double().expand(3)
        assert bool(((draw.mean(0) - predicted).abs() <= 4 * (variance / n).sqrt()).all())
        # Student's fourth moment with 6 degrees is 6 variances squared, a Poisson number's 3 and 1/rate
        assert bool(((draw.var(0) / variance - 1).abs() <= 4 * math.sqrt(6 / n)).all())
        # of counts at least one, as a scale
        torch.testing.assert_close(noise.variance(predicted)[:2], variance[:2])
    assert torch.equal(PoissonNoise().sample(many, rng=Rng(3)), PoissonNoise().sample(many, rng=Rng(3)).round())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: CorrelatedNoise(torch.ones(2, 2)), "positive definite covariance, got eigenvalues"),
        (lambda: CorrelatedNoise(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), "symmetric finite covariance"),
        (lambda: CorrelatedNoise(torch.ones(2, 3)), "symmetric finite covariance"),
        (lambda: CorrelatedNoise(torch.eye(2), 0.0), "CorrelatedNoise: expected positive finite standard deviations, got 0"),
        (lambda: StudentNoise(-1.0), "StudentNoise: expected positive finite scales, got -1"),
        (lambda: StudentNoise(1.0, 0.0), "degrees of freedom, got 0"),
        (lambda: PoissonNoise().check(torch.tensor([1.0, -2.0])), r"expected counts 0, 1, 2, ..., got -2"),
        (lambda: PoissonNoise().check(torch.tensor([1.0, torch.nan, 2.5])), r"got 2.5; use another noise law"),
        (lambda: PoissonNoise().sample(torch.tensor([-0.5]), rng=Rng(0)), "expected expectations >= 0, got -0.5"),
    ],
)
def test_worded_errors(make, said) -> None:
    with pytest.raises(InputError, match=said):
        make()


def test_readings_that_do_not_fit_a_covariance_are_refused() -> None:
    with pytest.raises(ShapeError, match="a last axis of 3, or 3 in all, got"):
        CorrelatedNoise(torch.eye(3)).log_prob(RESIDUAL)
    with pytest.raises(ShapeError, match="flatten them first"):
        CorrelatedNoise(torch.eye(8)).sample(RESIDUAL, rng=Rng(0))


def test_the_others_can_be_saved() -> None:
    for noise in (CorrelatedNoise(spread_out(4), 0.5), StudentNoise(0.5, 3.0)):
        assert torch.equal(build(describe(noise)).log_prob(RESIDUAL), noise.log_prob(RESIDUAL))
    assert isinstance(build(describe(PoissonNoise())), PoissonNoise)
