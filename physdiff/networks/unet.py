r"""U-Net for fields on 1 to 3 axes of any lengths, steered by a noise level.

Levels i = 0 .. L-1 with axes n -> ceil(n/2) -> ...: residual blocks on the way down, blocks around attention at the bottom, residual
blocks on the way up that also see what the way down had at their level. Strided convolution down, nearest neighbour and
convolution up. Periodic axes are circular, so that a shift by a multiple of 2^(L-1) cells commutes with the network when 2^(L-1) divides
their length; other axes replicate their edge.

References: Ronneberger et al. (2015), arXiv 1505.04597; Ho et al. (2020), arXiv 2006.11239; Dhariwal & Nichol (2021), arXiv 2105.05233
(adaptive norm); Karras et al. (2022), arXiv 2206.00364 (the noise input).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.attention import SelfAttention
from physdiff.networks.embedding import NoiseEmbedding
from physdiff.networks.layers import Conv, ResidualBlock, Upsample, group_norm, zeroed
from physdiff.networks.padding import channels_last

__all__ = ["UNet"]


class UNet(Saved, nn.Module):
    """U-Net with adaptive norm: (B, C, *axes) and a noise level -> (B, out, *axes).

    Its output is zero before training. Results of one sample do not depend on the rest of the batch, but for rounding.

    Args:
        in_channels: Channels C of the input (state and condition together).
        out_channels: Channels of the output.
        ndim: Number of axes, 1 to 3.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Channels of the finest level are `width` times its multiplier.
        multipliers: For each level, finest first, its width as a multiple of `width`. A tuple in place of a number lists the blocks of
            the level one by one: ``((1, 1), (2, 2), (2, 2))`` has two blocks per level, ``(1, 2, 2)`` one.
        attention: True: at the coarsest level only; False: nowhere; or one answer per level. Its cost grows with the square of the cells.
        dropout: Share of entries dropped in each residual block, in training (torch's global generator).

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
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for value, name in ((in_channels, "in_channels"), (out_channels, "out_channels"), (width, "width")):
            check_positive(value, name)
        self.in_channels, self.ndim = in_channels, ndim
        around = per_axis(periodic, ndim, "periodic")
        levels = _widths(width, multipliers)
        attends = _attention(attention, len(levels))
        features = 4 * width
        self.embedding = NoiseEmbedding(features)
        self.stem = Conv(in_channels, levels[0][0], around)
        self.down, self.shrink, self.up, self.grow = (nn.ModuleList() for _ in range(4))
        options = {"features": features, "dropout": dropout}
        channels = levels[0][0]
        for level, widths in enumerate(levels):
            if level:
                self.shrink.append(Conv(channels, channels, around, stride=2))
            self.down.append(_Stage((channels, *widths[:-1]), widths, around, attention=attends[level], **options))
            channels = widths[-1]
        self.middle = _Stage((channels,)*MID, (channels,)*MID, around, attention=False, **options)
        for level, widths in reversed(list(enumerate(levels))):
            outs = widths[::-1]
            if EXTRA:
                first = levels[level-1][-1] if level else widths[0]
                seen = (*outs, first)
                outs = (*outs, outs[-1])
            else: seen = outs
            self.up.append(_Stage(tuple(a + b for a, b in zip((channels, *outs[:-1]), seen)), outs, around, attention=attends[level], **options))
            channels = outs[-1]
            if level:
                self.grow.append(Upsample(channels, levels[level - 1][-1], around))
                channels = levels[level - 1][-1]
        self.norm = group_norm(channels)
        self.head = zeroed(Conv(channels, out_channels, around))

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        e = self.embedding(noise, x.shape[0])
        x = self.stem(channels_last(x))
        skips: list[list[Tensor]] = []
        for level, stage in enumerate(self.down):
            if level:
                x = self.shrink[level - 1](x)
            seen = stage(x, e)
            skips.append(([x] if EXTRA else [])+seen)
            x = seen[-1]
        x = self.middle(x, e)[-1]
        for level, stage in enumerate(self.up):
            x = stage(x, e, skips.pop())[-1]
            if skips:
                x = self.grow[level](x, skips[-1][-1].shape[2:])
        return self.head(functional.silu(self.norm(x)))


class _Stage(nn.Module):
    def __init__(self, ins, outs, periodic, *, features, dropout, attention):
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(a, b, periodic, embedding=features, dropout=dropout) for a, b in zip(ins, outs))
        self.attention = SelfAttention(outs[-1]) if attention else nn.Identity()
    def forward(self, x, e, skips=None):
        seen = []
        for block in self.blocks:
            x = block(x if skips is None else torch.cat((x, skips.pop()), 1), e)
            seen.append(x)
        seen[-1] = self.attention(x)
        return seen

def _widths(width, multipliers):
    return [tuple(width * m for m in (l if isinstance(l, Sequence) else (l,))) for l in multipliers]
def _attention(a, n):
    return (False,)*(n-1)+(a,) if isinstance(a, bool) else tuple(a)
MID = 2
EXTRA = False
