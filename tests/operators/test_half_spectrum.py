from __future__ import annotations

import itertools
import math

import pytest
import torch

from physdiff.base.errors import ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.half_spectrum import HalfSpectrum
from tests.operators.fields import GRIDS, relative


@pytest.mark.parametrize("ndim", GRIDS)
def test_multipliers_equal_a_loop_over_waves(ndim):
    grid = GRIDS[ndim]
    half = HalfSpectrum(grid, "test")
    like = torch.zeros((), dtype=torch.float64)
    ones = torch.ones(half.shape, dtype=torch.complex128)
    laplacian, inverse, resolved = half.laplacian(like), half.inverse_laplacian(like), half.resolved(like)
    slopes = [half.derivative(i, 1, like) * ones for i in range(ndim)]
    for index in itertools.product(*(range(n) for n in half.shape)):
        numbers = [j if 2 * j <= n else j - n for j, n in zip(index, grid.shape, strict=True)]
        k = [2 * math.pi * m / length for m, length in zip(numbers, grid.extent, strict=True)]
        square = sum(v * v for v in k)
        assert float(laplacian[index]) == pytest.approx(-square, rel=1e-14)
        assert float(inverse[index]) == pytest.approx(-1 / square if square else 0.0, rel=1e-14)
        assert float(resolved[index]) == float(all(3 * abs(m) < n for m, n in zip(numbers, grid.shape, strict=True)))
        for direction in range(ndim):
            axis = ndim - 1 - direction
            shortest = 2 * abs(numbers[axis]) == grid.shape[axis]
            assert complex(slopes[direction][index]) == pytest.approx(0.0 if shortest else 1j * k[axis], rel=1e-14)


@pytest.mark.parametrize("ndim", GRIDS)
def test_inverse_undoes_forward(ndim):
    grid = GRIDS[ndim]
    half = HalfSpectrum(grid, "test")
    f = torch.randn(2, 3, *grid.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert half.forward(f).shape == (2, 3, *half.shape)
    assert relative(half.inverse(half.forward(f)), f) < 1e-14


@pytest.mark.parametrize("ndim", GRIDS)
def test_symmetric_drops_what_no_real_field_has(ndim):
    grid = GRIDS[ndim]
    half = HalfSpectrum(grid, "test")
    generator = torch.Generator().manual_seed(4)
    f = torch.randn(2, *grid.shape, generator=generator, dtype=torch.float64)
    amplitudes = half.forward(f)
    assert relative(half.symmetric(amplitudes), amplitudes) < 1e-14
    noisy = torch.randn(2, *half.shape, generator=generator, dtype=torch.complex128)
    # the transform back and forth is the same projection
    assert relative(half.symmetric(noisy), half.forward(half.inverse(noisy))) < 1e-13
    assert relative(half.symmetric(noisy), noisy) > 0.1


def test_multipliers_are_made_once_per_precision():
    half = HalfSpectrum(GRIDS[2], "test")
    double, single = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float32)
    assert half.laplacian(double) is half.laplacian(double.to(torch.complex128))
    assert half.laplacian(single).dtype == torch.float32
    assert half.derivative(0, 1, single).dtype == torch.complex64
    # rounded from float64, not computed in float32
    assert torch.equal(half.laplacian(single), half.laplacian(double).float())


def test_projection_leaves_nothing_along_the_wave():
    half = HalfSpectrum(GRIDS[3], "test")
    generator = torch.Generator().manual_seed(1)
    v = [torch.randn(half.shape, generator=generator, dtype=torch.complex128) for _ in range(3)]
    p = half.project(v)
    along = sum(half.derivative(i, 1, v[0]) * c for i, c in enumerate(p))
    before = sum(half.derivative(i, 1, v[0]) * c for i, c in enumerate(v))
    assert along.abs().max() < 1e-13 * before.abs().max()
    # orthogonal: what is taken away has no part in what stays
    inner = sum(((a - b) * b.conj()).sum() for a, b in zip(v, p, strict=True))
    assert abs(complex(inner)) < 1e-12 * float(sum((c.abs() ** 2).sum() for c in v))


def test_refusals():
    with pytest.raises(UnsupportedOperator, match="test cannot give `grad`.*but z, x of"):
        HalfSpectrum(CartesianGrid((4, 5, 6), periodic=(False, True, False)), "test")
    half = HalfSpectrum(GRIDS[2], "test")
    with pytest.raises(ShapeError, match=r"amplitudes \(\.\.\., \(20, 17\)\)"):
        half.inverse(torch.zeros(20, 33, dtype=torch.complex128))
