"""U-FNO: shapes, symmetry, gradients; without its U-Nets' output it is a plain Fourier operator."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.networks.fourier_basis import fourier_basis
from physdiff.networks.ufno import UFNO


@pytest.mark.parametrize(("axes", "closed"), [((13,), True), ((9, 8), False), ((4, 6, 5), False)])
def test_any_lengths(axes, closed):
    y = UFNO(2, 3, ndim=len(axes), periodic=closed, width=4, modes=2, layers=2)(torch.randn(2, 2, *axes))
    assert y.shape == (2, 3, *axes) and bool(y.isfinite().all())


def stirred(**options) -> UFNO:
    """With none of its zeros left, as after training."""
    torch.manual_seed(0)
    net = UFNO(1, 1, width=4, modes=2, layers=2, **options).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.2)
    return net


def test_shifts_by_the_coarsest_cell_commute():
    net, x = stirred(periodic=True), torch.randn(1, 1, 12, 8, dtype=torch.float64)
    torch.testing.assert_close(net(x.roll((4, 4), (2, 3))), net(x).roll((4, 4), (2, 3)), rtol=1e-9, atol=1e-9)  # rounding
    assert (net(x.roll(1, 2)) - net(x).roll(1, 2)).abs().max() > 1e-6


def test_a_layer_is_the_sum_of_its_three_parts():
    net, x = stirred(ndim=1, periodic=True), torch.randn(2, 1, 8, dtype=torch.float64)
    v = net.ends.enter(x)
    basis = fourier_basis((8,), (2,), like=v)
    v = torch.nn.functional.gelu(net.convs[0](v, basis) + net.skips[0](v))  # the first half is without U
    v = net.convs[1](v, basis) + net.skips[1](v) + net.unets[0](v.movedim(-1, 1), torch.tensor(0.0, dtype=torch.float64)).movedim(1, -1)
    torch.testing.assert_close(net(x), net.ends.leave(v, (8,)), rtol=1e-11, atol=1e-11)


def test_gradients_reach_all_but_the_levels_that_nobody_tells():
    net, x = stirred(), torch.randn(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    net(x).square().sum().backward()
    assert x.grad is not None and all(p.grad is not None for p in net.parameters())
    with pytest.raises(ShapeError):
        net(torch.zeros(1, 2, 8, 8))
