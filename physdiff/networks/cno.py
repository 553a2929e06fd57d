r"""Convolutional neural operator: a U-Net whose every map keeps the band of its grid, so that it is a map of functions.

Convolutions are band-limited by themselves; activations and changes of resolution are not, and are done by `filtered` and `resample`. What is
learned then does not depend on where the points of the grid happen to lie: shifts by a fraction of a cell along circles commute with it up to the
small folding of the activation. Its kernels know the size of a cell: on another grid the field is taken to the grid of training
and back by `forward`, once `at` has said which that is; exact for what both hold.

Reference: Raonic et al. (2023), arXiv 2302.01178.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.layers import Conv, group_norm
from physdiff.networks.resample import filtered, resample

__all__ = ["CNO"]


class CNO(FieldNetwork):
    """Convolutional neural operator (B, C, *axes) -> (B, out, *axes), 1 to 3 axes of any lengths.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        ndim: Number of axes.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Channels at the finest level, doubled at each level.
        levels: Number of halvings.
        blocks: Residual blocks at the coarsest level.
        shape: Lengths of the axes that the network works on; fields on others are taken there and back. None: whatever comes.

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
        width: int = 16,
        levels: int = 2,
        blocks: int = 2,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        numbers = {"in_channels": in_channels, "out_channels": out_channels, "width": width, "levels": levels, "blocks": blocks}
        for name, value in numbers.items():
            check_positive(value, f"CNO {name}")
        if shape is not None and len(shape) != ndim:
            raise InputError(f"CNO: expected a shape of {ndim} axes, got {shape}")
        self.in_channels, self.out_channels, self.ndim = in_channels, out_channels, ndim
        self.periodic, self.shape = per_axis(periodic, ndim, "CNO periodic"), None if shape is None else tuple(shape)
        self.options = {"width": width, "levels": levels, "blocks": blocks}
        sizes = [width * 2**i for i in range(levels + 1)]
        self.lift, self.project = Conv(in_channels, width, self.periodic), Conv(width, out_channels, self.periodic)
        self.down = nn.ModuleList(_Block(a, b, self.periodic) for a, b in zip(sizes, sizes[1:], strict=False))
        self.neck = nn.ModuleList(_Block(sizes[-1], sizes[-1], self.periodic) for _ in range(blocks))
        self.skips = nn.ModuleList(_Block(a, a, self.periodic) for a in sizes[:-1])
        self.up = nn.ModuleList(_Block(b + a, a, self.periodic) for a, b in reversed(list(zip(sizes, sizes[1:], strict=False))))

    def at(self, shape: tuple[int, ...]) -> CNO:
        """A fresh network of the same choices that works on `shape` points, whatever grid the fields come on."""
        if self.shape is not None:
            return self
        return CNO(self.in_channels, self.out_channels, ndim=self.ndim, periodic=self.periodic, shape=tuple(shape), **self.options)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the operator; arguments, result and errors as `FNO.forward`."""
        if noise is not None:
            raise InputError("CNO: expected no noise level, got one; it knows no levels: NoiseChannels(operator) does")
        self.check_field(x)
        asked = x.shape[2:]
        v = self._act(self.lift(x if self.shape is None else resample(x, self.shape, self.periodic)))
        fine: list[Tensor] = []
        for down, skip in zip(self.down, self.skips, strict=True):
            fine.append(skip(v))
            v = down(resample(v, [-(-n // 2) for n in v.shape[2:]], self.periodic))
        for block in self.neck:
            v = v + block(v)
        for up in self.up:
            kept = fine.pop()
            v = up(torch.cat([resample(v, kept.shape[2:], self.periodic), kept], 1))
        return resample(self.project(v), asked, self.periodic).contiguous()

    def _act(self, v: Tensor) -> Tensor:
        return filtered(functional.gelu, v, self.periodic)


class _Block(nn.Module):
    """Convolution, norm, activation without false waves."""

    def __init__(self, in_channels: int, out_channels: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.conv, self.norm, self.periodic = Conv(in_channels, out_channels, periodic), group_norm(out_channels), periodic

    def forward(self, v: Tensor) -> Tensor:
        return filtered(functional.gelu, self.norm(self.conv(v)), self.periodic)
