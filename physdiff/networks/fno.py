r"""Fourier neural operators: a map between functions, learned on one grid and used on any.

A layer takes channels v on a grid to

$$ h = \phi(K v + W v + b), \qquad v' = \phi(M(h) + g\odot v), $$

K a convolution learned on the low Fourier modes (`SpectralConv`), W a matrix, M a small network, both alike at every point, g a gate per
channel and $\phi$ = GELU but in the last layer. In front the channels are lifted, at the end projected, by networks of two layers. `FFNO` has one
matrix per wavenumber of each axis in place of one per pair or triple of them, and residual layers $v' = v + M(\sum_d K_d v)$.

Nothing depends on the number of points, so that an operator trained on 64 points runs on 128 or 256: periodic axes are transformed as they
are, others are extended by an eighth, in which the ends are joined.

References: Li et al. (2020), arXiv 2010.08895; Kossaifi et al. (2024), arXiv 2412.10354 (gate and network in a layer); Tran et al. (2023), arXiv
2111.13802 (factorised).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError, ShapeError
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.fourier_basis import fourier_basis
from physdiff.networks.fourier_layer import FourierLayer
from physdiff.networks.padding import pad_end
from physdiff.networks.point_chain import PointMLP
from physdiff.networks.spectral_conv import AxisConv

__all__ = ["FFNO", "FNO", "GridOperator", "lengths_of", "modes_at"]


class GridOperator(nn.Module):
    """What operators on grids share: lifting, coordinates, extension of axes with ends, projection.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        width: Channels inside.
        periodic: For each axis, whether it is circular.
        coordinates: Whether i/n of each axis is appended to the input.
    """

    def __init__(self, in_channels: int, out_channels: int, width: int, *, periodic: tuple[bool, ...], coordinates: bool) -> None:
        super().__init__()
        for value, name in ((in_channels, "in_channels"), (out_channels, "out_channels"), (width, "width")):
            check_positive(value, name)
        if not 1 <= len(periodic) <= 3:
            raise InputError(f"ndim: expected 1, 2 or 3 axes, got {len(periodic)}; fold further axes into channels")
        self.in_channels, self.periodic, self.coordinates = in_channels, periodic, coordinates
        self.lift = PointMLP(in_channels + len(periodic) * coordinates, 2 * width, width)
        self.project = PointMLP(width, 2 * width, out_channels)

    def enter(self, x: Tensor, noise: Tensor | None = None, *, cell: int = 1) -> Tensor:
        """(B, C, *axes) -> (B, *longer axes, width), lengths that are multiples of `cell`.

        Raises:
            ShapeError: If a shape does not fit.
            InputError: If there is a noise level, which would be ignored.
        """
        if noise is not None:
            raise InputError("operator: expected no noise level, got one; it knows no levels: NoiseChannels(operator) does")
        ndim = len(self.periodic)
        if x.ndim != 2 + ndim or x.shape[1] != self.in_channels:
            wanted = f"(B, {self.in_channels}, *axes) with {ndim} axes"
            raise ShapeError(f"operator: expected {wanted}, got {tuple(x.shape)}; build it with the ndim and in_channels of the data")
        axes, v = x.shape[2:], x.movedim(1, -1)
        if self.coordinates:
            places = [torch.arange(n, device=x.device).to(x) / n for n in axes]
            v = torch.cat([v, *(g[..., None].expand(*v.shape[:-1], 1) for g in torch.meshgrid(*places, indexing="ij"))], -1)
        v = self.lift(v)
        longer = [m - n for m, n in zip(lengths_of(axes, self.periodic, cell), axes, strict=True)]
        if cell > 1:  # circles go on with their own beginning
            ahead = tuple(more if closed else 0 for more, closed in zip(longer, self.periodic, strict=True))
            v = pad_end(v.movedim(-1, 1), ahead, self.periodic).movedim(1, -1)
            longer = [0 if closed else more for more, closed in zip(longer, self.periodic, strict=True)]
        return functional.pad(v, (0, 0, *(p for more in reversed(longer) for p in (0, more)))) if any(longer) else v

    def leave(self, v: Tensor, axes: Sequence[int]) -> Tensor:
        """(B, *longer axes, width) -> (B, out, *axes)."""
        for axis, n in enumerate(axes, start=1):
            v = v.narrow(axis, 0, n) if v.shape[axis] > n else v
        out: Tensor = self.project(v)
        return out.movedim(-1, 1).contiguous()


class FNO(FieldNetwork):
    """Fourier neural operator (B, C, *axes) -> (B, out, *axes), 1 to 3 axes of any lengths.

    Shifts along circular axes commute with it exactly if it sees no coordinates.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        ndim: Number of axes.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Channels inside.
        modes: Wavenumbers kept: -m <= k < m (0 <= k <= m along the last axis), one m for all axes or one each.
        layers: Number of layers.
        coordinates: Whether to append the coordinates i/n to the input; None: if any axis has ends.

    Raises:
        InputError: If an argument makes no sense.
    """

    takes_noise: ClassVar[bool] = False
    of_extent: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int = 2,
        periodic: bool | tuple[bool, ...] = False,
        width: int = 32,
        modes: int | tuple[int, ...] = 12,
        layers: int = 4,
        coordinates: bool | None = None,
    ) -> None:
        super().__init__()
        check_positive(layers, "FNO layers")
        self.options: dict[str, Any] = {"width": width, "layers": layers, "coordinates": coordinates}
        circular = per_axis(periodic, ndim, "periodic")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.ndim, self.modes = ndim, per_axis(modes, ndim, "modes")
        given = not all(circular) if coordinates is None else coordinates
        self.ends = GridOperator(in_channels, out_channels, width, periodic=circular, coordinates=given)
        self.layers = nn.ModuleList(FourierLayer(width, self.modes, last=i == layers - 1) for i in range(layers))

    def at(self, shape: tuple[int, ...]) -> FNO:
        """A fresh operator without the wavenumbers that no field on `shape` points can hold; itself if there are none."""
        modes = modes_at(self.modes, shape, self.ends.periodic)
        if modes == self.modes:
            return self
        return FNO(self.in_channels, self.out_channels, ndim=self.ndim, periodic=self.ends.periodic, modes=modes, **self.options)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the operator.

        Args:
            x: Field (B, C, *axes).
            noise: None: it knows no levels, see `NoiseChannels`.

        Returns:
            Field (B, out, *axes).

        Raises:
            ShapeError: If a shape does not fit.
            InputError: If there is a noise level.
        """
        v = self.ends.enter(x, noise)
        basis = fourier_basis(tuple(v.shape[1:-1]), self.modes, like=v)
        for layer in self.layers:
            v = layer(v, basis)
        return self.ends.leave(v, x.shape[2:])


