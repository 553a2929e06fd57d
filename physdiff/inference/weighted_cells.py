r"""Readings that are weighted sums over cells: gridded observations, block means, satellite footprints, line integrals.

    r_i = sum_k w_ik u(cell k),   w_ik >= 0

grid_cells      one cell each, where a boolean says so: gridded observations with gaps
block_means     w = area of the cell over that of the block: coarse products
footprints      w ~ area exp(-d^2 / 2 s^2), fwhm = 2 sqrt(2 log 2) s, sum 1: a Gaussian beam, d along the great circle on the sphere
line_integrals  the integral of the multilinear interpolant along a straight line (a great circle on the sphere), unit of the field times length

All with the exact transpose. A reading that needs a cell which the mask of the windows leaves out is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.distance import cell_places, separation, unit_vectors
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.grids.interpolate import Interpolation, interpolation
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.observation import LinearOperator

__all__ = ["WeightedCells", "block_means", "footprints", "grid_cells", "line_integrals"]

# Gauss-Legendre nodes and weights on [0, 1]: exact for cubics, and an interpolant is at most cubic along a line within a cell.
_NODES = (0.5 - math.sqrt(3) / 6, 0.5 + math.sqrt(3) / 6)
# Standard deviations at which a beam ends; beyond it is 3e-4 of its mass in the plane.
_REACH = 4.0
_FWHM = 2 * math.sqrt(2 * math.log(2))
# Below this many cells per width sums over cells miss the integral of the beam by more than 0.2 %.
_CELLS = 1.5


class WeightedCells(LinearOperator):
    """Weighted sums over cells of fields, in every frame of a window or in some.

    Args:
        spec: What the windows are.
        index: Flat cells of each reading (n, k), storage order.
        weight: Their weights (n, k), none negative; zeros pad readings of fewer cells.
        names: Fields that are read; all if None.
        frames: Frames that are read, negative ones from the last; all if None.

    Raises:
        InputError: If a weight is negative or not finite, a reading has none or needs a cell without values, or a name or frame is unknown.
        ShapeError: If index and weight do not fit.
    """

    spec: FieldSpec

    def __init__(
        self, spec: FieldSpec, index: Tensor, weight: Tensor, *, names: tuple[str, ...] | None = None, frames: tuple[int, ...] | None = None
    ) -> None:
        self.spec = spec
        self.names = spec.names if names is None else tuple(names)
        self.channels = [spec.channel(name) for name in self.names]
        self.frames = list(range(spec.frames)) if frames is None else [_frame(f, spec.frames) for f in frames]
        for what, chosen in (("names", self.channels), ("frames", self.frames)):
            if not chosen or len(set(chosen)) < len(chosen):
                raise InputError(f"readings: expected one or more {what}, each once, got {names if what == 'names' else frames}")
        cells, weight = math.prod(spec.grid.shape), weight.double().cpu()
        if index.ndim != 2 or index.shape != weight.shape or not len(index) or not bool(((index >= 0) & (index < cells)).all()):
            raise ShapeError(
                f"WeightedCells: expected cells (n, k) below {cells} and as many weights, got {tuple(index.shape)}, {tuple(weight.shape)}"
            )
        if not bool((weight.isfinite() & (weight >= 0)).all()) or not bool((weight.sum(1) > 0).all()):
            raise InputError("WeightedCells: expected finite weights >= 0 that are not all zero for a reading; use MatrixOperator for signed ones")
        self._sums = Interpolation(index.cpu(), weight, spec.grid.shape)
        if spec.mask is not None:
            without = ((weight > 0) & ~spec.mask.cpu().flatten()[index.cpu()]).any(1)
            if bool(without.any()):
                bad = int(without.nonzero()[0])
                raise InputError(f"readings: expected cells with values, got reading {bad} over a cell that the mask leaves out; drop or move it")

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, fields read, frames read, n)."""
        self.spec.check(x, "readings")
        if x.shape[2] != self.spec.frames:
            raise ShapeError(f"readings: expected windows of {self.spec.frames} frames, got {x.shape[2]}")
        return self._sums(x[:, self.channels][:, :, self.frames])

    def rows(self, index: Tensor) -> WeightedCells:
        """Some of the readings (k,), in any order, also twice."""
        return WeightedCells(self.spec, self._sums.index[index], self._sums.weight[index], names=self.names, frames=tuple(self.frames))

    def adjoint(self, r: Tensor) -> Tensor:
        """(B, fields read, frames read, n) -> (B, C, T, *S)."""
        out = r.new_zeros(r.shape[0], *self.spec.shape)
        # assignment adds nothing up: names and frames are distinct
        out[:, torch.tensor(self.channels)[:, None], torch.tensor(self.frames)] = self._sums.adjoint(r)
        return out


def _frame(frame: int, frames: int) -> int:
    if not -frames <= frame < frames:
        raise InputError(f"readings: expected frames within 0 to {frames - 1}, got {frame}")
    return frame % frames


