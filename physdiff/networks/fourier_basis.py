r"""The low Fourier modes of a real field, by products with small matrices.

With wavenumbers k in K, the coefficients and the field made of them are

$$ \hat v_k = \frac 1N \sum_x e^{-2\pi i k\cdot x/n} v_x, \qquad
v_x = \sum_{k\in K} a_k\,\mathrm{Re}\big(e^{2\pi i k\cdot x/n}\hat v_k\big), \quad a_k = 2 - [k_d = 0]. $$

An operator keeps few of them, and then a product with a (2 |K| x n) matrix per axis costs no more than a full fast transform forward and half
of one backward, writes nothing that is thrown away, takes any length n, and is made of real numbers alone, which compilers and every precision
know. Axis by axis: the last one first, real to complex, then the others, complex to complex. Coefficients are laid out (B, 2, *K, C), the 2
for real and imaginary part.

Reference: Li et al. (2020), arXiv 2010.08895, for truncated transforms in an operator.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.products import product

__all__ = ["FourierBasis", "fourier_basis", "line_product", "wide_product"]

Times = Callable[[Tensor, Tensor], Tensor]
_WIDE, _LARGE = 256, 32


@dataclass(frozen=True)
class FourierBasis:
    """The waves of one grid; made by `fourier_basis`.

    Attributes:
        shape: Length of each axis.
        kept: For each axis the rows of a weight with 2 m (last axis: m + 1) rows that are used: fewer on a grid too coarse for all.
        matrices: For each axis the cosines and sines, (2, |K|, n) for the last axis, (2, |K|, n, 2) for the others.
        double: a_k, (|K|, 1).
        mean: Where along each axis the wavenumber is zero.
    """

    shape: tuple[int, ...]
    kept: tuple[slice, ...]
    matrices: tuple[Tensor, ...]
    double: Tensor
    mean: tuple[int, ...]

    @property
    def modes(self) -> tuple[int, ...]:
        """Number of wavenumbers kept along each axis."""
        return tuple(m.shape[1] for m in self.matrices)

    @property
    def at_mean(self) -> tuple[slice | int, ...]:
        """Where coefficients (B, 2, *K, C) are the means of the fields."""
        return slice(None), 0, *self.mean

    @property
    def into(self) -> Tensor:
        """The products with the last axis of analysis, (2 |K_d|, n_d), with the 1/N of all axes."""
        return self.matrices[-1].flatten(0, 1) / math.prod(self.shape)

    @property
    def out_of(self) -> Tensor:
        """Those of synthesis, with the a_k: field = transpose times coefficients."""
        return (self.matrices[-1] * self.double).flatten(0, 1)

    def analyse(self, v: Tensor) -> Tensor:
        """Coefficients (B, 2, *K, C) of a field (B, *axes, C), channels last."""
        lines = v.reshape(-1, self.shape[-1], v.shape[-1])
        return self.inward(torch.matmul(self.into, lines), v.shape[0])

    def synthesise(self, z: Tensor, onto: Tensor | None = None) -> Tensor:
        """The field (B, *axes, C) of coefficients (B, 2, *K, C), added to the field `onto` if there is one."""
        lines, matrix = self.outward(z), self.out_of.T
        if onto is None:
            v = torch.matmul(matrix, lines)
        else:  # one pass; a sum in place on a view would copy the field twice on the way back
            v = torch.baddbmm(onto.reshape(len(lines), -1, lines.shape[-1]), matrix.expand(len(lines), -1, -1), lines)
        return v.reshape(z.shape[0], *self.shape, z.shape[-1])

    def inward(self, lines: Tensor, batch: int, times: Times = torch.matmul) -> Tensor:
        """Sums over all axes but the last: (B n_1 ... n_(d-1), 2 |K_d|, C), the last axis done, to (B, 2, *K, C)."""
        channels = lines.shape[-1]
        for axis in reversed(range(len(self.shape) - 1)):
            matrix = self.matrices[axis].flatten(0, 1).flatten(1)
            lines = times(matrix, lines.reshape(batch * math.prod(self.shape[:axis]), matrix.shape[1], -1))
        return lines.reshape(batch, 2, *self.modes, channels)

    def outward(self, z: Tensor, times: Times = torch.matmul) -> Tensor:
        """The transpose of `inward`: (B, 2, *K, C) to (B n_1 ... n_(d-1), 2 |K_d|, C)."""
        batch, channels = z.shape[0], z.shape[-1]
        for axis in range(len(self.shape) - 1):
            matrix = self.matrices[axis].flatten(0, 1).flatten(1).T
            z = times(matrix, z.reshape(batch * math.prod(self.shape[:axis]), matrix.shape[1], -1))
        return z.reshape(batch * math.prod(self.shape[:-1]), -1, channels)


def line_product(matrix: Tensor, lines: Tensor, *, out: Tensor, onto: Tensor | None = None) -> None:
    """M x of lines (L, k, C), plus `onto`, written to `out`: one wide product of lines turned round, where M is large enough to pay for that."""
    if min(matrix.shape) >= _LARGE and lines.device.type == "cpu":
        turned = lines.transpose(0, 1)
        made = product(matrix, turned.reshape(len(turned), -1)).view(len(matrix), *turned.shape[1:]).transpose(0, 1)
        out.copy_(made) if onto is None else torch.add(onto, made, out=out)
    elif onto is None:
        torch.matmul(matrix, lines, out=out)
    else:
        torch.baddbmm(onto, matrix.expand(len(lines), -1, -1), lines, out=out)


def wide_product(matrix: Tensor, x: Tensor) -> Tensor:
    """M x of (B, k, n), sample by sample where one is wide enough for the quicker product; it has no derivative."""
    if x.shape[-1] < _WIDE or x.device.type != "cpu":
        return torch.matmul(matrix, x)
    return torch.stack([product(matrix, part) for part in x])


def fourier_basis(shape: tuple[int, ...], modes: tuple[int, ...], *, like: Tensor) -> FourierBasis:
    """The wavenumbers -m <= k < m of each axis, 0 <= k <= m of the last, as far as the grid tells them apart from their negatives.

    Args:
        shape: Length of each axis.
        modes: m for each axis.
        like: Gives the device and the dtype of the matrices (float32 at least).
    """
    dtype, last = torch.promote_types(like.dtype, torch.float32), len(shape) - 1
    kept, matrices, mean = [], [], []
    double = torch.ones(())
    for axis, (n, m) in enumerate(zip(shape, modes, strict=True)):
        highest = (n - 1) // 2  # at n/2 a wave is its own negative: its phase is lost
        low, high = (0, min(m, highest)) if axis == last else (-min(m, highest), min(m - 1, highest))
        first = 0 if axis == last else m
        mean.append(-low)
        kept.append(slice(first + low, first + high + 1))
        k, x = torch.arange(low, high + 1, device=like.device), torch.arange(n, device=like.device)
        angle = (k[:, None] * x % n).double() * (2 * math.pi / n)
        cos, sin = angle.cos().to(dtype), angle.sin().to(dtype)
        if axis == last:
            matrices.append(torch.stack([cos, -sin]))
            double = (2 - (k == 0).to(dtype))[:, None]
        else:
            matrices.append(torch.stack([torch.stack([cos, sin], -1), torch.stack([-sin, cos], -1)]))
    return FourierBasis(tuple(shape), tuple(kept), tuple(matrices), double, tuple(mean))
