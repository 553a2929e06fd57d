r"""Convolutions whose kernel is learned mode by mode, on channels-last fields.

$$ (K v)_x = \sum_{k\in K} e^{2\pi i k\cdot x/n} R_k \hat v_k, \qquad R_k \in \mathbb C^{out\times in}, $$

so that K commutes with every shift along a circle, and means the same on every grid that resolves the kept waves. `AxisConv` has modes along one axis
alone and a matrix per wavenumber of that axis (a factorised operator is a sum of them). Complex numbers are pairs of real ones throughout.
References: Li et al. (2020), arXiv 2010.08895; Tran et al. (2023), arXiv 2111.13802 (factorised).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.networks.fourier_basis import FourierBasis

__all__ = ["AxisConv", "SpectralConv", "kept", "mode_rows", "of_mode_rows", "spectral_conv"]


class SpectralConv(nn.Module):
    """(B, *axes, C) -> (B, *axes, out), given the basis of the grid.

    Args:
        in_channels: Channels C.
        out_channels: Channels of the output.
        modes: m for each axis, see `fourier_basis`.
        bias: Whether a number per channel is added.
    """

    def __init__(self, in_channels: int, out_channels: int, modes: tuple[int, ...], *, bias: bool = False) -> None:
        super().__init__()
        for m in modes:
            check_positive(m, "SpectralConv modes")
        sizes = (*(2 * m for m in modes[:-1]), modes[-1] + 1)
        # real parts, then imaginary ones; rows of the matrix of a mode are inputs, its columns outputs
        self.weight = nn.Parameter(torch.randn(2, *sizes, in_channels, out_channels) / math.sqrt(2 * in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None

    def forward(self, v: Tensor, basis: FourierBasis, onto: Tensor | None = None) -> Tensor:
        """Return K v, plus `onto` if given, in float32 at least."""
        return spectral_conv(v, basis, (kept(self.weight, basis), self.bias), onto=onto)


class AxisConv(nn.Module):
    """(B, *axes, C) -> (B, *axes, out) with modes along one axis, given the basis of that axis alone.

    Args:
        in_channels: Channels C.
        out_channels: Channels of the output.
        modes: m of that axis.
    """

    def __init__(self, in_channels: int, out_channels: int, modes: int) -> None:
        super().__init__()
        check_positive(modes, "AxisConv modes")
        self.modes = modes
        self.weight = nn.Parameter(torch.randn(2, modes + 1, in_channels, out_channels) / math.sqrt(2 * in_channels))

    def forward(self, v: Tensor, basis: FourierBasis, axis: int) -> Tensor:
        """Return K v along `axis` (counted from the first in space), in float32 at least."""
        with torch.autocast(v.device.type, enabled=False):
            v = v.to(basis.double.dtype)
            before, after = v.shape[: axis + 1], v.shape[axis + 2 : -1]
            flat = v.reshape(math.prod(before), v.shape[axis + 1], -1)
            z = basis.analyse(flat)
            z = z.reshape(*z.shape[:-1], -1, v.shape[-1])
            rows, _, modes, rest, channels = z.shape
            z = z.permute(0, 3, 1, 2, 4).reshape(rows * rest, 2, modes, channels)
            z = _mixed(z, kept(self.weight, basis))
            z = z.reshape(rows, rest, 2, modes, -1).permute(0, 2, 3, 1, 4).flatten(-2)
            out = basis.synthesise(z)
            return out.reshape(*before, basis.shape[0], *after, -1)


def spectral_conv(v: Tensor, basis: FourierBasis, weights: tuple[Tensor, Tensor | None], *, onto: Tensor | None = None) -> Tensor:
    """K v plus the bias of `weights` and `onto`, where given, in float32 at least."""
    weight, bias = weights
    with torch.autocast(v.device.type, enabled=False):  # sums over a whole axis want more digits than bf16 has
        z = _mixed(basis.analyse(v.to(basis.double.dtype)), weight)
        if bias is not None:  # the mean of a field is one coefficient: one cell in place of all
            z[basis.at_mean] += bias
        return basis.synthesise(z, None if onto is None else onto.to(z.dtype))


def kept(weight: Tensor, basis: FourierBasis) -> Tensor:
    """The modes that a grid has; a slice of all of them would cost a copy of zeros on the way back."""
    whole = all(part.start == 0 and part.stop == size for part, size in zip(basis.kept, weight.shape[1:], strict=False))
    return weight if whole else weight[(slice(None), *basis.kept)]


def mode_rows(z: Tensor) -> Tensor:
    """(B, 2, *K, C) to (2, M, B, C): for each mode a matrix of the real parts and one of the imaginary parts of all samples."""
    return z.movedim(0, -2).reshape(2, -1, z.shape[0], z.shape[-1])


def of_mode_rows(rows: Tensor, modes: tuple[int, ...]) -> Tensor:
    """The inverse of `mode_rows`."""
    return rows.reshape(2, *modes, *rows.shape[-2:]).movedim(-2, 0)


def _complex_product(a: Tensor, b: Tensor) -> Tensor:
    """The products (a_0 + i a_1)(b_0 + i b_1) of matrices, (2, M, p, q) and (2, M, q, r) to (2, M, p, r)."""
    real, imaginary = torch.bmm(a[0], b[0]), torch.bmm(a[0], b[1])
    return torch.stack([torch.baddbmm(real, a[1], b[1], alpha=-1), torch.baddbmm(imaginary, a[1], b[0])])


def _mixed(z: Tensor, weight: Tensor) -> Tensor:
    """R_k z_k: (B, 2, *K, C), (2, *K, C, out) -> (B, 2, *K, out)."""
    return of_mode_rows(_complex_product(mode_rows(z), weight.flatten(1, -3)), tuple(z.shape[2:-1]))