def grid_cells(
    spec: FieldSpec, where: Tensor | None = None, *, names: tuple[str, ...] | None = None, frames: tuple[int, ...] | None = None
) -> WeightedCells:
    """Cells themselves, as a product on the grid of the windows gives them.

    Args:
        spec: What the windows are.
        where: Boolean of the grid's shape, True where cells are read; the cells that have values if None. Gaps that differ by field or time are NaN
            among the readings instead.
        names: See WeightedCells.
        frames: See WeightedCells.

    Returns:
        Operator to readings (B, fields, frames, n), the n cells in storage order.
    """
    if where is None:
        where = torch.ones(spec.grid.shape, dtype=torch.bool) if spec.mask is None else spec.mask
    if where.dtype != torch.bool or tuple(where.shape) != spec.grid.shape:
        raise ShapeError(f"grid_cells: expected booleans of the grid's shape {spec.grid.shape}, got {where.dtype} of {tuple(where.shape)}")
    index = where.cpu().flatten().nonzero()
    return WeightedCells(spec, index, torch.ones(index.shape, dtype=torch.float64), names=names, frames=frames)


def block_means(
    spec: FieldSpec, block: int | tuple[int, ...], *, names: tuple[str, ...] | None = None, frames: tuple[int, ...] | None = None
) -> WeightedCells:
    """Means over blocks of cells, weighted by area: what a coarser grid holds.

    Args:
        spec: What the windows are. Cells that its mask leaves out do not count; blocks without any other are no readings.
        block: Cells of a block along each axis, storage order; one number for all. The grid's own shape: the mean over all of it.
        names: See WeightedCells.
        frames: See WeightedCells.

    Raises:
        InputError: If the blocks do not divide the grid.
    """
    shape, sides = spec.grid.shape, per_axis(block, spec.grid.ndim, "block_means")
    if any(b < 1 or n % b for n, b in zip(shape, sides, strict=True)):
        raise InputError(f"block_means: expected blocks that divide the grid's {shape}, got {sides}; crop the grid or choose another block")
    split = [size for n, b in zip(shape, sides, strict=True) for size in (n // b, b)]
    order = [*range(0, len(split), 2), *range(1, len(split), 2)]

    def blocks(values: Tensor) -> Tensor:
        return values.reshape(split).permute(order).reshape(-1, math.prod(sides))

    area = spec.grid.weights() if spec.mask is None else spec.grid.weights() * spec.mask.cpu()
    weight = blocks(area)
    kept = weight.sum(1) > 0
    weight = weight[kept]
    return WeightedCells(spec, blocks(torch.arange(math.prod(shape)))[kept], weight / weight.sum(1, keepdim=True), names=names, frames=frames)


def footprints(
    spec: FieldSpec,
    points: Tensor,
    fwhm: float,
    *,
    names: tuple[str, ...] | None = None,
    frames: tuple[int, ...] | None = None,
    share: float = 0.98,
) -> WeightedCells:
    """Means under Gaussian beams, as radiometers see them.

    Args:
        spec: What the windows are.
        points: Centres (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere).
        fwhm: Full width of the beam at half its maximum, in the grid's unit of length (metres on the sphere: 50e3 for 50 km).
        names: See WeightedCells.
        frames: See WeightedCells.
        share: Least share of the beam that falls on cells with values; the weights of those are scaled to sum 1.

    Raises:
        InputError: If a centre lies outside the grid, a beam is narrower than 1.5 cells, or less than `share` of it is on the grid.
    """
    check_positive(fwhm, "footprints fwhm")
    grid, centres = spec.grid, torch.as_tensor(points, dtype=torch.float64)
    interpolation(grid, centres)  # refuses a centre outside by name
    width = fwhm / _FWHM
    area = _cell_sizes(grid).flatten()
    if spec.mask is not None:
        area = area * spec.mask.cpu().flatten()
    whole = (2 * math.pi * width**2) ** (grid.ndim / 2)
    places, rows = cell_places(grid), []
    for i, centre in enumerate(centres):
        spacing = _spacing(grid, centre)
        if fwhm < _CELLS * spacing:
            raise InputError(
                f"footprints: expected beams of {_CELLS:g} cells or more, {_CELLS * spacing:.4g} {grid.length_unit} at point {i}, "
                f"got {fwhm:.4g}; use Sensors"
            )
        d = separation(grid, centre[None], places)[0]
        weight = torch.where(d <= _REACH * width, area * torch.exp(-0.5 * (d / width) ** 2), 0.0)
        found = float(weight.sum()) / whole
        if found < share:
            at = ", ".join(f"{c:g}" for c in centre)
            raise InputError(
                f"footprints: expected {share:.0%} of each beam on the grid, got {found:.0%} of beam {i} at {at}; drop it or lower `share`"
            )
        cells = weight.nonzero()[:, 0]
        rows.append((cells, weight[cells] / weight.sum()))
    return _padded(spec, rows, names, frames)


def line_integrals(
    spec: FieldSpec, starts: Tensor, ends: Tensor, *, names: tuple[str, ...] | None = None, frames: tuple[int, ...] | None = None
) -> WeightedCells:
    """Integrals along lines between two places, in units of the field times length: tomography, path-averaged concentrations times path.

    In a box along straight lines, the integral of the multilinear interpolant to rounding (beyond the outermost points of an open axis constant).
    On the sphere along great circles, by pieces of half a cell with an error of second order in them; exact for constants.

    Args:
        spec: What the windows are.
        starts: (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere).
        ends: (n, ndim), the same; on the sphere not opposite to the start.
        names: See WeightedCells.
        frames: See WeightedCells.

    Raises:
        InputError: If a line leaves the grid or has no length, or there is no one great circle.
        ShapeError: If starts and ends do not fit.
    """
    a, b = (torch.as_tensor(p, dtype=torch.float64) for p in (starts, ends))
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] != spec.grid.ndim or not len(a):
        raise ShapeError(f"line_integrals: expected starts and ends (n, {spec.grid.ndim}), got {tuple(a.shape)} and {tuple(b.shape)}")
    rows = []
    for i, (start, end) in enumerate(zip(a, b, strict=True)):
        way, length, cuts = _line(spec.grid, start, end)
        if not length > 0:
            raise InputError(f"line_integrals: expected two places, got the same twice for line {i}; use Sensors")
        pieces = cuts.diff()
        along = torch.stack([cuts[:-1] + node * pieces for node in _NODES], 1).flatten()
        sums = interpolation(spec.grid, way(along))
        each = (sums.weight * (length * pieces / 2).repeat_interleave(2)[:, None]).flatten()
        cells, place = torch.unique(sums.index.flatten(), return_inverse=True)
        weight = torch.zeros(len(cells), dtype=torch.float64).index_add(0, place, each)
        rows.append((cells, weight))
    return _padded(spec, rows, names, frames)


def _line(grid: Grid, start: Tensor, end: Tensor) -> tuple[Callable[[Tensor], Tensor], float, Tensor]:
    """A line: its places by share of the way, its length, and the shares at which it is cut for quadrature."""
    if isinstance(grid, LatLonGrid):
        one, two = unit_vectors(torch.stack([start, end]))
        angle = float(separation(grid, start[None], end[None])) / grid.radius
        if math.pi - angle < 1e-6:
            raise InputError("line_integrals: expected no opposite places, for which there is no one great circle; split the line")
        pieces = max(1, math.ceil(angle * grid.radius / (0.5 * _spacing(grid, start, least=True))))

        def arc(share: Tensor) -> Tensor:
            v = (torch.sin((1 - share) * angle)[:, None] * one + torch.sin(share * angle)[:, None] * two) / math.sin(angle)
            longitude = torch.rad2deg(torch.atan2(v[:, 1], v[:, 0]))
            return torch.stack([longitude, torch.rad2deg(torch.atan2(v[:, 2], v[:, :2].norm(dim=1)))], 1)

        return arc, angle * grid.radius, torch.linspace(0, 1, pieces + 1, dtype=torch.float64)
    interpolation(grid, torch.stack([start, end]))  # refuses an end outside by name
    cuts = [torch.tensor([0.0, 1.0], dtype=torch.float64)]
    for axis, low, high in zip(reversed(grid.axes()), start, end, strict=True):
        if bool(low != high):
            at = (axis - low) / (high - low)
            cuts.append(at[(at > 0) & (at < 1)])
    return lambda share: start + share[:, None] * (end - start), float((end - start).norm()), torch.unique(torch.cat(cuts))


def _padded(spec: FieldSpec, rows: Sequence[tuple[Tensor, Tensor]], names: tuple[str, ...] | None, frames: tuple[int, ...] | None) -> WeightedCells:
    index, weight = (torch.nn.utils.rnn.pad_sequence([row[k] for row in rows], batch_first=True) for k in (0, 1))
    return WeightedCells(spec, index, weight, names=names, frames=frames)


def _cell_sizes(grid: Grid) -> Tensor:
    """Area (length, volume) of each cell, of the grid's shape."""
    if isinstance(grid, LatLonGrid):
        return grid.weights() * grid.radius**2 * grid.solid_angle
    assert isinstance(grid, CartesianGrid)  # there are two kinds of grids
    return grid.weights() * math.prod(grid.extent)


def _spacing(grid: Grid, point: Tensor, *, least: bool = False) -> float:
    """Largest (or least) distance between neighbours around a place, in the grid's unit."""
    steps = []
    for axis, x, name in zip(reversed(grid.axes()), point, reversed(grid.dims), strict=True):
        if axis.numel() > 1:
            gaps = axis.diff().abs()
            near = int((axis - x).abs().argmin().clamp_max(len(gaps) - 1))
            step = float(gaps.min() if least else gaps[near])
            if isinstance(grid, LatLonGrid):
                step = math.radians(step) * grid.radius
                if name == "longitude" and not least:
                    step *= math.cos(math.radians(float(point[1])))
            steps.append(step)
    return (min if least else max)(steps)
