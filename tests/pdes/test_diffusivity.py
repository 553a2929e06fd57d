"""Diffusivities by direction and as tensors: the whole term against a formula by hand, both parts, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.spectral import Spectral
from physdiff.pdes.diffusivity import check_diffusivity, constant_spread, gradient_flux, varying_spread

GRID = CartesianGrid((20, 32), extent=(1.5, 2.0))
KX, KY = math.pi, 2 * math.pi / 1.5
D = Spectral(GRID)
X, Y = D.coordinates
C = (torch.sin(KX * X + 2 * KY * Y) + 0.5 * torch.cos(2 * KX * X - KY * Y))[None]


def second(i, j):
    k, m = (KX, 2 * KY), (2 * KX, -KY)
    return (-k[i] * k[j] * torch.sin(KX * X + 2 * KY * Y) - 0.5 * m[i] * m[j] * torch.cos(2 * KX * X - KY * Y))[None]


def whole(K, t=0.3):
    part = varying_spread(K, C, D, t=t)
    return constant_spread(K, C, D) + (0 if part is None else part)


def test_constant_tensor_is_the_sum_over_second_derivatives():
    K = ((0.3, 0.1), (0.1, 0.2))
    wanted = 0.3 * second(0, 0) + 0.2 * second(1, 1) + 0.2 * second(0, 1)
    torch.testing.assert_close(whole(K), wanted)
    assert varying_spread(K, C, D, t=0.0) is None
    # finite differences of order 8 on 20 points: truncation
    torch.testing.assert_close(constant_spread(K, C, FiniteDifference(GRID, order=8)), wanted, rtol=1e-2, atol=2e-2)


def test_diagonal_takes_each_direction_by_its_own():
    torch.testing.assert_close(whole((0.3, 0.2)), 0.3 * second(0, 0) + 0.2 * second(1, 1))
    torch.testing.assert_close(whole((0.3, 0.2)), whole(((0.3, 0.0), (0.0, 0.2))))


def test_what_varies_is_apart_from_what_is_constant():
    varied = lambda x, y, t: 0.3 + 0.1 * torch.cos(KX * x) * t  # noqa: E731
    slope_x = (KX * torch.cos(KX * X + 2 * KY * Y) - KX * torch.sin(2 * KX * X - KY * Y))[None]
    wanted = (0.3 + 0.03 * torch.cos(KX * X)) * second(0, 0) - 0.03 * KX * torch.sin(KX * X) * slope_x
    torch.testing.assert_close(varying_spread((varied, 0.2), C, D, t=0.3), wanted)
    torch.testing.assert_close(constant_spread((varied, 0.2), C, D), 0.2 * second(1, 1))
    full = ((varied, 0.05), (0.05, 0.2))
    assert float(constant_spread(full, C, D).abs().max()) == 0
    torch.testing.assert_close(whole(full), wanted + 0.2 * second(1, 1) + 0.1 * second(0, 1))


def test_flux_is_the_matrix_times_the_slopes():
    slopes = D.grad(C)
    got = gradient_flux(((0.3, 0.1), (0.1, 0.2)), slopes, D, t=0.0)
    torch.testing.assert_close(got[0], 0.3 * slopes[0] + 0.1 * slopes[1])
    torch.testing.assert_close(got[1], 0.1 * slopes[0] + 0.2 * slopes[1])
    torch.testing.assert_close(gradient_flux((0.3, 0.2), slopes, D, t=0.0)[1], 0.2 * slopes[1])


def test_symbol_of_a_tensor_is_minus_k_K_k():
    K = ((0.3, 0.1), (0.1, 0.2))
    symbol = FourierSymbol(GRID).symbol(lambda u, D: {"c": constant_spread(K, u["c"], D)}, ("c",))["c"]
    kx, ky = 3 * KX, 2 * KY
    assert abs(complex(symbol[2, 3]) + 0.3 * kx**2 + 0.2 * ky**2 + 0.2 * kx * ky) < 1e-12 * 0.3 * kx**2


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (-0.1, InputError, "not negative"),
        ((0.1, -0.1), InputError, "along y"),
        ((0.1,), ShapeError, "expected 2 entries"),
        (((0.1, 0.2), (0.2,)), ShapeError, "2 rows of 2"),
        (((0.1, 0.02), (0.03, 0.1)), InputError, "symmetric"),
        (((0.1, 0.2), (0.2, 0.1)), InputError, "eigenvalues"),
        (((torch.tensor([0.3, 0.1]), 0.2), (0.2, 0.3)), InputError, "eigenvalues"),
        ((float("nan"), 0.1), InputError, "finite"),
    ],
)
def test_what_makes_no_diffusion_is_refused(value, error, message):
    with pytest.raises(error, match=message):
        check_diffusivity(value, 2, "diffusivity")


def test_what_does_is_taken():
    check_diffusivity(((0.1, 0.1), (0.1, 0.1)), 2, "diffusivity")  # none across the diagonal, and none backwards
    check_diffusivity(((torch.tensor([0.3, 0.5]), 0.2), (0.2, 0.3)), 2, "diffusivity")
