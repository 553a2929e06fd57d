r"""The Fourier half-spectrum of real fields on a uniform periodic grid, and the multipliers of derivatives there.

A field is $f(x) = \sum_k \hat f_k e^{i k x}$ up to the factor of torch's rfftn; $\partial_a$ is the product
with $i k_a$. On an axis of even length the shortest wave (Nyquist) has no sign, so its odd derivatives are
zero and its even ones are those of $\cos$. Reference: Canuto et al., Spectral Methods: Fundamentals in
Single Domains (2006), chapter 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.operators.stencils import check_field

__all__ = ["HalfSpectrum"]

_PRECISIONS = {
    torch.float32: torch.float32,
    torch.complex64: torch.float32,
    torch.float64: torch.float64,
    torch.complex128: torch.float64,
}


class HalfSpectrum:
    """Transforms and multipliers; these are kept per precision and device once made.

    Args:
        grid: A uniform CartesianGrid, periodic along every axis.
        backend: Name of the operators that use it, for messages.

    Attributes:
        shape: Shape of the half-spectrum, storage order; the last axis has n // 2 + 1 waves.

    Raises:
        UnsupportedOperator: If the grid is no such grid; the message names the axis.
    """

    def __init__(self, grid: Grid, backend: str) -> None:
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise UnsupportedOperator(
                "grad",
                backend,
                f"it needs uniform axes, got {grid.summary()}; use FiniteDifference or Sphere, or regrid",
            )
        ends = [name for name, closed in zip(grid.dims, grid.periodic, strict=True) if not closed]
        if ends:
            raise UnsupportedOperator(
                "grad",
                backend,
                f"it needs periodic axes, but {', '.join(ends)} of {grid.summary()} has ends; "
                "use FiniteDifference, or say periodic=True if the data are",
            )
        self.grid, self.backend = grid, backend
        self.shape = (*grid.shape[:-1], grid.shape[-1] // 2 + 1)
        self._axes = tuple(range(-grid.ndim, 0))
        self._kept: dict[tuple[object, ...], Tensor] = {}

    def forward(self, f: Tensor) -> Tensor:
        """Real fields (..., *S) to complex amplitudes (..., *shape).

        Raises:
            ShapeError: If the last axes are not those of the grid.
            InputError: If the precision has no FFT.
        """
        check_field(f, self.grid, self.backend)
        if f.dtype not in (torch.float32, torch.float64):
            raise InputError(f"{self.backend}: expected a field in float32 or float64, got {f.dtype}; convert it first")
        amplitudes: Tensor = torch.fft.rfftn(f, dim=self._axes)
        return amplitudes

    def inverse(self, amplitudes: Tensor) -> Tensor:
        """Complex amplitudes (..., *shape) to real fields (..., *S).

        Raises:
            ShapeError: If the last axes are not those of the half-spectrum.
        """
        n = len(self.shape)
        if tuple(amplitudes.shape[-n:]) != self.shape:
            raise ShapeError(f"{self.backend}: expected amplitudes (..., {self.shape}), got {tuple(amplitudes.shape)}")
        f: Tensor = torch.fft.irfftn(amplitudes, s=self.grid.shape, dim=self._axes)
        return f

    def symmetric(self, amplitudes: Tensor) -> Tensor:
        """A copy of the amplitudes as a real field has them: waves -k that the half-spectrum holds beside k are conjugate to them.

        `inverse` cannot see the other part. Linear growth of amplitudes that are never transformed back would raise it from rounding
        to infinity.
        """
        made = amplitudes.clone()
        others = tuple(range(-self.grid.ndim, -1))
        n = self.grid.shape[-1]
        for column in {0, n // 2} if n % 2 == 0 else {0}:
            here = amplitudes[..., column : column + 1]
            mirrored = here.flip(others).roll((1,) * len(others), others) if others else here
            made[..., column : column + 1] = (here + mirrored.conj()) / 2
        return made

    def derivative(self, direction: int, order: int, like: Tensor) -> Tensor:
        """(i k)^order along a direction (0, 1, 2 for x, y, z), to be multiplied with amplitudes; in the precision of `like`."""
        return self._multiplier(("derivative", direction, order), like, lambda: self._derivative(direction, order))

    def laplacian(self, like: Tensor) -> Tensor:
        """-|k|^2, of `shape`."""
        return self._multiplier(("laplacian",), like, self._laplacian)

    def inverse_laplacian(self, like: Tensor) -> Tensor:
        """-1/|k|^2, zero for the mean, of `shape`."""

        def make() -> Tensor:
            k2 = self._laplacian()
            return torch.where(k2 == 0, 0.0, 1.0 / torch.where(k2 == 0, 1.0, k2))

        return self._multiplier(("inverse_laplacian",), like, make)

    def resolved(self, like: Tensor) -> Tensor:
        """1 where 3 |m| < n along every axis (m: number of the wave, n: points), else 0: products of two such waves alias nowhere here."""

        def make() -> Tensor:
            inside = [3 * self._numbers(a).abs() < self.grid.shape[a] for a in range(self.grid.ndim)]
            return self._outer([part.to(torch.float64) for part in inside], torch.mul)

        return self._multiplier(("resolved",), like, make)

    def projection(self, row: int, column: int, like: Tensor) -> Tensor:
        """Entry of the projection that `project` applies, 1 - k_i k_j / |k|^2 on the diagonal and - k_i k_j / |k|^2 off it."""

        def make() -> Tensor:
            part = self._wave(row) * self._wave(column) * self._inverse_square()
            return (1.0 if row == column else 0.0) - part

        return self._multiplier(("projection", row, column), like, make)

    def project(self, amplitudes: list[Tensor]) -> list[Tensor]:
        """Amplitudes of a vector (x, y, z order) less their gradient part, v - k (k.v)/|k|^2; the mean stays."""
        like = amplitudes[0]
        waves = [self._multiplier(("wave", i), like, lambda i=i: self._wave(i)) for i in range(self.grid.ndim)]  # type: ignore[misc]
        inverse = self._multiplier(("inverse_square",), like, self._inverse_square)
        products = [k * c for k, c in zip(waves, amplitudes, strict=True)]
        potential = sum(products[1:], products[0]) * inverse
        return [c - k * potential for k, c in zip(waves, amplitudes, strict=True)]

    def _numbers(self, axis: int) -> Tensor:
        n = self.grid.shape[axis]
        if axis == self.grid.ndim - 1:
            return torch.arange(n // 2 + 1, dtype=torch.float64, device="cpu")
        numbers: Tensor = torch.fft.fftfreq(n, 1.0 / n, dtype=torch.float64, device="cpu").round()
        return numbers

    def _wave(self, direction: int) -> Tensor:
        """Wave numbers along a direction with the Nyquist wave set to zero, shaped to be multiplied with amplitudes."""
        axis = self.grid.ndim - 1 - direction
        n, m = self.grid.shape[axis], self._numbers(axis)
        return self._along(torch.where(2 * m.abs() == n, 0.0, m) * (2 * math.pi / self.grid.extent[axis]), axis)

    def _along(self, values: Tensor, axis: int) -> Tensor:
        return values.reshape([-1 if a == axis else 1 for a in range(self.grid.ndim)])

    def _derivative(self, direction: int, order: int) -> Tensor:
        if order < 1:
            raise InputError(f"{self.backend}.partial order: expected 1 or more, got {order}")
        if order % 2:
            return (1j * self._wave(direction)) ** order
        axis = self.grid.ndim - 1 - direction
        k = self._numbers(axis) * (2 * math.pi / self.grid.extent[axis])
        return self._along((-1.0) ** (order // 2) * k**order, axis)

    def _laplacian(self) -> Tensor:
        squares = [self._derivative(i, 2) for i in range(self.grid.ndim)]
        return sum(squares[1:], squares[0])

    def _inverse_square(self) -> Tensor:
        squares = [self._wave(i) ** 2 for i in range(self.grid.ndim)]
        k2 = sum(squares[1:], squares[0])
        return torch.where(k2 == 0, 0.0, 1.0 / torch.where(k2 == 0, 1.0, k2))

    def _outer(self, parts: list[Tensor], product: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        total = self._along(parts[0], 0)
        for axis, part in enumerate(parts[1:], start=1):
            total = product(total, self._along(part, axis))
        return total

    def _multiplier(self, name: tuple[object, ...], like: Tensor, make: Callable[[], Tensor]) -> Tensor:
        real = _PRECISIONS.get(like.dtype)
        if real is None:
            raise InputError(f"{self.backend}: expected a field in float32 or float64, got {like.dtype}; convert it first")
        key = (*name, real, like.device)
        if key not in self._kept:
            exact = make()
            dtype = torch.promote_types(real, torch.complex64) if exact.is_complex() else real
            self._kept[key] = exact.to(like.device, dtype)
        return self._kept[key]