class FFNO(FieldNetwork):
    """Factorised Fourier neural operator: as `FNO`, with far fewer weights on 2 or 3 axes.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        ndim: Number of axes.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Channels inside.
        modes: Wavenumbers kept, 0 <= k <= m along each axis: one m for all axes or one each.
        layers: Number of layers.
        coordinates: Whether to append the coordinates i/n to the input; None: if any axis has ends.

    Raises:
        InputError: If an argument makes no sense.
    """

    takes_noise: ClassVar[bool] = False
    of_extent: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int = 2,
        periodic: bool | tuple[bool, ...] = False,
        width: int = 32,
        modes: int | tuple[int, ...] = 12,
        layers: int = 4,
        coordinates: bool | None = None,
    ) -> None:
        super().__init__()
        check_positive(layers, "FFNO layers")
        self.options: dict[str, Any] = {"width": width, "layers": layers, "coordinates": coordinates}
        circular = per_axis(periodic, ndim, "periodic")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.ndim, self.modes = ndim, per_axis(modes, ndim, "modes")
        given = not all(circular) if coordinates is None else coordinates
        self.ends = GridOperator(in_channels, out_channels, width, periodic=circular, coordinates=given)
        self.convs = nn.ModuleList(nn.ModuleList(AxisConv(width, width, m) for m in self.modes) for _ in range(layers))
        self.mlps = nn.ModuleList(PointMLP(width, 4 * width, width) for _ in range(layers))

    def at(self, shape: tuple[int, ...]) -> FFNO:
        """A fresh operator without the wavenumbers that no field on `shape` points can hold; itself if there are none."""
        modes = modes_at(self.modes, shape, self.ends.periodic)
        if modes == self.modes:
            return self
        return FFNO(self.in_channels, self.out_channels, ndim=self.ndim, periodic=self.ends.periodic, modes=modes, **self.options)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the operator; arguments and result as `FNO.forward`."""
        v = self.ends.enter(x, noise)
        bases = [fourier_basis((n,), (m,), like=v) for n, m in zip(v.shape[1:-1], self.modes, strict=True)]
        for convs, mlp in zip(self.convs, self.mlps, strict=True):
            parts = [convs[axis](v, basis, axis) for axis, basis in enumerate(bases)]  # type: ignore[index]
            v = v + mlp(sum(parts[1:], parts[0]))
        return self.ends.leave(v, x.shape[2:])


def modes_at(modes: tuple[int, ...], shape: tuple[int, ...], periodic: tuple[bool, ...]) -> tuple[int, ...]:
    """The wavenumbers of `modes` that fields on `shape` points, prolonged where an axis has ends, can hold: at least 1 for each axis."""
    return tuple(min(m, max(1, n // 2)) for m, n in zip(modes, lengths_of(shape, periodic), strict=True))


def lengths_of(shape: Sequence[int], periodic: tuple[bool, ...], cell: int = 1) -> tuple[int, ...]:
    """Lengths inside an operator: axes with ends an eighth longer, all up to the next multiple of `cell`."""
    return tuple(-(-(n if closed else n + -(-n // 8)) // cell) * cell for n, closed in zip(shape, periodic, strict=True))
