"""Multiwavelets: the filters, exact inverse, vanishing moments; the operator: symmetry, a projection by hand, gradients, a law learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.networks.mwt import MWT, coarsen, legendre_filters, refine


def filters(k: int) -> torch.Tensor:
    return torch.from_numpy(legendre_filters(k))


def cells(polynomial: np.polynomial.Polynomial, count: int, k: int) -> torch.Tensor:
    """Coefficients (1, count, k) of a function on [0, 1] in the orthonormal Legendre polynomials of each cell, by Gauss's rule."""
    x, w = np.polynomial.legendre.leggauss(k + 3)
    x, w = (x + 1) / 2, w / 2
    basis = np.stack([np.sqrt(2 * i + 1) * np.polynomial.legendre.Legendre.basis(i)(2 * x - 1) for i in range(k)])
    return torch.from_numpy(np.stack([(basis * polynomial((c + x) / count) * w).sum(1) for c in range(count)])[None] / np.sqrt(count))


@pytest.mark.parametrize("k", [1, 2, 3, 4, 6])
def test_filters_are_orthogonal_and_one_term_is_haar(k):
    w = legendre_filters(k)
    assert np.abs(w @ w.T - np.eye(2 * k)).max() < 1e-13  # rounding
    if k == 1:
        np.testing.assert_allclose(w, np.array([[1, 1], [-1, 1]]) / np.sqrt(2), atol=1e-15)


@pytest.mark.parametrize("k", [2, 3, 4])
def test_polynomials_below_the_order_have_no_details_and_coarsen_to_themselves(k):
    p = np.polynomial.Polynomial([0.3, -1.0, 2.0, 0.7][:k])
    both = coarsen(cells(p, 8, k), filters(k), 1)
    torch.testing.assert_close(both[..., :k], cells(p, 4, k), rtol=1e-12, atol=1e-12)
    assert both[..., k:].abs().max() < 1e-13
    steeper = coarsen(cells(np.polynomial.Polynomial([0.0] * k + [1.0]), 8, k), filters(k), 1)
    assert steeper[..., k:].abs().max() > 1e-6


@pytest.mark.parametrize(("axes", "k"), [((8,), 3), ((4, 6), 2), ((2, 4, 2), 2)])
def test_the_inverse_is_exact_and_nothing_grows(axes, k):
    torch.manual_seed(0)
    v = torch.randn(2, *axes, 5 * k ** len(axes), dtype=torch.float64)
    both = coarsen(v, filters(k), len(axes))
    assert both.shape == (2, *(n // 2 for n in axes), 2 ** len(axes) * v.shape[-1])
    torch.testing.assert_close(refine(both, filters(k), len(axes)), v, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(both.square().sum(), v.square().sum())


def test_two_axes_are_the_product_of_one():
    k, w = 2, filters(2)
    a, b = torch.randn(1, 4, k, dtype=torch.float64), torch.randn(1, 6, k, dtype=torch.float64)
    v = torch.einsum("zxi,zyj->zxyij", a, b).flatten(3)
    fa, fb = coarsen(a, w, 1).unflatten(-1, (2, k)), coarsen(b, w, 1).unflatten(-1, (2, k))
    expected = torch.einsum("zxpi,zyqj->zxypqij", fa, fb).flatten(3)
    torch.testing.assert_close(coarsen(v, w, 2), expected, rtol=1e-12, atol=1e-12)


def test_without_kernels_a_block_projects_on_the_coarsest_scale():
    net = MWT(1, 1, ndim=1, periodic=True, width=3, terms=3, modes=2, scales=2).double()
    block = net.blocks[0]
    with torch.no_grad():
        for conv in (*block.a, *block.b, *block.c):
            conv.weight.zero_()
        block.coarsest.weight.copy_(torch.eye(3))
        block.coarsest.bias.zero_()
    p = np.polynomial.Polynomial([1.0, -2.0, 0.5])
    torch.testing.assert_close(block(cells(p, 8, 3), 2), cells(p, 8, 3), rtol=1e-12, atol=1e-12)
    v = torch.randn(1, 8, 3, dtype=torch.float64)
    torch.testing.assert_close(block(block(v, 2), 2), block(v, 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("axes", "closed"), [((13,), False), ((16, 9), (True, False)), ((4, 6, 5), False)])
def test_any_lengths_and_gradients_to_every_weight(axes, closed):
    torch.manual_seed(0)
    net = MWT(2, 3, ndim=len(axes), periodic=closed, width=8, terms=2, modes=1, scales=2)
    x = torch.randn(2, 2, *axes, requires_grad=True)
    y = net(x)
    y.square().sum().backward()
    assert y.shape == (2, 3, *axes) and all(p.grad is not None and bool((p.grad != 0).any()) for p in (x, *net.parameters()))


def test_every_wavenumber_of_every_scale_is_used():
    torch.manual_seed(0)
    net = MWT(1, 1, ndim=1, periodic=True, width=4, terms=2, modes=3, scales=2)
    net(torch.randn(2, 1, 32)).square().sum().backward()
    for block in net.blocks:
        for conv in (*block.a, *block.b, *block.c):
            assert conv.weight.grad.shape[:2] == (2, 4) and bool((conv.weight.grad.flatten(2)[:, 1:] != 0).any(-1).all())


def test_shifts_by_the_coarsest_cell_commute_and_others_do_not():
    torch.manual_seed(0)
    net = MWT(1, 1, ndim=2, periodic=True, width=4, terms=2, modes=2, scales=2).double()
    x = torch.randn(1, 1, 16, 8, dtype=torch.float64)
    torch.testing.assert_close(net(x.roll((4, 4), (2, 3))), net(x).roll((4, 4), (2, 3)), rtol=1e-10, atol=1e-10)  # rounding
    assert (net(x.roll(1, 2)) - net(x).roll(1, 2)).abs().max() > 1e-6


def test_sizes_follow_the_grid_and_it_is_stored():
    net = MWT(1, 1, ndim=2, periodic=True, width=9).at((8, 32))
    assert (net.scales, net.modes) == (2, 6) and MWT(1, 1, ndim=1, periodic=True).at((8,)).modes == 2
    assert net.at((8, 32)) is net
    again = build(describe(net))
    again.load_state_dict(net.state_dict())
    x = torch.randn(1, 1, 8, 32)
    assert torch.equal(again(x), net(x))
    with pytest.raises(InputError, match="terms"):
        MWT(1, 1, terms=0)


@pytest.mark.slow
def test_an_exact_operator_is_learned():
    """Heat flow on a circle, from 64 fields: below 10 % on new ones, where the identity is off by more."""
    from tests.networks.test_fno import heat, smooth

    torch.manual_seed(0)
    net, x, new = MWT(1, 1, ndim=1, periodic=True, width=6, modes=4), smooth(64, (32,), seed=1), smooth(32, (32,), seed=2)
    y, wanted = heat(x), heat(new)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        error = (net(new) - wanted).norm() / wanted.norm()
    assert error < 0.1 < (new - wanted).norm() / wanted.norm(), error
