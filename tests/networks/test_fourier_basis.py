"""The low modes of a field: brute force by the fast transform, exact fields, every length."""

from __future__ import annotations

import itertools

import pytest
import torch

from physdiff.networks import fourier_basis as module
from physdiff.networks.fourier_basis import fourier_basis, line_product, wide_product

EXACT = {"rtol": 1e-11, "atol": 1e-11}  # sums of some thousand products of size one in float64


def brute(v: torch.Tensor, modes: tuple[int, ...]) -> torch.Tensor:
    """The field of the kept modes, by full transforms and a mask."""
    axes = tuple(range(1, v.ndim - 1))
    full = torch.fft.rfftn(v, dim=axes)
    keep = torch.zeros(full.shape[1:-1], dtype=torch.bool)
    ranges = []
    for axis, (n, m) in enumerate(zip(v.shape[1:-1], modes, strict=True)):
        last, top = axis == len(modes) - 1, (n - 1) // 2
        ranges.append(range(min(m, top) + 1) if last else range(-min(m, top), min(m - 1, top) + 1))
    for k in itertools.product(*ranges):
        keep[k] = True
    return torch.fft.irfftn(full * keep[..., None], s=v.shape[1:-1], dim=axes)


@pytest.mark.parametrize(("axes", "modes"), [((16,), (4,)), ((7,), (9,)), ((1,), (2,)), ((12, 9), (3, 2)), ((8, 8), (4, 4)), ((5, 6, 8), (2, 9, 3))])
def test_analysis_and_synthesis_are_the_fast_transforms(axes, modes):
    torch.manual_seed(0)
    v = torch.randn(3, *axes, 2, dtype=torch.float64)
    basis = fourier_basis(axes, modes, like=v)
    z = basis.analyse(v)
    assert z.shape == (3, 2, *basis.modes, 2)
    torch.testing.assert_close(basis.synthesise(z), brute(v, modes), **EXACT)
    torch.testing.assert_close(z[(slice(None), 0, *basis.mean)], v.flatten(1, -2).mean(1), **EXACT)


def test_a_finer_grid_has_the_same_coefficients_and_more_points_of_the_same_field():
    torch.manual_seed(0)
    coarse, fine = (fourier_basis((n, 2 * n), (3, 4), like=torch.zeros((), dtype=torch.float64)) for n in (9, 27))
    z = torch.randn(2, 2, *coarse.modes, 3, dtype=torch.float64)
    torch.testing.assert_close(fine.synthesise(z)[:, ::3, ::3], coarse.synthesise(z), **EXACT)
    v = coarse.synthesise(z)
    torch.testing.assert_close(coarse.analyse(v), fine.analyse(fine.synthesise(z)), **EXACT)


def test_a_coarse_grid_uses_the_rows_of_the_weights_that_it_can():
    basis = fourier_basis((7, 6), (5, 5), like=torch.zeros(()))
    assert basis.kept == (slice(2, 9), slice(0, 3)) and basis.modes == (7, 3)  # -3..3 of -5..4, 0..2 of 0..5
    assert basis.mean == (3, 0) and basis.double.dtype == torch.float32


@pytest.mark.parametrize("large", [1, 10**6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_with_lines_whichever_way_they_are_made(large, dtype, monkeypatch):
    monkeypatch.setattr(module, "_LARGE", large)
    torch.manual_seed(0)
    matrix, lines, onto = torch.randn(34, 40, dtype=dtype), torch.randn(9, 40, 16, dtype=dtype), torch.randn(9, 34, 16, dtype=dtype)
    out, close = torch.empty_like(onto), EXACT if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}  # sums of 40 products
    line_product(matrix, lines, out=out)
    torch.testing.assert_close(out, matrix @ lines, **close)
    line_product(matrix, lines, out=out, onto=onto)
    torch.testing.assert_close(out, onto + matrix @ lines, **close)
    line_product(matrix, lines, out=onto, onto=onto)
    torch.testing.assert_close(onto, out, **close)


@pytest.mark.parametrize("columns", [3, 300])
def test_wide_products(columns):
    torch.manual_seed(0)
    matrix, x = torch.randn(12, 20), torch.randn(4, 20, columns)
    torch.testing.assert_close(wide_product(matrix, x), matrix @ x, rtol=1e-4, atol=1e-4)


def test_outward_is_the_transpose_of_inward():
    torch.manual_seed(0)
    basis = fourier_basis((6, 5, 8), (2, 2, 3), like=torch.zeros((), dtype=torch.float64))
    lines, z = torch.randn(2 * 6 * 5, 8, 3, dtype=torch.float64), torch.randn(2, 2, *basis.modes, 3, dtype=torch.float64)
    torch.testing.assert_close((basis.inward(lines, 2) * z).sum(), (lines * basis.outward(z)).sum(), **EXACT)
