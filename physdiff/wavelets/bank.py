"""All axes of one wavelet level at once, differentiable: every map and its transpose are each other's gradient.

A plan names, for each axis counted from the end, its `AxisMap`. `analyse` gives the 2^n bands of a tensor, `synthesise` applies the
transposes. Both run outside autograd with scratch memory of their own; their gradients are each other, so that they can be
differentiated any number of times and a gradient costs as much as the map.
"""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-call"
# ruff: noqa: ANN401 - the signatures are those of torch.autograd.Function
import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor

from physdiff.wavelets.axis_map import AxisMap, apply, apply_by_taps, apply_transpose, apply_transpose_by_taps

__all__ = ["Plan", "analyse", "synthesise"]

Plan = tuple[tuple[int, AxisMap], ...]
_BLOCK = 2**18  # numbers taken through all axes at once, so that what one axis leaves is still in the cache for the next


def analyse(plan: Plan, x: Tensor) -> tuple[Tensor, ...]:
    """The 2^n bands of `x`, the first axis of the plan slowest."""
    if torch.compiler.is_compiling():
        for axis, axis_map in plan:
            x = _along(x, axis, lambda rows, m=axis_map: apply_by_taps(m, rows))
        return _bands(plan, x)
    return _Analyse.apply(plan, x)  # type: ignore[no-any-return]


def synthesise(plan: Plan, bands: Sequence[Tensor]) -> Tensor:
    """The transposes of the plan's maps on 2^n bands in the order of `analyse`."""
    if torch.compiler.is_compiling():
        parts = list(bands)
        for axis, axis_map in reversed(plan):
            parts = [torch.cat(pair, axis) for pair in zip(parts[::2], parts[1::2], strict=True)]
            parts = [_along(part, axis, lambda rows, m=axis_map: apply_transpose_by_taps(m, rows)) for part in parts]
        return parts[0]
    return _Synthesise.apply(plan, *bands)  # type: ignore[no-any-return]


def _along(x: Tensor, axis: int, function: Any) -> Tensor:
    """Apply a function of (B, N, R) to one axis counted from the end."""
    before, after = x.shape[: x.ndim + axis], x.shape[x.ndim + axis + 1 :]
    rows = x.reshape(before.numel(), x.shape[axis], after.numel())
    found: Tensor = function(rows)
    return found.reshape(*before, found.shape[1], *after)


def _bands(plan: Plan, x: Tensor) -> tuple[Tensor, ...]:
    parts = [x]
    for axis, _ in plan:
        parts = [half for part in parts for half in part.chunk(2, axis)]
    return tuple(parts)


def _in_blocks(plan: Plan, x: Tensor, sizes: dict[int, int], function: Any, factor: float = 1.0) -> Tensor:
    """Apply the maps of a plan and a factor, block by block of the axes before them; `sizes` has the new length of each."""
    lead = min(axis for axis, _ in plan)
    rows = x.reshape(-1, *x.shape[lead:])
    shape = [sizes.get(i - rows.ndim, n) for i, n in enumerate(rows.shape)]
    out, (last, last_map) = rows.new_empty(shape), plan[-1]
    after = math.prod(shape[len(shape) + last + 1 :])
    step = max(1, _BLOCK // max(1, rows[:1].numel()))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        for axis, axis_map in plan[:-1]:
            block = _along(block, axis, lambda part, m=axis_map: function(m, part.contiguous()))
        block, place = block.contiguous(), out[start : start + step]
        function(last_map, block.view(-1, block.shape[last], after), place.view(-1, place.shape[last], after), factor=factor)
    return out.reshape(*x.shape[:lead], *shape[1:])


def _haar_factor(plan: Plan) -> float:
    return float(0.5 ** (0.5 * sum(axis_map.is_haar for _, axis_map in plan)))


class _Analyse(torch.autograd.Function):
    @staticmethod
    def forward(plan: Plan, x: Tensor) -> tuple[Tensor, ...]:
        return _bands(plan, _in_blocks(plan, x, {axis: 2 * axis_map.halves for axis, axis_map in plan}, apply, _haar_factor(plan)))

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.plan = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return None, _Synthesise.apply(ctx.plan, *grads)

    @staticmethod
    def jvp(ctx: Any, _: Any, tangent: Tensor) -> Any:
        return _Analyse.apply(ctx.plan, tangent)

    @staticmethod
    def vmap(info: Any, in_dims: Any, plan: Plan, x: Tensor) -> Any:
        bands = _Analyse.apply(plan, x.movedim(in_dims[1], 0))
        return bands, (0,) * len(bands)


class _Synthesise(torch.autograd.Function):
    @staticmethod
    def forward(plan: Plan, *bands: Tensor) -> Tensor:
        first, factor = bands[0], _haar_factor(plan)
        shape = list(first.shape)
        for axis, _ in plan:
            shape[axis] *= 2
        x = first.new_empty(shape)
        for band, halves in zip(bands, product((0, 1), repeat=len(plan)), strict=True):
            place = x
            for half, (axis, axis_map) in zip(halves, plan, strict=True):
                place = place.narrow(axis, half * axis_map.halves, axis_map.halves)
            torch.mul(band, factor, out=place)
        return _in_blocks(plan[::-1], x, {axis: axis_map.length for axis, axis_map in plan}, apply_transpose)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.plan = inputs[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, *_Analyse.apply(ctx.plan, grad)

    @staticmethod
    def jvp(ctx: Any, _: Any, *tangents: Tensor) -> Any:
        like = next(t for t in tangents if t is not None)
        return _Synthesise.apply(ctx.plan, *(torch.zeros_like(like) if t is None else t for t in tangents))

    @staticmethod
    def vmap(info: Any, in_dims: Any, plan: Plan, *bands: Tensor) -> Any:
        moved = [
            band.expand(info.batch_size, *band.shape) if dim is None else band.movedim(dim, 0) for band, dim in zip(bands, in_dims[1:], strict=True)
        ]
        return _Synthesise.apply(plan, *moved), 0
