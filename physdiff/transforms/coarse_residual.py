r"""What a coarse window leaves open, in units that a finer grid has, too.

Beside straight lines $l$ in the coarse cells $u_i$ (`reconstructed`) a field is

$$ x = l + s\,y, \qquad s_i = \epsilon + \max_{|i - j| \le 2} |u_{j+1} - 2 u_j + u_{j-1}|, $$

the largest second difference nearby, along every axis in space. $y$ has no unit and means of zero over the blocks. The network is told how the
coarse field bends in the same unit, and neither values nor slopes in units of their own: refining the grid then changes which shapes are frequent and
not what they look like. In units of the data what a cell hides falls with the square of its size or faster: what was learnt on one grid is wrong
on the next.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, NotFitted
from physdiff.grids.blocks import coarsened, refined
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.normalizer import Moments, guarded
from physdiff.transforms.transform import Batches, Shape, Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["CoarseCondition", "CoarseResidual"]

_FLOOR = 1e-3  # epsilon in standard deviations of a field
_REACH = 2  # cells on either side
_MAGNIFIED = 30.0  # a second look, at what bends little


class CoarseResidual(Transform):
    """Windows (B, C, T, *S) to y of the same shape and back, given a condition whose last C channels are lines in coarse cells.

    Windows come back to rounding whose block means are those of the coarse cells; others come back with these means.

    Args:
        factor: Cells of the grid in one coarse cell along each axis in space.
        periodic: Whether each axis in space is a circle.
        floor: Epsilon of each field, (C,); None until fitted.
    """

    def __init__(self, factor: int, periodic: tuple[bool, ...], floor: Tensor | None = None) -> None:
        super().__init__()
        if factor < 2:
            raise InputError(f"CoarseResidual: expected a factor of at least 2, got {factor}")
        self.factor, self.periodic = factor, periodic
        self.floor: Tensor | None
        self.register_buffer("floor", floor, persistent=False)

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        lines, unit = self._parts(cond, x.shape[1])
        return (x - lines.to(x)) / refined(unit.to(x), self.factor)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        lines, unit = self._parts(cond, z.shape[1])
        z = z - refined(coarsened(z, self.factor), self.factor)
        return lines.to(z) + refined(unit.to(z), self.factor) * z

    def out_shape(self, shape: Shape) -> Shape:
        """The shape does not change."""
        return shape

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> CoarseResidual:
        """Take the size of each field from the windows. See Transform.fitted_from."""
        moments = Moments(("channel",))
        for sample in batches():
            moments.add(sample.x, sample.known)
        return CoarseResidual(self.factor, self.periodic, (_FLOOR * guarded(moments.mean, moments.std)).flatten().float())

    def shapes(self, lines: Tensor) -> Tensor:
        """How the coarse field slopes and bends, in units of s, (B, 2 C, T, *S).

        Means over a coarse cell are the sum of second differences; what is left of them is the slope. Both stand there on a scale for what
        is large and on one for what is small.
        """
        cells = coarsened(lines, self.factor)
        unit = self._unit(cells)
        bend = sum((_second_difference(cells, axis, closed) for axis, closed in self._axes()), torch.zeros_like(cells)) / unit
        slope = 2 * self.factor * (lines - refined(cells, self.factor)) / refined(unit, self.factor)
        large = refined(bend, self.factor) + torch.asinh(slope)
        small = refined(torch.asinh(_MAGNIFIED * bend), self.factor) + torch.asinh(_MAGNIFIED * slope)
        return torch.cat([large, small / 3], 1)

    def _axes(self) -> list[tuple[int, bool]]:
        return list(enumerate(self.periodic, 3))

    def _parts(self, cond: Tensor | None, fields: int) -> tuple[Tensor, Tensor]:
        """Lines, and s of every coarse cell."""
        if cond is None:
            raise InputError("CoarseResidual: expected the condition that holds a coarse window, got none; pass it along")
        lines = cond[:, -fields:]
        return lines, self._unit(coarsened(lines, self.factor))

    def _unit(self, cells: Tensor) -> Tensor:
        if self.floor is None:
            raise NotFitted("CoarseResidual: expected the size of the fields, got none; use fitted(transform, data) first")
        found = torch.zeros_like(cells)
        for axis, closed in self._axes():
            found = torch.maximum(found, _second_difference(cells, axis, closed).abs())
        for axis, closed in self._axes():
            found = _largest_nearby(found, axis, closed)
        return found + self.floor.to(cells).reshape(-1, *[1] * (cells.ndim - 2))


class CoarseCondition(ConditionTransform):
    """The condition of a prior that adds resolution: what is known of y, where, and the shape of the coarse field.

    Args:
        fields: Number C of fields; the condition window has C values, C masks and C lines.
        wavelet: See `ConditionTransform`.
        residual: The transform of the prior, fitted.
        scale: What y is divided by.
    """

    def __init__(self, fields: int, wavelet: WaveletTransform | None, residual: CoarseResidual, *, scale: float = 1.0) -> None:
        super().__init__(fields, None, wavelet, each=True)
        self.residual, self.scale = residual, check_positive(scale, "CoarseCondition.scale")

    def encode(self, completed: Tensor) -> Tensor:
        """Condition window (B, 3 C, T, *S), physical units -> (B, C'', T', *S')."""
        n = self.fields
        known = completed[:, n : 2 * n]
        told = self.residual.encode(completed[:, :n], completed) * known / self.scale
        return torch.cat([self._coded(told), self._shares(known), self._coded(self.residual.shapes(completed[:, 2 * n :]))], 1)

    def out_shape(self, shape: Shape) -> Shape:
        """(3 C, T, *S) -> (C'', T', *S')."""
        return tuple(self.encode(torch.zeros(1, *shape)).shape[1:])

    def with_wavelet(self, wavelet: WaveletTransform | None) -> CoarseCondition:
        """The same on the grid of another wavelet transform."""
        return CoarseCondition(self.fields, wavelet, self.residual, scale=self.scale)


def _second_difference(cells: Tensor, axis: int, closed: bool) -> Tensor:
    """u_{i+1} - 2 u_i + u_{i-1}; at an end that of its neighbour, zero where there are fewer than three cells."""
    n = cells.shape[axis]
    if n < 3:
        return torch.zeros_like(cells)
    wide = torch.cat([cells.narrow(axis, n - 1, 1), cells, cells.narrow(axis, 0, 1)], axis)
    bend = wide.narrow(axis, 2, n) - 2 * cells + wide.narrow(axis, 0, n)
    if closed:
        return bend
    inner = bend.narrow(axis, 1, n - 2)
    return torch.cat([inner.narrow(axis, 0, 1), inner, inner.narrow(axis, n - 3, 1)], axis)


def _largest_nearby(x: Tensor, axis: int, closed: bool) -> Tensor:
    n = x.shape[axis]
    at = torch.arange(-_REACH, n + _REACH, device=x.device)
    wide = x.index_select(axis, at % n if closed else at.clamp(0, n - 1))
    return wide.unfold(axis, 2 * _REACH + 1, 1).amax(-1)
