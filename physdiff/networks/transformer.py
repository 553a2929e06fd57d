r"""Transformers for fields on 1 to 3 axes of any lengths, steered by a noise level.

Boxes of cells become tokens; blocks of attention and of a pointwise network follow, each behind a layer norm whose scale, shift and gate come
from the noise level and are zero at the start (adaLN-zero): a fresh block is the identity, a fresh network gives zero.

Positions enter by rotation of queries and keys. A token at share s in [0, 1) of an axis turns the j-th pair of features by $2\pi k_j s$ on a
circle ($k_j$ whole, so that the seam is no seam and a shift by whole boxes commutes with the network) and by $\pi k_j s$ on any other axis,
where waves $\cos \pi k s$ are also added to the tokens: walls are places, a circle has none. Shares, not counts, so that a network trained
on one grid may be run on another of the same domain. Queries and keys are normalised (RMS), which keeps the attention from saturating.

`DiT` lets every token look at all others, `AxialViT` at those in line with it along each axis, the sum of which is taken: with n tokens an axis in
d axes the attention costs $d\,n^{d+1}$ in place of $n^{2d}$. On one axis they are the same network.

References: Peebles & Xie (2023), arXiv 2212.09748 (DiT); Su et al. (2021), arXiv 2104.09864 (rotary positions); Dehghani et al. (2023), arXiv
2302.05442 (normalised queries and keys); Rozet et al. (2025), arXiv 2507.02608 (for fields in a latent space); Ho et al. (2019), arXiv 1912.12180,
and McCabe et al. (2023), arXiv 2310.02994 (axial attention, for fields).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError
from physdiff.networks.embedding import NoiseEmbedding
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.patches import patchify_any, unpatchify

__all__ = ["AxialViT", "DiT"]

_HEAD = 32  # features per head aimed at
_FASTEST = 16.0  # waves around the axis of the fastest rotation
_WAVES = 8  # waves added along an axis that is no circle


class _Tokens(FieldNetwork):
    """Boxes of cells as tokens, blocks, and back; what the transformers share. Abstract: a final class calls `_assemble`."""

    @abstractmethod
    def _axial(self) -> bool:
        """Whether tokens look along the axes alone."""

    def _assemble(self, channels: tuple[int, int], periodic: bool | tuple[bool, ...], **choices: Any) -> None:  # noqa: ANN401
        (in_channels, out_channels), what = channels, type(self).__name__
        ndim, width, depth, patch, dropout = (choices[n] for n in ("ndim", "width", "depth", "patch", "dropout"))
        numbers = {"in_channels": in_channels, "out_channels": out_channels, "ndim": ndim, "width": width, "depth": depth}
        for name, value in numbers.items():
            check_positive(value, f"{what} {name}")
        if width % 4 or not 0 <= dropout < 1 or ndim > 3:
            got = f"{width}, {dropout} and {ndim}"
            raise InputError(f"{what}: expected a width that is a multiple of 4, a dropout in [0, 1) and 1 to 3 axes, got {got}")
        self.in_channels, self.out_channels, self.ndim = in_channels, out_channels, ndim
        self.periodic, self.patch = per_axis(periodic, ndim, f"{what} periodic"), per_axis(patch, ndim, f"{what} patch")
        for side in self.patch:
            check_positive(side, f"{what} patch")
        cells = math.prod(self.patch)
        self.heads = max(h for h in range(1, max(width // _HEAD, 1) + 1) if width % (2 * h) == 0)
        self.embedding = NoiseEmbedding(width)
        self.stem = nn.Linear(in_channels * cells, width)
        self.places = nn.Linear(_WAVES * (ndim - sum(self.periodic)), width, bias=False) if not all(self.periodic) else None
        self.blocks = nn.ModuleList(_Block(width, self.heads, dropout, axial=self._axial()) for _ in range(depth))
        self.modulate = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, out_channels * cells)
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
        boxes = patchify_any(x, self.patch, self.periodic)
        lengths = boxes.shape[2:]
        tokens = self.stem(boxes.flatten(2).transpose(1, 2))
        shares = _shares(lengths, like=tokens)
        if self.places is not None:
            open_axes = [i for i, closed in enumerate(self.periodic) if not closed]
            tokens = tokens + self.places(_waves(shares[:, open_axes]))
        turn = _rotation(shares, self.periodic, tokens.shape[2] // self.heads)
        for block in self.blocks:
            tokens = block(tokens, told, turn, lengths)
        scale, shift = self.modulate(told)[:, None].chunk(2, dim=2)
        out = self.head(_norm(tokens) * (1 + scale) + shift).transpose(1, 2).unflatten(2, lengths)
        field = unpatchify(out, self.patch)
        for axis, length in enumerate(x.shape[2:], start=2):
            field = field.narrow(axis, 0, length)
        return field.contiguous()


class DiT(_Tokens):
    """Diffusion transformer: (B, C, *axes) and a noise level -> (B, out, *axes).

    Its output is zero before training. The result of one sample does not depend on the rest of the batch, but for rounding. Its time grows with
    the square of the number of boxes.

    Args:
        in_channels: Channels C of the input (state and condition together).
        out_channels: Channels of the output.
        ndim: Number of axes, 1 to 3.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Features of a token; a multiple of 32 is best.
        depth: Number of blocks.
        patch: Cells of a box along each axis, one number or one per axis; axes that are no multiple of it are prolonged and cropped again.
        dropout: Share of entries dropped behind attention and pointwise network while training (by torch's global generator).

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
        width: int = 128,
        depth: int = 6,
        patch: int | tuple[int, ...] = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        options = {"ndim": ndim, "width": width, "depth": depth, "patch": patch, "dropout": dropout}
        self._assemble((in_channels, out_channels), periodic, **options)

    def _axial(self) -> bool:
        return False


class AxialViT(DiT):
    """Axial transformer: (B, C, *axes) and a noise level -> (B, out, *axes); arguments and errors are those of `DiT`.

    Its output is zero before training. The result of one sample does not depend on the rest of the batch, but for rounding. Its time
    grows with the number of boxes times that along an axis.
    """

    def _axial(self) -> bool:
        return True


class _Block(nn.Module):
    """x + gate attention(norm(x)), then x + gate mlp(norm(x))."""

    def __init__(self, width: int, heads: int, dropout: float, *, axial: bool) -> None:
        super().__init__()
        self.heads, self.axial = heads, axial
        self.modulate = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)
        self.project, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, told: Tensor, turn: tuple[Tensor, Tensor], lengths: torch.Size) -> Tensor:
        """(B, N, W) -> (B, N, W), N tokens on a grid of `lengths`."""
        s_1, b_1, g_1, s_2, b_2, g_2 = self.modulate(told)[:, None].chunk(6, dim=2)
        q, k, v = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in self.project(_norm(x) * (1 + s_1) + b_1).chunk(3, dim=2))
        q, k = _turned(q, turn), _turned(k, turn)
        looked = _in_line(q, k, v, lengths) if self.axial else functional.scaled_dot_product_attention(q, k, v)
        mixed = looked.transpose(1, 2).flatten(2)
        x = x + g_1 * self.dropout(self.merge(mixed))
        out: Tensor = x + g_2 * self.dropout(self.outer(functional.gelu(self.inner(_norm(x) * (1 + s_2) + b_2))))
        return out


