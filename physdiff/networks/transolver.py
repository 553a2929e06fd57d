r"""Transolver: attention between few slices of a field in place of all its cells.

Cell i belongs to slice m by $w_{im} = \mathrm{softmax}_m(a_m\cdot x_i/\tau)$; slices are means, attention is between them, and cells take them back:

$$ z_m = \frac{\sum_i w_{im} f_i}{\sum_i w_{im}}, \qquad z' = \mathrm{attention}(z), \qquad x_i' = \sum_m w_{im} z'_m, $$

head by head, so that the cost is linear in the number of cells. x and f come from convolutions three cells wide, and the input is
given its coordinates, i/n of axes with ends, cos and sin of 2 pi i/n of circles: without them slices know what a cell holds, not where it is. The
attention does not ask how many cells there are. Blocks are steered by the noise level and are the identity before training, as those of `DiT`.

Reference: Wu et al. (2024), arXiv 2402.02366.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.networks.embedding import NoiseEmbedding
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.layers import Conv

__all__ = ["PhysicsAttention", "Transolver"]

_HEAD = 16  # features per head aimed at
_TEMPERATURE = 0.5
_FLOOR = 1e-5  # weight of a slice that nobody belongs to


class Transolver(FieldNetwork):
    """Transolver: (B, C, *axes) and a noise level -> (B, out, *axes), 1 to 3 axes of any lengths; zero before training.

    Args:
        in_channels: Channels C of the input (state and condition together).
        out_channels: Channels of the output.
        ndim: Number of axes.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Features of a cell.
        depth: Number of blocks.
        slices: Number of slices of each head.

    Raises:
        InputError: If an argument makes no sense.
    """

    of_extent: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int = 2,
        periodic: bool | tuple[bool, ...] = False,
        width: int = 64,
        depth: int = 4,
        slices: int = 32,
    ) -> None:
        super().__init__()
        numbers = {"in_channels": in_channels, "out_channels": out_channels, "width": width, "depth": depth, "slices": slices}
        for name, value in numbers.items():
            check_positive(value, f"Transolver {name}")
        self.in_channels, self.out_channels, self.ndim = in_channels, out_channels, ndim
        self.periodic = per_axis(periodic, ndim, "Transolver periodic")
        self.embedding = NoiseEmbedding(width)
        self.stem = nn.Linear(in_channels + ndim + sum(self.periodic), width)
        self.blocks = nn.ModuleList(_Block(width, slices, self.periodic) for _ in range(depth))
        self.modulate, self.head = nn.Linear(width, 2 * width), nn.Linear(width, out_channels)
        for layer in (self.modulate, self.head):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the network, see `FieldNetwork.forward`.

        Raises:
            ShapeError: If a shape does not fit.
        """
        self.check_field(x)
        told = self.embedding(x.new_zeros(()) if noise is None else noise, x.shape[0])
        v = self.stem(torch.cat([x.movedim(1, -1), self._places(x)], -1))
        for block in self.blocks:
            v = block(v, told)
        scale, shift = _spread(self.modulate(told), v).chunk(2, -1)
        out: Tensor = self.head(_norm(v) * (1 + scale) + shift)
        return out.movedim(-1, 1).contiguous()

    def _places(self, x: Tensor) -> Tensor:
        """Coordinates (B, *axes, features), without a seam on circles."""
        parts = []
        for axis, (n, closed) in enumerate(zip(x.shape[2:], self.periodic, strict=True)):
            place = torch.arange(n, device=x.device).to(x) / n
            seen = [torch.cos(2 * math.pi * place), torch.sin(2 * math.pi * place)] if closed else [place]
            shape = [1] * axis + [n] + [1] * (self.ndim - axis - 1)
            parts += [s.reshape(1, *shape, 1).expand(x.shape[0], *x.shape[2:], 1) for s in seen]
        return torch.cat(parts, -1)


class PhysicsAttention(nn.Module):
    """Attention between slices: features x (what decides the slice) and f (what is averaged), (B, N, W) each -> (B, N, W).

    Args:
        width: Features W.
        slices: Number of slices of each head.
        head: Features per head aimed at; the number of heads divides the width.
    """

    def __init__(self, width: int, slices: int, *, head: int = _HEAD) -> None:
        super().__init__()
        self.heads = max(h for h in range(1, max(width // head, 1) + 1) if width % h == 0)
        inner = width // self.heads
        self.slices = nn.Linear(inner, slices)
        nn.init.orthogonal_(self.slices.weight)
        self.temperature = nn.Parameter(torch.full((self.heads, 1, 1), math.log(_TEMPERATURE)))
        self.queries, self.keys, self.values = (nn.Linear(inner, inner, bias=False) for _ in range(3))
        self.merge = nn.Linear(width, width)

    def forward(self, x: Tensor, f: Tensor) -> Tensor:
        """Return what the slices tell the cells."""
        x, f = (torch.unflatten(p, 2, (self.heads, -1)).transpose(1, 2) for p in (x, f))
        share = torch.softmax(self.slices(x) * torch.exp(-self.temperature), -1)
        tokens = share.transpose(2, 3) @ f / (share.sum(2)[..., None] + _FLOOR)
        looked = functional.scaled_dot_product_attention(self.queries(tokens), self.keys(tokens), self.values(tokens))
        out: Tensor = self.merge((share @ looked).transpose(1, 2).flatten(2))
        return out


class _Block(nn.Module):
    """x + gate attention(norm(x)), then x + gate mlp(norm(x)), on (B, *axes, W)."""

    def __init__(self, width: int, slices: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        self.conv = Conv(width, 2 * width, periodic)
        self.attention = PhysicsAttention(width, slices)
        self.inner, self.outer = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, v: Tensor, told: Tensor) -> Tensor:
        s_1, b_1, g_1, s_2, b_2, g_2 = _spread(self.modulate(told), v).chunk(6, -1)
        x, f = self.conv((_norm(v) * (1 + s_1) + b_1).movedim(-1, 1)).flatten(2).transpose(1, 2).chunk(2, 2)
        v = v + g_1 * self.attention(x, f).reshape(v.shape)
        out: Tensor = v + g_2 * self.outer(functional.gelu(self.inner(_norm(v) * (1 + s_2) + b_2)))
        return out


def _norm(v: Tensor) -> Tensor:
    return functional.layer_norm(v, v.shape[-1:])


def _spread(told: Tensor, v: Tensor) -> Tensor:
    """(B, E) -> (B, 1, ..., 1, E)."""
    return told.reshape(len(told), *[1] * (v.ndim - 2), -1)
