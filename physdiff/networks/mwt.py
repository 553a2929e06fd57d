r"""Multiwavelet operator: an integral kernel learned on the scales of piecewise polynomials.

Values on a cell are coefficients of the Legendre polynomials $\phi_i$, i < k, of that cell. Two cells are the sum of one twice as large and of
what it leaves, s = H_0 s_0 + H_1 s_1 and d = G_0 s_0 + G_1 s_1, with orthogonal [H; G] of closed form. On every scale the operator acts as

$$ d' = A d + B s, \qquad s' = C s + \text{(what comes from the coarser scale)}, $$

and as a matrix T between the k coefficients on the coarsest. A, B, C are convolutions on few Fourier modes, factorised over the axes and the same
on all scales, so that a kernel that is smooth away from its diagonal is told by few numbers. Several such linear maps follow each other, GELU
between them; on d axes cells have $k^d$ coefficients. Periodic axes are circles, others are prolonged by an eighth.

References: Gupta et al. (2021), arXiv 2109.13459; Alpert et al. (2002), J. Comput. Phys. 182, 149 (the filters).
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.fno import GridOperator, lengths_of
from physdiff.networks.fourier_basis import fourier_basis
from physdiff.networks.spectral_conv import AxisConv

__all__ = ["MWT", "coarsen", "legendre_filters", "refine"]

_BLOCKS = 4


class MWT(FieldNetwork):
    """Multiwavelet operator (B, C, *axes) -> (B, out, *axes), 1 to 3 axes of any lengths; coordinates are appended if any axis has ends.

    Shifts by 2^scales cells along circles commute with it where all axes are circular.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        ndim: Number of axes.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Channels inside, a multiple of terms^ndim; a remainder is left out.
        terms: Polynomials k of each axis.
        modes: Wavenumbers kept on each scale.
        scales: Number of halvings.

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
        width: int = 36,
        terms: int = 3,
        modes: int = 6,
        scales: int = 3,
    ) -> None:
        super().__init__()
        for value, name in ((width, "width"), (terms, "terms"), (modes, "modes"), (scales, "scales")):
            check_positive(value, f"MWT {name}")
        circular = per_axis(periodic, ndim, "periodic")
        self.in_channels, self.out_channels, self.ndim, self.terms, self.scales = in_channels, out_channels, ndim, terms, scales
        self.modes, self.width, self.copies = modes, width, max(1, width // terms**ndim)
        channels = self.copies * terms**ndim
        self.ends = GridOperator(in_channels, out_channels, channels, periodic=circular, coordinates=not all(circular))
        self.blocks = nn.ModuleList(_Kernel(channels, terms, modes, ndim=ndim) for _ in range(_BLOCKS))

    def at(self, shape: tuple[int, ...]) -> MWT:
        """A fresh operator with no more scales and wavenumbers than fields on `shape` points have."""
        scales = min(self.scales, max(1, min(shape).bit_length() - 2))
        modes = min(self.modes, max(1, *(n // 4 for n in lengths_of(shape, self.ends.periodic))))
        if (scales, modes) == (self.scales, self.modes):
            return self
        choices = {"width": self.width, "terms": self.terms, "modes": modes, "scales": scales}
        return MWT(self.in_channels, self.out_channels, ndim=self.ndim, periodic=self.ends.periodic, **choices)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the operator; arguments, result and errors as `FNO.forward`."""
        v = self.ends.enter(x, noise, cell=2**self.scales)
        for number, block in enumerate(self.blocks):
            v = block(v, self.scales)
            v = v if number == len(self.blocks) - 1 else functional.gelu(v)
        return self.ends.leave(v, x.shape[2:])


class _Kernel(nn.Module):
    """One linear map: A, B, C of all scales, and T."""

    def __init__(self, channels: int, terms: int, modes: int, *, ndim: int) -> None:
        super().__init__()
        self.terms, self.ndim, self.wide = terms, ndim, (2**ndim - 1) * channels

        def kernel(a: int, b: int) -> nn.ModuleList:
            return nn.ModuleList(AxisConv(a, b, modes) for _ in range(ndim))

        self.a, self.b, self.c = kernel(self.wide, self.wide), kernel(channels, self.wide), kernel(channels, channels)
        self.coarsest = nn.Linear(terms**ndim, terms**ndim)
        self.register_buffer("filters", torch.from_numpy(legendre_filters(terms)), persistent=False)

    def forward(self, v: Tensor, scales: int) -> Tensor:
        filters = self.get_buffer("filters").to(v)
        details, same = [], []
        for _ in range(scales):
            both = coarsen(v, filters, self.ndim)
            channels = both.shape[-1] // 2**self.ndim
            v, d = both[..., :channels], both[..., channels:]
            details.append(_sum(self.a, d) + _sum(self.b, v))
            same.append(_sum(self.c, v))
        v = self.coarsest(torch.unflatten(v, -1, (-1, self.terms**self.ndim))).flatten(-2)
        for d, s in zip(reversed(details), reversed(same), strict=True):
            v = refine(torch.cat([v + s, d], -1), filters, self.ndim)
        return v


def _sum(convs: nn.ModuleList, v: Tensor) -> Tensor:
    """Sum of the convolutions along each axis."""
    out = torch.zeros(())
    for axis, conv in enumerate(convs):
        assert isinstance(conv, AxisConv)
        part: Tensor = conv(v, fourier_basis((v.shape[1 + axis],), (conv.modes,), like=v), axis)
        out = part if axis == 0 else out + part
    return out


def coarsen(v: Tensor, filters: Tensor, ndim: int) -> Tensor:
    """(B, *axes, c k^d) -> (B, *axes/2, 2^d c k^d): the coarse part first, then the details of the other 2^d - 1 bands.

    Args:
        v: Coefficients, those of one copy next to each other, the first axis slowest; even lengths.
        filters: Of `legendre_filters`, (2k, 2k).
        ndim: Number d of axes.
    """
    k = filters.shape[0] // 2
    v = torch.unflatten(v, -1, (-1, *[k] * ndim))
    for axis in range(ndim):
        own = axis - ndim  # the polynomials of this axis
        v = torch.unflatten(v, 1 + axis, (-1, 2)).movedim(2 + axis, -1).movedim(own - 1, -1)
        v = torch.unflatten(v.flatten(-2) @ filters.T, -1, (2, k))
        v = v.movedim(-2, ndim + 1 + axis).movedim(-1, own)
    return v.flatten(ndim + 1)


def refine(v: Tensor, filters: Tensor, ndim: int) -> Tensor:
    """Invert `coarsen`: (B, *axes, 2^d c k^d) -> (B, *2 axes, c k^d)."""
    k = filters.shape[0] // 2
    v = torch.unflatten(v, -1, (*[2] * ndim, -1, *[k] * ndim))
    for axis in reversed(range(ndim)):
        own = axis - ndim
        v = v.movedim(ndim + 1 + axis, -1).movedim(own - 1, -1)
        v = torch.unflatten(v.flatten(-2) @ filters, -1, (2, k))
        v = v.movedim(-2, 2 + axis).movedim(-1, own).flatten(1 + axis, 2 + axis)
    return v.flatten(ndim + 1)


def legendre_filters(terms: int) -> np.ndarray:
    """[H_0 H_1; G_0 G_1] of the first `terms` Legendre polynomials, orthonormal on [0, 1]: (2k, 2k), orthogonal, float64.

    The details are spanned by the polynomials of the right half minus those of the left, orthonormalised in order of degree.
    """
    points, weights = np.polynomial.legendre.leggauss(terms)
    points, weights = (points + 1) / 2, weights / 2

    def basis(x: np.ndarray) -> np.ndarray:
        return np.stack([math.sqrt(2 * i + 1) * np.polynomial.legendre.Legendre.basis(i)(2 * x - 1) for i in range(terms)])

    # sqrt(2) int_0^{1/2} phi_i(x) phi_j(2x) dx = int_0^1 phi_i(y/2) phi_j(y) dy / sqrt(2): exact by Gauss's rule
    halves = [basis((points + part) / 2) * weights @ basis(points).T / math.sqrt(2) for part in (0, 1)]
    rows = list(np.concatenate(halves, 1))
    for i in range(terms):
        row = np.zeros(2 * terms)
        row[i], row[terms + i] = -1.0, 1.0
        for _ in range(2):  # once more for rounding
            for other in rows:
                row = row - (row @ other) * other
        rows.append(row / np.linalg.norm(row))
    return np.stack(rows)
