r"""Two layers alike at every point, between activations and beside a gate, block by block of points.

$$ y = \phi_2\big(W_2\,\mathrm{gelu}(W_1\,\phi_1(h) + b_1) + b_2 + g\odot v\big), \qquad \phi_i = \mathrm{gelu}\ \text{or}\ 1. $$

Written as a chain of whole fields it keeps six of them and spends its time on memory. Here a block of points goes through the chain while it is in
the processor's cache, and for the gradient once more, so that h and v alone are kept (Chen et al., 2016, arXiv 1604.06174). That is the way
in training, here for networks of two layers and in `fourier_layer` for a layer; elsewhere (guidance, forward derivatives, compilers, mixed
precision) it is the plain chain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function
from torch.nn import functional

from physdiff.base.products import affine, product

__all__ = ["Acts", "PointMLP", "again", "block_backward", "block_forward", "block_to_h", "blocks", "chain", "lean_here"]

_ROWS = 8192


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

    def forward(self, h: Tensor) -> Tensor:
        """Return y of the chain without gate and outer activations."""
        if not self.training or not lean_here(h):
            return chain(Acts(), h, self.weights)
        out: Tensor = _Chain.apply(h.flatten(0, -2), *self.weights)  # type: ignore[no-untyped-call]
        return out.view(*h.shape[:-1], -1)

    @property
    def weights(self) -> tuple[Tensor, ...]:
        """W_1, b_1, W_2, b_2."""
        return self.first.weight, self.first.bias, self.second.weight, self.second.bias


def lean_here(h: Tensor) -> bool:
    """Whether passes may be written out by hand: reverse derivatives alone are wanted, in one precision, and no compiler looks on."""
    return torch.is_grad_enabled() and not torch.compiler.is_compiling() and not torch.is_autocast_enabled(h.device.type)


def blocks(count: int, like: Tensor, *, each: int = 1) -> list[slice]:
    """Slices of `count` rows, or lines of `each` rows, that fit the cache of a processor; on other devices one for all."""
    step = max(1, _ROWS // each) if like.device.type == "cpu" else max(1, count)
    return [slice(start, start + step) for start in range(0, count, step)]


def chain(acts: Acts, h: Tensor, weights: tuple[Tensor, ...], *, gate: Tensor | None = None, v: Tensor | None = None) -> Tensor:
    """The chain as it is written: h (..., C), W_1 (m, C), b_1 (m,), W_2 (out, m), b_2 (out,), g (out,), v (..., out), to (..., out)."""
    w_1, b_1, w_2, b_2 = weights
    inner = functional.linear(functional.gelu(h) if acts.first else h, w_1, b_1)
    out = functional.linear(functional.gelu(inner), w_2, b_2)
    if gate is not None and v is not None:
        out = torch.addcmul(out, gate, v)
    return functional.gelu(out) if acts.last else out


class _Chain(Function):
    @staticmethod
    def forward(ctx: Any, h: Tensor, *weights: Tensor) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(h, *weights)
        out = h.new_empty(len(h), len(weights[2]))
        for block in blocks(len(h), h):
            block_forward(Acts(), h[block], weights, beside=None, out=out[block])
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        (h, *weights), wanted = ctx.saved_tensors, ctx.needs_input_grad
        if torch.is_grad_enabled():
            return again(lambda h, *weights: chain(Acts(), h, weights), (h, *weights), grad, wanted=wanted)
        to_h, sums = torch.empty_like(h) if wanted[0] else None, [torch.zeros_like(t) for t in weights]
        for block in blocks(len(h), h):
            back = block_backward(Acts(), h[block], grad[block], weights=tuple(weights), sums=sums, beside=None)
            if to_h is not None:
                block_to_h(Acts(), h[block], back, w_1=weights[0], out=to_h[block])
        return to_h, *sums


def again(plain: Callable[..., Tensor], given: tuple[Tensor, ...], grad: Tensor, *, wanted: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """Gradients of the plain form with respect to the tensors wanted, for a derivative of a derivative."""
    chosen = [t for t, want in zip(given, wanted, strict=True) if want]
    found = iter(torch.autograd.grad(plain(*given), chosen, grad, create_graph=True))
    return tuple(next(found) if want else None for want in wanted)


def block_forward(acts: Acts, h: Tensor, weights: tuple[Tensor, ...], *, beside: tuple[Tensor, Tensor] | None, out: Tensor) -> None:
    """The chain of rows (n, C), with the gate and the rows of v beside them, written to `out`."""
    w_1, b_1, w_2, b_2 = weights
    inner = affine(functional.gelu(h) if acts.first else h, w_1, b_1)
    made = affine(functional.gelu(inner), w_2, b_2)
    if beside is not None:
        made.addcmul_(*beside)
    torch.ops.aten.gelu.out(made, out=out) if acts.last else out.copy_(made)


def block_backward(
    acts: Acts, h: Tensor, grad: Tensor, *, weights: tuple[Tensor, ...], sums: list[Tensor], beside: tuple[Tensor, ...] | None
) -> Tensor:
    """Add a block's part to the sums over rows and return the gradient with respect to the inner rows; `beside` has g, v and room for theirs."""
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


def block_to_h(acts: Acts, h: Tensor, back: Tensor, *, w_1: Tensor, out: Tensor) -> None:
    """The gradient with respect to h from that with respect to the inner rows."""
    made = product(back, w_1)
    torch.ops.aten.gelu_backward.grad_input(made, h, grad_input=out) if acts.first else out.copy_(made)
