"""Exact solutions of diffusing particles: moments, limits, equilibria, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.exact_diffusion import OrnsteinUhlenbeck, double_well, double_well_drift, gibbs_density, kramers_rate

LINE = OrnsteinUhlenbeck(((1.3,),), (0.4,), (0.9,), ((0.09,),), centre=(0.2,))
PLANE = OrnsteinUhlenbeck(((1.0, -1.5), (0.6, 0.8)), (0.3, 0.15), (0.8, -0.4), ((0.1, 0.03), (0.03, 0.08)))
LIKE = torch.empty((), dtype=torch.float64)


def test_one_dimension_is_the_textbook_formula():
    t = 0.7
    mean, covariance = LINE.moments(t, LIKE)
    assert abs(float(mean) - (0.2 + 0.7 * math.exp(-1.3 * t))) < 1e-15
    assert abs(float(covariance) - (0.4 / 1.3 + (0.09 - 0.4 / 1.3) * math.exp(-2.6 * t))) < 1e-15


def test_moments_obey_their_equations():
    # d mean/dt = -Theta mean, d Sigma/dt = -Theta Sigma - Sigma Theta^T + 2 diag(D), by autograd in t
    theta, spread = torch.tensor(PLANE.rates, dtype=torch.float64), torch.diag(torch.tensor(PLANE.diffusion, dtype=torch.float64))
    t = torch.tensor(0.4, dtype=torch.float64)
    mean, covariance = PLANE.moments(t, LIKE)
    slope, growth = torch.autograd.functional.jacobian(lambda s: PLANE.moments(s, LIKE), t)
    torch.testing.assert_close(slope, -theta @ mean)
    torch.testing.assert_close(growth, -theta @ covariance - covariance @ theta.mT + 2 * spread)


def test_density_has_its_moments_and_starts_as_told():
    grid = CartesianGrid((120, 150), extent=(8.0, 9.0), origin=(-4.0, -4.5))
    x, y = grid.coordinates()
    area = grid.weights() * 72.0
    for t in (0.0, 0.5, 50.0):
        p = PLANE.density(x, y, t)
        mean, covariance = PLANE.moments(t, LIKE)
        # sums of a smooth function that vanishes at the ends are integrals to rounding
        torch.testing.assert_close((p * area).sum(), torch.ones_like(LIKE))
        torch.testing.assert_close((p * area * x).sum(), mean[0], rtol=0, atol=1e-12)
        torch.testing.assert_close((p * area * (x - mean[0]) * (y - mean[1])).sum(), covariance[0, 1], rtol=0, atol=1e-12)
    torch.testing.assert_close(PLANE.moments(0.0, LIKE)[1], torch.tensor(PLANE.covariance, dtype=torch.float64))
    torch.testing.assert_close(PLANE.moments(50.0, LIKE)[1], PLANE.steady_covariance())


def test_times_broadcast_against_points():
    x, t = torch.linspace(-1, 1, 5, dtype=torch.float64), torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)[:, None]
    together = LINE.density(x, t)
    assert together.shape == (3, 5)
    for row, time in zip(together, (0.0, 0.3, 1.0), strict=True):
        torch.testing.assert_close(row, LINE.density(x, time))


def test_gibbs_density_of_a_parabola_is_the_steady_gaussian():
    grid = CartesianGrid(200, extent=8.0, origin=-3.8, periodic=False)
    (x,) = grid.coordinates()
    got = gibbs_density(lambda x: 1.3 * (x - 0.2) ** 2 / 2, grid, diffusion=0.4)
    torch.testing.assert_close(got, LINE.density(x, 60.0))


def test_double_well():
    x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(torch.autograd.grad(double_well(x).sum(), x)[0], -double_well_drift(x.detach(), 0.3))
    # twice the rate at D = 0.05, 0.1, 0.2 as the methods card gives it, four digits
    for d, value in ((0.05, 3.033e-3), (0.1, 3.695e-2), (0.2, 0.12897)):
        assert abs(2 * kramers_rate(d) / value - 1) < 2e-4


def test_bad_processes_are_refused_in_words():
    with pytest.raises(InputError, match="eigenvalues have positive real parts"):
        OrnsteinUhlenbeck(((-1.0,),), (0.4,), (0.0,), ((1.0,),))
    with pytest.raises(InputError, match="symmetric positive definite"):
        OrnsteinUhlenbeck(((1.0,),), (0.4,), (0.0,), ((0.0,),))
    with pytest.raises(ShapeError, match="expected 2 x 2 rates"):
        OrnsteinUhlenbeck(((1.0, 0.0),), (0.4, 0.1), (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)))
    with pytest.raises(InputError, match="diffusion along x: expected values that are not negative"):
        OrnsteinUhlenbeck(((1.0,),), (-0.4,), (0.0,), ((1.0,),))
    with pytest.raises(ShapeError, match="expected 2 coordinate tensors and the time"):
        PLANE.density(torch.zeros(3, dtype=torch.float64), 0.0)
