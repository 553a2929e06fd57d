"""Padding of each axis by its own rule, the same for 1, 2 and 3 axes.

A periodic axis is continued by its other end, a walled one by its edge value (replicate: no slope is
invented) or by zeros. The padding is a linear map P, x -> P x, so its derivative is P, its gradient the
adjoint P^T (fold the margins back and add them up) and the gradient of that P again: both are written out
here, because one copy each costs about a third of `torch.nn.functional.pad` axis by axis, and
keeps channels-last memory, which its circular mode loses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import Function

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError, ShapeError

__all__ = ["EDGES", "channels_last", "pad", "pad_end"]

EDGES = ("replicate", "zeros")


def pad(x: Tensor, periodic: tuple[bool, ...], *, width: int = 1, edges: str = "replicate") -> Tensor:
    """Extend each of the last ``len(periodic)`` axes by `width` cells on both sides.

    Args:
        x: Tensor (B, C, *axes), any axis lengths from 1 up.
        periodic: For each axis in storage order, whether it is circular.
        width: Cells added on each side; may exceed the axis (a circle is then followed several times).
        edges: "replicate" or "zeros", for the axes that are not periodic.

    Returns:
        Tensor (B, C, *(n + 2 width)), in the memory layout of `x`.

    Raises:
        ShapeError: If `x` has not 2 + len(periodic) axes.
        InputError: If `edges` is unknown or `width` is negative.
    """
    if x.ndim != 2 + len(periodic):
        raise ShapeError(f"pad: expected (B, C, *axes) with {len(periodic)} axes, got {tuple(x.shape)}; give one `periodic` per axis")
    if width < 0:
        raise InputError(f"pad: expected width >= 0, got {width}; crop by slicing instead")
    check_one_of(edges, EDGES, "edges")
    if width == 0:
        return x
    if torch.compiler.is_compiling():  # the compiler fuses plain operations and knows their gradients; it cannot follow writes into views
        for axis, closed in enumerate(periodic, start=2):
            x = _by_index(x, axis, closed, width, edges == "zeros")
        return x
    padded: Tensor = _Pad.apply(x, periodic, width, edges == "zeros")  # type: ignore[no-untyped-call]
    return padded


def pad_end(x: Tensor, widths: tuple[int, ...], periodic: tuple[bool, ...]) -> Tensor:
    """Prolong the axes of (B, C, *axes) at their end: a periodic one by its own beginning, others by their last value.

    Args:
        x: Field.
        widths: Cells added to each axis, 0 or more.
        periodic: For each axis, whether it is circular.
    """
    for axis, (width, closed) in enumerate(zip(widths, periodic, strict=True), start=2):
        n = x.shape[axis]
        if width:
            cells = [j % n if closed else min(j, n - 1) for j in range(n + width)]
            x = x.index_select(axis, torch.tensor(cells, device=x.device))
    return x


def channels_last(x: Tensor) -> Tensor:
    """Return `x` (B, C, *axes) with the channel as the fastest index in memory: faster convolutions."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def _margins(n: int, width: int, periodic: bool) -> list[tuple[int, int]]:
    """Pairs (margin cell in the padded axis, cell of the axis it copies)."""
    cells = (*range(width), *range(n + width, n + 2 * width))
    return [(j, (j - width) % n if periodic else min(max(j - width, 0), n - 1)) for j in cells]


def _by_index(x: Tensor, axis: int, closed: bool, width: int, zeros: bool) -> Tensor:
    if zeros and not closed:
        return torch.nn.functional.pad(x, [0, 0] * (x.ndim - 1 - axis) + [width, width])
    n = x.shape[axis]
    cells = range(-width, n + width)
    return x.index_select(axis, torch.tensor([j % n if closed else min(max(j, 0), n - 1) for j in cells], device=x.device))


def _inner(x: Tensor, width: int, axes: range) -> Tensor:
    for axis in axes:
        x = x.narrow(axis, width, x.shape[axis] - 2 * width)
    return x


def _extend(x: Tensor, periodic: tuple[bool, ...], width: int, zeros: bool) -> Tensor:
    shape = [n + 2 * width for n in x.shape[2:]]
    if x.stride(1) == 1:
        out = x.new_empty((x.shape[0], *shape, x.shape[1])).movedim(-1, 1)
    else:
        out = x.new_empty((*x.shape[:2], *shape))
    _inner(out, width, range(2, x.ndim)).copy_(x)
    for axis in range(2, x.ndim):  # a margin spans the full length of the axes done before
        slab = _inner(out, width, range(axis + 1, x.ndim))
        for j, source in _margins(x.shape[axis], width, periodic[axis - 2]):
            if zeros and not periodic[axis - 2]:
                slab.select(axis, j).zero_()
            else:
                slab.select(axis, j).copy_(slab.select(axis, source + width))
    return out


def _fold(g: Tensor, periodic: tuple[bool, ...], width: int, zeros: bool) -> Tensor:
    core = _inner(g, width, range(2, g.ndim)).clone()
    if g.stride(1) != 1:
        core = core.contiguous()
    _add_margins(core, g, periodic, width, zeros=zeros)
    return core


def _add_margins(target: Tensor, g: Tensor, periodic: tuple[bool, ...], width: int, *, zeros: bool) -> None:
    """Add to `target` what the margins of the first ``len(periodic)`` axes of `g` copied from it."""
    if not periodic:
        return
    axis = 1 + len(periodic)
    n = g.shape[axis] - 2 * width
    _add_margins(target, g.narrow(axis, width, n), periodic[:-1], width, zeros=zeros)
    if zeros and not periodic[-1]:
        return
    for j, source in _margins(n, width, periodic[-1]):
        strip, cell = g.narrow(axis, j, 1), target.narrow(axis, source, 1)
        cell.add_(_inner(strip, width, range(2, axis)))
        _add_margins(cell, strip, periodic[:-1], width, zeros=zeros)


class _Pad(Function):
    """x -> P x."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, periodic: tuple[bool, ...], width: int, zeros: bool) -> Tensor:
        return _extend(x, periodic, width, zeros)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        ctx.rule = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        return _Fold.apply(grad, *ctx.rule), None, None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:  # noqa: ANN401
        return _Pad.apply(tangent, *ctx.rule)  # type: ignore[no-untyped-call, no-any-return]


class _Fold(Function):
    """g -> P^T g."""

    generate_vmap_rule = True

    @staticmethod
    def forward(g: Tensor, periodic: tuple[bool, ...], width: int, zeros: bool) -> Tensor:
        return _fold(g, periodic, width, zeros)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ANN401
        ctx.rule = inputs[1:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # noqa: ANN401
        return _Pad.apply(grad, *ctx.rule), None, None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: None) -> Tensor:  # noqa: ANN401
        return _Fold.apply(tangent, *ctx.rule)  # type: ignore[no-untyped-call, no-any-return]
