r"""A chain of linear layers and tanh on jets, as one step of reverse mode.

Per layer one matrix product takes all rows of the jets, features first so that its long side is that of the points, and the hyperbolic tangent
works in place on its result,

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

BLOCK = 4096
"""Points in a block at most: four rows of twenty features of them take 1.3 MB in float32."""


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
        second, half, rows = _second(orders), data.new_tensor(0.5), len(data)
        done, kept = [], []
        for part in _blocks(data):
            hidden = [part.permute(2, 0, 1).reshape(part.shape[-1], -1)]  # (features, rows x points): long products are the fast ones
            for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
                z = torch.mm(2 * weight, hidden[-1])
                _tanh(z.view(len(z), rows, -1), 2 * bias, second, half)
                hidden.append(z)
            z = torch.mm(weights[-2], hidden[-1]).view(-1, rows, part.shape[1])
            z[:, 0] += weights[-1][:, None]
            done.append(z)
            kept.append(hidden)
        ctx.orders, ctx.kept = orders, kept
        ctx.save_for_backward(data, *weights)
        return torch.cat(done, dim=2).permute(1, 2, 0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        data, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            return _again(ctx, g, data, weights)
        second, one, rows = _second(ctx.orders), data.new_ones(()), len(data)
        found, inner = [torch.zeros_like(w) for w in weights], []
        for part, hidden in reversed(list(zip(_blocks(g), ctx.kept, strict=True))):  # what was made last is nearest
            gz = part.permute(2, 0, 1).reshape(part.shape[-1], -1)
            for k in range(len(weights) - 2, -1, -2):
                a = hidden[k // 2]
                found[k] += torch.mm(a, gz.mT).mT  # in this order it is quick for a few inputs, too
                found[k + 1] += gz[:, : gz.shape[1] // rows].sum(1)
                if k:
                    gz = torch.mm(weights[k].mT, gz)
                    _tanh_back(gz.view(len(gz), rows, -1), a.view(len(a), rows, -1), second, one)
                elif ctx.needs_input_grad[0]:
                    inner.append(torch.mm(weights[0].mT, gz).view(len(a), rows, -1).permute(1, 2, 0))
        return (torch.cat(inner[::-1], dim=1) if inner else None, None, *found)


def _blocks(data: Tensor) -> tuple[Tensor, ...]:
    """Blocks of points, of equal length as near as may be."""
    return data.tensor_split(-(-data.shape[1] // BLOCK) or 1, dim=1)


def _tanh(z: Tensor, bias: Tensor, second: list[tuple[int, list[tuple[int, int]]]], half: Tensor) -> None:
    """Tanh of half the rows z (features, rows, points) and half a bias, in the place of z.

    As 2 / (1 + exp(-2 x)) - 1, which is four times as fast and exact to two roundings of 1, as are the sums that take it up.
    """
    parts = z.unbind(1)
    s = parts[0]
    torch.add(-2 * half, s.add_(bias[:, None]).sigmoid_(), alpha=2, out=s)
    for row, pairs in second:
        for i, j in pairs:
            parts[row].addcmul_(s * parts[i], parts[j], value=-0.5)
    if len(parts) > 1:
        z[:, 1:] *= torch.addcmul(half, s, s, value=-0.5)[:, None]


def _tanh_back(g: Tensor, out: Tensor, second: list[tuple[int, list[tuple[int, int]]]], one: Tensor) -> None:
    """The gradient before tanh in the place of that after it, from the outputs; both (features, rows, points)."""
    after, outer = g.unbind(1), out.unbind(1)
    s = outer[0]
    slope = torch.addcmul(one, s, s, value=-1)
    if len(after) == 1:
        g *= slope[:, None]
        return
    double = -2 * s
    along = torch.mul(after[1], outer[1])
    for row in range(2, len(after)):
        along.addcmul_(after[row], outer[row])
    kept = [(i, after[row] * outer[j]) for row, pairs in second for i, j in pairs]  # before it is scaled
    g *= slope[:, None]
    after[0].addcmul_(double, along)
    for i, term in kept:
        after[0].addcmul_(term, outer[i], value=-1)
        after[i].addcmul_(double, term)


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
