r"""A layer of a Fourier neural operator, and its gradient in as few passes over the field as there can be.

$$ h = K v + W v, \qquad v' = \phi\big(M(\phi(h)) + g\odot v\big), $$

K a `SpectralConv` with a bias, W a matrix and M a network of two layers (`point_chain`), both alike at every point, g a gate per channel, and
$\phi$ = GELU, left out in a last layer.

A field is much larger than a processor's cache and than the few modes kept, so that time goes into reading and writing it. In training the
field is read for its modes, and then lines of the last axis go through all that is left, W v, the last transform of K v and the chain, block by
block; on the way back the chain, W and that transform again, block by block, and one pass adds what comes from the modes. v, h and the modes are
kept. Elsewhere (guidance, forward derivatives, compilers, mixed precision) the parts follow each other as they are written above.

Reference: Li et al. (2020), arXiv 2010.08895; Kossaifi et al. (2024), arXiv 2412.10354 (gate and network in a layer).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import Function
from torch.nn import functional

from physdiff.base.products import product
from physdiff.networks.fourier_basis import FourierBasis, line_product, wide_product
from physdiff.networks.point_chain import Acts, PointMLP, again, block_backward, block_forward, block_to_h, blocks, chain, lean_here
from physdiff.networks.spectral_conv import SpectralConv, kept, mode_rows, of_mode_rows, spectral_conv

__all__ = ["FourierLayer"]


class FourierLayer(nn.Module):
    """(B, *axes, width) -> (B, *axes, width), given the basis of the grid.

    Args:
        width: Channels.
        modes: Wavenumbers kept along each axis, see `fourier_basis`.
        last: Whether the activations are left out.
    """

    def __init__(self, width: int, modes: tuple[int, ...], *, last: bool) -> None:
        super().__init__()
        self.conv = SpectralConv(width, width, modes, bias=True)
        self.skip = nn.Parameter(torch.empty(width, width))
        nn.init.kaiming_uniform_(self.skip, a=math.sqrt(5))
        self.mlp = PointMLP(width, max(1, width // 2), width)
        self.gate = nn.Parameter(torch.ones(width))
        self.acts = Acts(not last, not last)

    def forward(self, v: Tensor, basis: FourierBasis) -> Tensor:
        """Return v'."""
        bias = self.conv.bias
        assert bias is not None
        weights = (kept(self.conv.weight, basis), bias, self.skip, self.gate, *self.mlp.weights)
        if not self.training or not lean_here(v):
            return _plain(self.acts, basis, v, *weights)
        out: Tensor = _Layer.apply(self.acts, basis, v, *weights)  # type: ignore[no-untyped-call]
        return out


def _plain(acts: Acts, basis: FourierBasis, v: Tensor, *weights: Tensor) -> Tensor:
    weight, bias, skip, gate, *mlp = weights
    h = spectral_conv(v, basis, (weight, bias), onto=functional.linear(v, skip))
    return chain(acts, h, tuple(mlp), gate=gate, v=v)


class _Layer(Function):
    """The layer with both passes written out; fields are lines of the last axis (L, n, C) inside."""

    @staticmethod
    def forward(ctx: Any, acts: Acts, basis: FourierBasis, v: Tensor, *weights: Tensor) -> Tensor:  # noqa: ANN401, D102
        weight, bias, skip, gate, *mlp = weights
        n, channels = v.shape[-2:]
        lines = v.reshape(-1, n, channels)
        into, out_of = basis.into, basis.out_of
        coefficients = v.new_empty(len(lines), len(into), channels)
        for block in blocks(len(lines), v, each=n):
            line_product(into, lines[block], out=coefficients[block])
        rows = mode_rows(basis.inward(coefficients, len(v), wide_product))
        mixed = of_mode_rows(_complex(rows, weight.flatten(1, -3), ((1, -1), (1, 1))), basis.modes)
        mixed[basis.at_mean] += bias
        coefficients = basis.outward(mixed, wide_product)
        h, out = torch.empty_like(lines), torch.empty_like(lines)
        for block in blocks(len(lines), v, each=n):
            part = lines[block]
            flat = part.view(-1, channels)
            line_product(out_of.T, coefficients[block], out=h[block], onto=product(flat, skip.T).view(part.shape))
            block_forward(acts, h[block].view(-1, channels), tuple(mlp), beside=(gate, flat), out=out[block].view(-1, channels))
        ctx.acts, ctx.basis = acts, basis
        ctx.save_for_backward(v, *weights, h, rows)
        return out.view(v.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # noqa: ANN401, D102
        (v, *weights, h, rows), basis = ctx.saved_tensors, ctx.basis
        if torch.is_grad_enabled():
            return None, None, *again(lambda *given: _plain(ctx.acts, basis, *given), (v, *weights), grad, wanted=ctx.needs_input_grad[2:])
        weight, bias, skip, gate, *mlp = weights
        n, channels = v.shape[-2:]
        lines, back = v.reshape(-1, n, channels), grad.reshape(-1, n, channels)
        into, out_of = basis.into, basis.out_of
        to_lines, to_coefficients = torch.empty_like(lines), v.new_empty(len(lines), len(into), channels)
        to_skip, to_gate, *sums = (torch.zeros_like(t) for t in (skip, gate, *mlp))
        for block in blocks(len(lines), v, each=n):
            flat, to_flat, here = (t[block].view(-1, channels) for t in (lines, to_lines, h))
            beside = gate, flat, to_gate, to_flat
            inner = block_backward(ctx.acts, here, back[block].reshape(-1, channels), weights=tuple(mlp), sums=sums, beside=beside)
            to_h = torch.empty_like(here)
            block_to_h(ctx.acts, here, inner, w_1=mlp[0], out=to_h)
            to_skip.addmm_(to_h.T, flat)
            to_flat += product(to_h, skip)
            line_product(out_of, to_h.view(-1, n, channels), out=to_coefficients[block])
        to_mixed = basis.inward(to_coefficients, len(v), wide_product)
        to_rows, matrices = mode_rows(to_mixed), weight.flatten(1, -3)
        to_weight = _complex(rows.mT, to_rows, ((1, 1), (1, -1))).view(weight.shape)
        coefficients = basis.outward(of_mode_rows(_complex(to_rows, matrices.mT, ((1, 1), (-1, 1))), basis.modes), wide_product)
        for block in blocks(len(lines), v, each=n):
            line_product(into.T, coefficients[block], out=to_lines[block], onto=to_lines[block])
        to_bias = to_mixed[basis.at_mean].sum(0)
        return None, None, to_lines.view(v.shape), to_weight, to_bias, to_skip, to_gate, *sums


def _complex(a: Tensor, b: Tensor, signs: tuple[tuple[int, int], tuple[int, int]]) -> Tensor:
    """The sums s a_0 b_0 + t a_1 b_1 and s a_0 b_1 + t a_1 b_0 with a pair s, t each, every sum written where it belongs.

    With (1, -1), (1, 1) it is the complex product of a and b, with (1, 1), (1, -1) that of the conjugate of a with b, with (1, 1), (-1, 1) that of a
    with the conjugate of b.
    """
    out = a.new_empty(*a.shape[:-1], b.shape[-1])
    for half, (first, second) in enumerate(signs):
        torch.bmm(a[0], b[half], out=out[half])
        out[half].baddbmm_(a[1], b[1 - half], beta=first, alpha=second)
    return out
