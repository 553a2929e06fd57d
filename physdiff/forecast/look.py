r"""What a reading is of, and how it errs: points, beams, lines or blocks of cells, of fields or of what is derived from them.

A reading of beams is a mean with Gaussian weights (`footprints`), one of a line the integral along it (`line_integrals`, unit of the field times
length), one of a block the mean over cells of a coarser grid (`block_means`), one of some frames the mean over these (`time_means`);
of derived fields `vorticity`, `divergence` and `wind_speed` of two components, written as ``vorticity(u v)``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.mapped import Mapped, MappedLinear, compose, divergence, time_means, vorticity, wind_speed
from physdiff.inference.noise import CorrelatedNoise, GaussianNoise, Noise, PoissonNoise, StudentNoise
from physdiff.inference.observation import Operator
from physdiff.inference.sensors import Sensors
from physdiff.inference.weighted_cells import WeightedCells, block_means, footprints, line_integrals

__all__ = ["Errors", "Look", "derived_field", "is_derived"]

_DERIVED: dict[str, Callable[..., Mapped | MappedLinear]] = {"vorticity": vorticity, "divergence": divergence, "wind_speed": wind_speed}
_LAWS = ("GaussianNoise", "StudentNoise", "PoissonNoise")


@dataclass(frozen=True)
class Errors:
    """How readings err.

    Args:
        scale: Standard deviation, or scale of the law, in the unit of the fields; one for all fields or one for each.
        law: GaussianNoise; StudentNoise (some readings far off); PoissonNoise (counts, no scale).
        dof: Degrees of freedom of StudentNoise.
        length: Distance over which normal errors go together (metres on the sphere, else the grid's unit); independent if not given.
        share: Share of their variance that goes together.

    Raises:
        InputError: If one of them makes no sense.
    """

    scale: float | list[float] | None = None
    law: str = "GaussianNoise"
    dof: float = 4.0
    length: float | None = None
    share: float = 0.9

    def __post_init__(self) -> None:
        for each in self.scale if isinstance(self.scale, list) else [self.scale]:
            if each is not None:
                check_positive(each, "std")
        check_one_of(self.law, _LAWS, "std.law")
        check_positive(self.dof, "std.dof")
        if self.length is not None:
            check_positive(self.length, "std.length")
            if self.law != "GaussianNoise":
                raise InputError(f"std.length: expected it with GaussianNoise, got it with {self.law}; leave one of them out")

    @property
    def needs_std(self) -> bool:
        """Whether the law has a scale."""
        return self.law != "PoissonNoise"

    def built(self, std: Tensor, spec: FieldSpec, points: Tensor | None) -> Noise:
        """The noise of readings (C, T, n) with standard deviations that broadcast against them; places (n, ndim) where readings have one."""
        if self.law == "PoissonNoise":
            return PoissonNoise()
        if self.law == "StudentNoise":
            return StudentNoise(std, self.dof)
        if self.length is None:
            return GaussianNoise(std)
        if points is None:
            raise InputError("std.length: expected readings that have a place, got lines; leave it out")
        return CorrelatedNoise.by_distance(spec.grid, points, std=std, length=self.length, share=self.share)


@dataclass(frozen=True, eq=False)
class Look:
    """What readings at points (n, ndim) are of; by default the fields there.

    Args:
        fwhm: Width of a beam around the point, in the grid's unit of length (metres on the sphere).
        ends: Other ends (n, ndim) of lines that begin at the points.
        block: Cells of a block along each axis, storage order; readings are means over blocks.
        cells: Which block each reading is of, (n,), storage order.
        derived: Derived field, as ``wind_speed(u v)``, in place of the fields.
        span: Number of frames whose mean is read, the reading's own the last.
    """

    fwhm: float | None = None
    ends: Tensor | None = None
    block: tuple[int, ...] | None = None
    cells: Tensor | None = None
    derived: str | None = None
    span: int = 1

    def rows(self, index: Tensor) -> Look:
        """What the readings of these rows are of."""
        return replace(
            self, ends=None if self.ends is None else self.ends[index], cells=None if self.cells is None else self.cells[index]
        )

    def operator(self, spec: FieldSpec, points: Tensor) -> Operator:
        """From windows to readings (B, C or 1, T, n).

        Raises:
            InputError: If a place lies outside the grid or the mask, a beam is too narrow or hangs over the edge, components are missing, or windows
                have fewer frames than a mean.
        """
        inner = self._inner(spec)
        base = spec if inner is None or inner.derived is None else inner.derived
        outer: Sensors | WeightedCells
        if self.fwhm is not None:
            outer = footprints(base, points, self.fwhm)
        elif self.ends is not None:
            outer = line_integrals(base, points, self.ends)
        elif self.block is not None and self.cells is not None:
            outer = block_means(base, self.block).rows(self.cells)
        else:
            outer = Sensors(base, points)
        return outer if inner is None else compose(outer, inner)

    def _inner(self, spec: FieldSpec) -> Mapped | MappedLinear | None:
        """From windows to what is read at each frame, if that is not their fields."""
        inner = None if self.derived is None else derived_field(self.derived, spec)
        if self.span == 1:
            return inner
        if self.span > spec.frames:
            raise InputError(f"time_start: expected means over {spec.frames} frames at most, those of the prior's windows, got {self.span}")
        # the mean up to each frame; at the first ones, where a mean would begin before the window, nothing can have been read
        frames = [tuple(range(max(0, t - self.span + 1), t + 1)) for t in range(spec.frames)]
        if inner is None or inner.derived is None:
            return time_means(spec, frames)
        means = compose(time_means(inner.derived, frames), inner)
        assert isinstance(means, Mapped | MappedLinear)
        return means

    def units(self, spec: FieldSpec) -> tuple[str, ...]:
        """Units of the readings, one for each row of values."""
        inner = None if self.derived is None else derived_field(self.derived, spec).derived
        units = spec.units if inner is None else inner.units
        return units if self.ends is None else tuple(f"{u} {spec.grid.length_unit}" for u in units)

    @property
    def plain(self) -> bool:
        """Whether readings are in the units of the fields."""
        return self.derived is None and self.ends is None

    @property
    def at_points(self) -> bool:
        """Whether readings are the fields at the points."""
        return self.plain and self.fwhm is None and self.block is None and self.span == 1

    def places(self, points: Tensor) -> Tensor | None:
        """The points, where a reading is of one place."""
        return points if self.ends is None else None


def derived_field(text: str, spec: FieldSpec) -> Mapped | MappedLinear:
    """The derived field of a name as ``vorticity(u v)``; components u and v if none are named.

    Raises:
        InputError: If there is no such derived field, or a component is missing.
        UnitError: If components have different units.
    """
    match = re.fullmatch(r"(\w+)(?:\(\s*(\S+)\s+(\S+)\s*\))?", text.strip())
    if match is None or match.group(1) not in _DERIVED:
        raise InputError(f"derived field: expected one of {', '.join(_DERIVED)}, as vorticity(u v), got {text!r}")
    name, u, v = match.groups()
    return _DERIVED[name](spec, u or "u", v or "v", name=name)


def is_derived(text: str) -> bool:
    """Whether a name is that of a derived field."""
    return re.match(rf"({'|'.join(_DERIVED)})(\(|$)", text.strip()) is not None
