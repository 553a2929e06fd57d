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

from physdiff.base.products import product
from physdiff.operators.jet_orders import Order, products

__all__ = ["BYTES", "tanh_chain"]

BYTES = 7 * 2**19
"""Of a layer's rows in a block of points: smaller blocks wait for the interpreter, larger ones for memory."""


def tanh_chain(data: Tensor, orders: tuple[Order, ...], layers: Sequence[Any], *, slopes: Tensor | None = None) -> Tensor | None:
    """Rows (orders, points, features) after linear layers with tanh between them; None where the chain does not apply.

    Args:
        data: Rows of the jets (orders, points, features), or with `slopes` the points (points, features).
        orders: Their orders, totals up to two.
        layers: Modules with `weight` and `bias`.
        slopes: Rows of points that are the same at all of them (orders, features), zero but for first orders.
    """
    if data.ndim != 3 - (slopes is not None) or len(layers) < 2 or max(map(sum, orders)) > 2 or any(layer.bias is None for layer in layers):
        return None
    weights = [p for layer in layers for p in (layer.weight, layer.bias)]
    out: Tensor = _Chain.apply(data, slopes, orders, *weights)  # type: ignore[no-untyped-call]
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
    def forward(ctx: Any, data: Tensor, slopes: Tensor | None, orders: tuple[Order, ...], *weights: Tensor) -> Tensor:  # noqa: ANN401, D102
        second, half, rows = _second(orders), data.new_tensor(0.5), len(orders)
        done, kept = [], []
        ctx.blocks = _blocks(data.shape[int(slopes is None)], rows * max(map(len, weights)) * data.element_size())
        for part in data.tensor_split(ctx.blocks, dim=int(slopes is None)):
            first = part.mT if slopes is not None else part.permute(2, 0, 1).reshape(part.shape[-1], -1)
            hidden = [first]  # (features, rows x points): long products are the fast ones
            for weight, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
                z = product(2 * weight, hidden[-1])
                if slopes is not None and len(hidden) == 1:
                    z = _spread(z, 2 * weight @ slopes.mT, 2 * bias, second, half)
                else:
                    _tanh(z.view(len(z), rows, -1), 2 * bias, second, half)
                hidden.append(z)
            z = product(weights[-2], hidden[-1]).view(len(weights[-2]), rows, -1)
            z[:, 0] += weights[-1][:, None]
            done.append(z)
            kept.append(hidden)
        ctx.orders, ctx.kept = orders, kept
        ctx.save_for_backward(data, slopes, *weights)
        return (torch.cat(done, dim=2) if len(done) > 1 else done[0]).permute(1, 2, 0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401, D102
        data, slopes, *weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated again
            return _again(ctx, g, data, slopes, weights)
        second, one, rows = _second(ctx.orders), data.new_ones(()), len(ctx.orders)
        found, inner = [torch.zeros_like(w) for w in weights], []
        for part, hidden in reversed(list(zip(g.tensor_split(ctx.blocks, dim=1), ctx.kept, strict=True))):  # what was made last is nearest
            gz = part.permute(2, 0, 1).reshape(part.shape[-1], -1)
            for k in range(len(weights) - 2, -1, -2):
                a, apart = hidden[k // 2], rows if k or slopes is None else 1
                found[k] += product(a, gz.mT).mT  # in this order it is quick for a few inputs, too
                found[k + 1] += gz[:, : gz.shape[1] // apart].sum(1)
                if k:
                    gz = product(weights[k].mT, gz)
                    after, out = gz.view(len(gz), rows, -1), a.view(len(a), rows, -1)
                    if k > 2 or slopes is None:
                        _tanh_back(after, out, second, one)
                    else:
                        gz, steps = _spread_back(after, out[:, 0], weights[0] @ slopes.mT, second, one)
                        found[0] += steps @ slopes
                elif ctx.needs_input_grad[0]:
                    inner.append(product(weights[0].mT, gz).view(len(weights[0].mT), apart, -1).permute(1, 2, 0))
        back = torch.cat(inner[::-1], dim=1) if inner else None
        return (back[0] if back is not None and slopes is not None else back, None, None, *found)


def _blocks(points: int, size: int) -> int:
    """Number of blocks of equal length, given the bytes of a point."""
    return -(-points * size // BYTES) or 1


def _spread(z: Tensor, slopes: Tensor, bias: Tensor, second: list[tuple[int, list[tuple[int, int]]]], half: Tensor) -> Tensor:
    """What `_tanh` makes of values z (features, points) with rows (features, rows) that are the same at all points, (features, rows x points)."""
    out, bent = z.new_empty(len(z), slopes.shape[1], z.shape[1]), dict(second)
    parts = out.unbind(1)
    s = torch.add(-2 * half, z.add_(bias[:, None]).sigmoid_(), alpha=2, out=parts[0])
    p = torch.addcmul(half, s, s, value=-0.5)
    for row in range(1, len(parts)):
        if row not in bent:
            torch.mul(p, slopes[:, row, None], out=parts[row])
            continue
        bend = sum((slopes[:, i] * slopes[:, j] for i, j in bent[row]), torch.zeros_like(bias))
        torch.mul(s * p, -0.5 * bend[:, None], out=parts[row])
    return out.view(len(z), -1)


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
    along = torch.mul(after[1], outer[1])
    for row in range(2, len(after)):
        along.addcmul_(after[row], outer[row])
    kept = [(i, after[row] * outer[j]) for row, pairs in second for i, j in pairs]  # before it is scaled
    g *= slope[:, None]
    after[0].addcmul_(s, along, value=-2)
    for i, term in kept:
        after[0].addcmul_(term, outer[i], value=-1)
        after[i].addcmul_(s, term, value=-2)


def _spread_back(
    g: Tensor, s: Tensor, slopes: Tensor, second: list[tuple[int, list[tuple[int, int]]]], one: Tensor
) -> tuple[Tensor, Tensor]:
    r"""The gradient before `_spread`: of the values (features, points) and of the rows (features, rows).

    $\bar z_0 = p\,(\bar s_0 - 2 s \sum_i c_i \bar s_i - (1 - 3 s^2) \sum_{ij} c_i c_j \bar s_{ij})$, and
    $\bar c_i = \sum p\,(\bar s_i - 2 s \sum_j c_j \bar s_{ij})$.
    """
    after, p = g.unbind(1), torch.addcmul(one, s, s, value=-1)
    ps, curved = s * p, {row for row, _ in second}
    steps = torch.zeros_like(slopes)
    value = after[0]
    for i in range(1, len(after)):
        if i not in curved:
            steps[:, i] += torch.linalg.vecdot(p, after[i])
            value.addcmul_(s, after[i] * slopes[:, i, None], value=-2)
    bent = torch.addcmul(one, s, s, value=-3)
    for row, pairs in second:
        along = torch.linalg.vecdot(ps, after[row])
        bend = torch.zeros_like(along)
        for i, j in pairs:
            steps[:, i] -= 2 * slopes[:, j] * along
            bend += slopes[:, i] * slopes[:, j]
        value.addcmul_(bent, after[row] * bend[:, None], value=-1)
    return value.mul_(p), steps


def _again(ctx: Any, g: Tensor, data: Tensor, slopes: Tensor | None, weights: list[Tensor]) -> tuple[Tensor | None, ...]:  # noqa: ANN401
    """The same by operations that autograd follows."""
    second = _second(ctx.orders)
    a = data if slopes is None else torch.cat((data[None], slopes[1:, None].expand(-1, *data.shape)))
    for k in range(0, len(weights), 2):
        z = functional.linear(a, weights[k])
        rows = [z[0] + weights[k + 1], *z[1:]]
        if k + 2 < len(weights):
            s = torch.tanh(rows[0])
            p = 1 - s * s
            made = {row: sum((rows[i] * rows[j] for i, j in pairs), torch.zeros_like(s)) for row, pairs in second}
            rows = [s, *(p * (rows[r] - s * made[r]) if r in made else p * rows[r] for r in range(1, len(rows)))]
        a = torch.stack(rows)
    wanted = [t for t, need in zip((data, *weights), (ctx.needs_input_grad[0], *ctx.needs_input_grad[3:]), strict=True) if need]
    found = iter(torch.autograd.grad(a, wanted, g, create_graph=True))
    given = [next(found) if need else None for need in (ctx.needs_input_grad[0], *ctx.needs_input_grad[3:])]
    return (given[0], None, None, *given[1:])
