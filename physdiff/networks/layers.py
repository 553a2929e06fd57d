r"""Building blocks of convolutional networks on 1 to 3 axes.

`Conv` pads every axis by its own rule. `AdaptiveNorm` is group norm whose scale and shift come from an
embedding e, y = (1 + s(e)) (x - mean) / std + b(e) (Perez et al. 2018, arXiv 1709.07871; Dhariwal & Nichol
2021, arXiv 2105.05233). `ResidualBlock` is x + conv(act(adaptive(conv(act(norm(x)))), e)) with its last
convolution zero at the start, so that a fresh block is the identity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.errors import InputError
from physdiff.networks.padding import pad

__all__ = [
    "AdaptiveNorm",
    "Conv",
    "ResidualBlock",
    "Upsample",
    "convolution",
    "group_norm",
    "groups_of",
    "zeroed",
]

_CONVOLUTIONS: dict[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}


def convolution(in_channels: int, out_channels: int, kernel: int, *, ndim: int, stride: int = 1) -> nn.Conv1d | nn.Conv2d | nn.Conv3d:
    """Return the unpadded convolution for `ndim` axes (1, 2 or 3).

    Raises:
        InputError: If `ndim` is not 1, 2 or 3.
    """
    if ndim not in _CONVOLUTIONS:
        raise InputError(f"ndim: expected 1, 2 or 3 axes, got {ndim}; fold further axes into channels")
    return _CONVOLUTIONS[ndim](in_channels, out_channels, kernel, stride=stride)


def groups_of(channels: int) -> int:
    """Number of groups for group norm: the largest divisor of `channels` that leaves 4 in each, 1 to 32."""
    return max(g for g in range(1, min(max(channels // 4, 1), 32) + 1) if channels % g == 0)


def group_norm(channels: int, *, affine: bool = True) -> nn.GroupNorm:
    """Return group norm for any number of channels, with `groups_of` groups."""
    return nn.GroupNorm(groups_of(channels), channels, affine=affine)


class Conv(nn.Module):
    """Convolution with an odd kernel over 1 to 3 axes, each axis padded by its own rule.

    (B, C, *n) -> (B, out, *ceil(n / stride)), for any lengths n.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        periodic: For each axis in storage order, whether it is circular.
        kernel: Odd length of the kernel along each axis.
        stride: Step between outputs; cell 0 is always kept.
        edges: "replicate" or "zeros", the padding of the other axes.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        periodic: tuple[bool, ...],
        *,
        kernel: int = 3,
        stride: int = 1,
        edges: str = "replicate",
    ) -> None:
        super().__init__()
        if kernel < 1 or kernel % 2 == 0:
            raise InputError(f"kernel: expected an odd number, got {kernel}; an even one shifts the field by half a cell")
        self.periodic, self.width, self.edges = tuple(periodic), kernel // 2, edges
        self.inner = convolution(in_channels, out_channels, kernel, ndim=len(periodic), stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved field."""
        out: Tensor = self.inner(pad(x, self.periodic, width=self.width, edges=self.edges))
        return out


def zeroed(conv: Conv) -> Conv:
    """Return `conv` with weight and bias set to zero."""
    nn.init.zeros_(conv.inner.weight)
    if conv.inner.bias is not None:
        nn.init.zeros_(conv.inner.bias)
    return conv


class AdaptiveNorm(nn.Module):
    """Group norm with scale and shift from an embedding: (B, C, *axes), (B, E) -> (B, C, *axes).

    Args:
        channels: Number of channels C.
        embedding: Length E of the embedding.
    """

    def __init__(self, channels: int, embedding: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, affine=False)
        self.modulate = nn.Linear(embedding, 2 * channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return (1 + scale) norm(x) + shift."""
        scale, shift = self.modulate(embedding)[(...,) + (None,) * (x.ndim - 2)].chunk(2, dim=1)
        return torch.addcmul(shift, self.norm(x), 1 + scale)


class ResidualBlock(nn.Module):
    """Two convolutions beside the identity, steered: (B, C, *axes), (B, E) -> (B, out, *axes).

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        periodic: For each axis in storage order, whether it is circular.
        embedding: Length E of the embedding.
        dropout: Share of entries dropped before the last convolution, in training (torch's global generator).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        periodic: tuple[bool, ...],
        *,
        embedding: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = group_norm(in_channels)
        self.first = Conv(in_channels, out_channels, periodic)
        self.adaptive = AdaptiveNorm(out_channels, embedding)
        self.dropout = nn.Dropout(dropout)
        self.second = zeroed(Conv(out_channels, out_channels, periodic))
        self.shortcut = Conv(in_channels, out_channels, periodic, kernel=1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Return the changed field."""
        hidden = self.first(functional.silu(self.norm(x)))
        hidden = self.second(self.dropout(functional.silu(self.adaptive(hidden, embedding))))
        out: Tensor = self.shortcut(x) + hidden
        return out


class Upsample(nn.Module):
    """Repeat every cell twice along each axis, crop to the wanted lengths, convolve.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        periodic: For each axis in storage order, whether it is circular.
    """

    def __init__(self, in_channels: int, out_channels: int, periodic: tuple[bool, ...]) -> None:
        super().__init__()
        self.conv = Conv(in_channels, out_channels, periodic)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """Return the field on the axes `size`, each 2 n or 2 n - 1 for an input length n."""
        fine = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        for axis, length in enumerate(size, start=2):
            if fine.shape[axis] != length:
                fine = fine.narrow(axis, 0, length)
        out: Tensor = self.conv(fine)
        return out
