r"""Two layers alike at every point, between activations and beside a gate, block by block of points.

$$ y = \phi_2\big(W_2\,\mathrm{gelu}(W_1\,\phi_1(h) + b_1) + b_2 + g\odot v\big), \qquad \phi_i = \mathrm{gelu}\ \text{or}\ 1. $$

Written as a chain of whole fields it keeps six of them and spends its time on memory. Here a block of points goes through the chain while it is in
the processor's cache, and for the gradient once more, so that h and v alone are kept (Chen et al., 2016, arXiv 1604.06174). That is the way
in training; elsewhere (guidance, forward derivatives, compilers, mixed precision) it is the plain chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional

from physdiff.base.products import affine, product

__all__ = ["Acts", "PointMLP", "lean_here", "point_chain", "point_linear"]

_ROWS = 4096


@dataclass(frozen=True)
class Acts:
    """Which activations are there.

    Args:
        first: Whether phi_1 is gelu.
        last: Whether phi_2 is.
    """

    first: bool = False
    last: bool = False


class PointMLP(torch.nn.Module):
    """W_2 gelu(W_1 h + b_1) + b_2: (..., C) -> (..., out).

    Args:
        in_channels: Channels C.
        hidden: Channels between.
        out_channels: Channels of the output.
    """

    def __init__(self, in_channels: int, hidden: int, out_channels: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(in_channels, hidden)
        self.second = torch.nn.Linear(hidden, out_channels)

    def forward(self, h: Tensor, gate: Tensor | None = None, v: Tensor | None = None, *, acts: Acts = Acts()) -> Tensor:  # noqa: B008
        """Return y of the chain, with the gated v and the outer activations if given."""
        weights = (self.first.weight, self.first.bias, self.second.weight, self.second.bias)
        return point_chain(h, weights, (gate, v), acts=acts, lean=self.training)


def point_chain(h: Tensor, weights: tuple[Tensor, ...], gated: tuple[Tensor | None, Tensor | None], *, acts: Acts, lean: bool) -> Tensor:
    """Apply the chain.

    Args:
        h: (..., C).
        weights: W_1 (m, C), b_1 (m,), W_2 (out, m), b_2 (out,).
        gated: g (out,) and v (..., out), or None twice.
        acts: Which activations are there.
        lean: Keep nothing between; reverse derivatives only.

    Returns:
        (..., out).
    """
    if not lean or not lean_here(h):
        return _plain(acts, h, *weights, *gated)
    gate, v = gated
    out: Tensor = _Chain.apply(acts, h.flatten(0, -2), *weights, gate, None if v is None else v.flatten(0, -2))  # type: ignore[no-untyped-call]
    return out.view(*h.shape[:-1], -1)


def lean_here(h: Tensor) -> bool:
    """Whether passes may be written out by hand: reverse derivatives alone are wanted, in one precision, and no compiler looks on."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling() and not torch.is_autocast_enabled(h.device.type)


def _plain(acts: Acts, h: Tensor, w_1: Tensor, b_1: Tensor, w_2: Tensor, b_2: Tensor, *gated: Tensor | None) -> Tensor:
    gate, v = gated
    inner = functional.linear(functional.gelu(h) if acts.first else h, w_1, b_1)
    out = functional.linear(functional.gelu(inner), w_2, b_2)
    if gate is not None and v is not None:
        out = torch.addcmul(out, gate, v)
    return functional.gelu(out) if acts.last else out


def point_linear(h: Tensor, weight: Tensor, *, lean: bool) -> Tensor:
    """The product h W^T at every point, (..., C) -> (..., out).

    Args:
        h: (..., C).
        weight: W (out, C).
        lean: Reverse derivatives only.
    """
    if not lean or not lean_here(h):
        return functional.linear(h, weight)
    out: Tensor = _Linear.apply(h.flatten(0, -2), weight)  # type: ignore[no-untyped-call]
    return out.view(*h.shape[:-1], -1)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(h, weight)
        return product(h, weight.mT)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:  # noqa: ANN401
        h, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return grad @ weight if ctx.needs_input_grad[0] else None, grad.mT @ h
        return product(grad, weight) if ctx.needs_input_grad[0] else None, torch.mm(grad.mT, h)


class _Chain(Function):
    @staticmethod
    def forward(ctx: Any, acts: Acts, h: Tensor, *given: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.acts = acts
        ctx.save_for_backward(h, *given)
        w_1, b_1, w_2, b_2, gate, v = given
        assert w_1 is not None and b_1 is not None and w_2 is not None and b_2 is not None
        whole = h.new_empty(len(h), len(w_2))
        for start in range(0, len(h), _ROWS):
            rows, out = h[start : start + _ROWS], whole[start : start + _ROWS]
            inner = affine(functional.gelu(rows) if acts.first else rows, w_1, b_1)
            made = affine(functional.gelu(inner), w_2, b_2)
            if gate is not None and v is not None:
                made.addcmul_(gate, v[start : start + len(out)])
            torch.ops.aten.gelu.out(made, out=out) if acts.last else out.copy_(made)
        return whole

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:  # noqa: ANN401
        given, wanted = ctx.saved_tensors, ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # a derivative of this derivative is wanted
            chosen = [t for t, want in zip(given, wanted, strict=True) if want]
            found = iter(torch.autograd.grad(_plain(ctx.acts, *given), chosen, grad, create_graph=True))
            return None, *(next(found) if want else None for want in wanted)
        h, w_1, b_1, w_2, b_2, gate, v = given
        to_h = torch.empty_like(h) if wanted[0] else None
        to_v = None if v is None else torch.empty_like(v)
        sums = [torch.zeros_like(t) for t in (w_1, b_1, w_2, b_2)]
        to_gate = None if gate is None else torch.zeros_like(gate)
        for start in range(0, len(h), _ROWS):
            block = slice(start, start + _ROWS)
            beside = None if v is None or to_v is None or to_gate is None else (gate, v[block], to_gate, to_v[block])
            part = _block(ctx.acts, h[block], grad[block], given[1:5], sums=sums, beside=beside)
            if to_h is not None:
                _to_h(ctx.acts, h[block], part, w_1, out=to_h[block])
        return None, to_h, *sums, to_gate, to_v


def _block(acts: Acts, h: Tensor, grad: Tensor, weights: tuple[Tensor, ...], *, sums: list[Tensor], beside: tuple[Tensor, ...] | None) -> Tensor:
    """Add a block's part to the sums over rows, write that of v, and return the gradient with respect to the inner rows."""
    w_1, b_1, w_2, b_2 = weights
    start = functional.gelu(h) if acts.first else h
    inner = affine(start, w_1, b_1)
    active = functional.gelu(inner)
    if acts.last:
        out = affine(active, w_2, b_2)
        if beside is not None:
            out.addcmul_(beside[0], beside[1])
        grad = torch.ops.aten.gelu_backward(grad, out)
    if beside is not None:
        gate, v, to_gate, to_v = beside
        to_gate += (grad * v).sum(0)
        torch.mul(grad, gate, out=to_v)
    sums[2].addmm_(grad.T, active)
    sums[3].add_(grad.sum(0))
    back: Tensor = torch.ops.aten.gelu_backward(product(grad, w_2), inner)
    sums[0].add_(torch.mm(start.T, back).T)  # in this order it is quick for a few inputs, too
    sums[1].add_(back.sum(0))
    return back


def _to_h(acts: Acts, h: Tensor, back: Tensor, w_1: Tensor, *, out: Tensor) -> None:
    made = product(back, w_1)
    torch.ops.aten.gelu_backward.grad_input(made, h, grad_input=out) if acts.first else out.copy_(made)