def _in_line(q: Tensor, k: Tensor, v: Tensor, lengths: torch.Size) -> Tensor:
    """Sum over the axes of the attention along each: (B, heads, N, d) -> the same."""
    total = torch.zeros_like(v)
    for axis in range(2, 2 + len(lengths)):
        lines = [torch.unflatten(p, 2, lengths).movedim(axis, -2) for p in (q, k, v)]
        shape = lines[0].shape
        a, b, c = (p.reshape(-1, 1, *shape[-2:]) for p in lines)
        looked = functional.scaled_dot_product_attention(a, b, c).reshape(shape)
        total = total + looked.movedim(-2, axis).flatten(2, 1 + len(lengths))
    return total


def _norm(x: Tensor) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:])


def _turned(q: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    """Normalised features with every pair turned by the angle of its token."""
    cosine, sine = turn
    a, b = functional.rms_norm(q, q.shape[-1:]).chunk(2, dim=-1)
    return torch.cat((a * cosine - b * sine, a * sine + b * cosine), dim=-1)


def _shares(lengths: torch.Size, *, like: Tensor) -> Tensor:
    """Where each token lies, as shares of the axes: (N, ndim)."""
    axes = [(torch.arange(n, dtype=like.dtype, device=like.device) + 0.5) / n for n in lengths]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, -2)


def _waves(shares: Tensor) -> Tensor:
    """cos(pi k s), k = 1 ... _WAVES, of each axis: (N, axes) -> (N, axes _WAVES)."""
    k = torch.arange(1, _WAVES + 1, dtype=shares.dtype, device=shares.device)
    return torch.cos(torch.pi * shares[..., None] * k).flatten(1)


def _rotation(shares: Tensor, periodic: tuple[bool, ...], features: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the angle of each pair of features, (N, features / 2); the pairs are dealt to the axes in turn."""
    pairs, ndim = features // 2, len(periodic)
    axis = torch.arange(pairs, device=shares.device) % ndim
    each = max(1, -(-pairs // ndim))
    k = (torch.arange(pairs, device=shares.device) // ndim / max(1, each - 1) * math.log(_FASTEST)).exp().round()
    circle = torch.tensor([2.0 if closed else 1.0 for closed in periodic], device=shares.device)[axis]
    angle = torch.pi * circle.to(shares) * k.to(shares) * shares[:, axis]
    return angle.cos(), angle.sin()
