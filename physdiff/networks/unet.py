r"""U-Net for fields on 1 to 3 axes of any lengths, steered by a noise level.

Levels i = 0 .. L-1 with axes n, ceil(n/2), ...: residual blocks on the way down, two more at the bottom,
and residual blocks on the way up, each of which also sees what its counterpart on the way down made.
Strided convolution down, nearest neighbour and convolution up. Periodic axes are circular, so that a shift
by a multiple of 2^(L-1) cells commutes with the network when 2^(L-1) divides their length; other axes
replicate their edge.

The way up has as many blocks as the way down, not one more per level as in Dhariwal & Nichol: in a short
trial (70 s, one seed) the smaller network had the lower loss at equal time.

References: Ronneberger et al. (2015), arXiv 1505.04597; Ho et al. (2020), arXiv 2006.11239; Dhariwal &
Nichol (2021), arXiv 2105.05233 (adaptive norm); Karras et al. (2022), arXiv 2206.00364 (the noise input).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError
from physdiff.networks.attention import SelfAttention
from physdiff.networks.embedding import NoiseEmbedding
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.layers import Conv, ResidualBlock, Upsample, group_norm, zeroed
from physdiff.networks.padding import channels_last

__all__ = ["UNet"]


class UNet(FieldNetwork):
    """U-Net with adaptive norm: (B, C, *axes) and a noise level -> (B, out, *axes).

    Its output is zero before training. The result of one sample does not depend on the rest of the batch,
    but for rounding.

    Args:
        in_channels: Channels C of the input (state and condition together).
        out_channels: Channels of the output.
        ndim: Number of axes, 1 to 3.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: The unit of the number of channels; a multiple of 4 is best.
        multipliers: Channels of each level, finest first, as multiples of `width`. A tuple in place of a
            number lists the blocks of the level one by one: ``(1, 2, 2)`` has one block per level, ``((1,
            1), (2, 2), (2, 2))`` two.
        attention: True: at the coarsest level only; False: nowhere; or one answer per level, finest first.
            Its time grows with the square of the number of cells.
        dropout: Share of entries dropped in each residual block while training (by torch's global generator).

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int = 2,
        periodic: bool | tuple[bool, ...] = False,
        width: int = 32,
        multipliers: tuple[int | tuple[int, ...], ...] = (1, 2, 2),
        attention: bool | tuple[bool, ...] = True,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        for value, name in ((in_channels, "in_channels"), (out_channels, "out_channels"), (width, "width")):
            check_positive(value, name)
        if not 0 <= dropout < 1:
            raise InputError(f"dropout: expected a share in [0, 1), got {dropout}")
        self.in_channels, self.out_channels, self.ndim = in_channels, out_channels, ndim
        circular, levels = per_axis(periodic, ndim, "periodic"), _levels(width, multipliers)
        attend = _attention(attention, len(levels))
        self.embedding = NoiseEmbedding(4 * width)
        channels = levels[0][0]
        self.stem = Conv(in_channels, channels, circular)
        self.down, self.shrink, self.grow, self.up = (nn.ModuleList() for _ in range(4))
        for level, outs in enumerate(levels):
            if level:
                self.shrink.append(Conv(channels, channels, circular, stride=2))
            self.down.append(
                _Stage(
                    (channels, *outs[:-1]),
                    outs,
                    circular,
                    features=4 * width,
                    dropout=dropout,
                    attention=attend[level],
                )
            )
            channels = outs[-1]
        bottom = (channels, channels)
        self.middle = _Stage(bottom, bottom, circular, features=4 * width, dropout=dropout, attention=False)
        for level in reversed(range(len(levels))):
            outs = levels[level][::-1]
            ins = tuple(a + b for a, b in zip((channels, *outs[:-1]), outs, strict=True))
            self.up.append(_Stage(ins, outs, circular, features=4 * width, dropout=dropout, attention=attend[level]))
            channels = outs[-1]
            if level:
                self.grow.append(Upsample(channels, levels[level - 1][-1], circular))
                channels = levels[level - 1][-1]
        self.norm = group_norm(channels)
        self.head = zeroed(Conv(channels, out_channels, circular))

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the network.

        Args:
            x: Field (B, C, *axes), `ndim` axes of any lengths from 1 up.
            noise: Noise level (B,) or (): any real number, best within about +-2, such as log(sigma)/4; None: 0, for a network without levels.

        Returns:
            Field (B, out, *axes).

        Raises:
            ShapeError: If a shape does not fit.
        """
        self.check_field(x)
        embedding = self.embedding(x.new_zeros(()) if noise is None else noise, x.shape[0])
        x = self.stem(channels_last(x))
        skips: list[list[Tensor]] = []
        for level, stage in enumerate(self.down):
            x = self.shrink[level - 1](x) if level else x
            skips.append(stage(x, embedding))
            x = skips[-1][-1]
        x = self.middle(x, embedding)[-1]
        for level, stage in enumerate(self.up):
            x = stage(x, embedding, skips.pop())[-1]
            if skips:
                x = self.grow[level](x, skips[-1][-1].shape[2:])
        out: Tensor = self.head(functional.silu(self.norm(x)))
        return out.contiguous()


class _Stage(nn.Module):
    """The residual blocks of one level in one direction, and attention after the last if wanted."""

    def __init__(
        self,
        ins: tuple[int, ...],
        outs: tuple[int, ...],
        circular: tuple[bool, ...],
        *,
        features: int,
        dropout: float,
        attention: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(a, b, circular, embedding=features, dropout=dropout) for a, b in zip(ins, outs, strict=True))
        self.attention = SelfAttention(outs[-1]) if attention else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor, skips: list[Tensor] | None = None) -> list[Tensor]:
        """Return the output of every block; before each, the last of `skips` not yet used is concatenated."""
        seen: list[Tensor] = []
        for number, block in enumerate(self.blocks):
            x = block(x if skips is None else torch.cat((x, skips[-1 - number]), dim=1), embedding)
            seen.append(x)
        seen[-1] = self.attention(x)
        return seen


def _levels(width: int, multipliers: tuple[int | tuple[int, ...], ...]) -> list[tuple[int, ...]]:
    levels = [tuple(width * m for m in (level if isinstance(level, Sequence) else (level,))) for level in multipliers]
    if not levels or any(not outs or min(outs) < 1 for outs in levels):
        raise InputError(f"multipliers: expected a positive number or a tuple of them for each level, got {multipliers!r}")
    return levels


def _attention(attention: bool | tuple[bool, ...], levels: int) -> tuple[bool, ...]:
    if isinstance(attention, bool):
        return (False,) * (levels - 1) + (attention,)
    if len(attention) != levels:
        raise InputError(f"attention: expected True, False or {levels} answers, finest level first, got {attention!r}")
    return tuple(attention)
