r"""A chain of linear layers and tanh on jets, as one step of reverse mode.

Per layer one matrix product takes all rows of the jets, and the hyperbolic tangent works in place on its result,

$$s = \tanh z_0, \quad p = 1 - s^2, \quad s_i = p\,z_i, \quad s_{ij} = p\,(z_{ij} - s \sum z_i z_j),$$

so that only the layers' outputs are kept: the backward pass needs no more, for the slope of tanh is $1 - s^2$. Points go through in blocks that
stay in the cache of a core, forwards and backwards. The numbers are those of layer after layer, to rounding. Orders above two, and a second
differentiation, take the layers one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from physdiff.operators.jet_orders import Order, products

__all__ = ["BLOCK", "tanh_chain"]

BLOCK = 2048
"""Points in a block: four rows of twenty features of them take 660 kB in float32."""


def tanh_chain(data: Tensor, orders: tuple[Order, ...], layers: Sequence[Any]) -> Tensor | None:
    """Rows (orders, points, features) after linear layers with tanh between them; None where the chain does not apply.

    Args:
        data: Rows of the jets.
        orders: Their orders, totals up to two.
        layers: Modules with `weight` and `bias`.
    """
    if data.ndim != 3 or len(layers) < 2 or max(map(sum, orders)) > 2 or any(layer.bias is None for layer in layers):
        return None
    weights = [p for layer in layers for p in (layer.weight, layer.bias)]
    out: Tensor = _Chain.apply(data, orders, *weights)  # type: ignore[no-untyped-call]
    return out


def _second(orders: tuple[Order, ...]) -> list[tuple[int, list[tuple[int, int]]]]:
    """Rows of total order two with the pairs of first-order rows that make them up."""
    found = []
    for row, pairs in enumerate(products(orders)):
        inner = [(i, j) for i, j in pairs if i and j]
        if inner:
            found.append((row, inner))
    return found


class _Chain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, data: Tensor, orders: tuple[Order, ...], *weights: Tensor) -> Tensor:  # noqa: ANN401, D102
        second, one = _second(orders), data.new_ones(())
        sides = [w.mT for w in weights[::2]]
        done, kept = [], []
        for a in data.split(BLOCK, dim=1):  # type: ignore[no-untyped-call]
            shape, hidden = a.shape[:2], [a.reshape(-1, a.shape[-1])]
            for side, bias in zip(sides[:-1], weights[1:-2:2], strict=True):
                z = torch.mm(hidden[-1], side)
                _tanh(z.view(*shape, -1), bias, second, one)
                hidden.append(z)
            z = torch.mm(hidden[-1], sides[-1]).view(*shape, -1)
            z[0] += weights[-1]
            done.append(z)
            kept.append(hidden)
        ctx.orders, ctx.kept = orders, kept
        ctx.save_for_backward(data, *weights)
        return torch.cat(done, dim=1)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        data, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            return _again(ctx, g, data, weights)
        second, one, rows = _second(ctx.orders), data.new_ones(()), len(data)
        found, inner = [torch.zeros_like(w) for w in weights], []
        for part, hidden in zip(g.split(BLOCK, dim=1), ctx.kept, strict=True):  # type: ignore[no-untyped-call]
            gz = part.reshape(-1, part.shape[-1])
            for k in range(len(weights) - 2, -1, -2):
                a = hidden[k // 2]
                found[k].addmm_(gz.mT, a)
                found[k + 1] += gz[: len(gz) // rows].sum(0)
                if k:
                    gz = torch.mm(gz, weights[k])
                    _tanh_back(gz.view(rows, -1, gz.shape[-1]), a.view(rows, -1, a.shape[-1]), second, one)
                elif ctx.needs_input_grad[0]:
                    inner.append(torch.mm(gz, weights[0]).view(rows, -1, a.shape[-1]))
        return (torch.cat(inner, dim=1) if inner else None, None, *found)


def _tanh(z: Tensor, bias: Tensor, second: list[tuple[int, list[tuple[int, int]]]], one: Tensor) -> None:
    """Tanh of the rows z with a bias, in their place."""
    parts = z.unbind(0)
    s = parts[0].add_(bias).tanh_()
    for row, pairs in second:
        for i, j in pairs:
            parts[row].addcmul_(s * parts[i], parts[j], value=-1)
    if len(parts) > 1:
        z[1:] *= torch.addcmul(one, s, s, value=-1)


def _tanh_back(g: Tensor, out: Tensor, second: list[tuple[int, list[tuple[int, int]]]], one: Tensor) -> None:
    """The gradient before tanh in the place of that after it, from the outputs."""
    s, after, outer = out[0], g.unbind(0), out.unbind(0)
    if len(g) > 1:
        slopes = (out[1:] * (-2 * s)).unbind(0)
        for row, pairs in second:
            for i, j in pairs:
                slopes[row - 1].addcmul_(outer[i], outer[j], value=-1)
        more = torch.mul(after[1], slopes[0])
        for row in range(2, len(g)):
            more.addcmul_(after[row], slopes[row - 1])
    slope = torch.addcmul(one, s, s, value=-1)
    kept = [(i, after[row] * slopes[j - 1]) for row, pairs in second for i, j in pairs]  # before it is scaled
    g *= slope
    if len(g) > 1:
        after[0].add_(more)
    for i, term in kept:
        after[i].add_(term)


def _again(ctx: Any, g: Tensor, data: Tensor, weights: list[Tensor]) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    """The same by operations that autograd follows."""
    second, a = _second(ctx.orders), data
    for k in range(0, len(weights), 2):
        z = functional.linear(a, weights[k])
        rows = [z[0] + weights[k + 1], *z[1:]]
        if k + 2 < len(weights):
            s = torch.tanh(rows[0])
            p = 1 - s * s
            made = {row: sum((rows[i] * rows[j] for i, j in pairs), torch.zeros_like(s)) for row, pairs in second}
            rows = [s, *(p * (rows[r] - s * made[r]) if r in made else p * rows[r] for r in range(1, len(rows)))]
        a = torch.stack(rows)
    wanted = [t for t, need in zip((data, *weights), (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:]), strict=True) if need]
    found = iter(torch.autograd.grad(a, wanted, g, create_graph=True))
    given = [next(found) if need else None for need in (ctx.needs_input_grad[0], *ctx.needs_input_grad[2:])]
    return (given[0], None, *given[1:])
