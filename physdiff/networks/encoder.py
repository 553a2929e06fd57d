r"""Convolutional encoder and decoder between a field and a coarser one, for autoencoders.

Each halving of the axes is a space-to-depth followed by a convolution, each doubling a convolution followed by its inverse; the first halving
comes before any convolution, so that none runs on the finest grid. Both maps are zero before training: they are corrections to a linear map
that is known beforehand (see transforms/autoencoder.py). No attention and circular padding: a shift by whole cells of the coarse grid
along a circle commutes with them, and they run on any grid.

References: Chen et al. (2024), arXiv 2410.10733 (space-to-depth in autoencoders); Rozet et al. (2025), arXiv 2507.02608 (for fields).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.errors import InputError
from physdiff.networks.layers import Conv, group_norm, zeroed
from physdiff.networks.padding import channels_last
from physdiff.networks.patches import patchify, unpatchify

__all__ = ["ConvDecoder", "ConvEncoder", "halvings"]

_WIDEST = 4  # channels of the coarsest level, as a multiple of the width


class ConvEncoder(nn.Module):
    """(B, C, *N) -> (B, latent, *N/factor); zero before training.

    Args:
        channels: Channels C of the field.
        latent: Channels of the result.
        periodic: For each axis in storage order, whether it is circular.
        factor: A power of 2 from 2 up; the axes must be multiples of it.
        width: Channels at the finest level, doubled at each level up to four times.
        blocks: Residual blocks at each level.
    """

    def __init__(self, channels: int, latent: int, periodic: tuple[bool, ...], *, factor: int, width: int, blocks: int = 2) -> None:
        super().__init__()
        cells = 2 ** len(periodic)
        self.sides = (2,) * len(periodic)
        widths = _widths(width, halvings(factor))
        self.entries = nn.ModuleList(Conv(a * cells, b, periodic) for a, b in zip((channels, *widths[:-1]), widths, strict=True))
        self.levels = nn.ModuleList(nn.Sequential(*(_Residual(w, periodic) for _ in range(blocks))) for w in widths)
        self.head = nn.Sequential(group_norm(widths[-1]), nn.SiLU(), zeroed(Conv(widths[-1], latent, periodic)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the coarse field."""
        for entry, level in zip(self.entries, self.levels, strict=True):
            x = level(entry(channels_last(patchify(x, self.sides))))
        out: Tensor = self.head(x)
        return out


class ConvDecoder(nn.Module):
    """(B, latent, *M) -> (B, C, *(factor M)); zero before training. Arguments as those of `ConvEncoder`."""

    def __init__(self, latent: int, channels: int, periodic: tuple[bool, ...], *, factor: int, width: int, blocks: int = 2) -> None:
        super().__init__()
        cells = 2 ** len(periodic)
        self.sides = (2,) * len(periodic)
        widths = _widths(width, halvings(factor))[::-1]
        self.stem = Conv(latent, widths[0], periodic)
        self.levels = nn.ModuleList(nn.Sequential(*(_Residual(w, periodic) for _ in range(blocks))) for w in widths)
        self.exits = nn.ModuleList(Conv(a, b * cells, periodic) for a, b in zip(widths, (*widths[1:], channels), strict=True))
        zeroed(self.exits[-1])  # type: ignore[arg-type]
        self.norm = group_norm(widths[-1])

    def forward(self, z: Tensor) -> Tensor:
        """Return the fine field."""
        x: Tensor = self.stem(channels_last(z))
        for number, (level, leave) in enumerate(zip(self.levels, self.exits, strict=True), start=1):
            x = level(x)
            x = unpatchify(leave(functional.silu(self.norm(x)) if number == len(self.levels) else x), self.sides)
        return x


class _Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), the identity before training."""

    def __init__(self, channels: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.norms = nn.ModuleList(group_norm(channels) for _ in range(2))
        self.first, self.second = Conv(channels, channels, periodic), zeroed(Conv(channels, channels, periodic))

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(functional.silu(self.norms[0](x)))
        out: Tensor = x + self.second(functional.silu(self.norms[1](hidden)))
        return out


def halvings(factor: int) -> int:
    """The number of halvings L of a factor 2^L.

    Raises:
        InputError: If the factor is no power of 2 from 2 up.
    """
    if factor < 2 or factor & (factor - 1):
        raise InputError(f"factor: expected a power of 2 from 2 up, got {factor}")
    return factor.bit_length() - 1


def _widths(width: int, levels: int) -> list[int]:
    return [width * min(2**i, _WIDEST) for i in range(levels)]
