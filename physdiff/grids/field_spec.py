"""What the values are: names, units, grid, time step.

`FieldSpec` is the one place where channels get names. Inside the package data are (batch, channel, time, *space); inside a law they are a
dict of named scalar fields (batch, time, *space).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.grids.grid import Grid

__all__ = ["FieldSpec", "Fields"]

Fields = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class FieldSpec(Saved):
    """Names, units, grid and times of a window of data.

    Args:
        names: One name per channel.
        units: One unit per channel, as in ``"K"``; ``"1"`` for dimensionless ones.
        grid: Where the values are.
        dt: Time between frames, in `time_unit`.
        frames: Number of frames of a window.
        mask: Boolean of the grid's shape, True where values exist (fluid, sea); None if everywhere.
        time_unit: ``"s"`` where the file has CF time, else the file's own unit.
        history: Number of known frames at the beginning of a window; of condition windows.

    Raises:
        InputError: If names and units do not match one to one, dt is not positive, or the mask is not boolean.
        ShapeError: If the mask has another shape than the grid.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    grid: Grid
    dt: float
    frames: int = 1
    mask: Tensor | None = None
    time_unit: str = "s"
    history: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "units", tuple(self.units))
        if not self.names or len(self.names) != len(self.units) or len(set(self.names)) != len(self.names):
            raise InputError(f"FieldSpec: expected distinct names with one unit each, got names {self.names!r} and units {self.units!r}")
        if not self.dt > 0 or self.frames < 1 or self.history < 0:
            raise InputError(f"FieldSpec: expected dt > 0, frames >= 1, history >= 0, got {self.dt!r}, {self.frames!r}, {self.history!r}")
        if self.mask is not None and self.mask.dtype != torch.bool:
            raise InputError(f"FieldSpec mask: expected booleans (True where values exist), got {self.mask.dtype}; compare it with a number first")
        if self.mask is not None and tuple(self.mask.shape) != self.grid.shape:
            raise ShapeError(f"FieldSpec mask: expected the grid's shape {self.grid.shape}, got {tuple(self.mask.shape)}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one window, (C, T, *S)."""
        return (len(self.names), self.frames, *self.grid.shape)

    def with_frames(self, frames: int) -> FieldSpec:
        """The same with another number of frames."""
        return replace(self, frames=frames)

    def channel(self, name: str) -> int:
        """Index of a channel.

        Raises:
            InputError: If there is no such name.
        """
        if name not in self.names:
            raise InputError(f"expected one of the fields {', '.join(self.names)}; got {name!r}")
        return self.names.index(name)

    def check(self, x: Tensor, what: str = "data") -> Tensor:
        """Return `x` if it is (B, C, T, *S) of this spec with any T, else raise ShapeError."""
        want = (len(self.names), *self.grid.shape)
        if x.ndim != len(want) + 2 or (x.shape[1], *x.shape[3:]) != want:
            raise ShapeError(
                f"{what}: expected (batch, {want[0]}, time, {', '.join(map(str, want[1:]))}) for {', '.join(self.names)}, got {tuple(x.shape)}"
            )
        return x

    def split(self, x: Tensor) -> dict[str, Tensor]:
        """(B, C, T, *S) -> {name: (B, T, *S)}."""
        return dict(zip(self.names, self.check(x).unbind(1), strict=True))

    def stack(self, fields: Fields) -> Tensor:
        """{name: (B, T, *S)} -> (B, C, T, *S), channels in the order of `names`.

        Raises:
            InputError: If a name is missing.
        """
        missing = [n for n in self.names if n not in fields]
        if missing:
            raise InputError(f"FieldSpec.stack: expected the fields {', '.join(self.names)}; missing {', '.join(missing)}")
        return self.check(torch.stack([fields[n] for n in self.names], dim=1))
