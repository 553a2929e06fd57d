r"""Latents of values at any points: an autoencoder of a regular grid between learned averages onto it and back.

A frame u at N points is averaged onto the cells of a grid, encoded and decoded there by an `Autoencoder`, and read at the points again:

$$ z = E(A u), \qquad \hat u = I\,D(z) + P\,C\,D(z), $$

A a `PointAverage` of the points around each cell, I linear interpolation, C an average of the cells around each point of what a small network P
makes of them, zero before training. It thus begins as the best linear coder of the averaged frames and can only gain. Latents live on a regular grid,
so that every network and every process of the house takes them; a fitted coder decodes at other points, too (`at`).

References: Zhou et al. (2024), Text2PDE, arXiv 2410.01153 (mesh autoencoder); Li et al. (2023), arXiv 2309.00583 (averages to a grid).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.interpolate import interpolation
from physdiff.grids.points import PointGrid
from physdiff.networks.neighbours import PointAverage, neighbours
from physdiff.networks.point_chain import PointMLP
from physdiff.networks.point_operator import grid_points
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.transform import Batches, Sample, Shape

__all__ = ["MeshAutoencoder"]

_REACH = 1.0  # radius of the averages in cells, half their diagonal in the plane and a little more


class MeshAutoencoder(FrameCoder):
    """Windows (B, C, T, N) on a `PointGrid` to (B, latent, T, *grid/factor) and back, frame by frame.

    Args:
        grid: Cells of the regular grid in storage order, one number for all axes or one each; about as many as points is best.
        compression: Numbers of the gridded field for each number of the latents, as in `Autoencoder`.
        factor: Cells of the grid for each cell of the latents along every axis, as in `Autoencoder`.
        width: Channels of the networks; 0: the linear map alone.
        points: (N, d), the points in shares of their box, storage order; None until fitted, as the next.
        inner: The autoencoder of the grid.

    Raises:
        InputError: If an argument makes no sense, or windows are not on points.
        NotFitted: If used before it is fitted.
    """

    def __init__(
        self,
        grid: int | tuple[int, ...] = 32,
        compression: float = 16.0,
        factor: int | None = None,
        *,
        width: int = 32,
        points: Tensor | None = None,
        inner: Autoencoder | None = None,
    ) -> None:
        super().__init__()
        for n in (grid,) if isinstance(grid, int) else grid:
            check_positive(n, "MeshAutoencoder grid")
        self.grid, self.compression, self.asked, self.width = grid, compression, factor, width
        self.channels, self.periodic = None, None
        self.inner = Autoencoder(compression, factor, width) if inner is None else inner
        self.points: Tensor | None
        self.register_buffer("points", points, persistent=False)
        if points is None or inner is None or inner.channels is None or inner.shape is None:
            return
        d = points.shape[1]
        self.cells, self.channels, self.periodic, self.latent = inner.shape, inner.channels, inner.periodic, inner.latent
        if len(self.cells) != d:
            raise InputError(f"MeshAutoencoder: expected a grid of {d} axes for points (N, {d}), got {self.cells}")
        self._place(points.double())
        if width:
            self.enter, self.leave = PointAverage(self.channels, d), PointAverage(width, d)
            self.lift, self.project = nn.Linear(self.channels, width), PointMLP(width, width, self.channels)
            nn.init.zeros_(self.project.second.weight)
            nn.init.zeros_(self.project.second.bias)
        self.requires_grad_(False)

    def _place(self, points: Tensor) -> None:
        """Who is near whom, and the weights of the interpolation."""
        closed, cells = (False,) * points.shape[1], grid_points(self.cells, (False,) * points.shape[1], like=points)
        box = CartesianGrid(self.cells, extent=(1.0,) * len(self.cells), periodic=False)
        half = torch.tensor([0.5 / n for n in self.cells], dtype=torch.float64)
        self.way_in = neighbours(points, cells, radius=_REACH / min(self.cells), periodic=closed)
        self.way_out = neighbours(cells, points, radius=_REACH / min(self.cells), periodic=closed)
        self.read = interpolation(box, points.clamp(half, 1 - half).flip(1))

    @property
    def error(self) -> Tensor:  # type: ignore[override]
        """Root mean square of what is lost, in standard deviations; NaN until known."""
        return self.inner.error

    @property
    def coarse(self) -> tuple[int, ...]:
        """Lengths of the latents' axes."""
        return self.inner.coarse

    def at(self, points: Tensor) -> MeshAutoencoder:
        """The same weights (shared) for other points (N', d), in shares of the same box, storage order."""
        if self.channels is None:
            raise NotFitted("MeshAutoencoder.at: expected a fitted coder, got one without weights")
        made = MeshAutoencoder(self.grid, self.compression, self.asked, width=self.width, points=points, inner=self.inner)
        if self.width:
            made.enter, made.leave, made.lift, made.project = self.enter, self.leave, self.lift, self.project
        return made

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> MeshAutoencoder:
        """Size and linear part from the windows; missing values count as zero, the centre of what is normalised."""
        if self.channels is not None and bool(self.error.isfinite()):
            return self
        if not isinstance(spec.grid, PointGrid):
            raise InputError(f"MeshAutoencoder: expected windows on points, got {spec.grid.summary()}; Autoencoder is for regular grids")
        points = spec.grid.shares().float()
        cells = (self.grid,) * points.shape[1] if isinstance(self.grid, int) else tuple(self.grid)
        shape = (len(spec.names), cells, (False,) * len(cells))
        probe = MeshAutoencoder(self.grid, self.compression, self.asked, width=0, points=points, inner=Autoencoder(
            self.compression, self.asked, 0, channels=shape[0], shape=shape[1], periodic=shape[2]))  # fmt: skip
        gridded = FieldSpec(spec.names, spec.units, CartesianGrid(cells, periodic=False), spec.dt, frames=spec.frames, time_unit=spec.time_unit)

        def on_grid() -> Iterator[Sample]:
            for sample in batches():
                yield Sample(probe._gridded(torch.nan_to_num(sample.x)))

        inner = Autoencoder(self.compression, self.asked, self.width).fitted_from(on_grid, gridded)
        return MeshAutoencoder(self.grid, self.compression, self.asked, width=self.width, points=points, inner=inner)

    def _gridded(self, x: Tensor) -> Tensor:
        """(B, C, T, N) -> (B, C, T, *cells)."""
        count = len(self._ready())
        if x.ndim != 4 or (x.shape[1], x.shape[3]) != (self.channels, count):
            wanted = f"(B, {self.channels}, T, {count})"
            raise ShapeError(f"MeshAutoencoder: expected {wanted}, got {tuple(x.shape)}; `at` gives one for other points")
        flat = x.transpose(1, 2).flatten(0, 1).transpose(1, 2)
        near = self.way_in.to(flat)
        on = self.enter(flat, near) if self.width else near.mean(flat)
        return _frames(on.transpose(1, 2).reshape(len(flat), -1, *self.cells), x.shape[0])

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return self.inner._encode(self._gridded(x), cond)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        self._ready()
        field = self.inner._decode(z, cond)
        out: Tensor = self.read(field)
        if self.width:
            flat = field.transpose(1, 2).flatten(0, 1).flatten(2).transpose(1, 2).to(self.lift.weight)
            more = self.project(self.leave(self.lift(flat), self.way_out.to(flat)))
            out = out + _frames(more.transpose(1, 2), z.shape[0]).to(out)
        return out

    def out_shape(self, shape: Shape) -> Shape:
        """(C, T, N) -> (latent, T, *coarse)."""
        if (shape[0], shape[2:]) != (self.channels, tuple(self._ready().shape[:1])):
            raise ShapeError(f"MeshAutoencoder.out_shape: expected ({self.channels}, T, {len(self._ready())}), got {shape}")
        return (self.latent, shape[1], *self.coarse)

    def shares(self, known: Tensor) -> Tensor:
        """Means of maps (B, M, T, N) over the points around each cell, and over the cells of each latent."""
        flat = known.transpose(1, 2).flatten(0, 1).transpose(1, 2)
        on = self.way_in.to(flat).mean(flat).transpose(1, 2).reshape(len(flat), -1, *self.cells)
        return self.inner.shares(_frames(on, known.shape[0]))

    def weight(self, known: Tensor) -> Tensor:
        """Share of known points (and fields) behind each latent."""
        share = self.shares(known).mean(1, keepdim=True)
        return share.expand(-1, self.latent, *share.shape[2:])

    def rescale(self, latents: Iterator[Tensor]) -> None:
        """Set mean and variance of the latents of training data to 0 and 1; called after training."""
        self.inner.rescale(latents)

    def _ready(self) -> Tensor:
        if self.points is None or self.channels is None:
            raise NotFitted("MeshAutoencoder: expected a fitted one, got one without points or weights; use fit_autoencoder, or fitted")
        return self.points


def _frames(x: Tensor, batch: int) -> Tensor:
    """(B T, C, ...) -> (B, C, T, ...)."""
    return x.reshape(batch, -1, *x.shape[1:]).transpose(1, 2)
