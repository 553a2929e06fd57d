r"""A solution as a network of the coordinates: physical points in, named fields in physical units out.

Coordinates of closed axes enter as $\cos\frac{2\pi(x - a)}{b - a}$ and $\sin$ of the same, so that the field is periodic by construction; the
others, and time, are brought to [-1, 1]. Outputs are multiplied by `std` and moved by `mean`. Everything passes jets, so `Taylor` operators give a
law its derivatives. Raissi, Perdikaris and Karniadakis, Physics-informed neural networks, 2019.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.grids.grid import Grid

__all__ = ["CoordinateNet"]

_CHUNK = 65536


class CoordinateNet(Saved, nn.Module):
    """Fields (n,) by name at points (n, d) with columns `x, [y, [z,]] [t]`.

    Args:
        network: From (n, features) to (n, names); features are one for each open axis and for time, two for each closed axis.
        names: Names of the fields, diagnostics of the law too.
        lower: Lower corner of the box in space and time, in the order of the columns.
        upper: Upper corner.
        periodic: Whether each axis closes, one for each column; none do if left out.
        mean: Usual value of each field; 0 if left out.
        std: Usual size of each field; 1 if left out.

    Raises:
        InputError: If the lengths differ or the box is empty.
    """

    def __init__(
        self,
        network: nn.Module,
        names: tuple[str, ...],
        *,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        periodic: tuple[bool, ...] = (),
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
    ) -> None:
        super().__init__()
        if len(lower) != len(upper) or not all(math.isfinite(a) and a < b < math.inf for a, b in zip(lower, upper, strict=True)):
            raise InputError(f"CoordinateNet: expected corners with lower < upper in every column, got {lower} and {upper}")
        self.network, self.names = network, tuple(names)
        self.lower, self.upper = tuple(map(float, lower)), tuple(map(float, upper))
        self.periodic = tuple(periodic) or (False,) * len(lower)
        self.mean, self.std = tuple(mean) or (0.0,) * len(names), tuple(std) or (1.0,) * len(names)
        if len(self.periodic) != len(lower) or len(self.mean) != len(names) or len(self.std) != len(names):
            raise InputError(
                f"CoordinateNet: expected {len(lower)} flags periodic and {len(names)} values of mean and std, "
                f"got {len(self.periodic)}, {len(self.mean)} and {len(self.std)}"
            )

    def forward(self, points: Tensor) -> Tensor:
        """Values (n, names) at the points (n, d).

        Raises:
            ShapeError: If the points have another number of columns.
        """
        if points.shape[-1] != len(self.lower):
            raise ShapeError(f"CoordinateNet: expected points (n, {len(self.lower)}) with columns x, [y, [z,]] [t], got {tuple(points.shape)}")
        options: dict[str, Any] = {"dtype": points.dtype, "device": points.device}
        if not any(self.periodic):
            box = tuple(zip(self.lower, self.upper, strict=True))
            centre, factor = torch.tensor((tuple(0.5 * (a + b) for a, b in box), tuple(2 / (b - a) for a, b in box)), **options)
            features = (points - centre) * factor
        else:
            features = torch.stack(self._columns(points), dim=-1)
        out: Tensor = self.network(features)
        if out.shape[-1] != len(self.names):
            raise ShapeError(f"CoordinateNet: expected a network with {len(self.names)} outputs ({', '.join(self.names)}), got {out.shape[-1]}")
        if any(s != 1 for s in self.std):
            out = out * torch.tensor(self.std, **options)
        return out + torch.tensor(self.mean, **options) if any(self.mean) else out

    def _columns(self, points: Tensor) -> list[Tensor]:
        """Features, two for each closed axis."""
        features = []
        for i, (a, b, closed) in enumerate(zip(self.lower, self.upper, self.periodic, strict=True)):
            x = points[..., i]
            if closed:
                angle = (x - a) * (2 * math.pi / (b - a))
                features += [torch.cos(angle), torch.sin(angle)]
            else:
                features.append((x - 0.5 * (a + b)) * (2 / (b - a)))
        return features

    def fields(self, points: Tensor) -> dict[str, Tensor]:
        """Fields by name, each (n,)."""
        return dict(zip(self.names, self(points).unbind(-1), strict=True))

    def on_grid(self, grid: Grid, times: Tensor | None = None) -> Tensor:
        """The window (1, C, T, *S) on a grid at times (T,); T = 1 for a steady field.

        Raises:
            InputError: If the times lie outside those the network was made for, or are missing.
        """
        space = torch.stack([c.reshape(-1) for c in grid.coordinates()], dim=-1)
        timed = len(self.lower) - grid.ndim
        if timed not in (0, 1) or bool(timed) != (times is not None):
            got = "no times" if times is None else "times"
            raise InputError(f"CoordinateNet.on_grid: expected {len(self.lower)} columns, got a grid in {grid.ndim} dimensions and {got}")
        moments = torch.zeros(1, dtype=torch.float64) if times is None else times.reshape(-1).to(torch.float64)
        slack = 1e-9 * (self.upper[-1] - self.lower[-1])
        if timed and not bool(((moments >= self.lower[-1] - slack) & (moments <= self.upper[-1] + slack)).all()):
            span = f"{float(moments.min()):g} to {float(moments.max()):g}"
            made = f"{self.lower[-1]:g} to {self.upper[-1]:g}"
            raise InputError(f"CoordinateNet.on_grid: expected times from {made}, got {span}; train on a longer span")
        dtype = next(self.parameters()).dtype
        frames = []
        with torch.no_grad():
            for t in moments:
                points = torch.cat((space, t.expand(len(space), 1)), dim=-1) if timed else space
                values = torch.cat([self(part.to(dtype)) for part in points.split(_CHUNK)])
                frames.append(values.mT.reshape(len(self.names), *grid.shape))
        return torch.stack(frames, dim=1)[None]
