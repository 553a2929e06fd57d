"""What the pictures share: fields as named arrays, lines of a solver over the dots of an exact solution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import xarray as xr
from matplotlib.axes import Axes
from torch import Tensor

from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.plots.colours import LINES
from physdiff.plots.style import SMALL

__all__ = ["F64", "array", "beside_exact", "extremes"]

F64 = torch.float64


def array(values: Tensor, grid: CartesianGrid, name: str, *, times: Tensor | None = None) -> xr.DataArray:
    """One field ([T,] *S) as a named array on its grid."""
    frames = values[None] if times is None else values
    stamps = torch.zeros(1) if times is None else times
    step = float(stamps[1] - stamps[0]) if len(stamps) > 1 else 1.0
    spec = FieldSpec((name,), ("1",), grid, step, frames=len(frames), time_unit="1")
    found = to_dataset(frames[None, None], spec, stamps.double(), batch="sample")[name].isel(sample=0, drop=True)
    for dim in grid.dims:
        found[dim].attrs["units"] = "1"  # the laws are drawn without units
    return found if times is not None else found.isel(time=0, drop=True)


def beside_exact(axes: Axes, x: Tensor, curves: Sequence[tuple[str, Tensor, Tensor]], *, every: int = 4) -> float:
    """Draw (label, solver, exact) as lines and dots of one colour; the largest difference of all."""
    for k, (label, found, exact) in enumerate(curves):
        axes.plot(x, found, color=LINES[k % len(LINES)], linewidth=1.3, label=label)
        axes.plot(x[::every], exact[::every], ".", color=LINES[k % len(LINES)], markersize=4)
    axes.legend(frameon=False, fontsize=SMALL)
    return max(float((found - exact).abs().max()) for _, found, exact in curves)


def extremes(grid: CartesianGrid) -> tuple[Tensor, Tensor]:
    """Coordinates x (n,) and y (m,) of the axes of a plane grid."""
    y, x = grid.axes()
    return x, y
