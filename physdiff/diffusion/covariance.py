r"""Covariances whose functions are cheap: C = sum_i lambda_i e_i e_i^T with known eigenvectors.

Every formula of a Gaussian prior under diffusion (posterior mean, posterior covariance, the solves that
guidance needs) is a function f(C) applied to a vector, $f(C) v = \sum_i f(\lambda_i) e_i e_i^T v$. Samples
are (B, C, T, *S); eigenvectors see them flattened.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved

__all__ = [
    "Covariance",
    "DiagonalCovariance",
    "FourierCovariance",
    "LowRankCovariance",
    "dense_covariance",
    "low_rank_covariance",
    "spectral_covariance",
]

Spectral = Callable[[Tensor], Tensor]


class Covariance(Saved, nn.Module, ABC):
    """A covariance over samples of one shape, known by its eigenvalues and eigenvectors."""

    @abstractmethod
    def apply_function(self, f: Spectral, v: Tensor) -> Tensor:
        """Apply f(C) to vectors.

        Args:
            f: Function of the eigenvalues; it gets them as (1, n) in float64 and returns (1 or B, n).
            v: Vectors (B, *shape).

        Returns:
            f(C) v, shape and dtype of `v`.
        """

    @abstractmethod
    def mean_function(self, f: Spectral) -> Tensor:
        """Mean of the diagonal of f(C): trace / dimension, (1 or B,), float64."""

    @abstractmethod
    def modes(self, v: Tensor) -> Tensor:
        """Coordinates in which C is diagonal, (B, n) real, of vectors (B, *shape); linear."""

    @abstractmethod
    def from_modes(self, modes: Tensor, shape: Sequence[int]) -> Tensor:
        """The vectors (B, *shape) whose coordinates `modes` gave."""

    @abstractmethod
    def mode_variances(self) -> Tensor:
        """The variance of the mode to which each coordinate of `modes` belongs, (n,), float64; a coordinate's own may be a fixed share of it."""

    def gram(self, v: Tensor) -> Callable[[Spectral], Tensor]:
        """The map f -> V f(C) V^T, (1, n) functions to (B, B) in float64, for many functions of the same vectors V (B, *shape)."""
        wide = v.double()
        return lambda f: self.apply_function(f, wide).flatten(1) @ wide.flatten(1).T

    def forward(self, v: Tensor) -> Tensor:
        """C v."""
        return self.apply_function(lambda eigenvalues: eigenvalues, v)


class DiagonalCovariance(Covariance):
    """Independent entries.

    Args:
        variances: Variances (C, T, *S), zero or more.
    """

    variances: Tensor

    def __init__(self, variances: Tensor) -> None:
        super().__init__()
        _check_not_negative(variances, "DiagonalCovariance: variances")
        self.register_buffer("variances", variances, persistent=False)

    def apply_function(self, f: Spectral, v: Tensor) -> Tensor:
        """Apply f(C) to vectors (B, *shape)."""
        _check_vectors(v, self.variances.numel(), "DiagonalCovariance")
        values = f(self.variances.double().reshape(1, -1))
        return (values.to(v.dtype) * v.flatten(1)).reshape(v.shape)

    def modes(self, v: Tensor) -> Tensor:
        """The entries, (B, n)."""
        _check_vectors(v, self.variances.numel(), "DiagonalCovariance")
        return v.flatten(1)

    def from_modes(self, modes: Tensor, shape: Sequence[int]) -> Tensor:
        """The entries as vectors (B, *shape)."""
        return modes.reshape(-1, *shape)

    def mode_variances(self) -> Tensor:
        """The variances, (n,)."""
        return self.variances.double().flatten()

    def mean_function(self, f: Spectral) -> Tensor:
        """Mean of the diagonal of f(C)."""
        return f(self.variances.double().reshape(1, -1)).mean(1)


class LowRankCovariance(Covariance):
    """A few known directions, and one variance for all others: C = U^T diag(eigenvalues - rest) U + rest I.

    Args:
        eigenvectors: Orthonormal rows (r, d), each a sample flattened over (C, T, *S).
        eigenvalues: Variances along them (r,).
        rest: Variance in the complement; of no effect if r = d.

    Raises:
        InputError: If the rows are not orthonormal or a variance is negative.
    """

    eigenvectors: Tensor
    eigenvalues: Tensor

    def __init__(self, eigenvectors: Tensor, eigenvalues: Tensor, rest: float = 0.0) -> None:
        super().__init__()
        if eigenvectors.ndim != 2 or eigenvalues.shape != eigenvectors.shape[:1]:
            raise ShapeError(
                "LowRankCovariance: expected eigenvectors (r, d) and eigenvalues (r,), "
                f"got {tuple(eigenvectors.shape)} and {tuple(eigenvalues.shape)}"
            )
        _check_not_negative(eigenvalues, "LowRankCovariance: eigenvalues")
        _check_not_negative(torch.tensor(rest), "LowRankCovariance: rest")
        _check_orthonormal(eigenvectors)
        self.rest = rest
        self.register_buffer("eigenvectors", eigenvectors, persistent=False)
        self.register_buffer("eigenvalues", eigenvalues, persistent=False)

    def _spectrum(self) -> Tensor:
        values = self.eigenvalues.double()
        return torch.cat([values, values.new_tensor([self.rest])])[None]

    def apply_function(self, f: Spectral, v: Tensor) -> Tensor:
        """Apply f(C) to vectors (B, *shape)."""
        _check_vectors(v, self.eigenvectors.shape[1], "LowRankCovariance")
        values = f(self._spectrum()).to(v.dtype)
        inside, rest = values[:, :-1], values[:, -1:]
        basis, flat = self.eigenvectors.to(v.dtype), v.flatten(1)
        with torch.autocast(v.device.type, enabled=False):  # bf16 products would spoil the exact part of a prior
            parts = flat @ basis.T
            if basis.shape[0] == basis.shape[1]:  # no complement: nothing to subtract, and f(rest) may be anything
                return ((inside * parts) @ basis).reshape(v.shape)
            return (rest * flat + ((inside - rest) * parts) @ basis).reshape(v.shape)

    def gram(self, v: Tensor) -> Callable[[Spectral], Tensor]:
        """The map f -> V f(C) V^T, see Covariance.gram; the vectors meet the eigenvectors once, not once for each function."""
        _check_vectors(v, self.eigenvectors.shape[1], "LowRankCovariance")
        flat = v.double().flatten(1)
        parts = flat @ self.eigenvectors.double().T
        whole = flat @ flat.T if self.eigenvectors.shape[0] < self.eigenvectors.shape[1] else None

        def product(f: Spectral) -> Tensor:
            values = f(self._spectrum())
            inside, rest = values[:, :-1], values[:, -1:]
            return (inside * parts) @ parts.T if whole is None else rest * whole + ((inside - rest) * parts) @ parts.T

        return product

    def modes(self, v: Tensor) -> Tensor:
        """Coordinates along the eigenvectors and, if these do not span the space, what they leave, (B, r) or (B, r + d)."""
        _check_vectors(v, self.eigenvectors.shape[1], "LowRankCovariance")
        basis, flat = self.eigenvectors.to(v.dtype), v.flatten(1)
        with torch.autocast(v.device.type, enabled=False):
            parts = flat @ basis.T
            return parts if basis.shape[0] == basis.shape[1] else torch.cat([parts, flat - parts @ basis], 1)

    def from_modes(self, modes: Tensor, shape: Sequence[int]) -> Tensor:
        """The vectors (B, *shape)."""
        basis = self.eigenvectors.to(modes.dtype)
        rank = basis.shape[0]
        with torch.autocast(modes.device.type, enabled=False):
            inside = modes[:, :rank] @ basis
        return (inside if modes.shape[1] == rank else inside + modes[:, rank:]).reshape(-1, *shape)

    def mode_variances(self) -> Tensor:
        """The eigenvalues, and `rest` for what they leave."""
        rank, size = self.eigenvectors.shape
        values = self.eigenvalues.double()
        return values if rank == size else torch.cat([values, values.new_full((size,), self.rest)])

    def mean_function(self, f: Spectral) -> Tensor:
        """Mean of the diagonal of f(C)."""
        values, (rank, size) = f(self._spectrum()), self.eigenvectors.shape
        complement = values[:, -1] * (size - rank) if size > rank else 0.0
        return (values[:, :-1].sum(1) + complement) / size


class FourierCovariance(Covariance):
    """A homogeneous field on a periodic grid: the Fourier modes along the last axes are independent.

    Args:
        spectrum: Variance of each mode under the unitary FFT (C, T, *S), so that its mean over S is the
            variance of a point; equal at k and -k.
        axes: Number of trailing axes that are transformed.

    Raises:
        InputError: If the spectrum is negative or not symmetric.
    """

    spectrum: Tensor

    def __init__(self, spectrum: Tensor, axes: int) -> None:
        super().__init__()
        _check_not_negative(spectrum, "FourierCovariance: spectrum")
        self.axes = tuple(range(-axes, 0))
        mirrored = torch.roll(torch.flip(spectrum, self.axes), (1,) * axes, self.axes)
        if not spectrum.is_meta and not torch.allclose(mirrored, spectrum, rtol=1e-5):
            raise InputError("FourierCovariance: expected equal variances at k and -k, got others; average the two")
        self.register_buffer("spectrum", spectrum, persistent=False)

    def apply_function(self, f: Spectral, v: Tensor) -> Tensor:
        """Apply f(C) to vectors (B, *shape)."""
        _check_vectors(v, self.spectrum.numel(), "FourierCovariance")
        values = f(self.spectrum.double().reshape(1, -1)).to(v.dtype).reshape(-1, *self.spectrum.shape)
        return torch.fft.ifftn(values * torch.fft.fftn(v, dim=self.axes), dim=self.axes).real

    def gram(self, v: Tensor) -> Callable[[Spectral], Tensor]:
        """The map f -> V f(C) V^T, see Covariance.gram; the vectors are transformed once, not once for each function."""
        _check_vectors(v, self.spectrum.numel(), "FourierCovariance")
        modes = torch.view_as_real(torch.fft.fftn(v.double(), dim=self.axes, norm="ortho")).flatten(1)

        def product(f: Spectral) -> Tensor:
            values = f(self.spectrum.double().reshape(1, -1))
            return (values.repeat_interleave(2, 1) * modes) @ modes.T

        return product

    def modes(self, v: Tensor) -> Tensor:
        """Real and imaginary parts of the half spectrum, (B, 2 n)."""
        _check_vectors(v, self.spectrum.numel(), "FourierCovariance")
        return torch.view_as_real(torch.fft.rfftn(v, dim=self.axes, norm="ortho")).flatten(1)

    def from_modes(self, modes: Tensor, shape: Sequence[int]) -> Tensor:
        """The vectors (B, *shape)."""
        pairs = torch.view_as_complex(modes.reshape(len(modes), *shape[:-1], shape[-1] // 2 + 1, 2))
        return torch.fft.irfftn(pairs, s=tuple(shape[a] for a in self.axes), dim=self.axes, norm="ortho")

    def mode_variances(self) -> Tensor:
        """The half spectrum, each value twice."""
        half = self.spectrum.shape[-1] // 2 + 1
        return self.spectrum[..., :half].double().flatten().repeat_interleave(2)

    def mean_function(self, f: Spectral) -> Tensor:
        """Mean of the diagonal of f(C)."""
        return f(self.spectrum.double().reshape(1, -1)).mean(1)


def dense_covariance(matrix: Tensor) -> LowRankCovariance:
    """The covariance given by a matrix (d, d) over flattened samples; eigenvalues below zero become zero."""
    values, vectors = torch.linalg.eigh(matrix)
    return LowRankCovariance(vectors.T.contiguous(), values.clamp_min(0))


def low_rank_covariance(samples: Tensor, rank: int) -> tuple[Tensor, LowRankCovariance]:
    """Mean and leading principal directions of samples (probabilistic PCA; Tipping and Bishop, 1999).

    Args:
        samples: Samples (N, *shape), N > rank.
        rank: Number of directions kept; what they leave over is spread evenly (`rest`).

    Returns:
        The mean (*shape), and the covariance; its trace is that of the sample covariance (divisor N - 1).
    """
    flat = samples.double().flatten(1)
    n, size = flat.shape
    if not 0 < rank < min(n, size):
        raise InputError(
            f"low_rank_covariance: expected 0 < rank < min(samples, entries), got {rank} for {n} samples of {size} entries; lower the rank"
        )
    mean = flat.mean(0)
    _, singular, directions = torch.linalg.svd(flat - mean, full_matrices=False)
    values = singular**2 / (n - 1)
    rest = float(values[rank:].sum() / (size - rank))
    covariance = LowRankCovariance(directions[:rank].to(samples.dtype), values[:rank].to(samples.dtype), rest)
    return mean.to(samples.dtype).reshape(samples.shape[1:]), covariance


def spectral_covariance(samples: Tensor, axes: int) -> tuple[Tensor, FourierCovariance]:
    """Mean and spectrum of samples of a homogeneous field on a periodic grid.

    Args:
        samples: Samples (N, C, T, *S), N >= 2.
        axes: Number of trailing axes along which the field is homogeneous; channels (and frames, if they are not among them) count as independent.

    Returns:
        The mean (C, T, *S), and the covariance; the variance of a mode is that of the samples (divisor N - 1), averaged over k and -k.
    """
    if samples.shape[0] < 2 or not 0 < axes < samples.ndim:
        raise InputError(f"spectral_covariance: expected two or more samples and 0 < axes < {samples.ndim}, got {samples.shape[0]} and {axes}")
    wide, last = samples.double(), tuple(range(-axes, 0))
    mean = wide.mean(0)
    power = torch.fft.fftn(wide - mean, dim=last, norm="ortho").abs().square().sum(0) / (samples.shape[0] - 1)
    mirrored = torch.roll(torch.flip(power, last), (1,) * axes, last)
    return mean.to(samples.dtype), FourierCovariance((0.5 * (power + mirrored)).to(samples.dtype), axes)


def _check_not_negative(values: Tensor, what: str) -> None:
    if not values.is_meta and not bool((values >= 0).all()):
        raise InputError(f"{what}: expected numbers >= 0, got {float(values.min()):g}; clip rounding errors with clamp_min(0)")


def _check_vectors(v: Tensor, size: int, what: str) -> None:
    shape: Sequence[int] = v.shape
    if math.prod(shape[1:]) != size:
        raise ShapeError(f"{what}: expected vectors (B, ...) with {size} entries each, got shape {tuple(shape)}")


def _check_orthonormal(rows: Tensor) -> None:
    if rows.is_meta:
        return
    # the probe costs r d where all pairs would cost r^2 d; wrong bases pass it only on a set of measure zero
    probe = torch.linspace(-1, 1, rows.shape[0], dtype=rows.dtype, device=rows.device).cos()
    again = rows @ (rows.T @ probe)
    tolerance = 100 * math.sqrt(rows.shape[1]) * torch.finfo(rows.dtype).eps
    if not torch.allclose(again, probe, rtol=0, atol=tolerance):
        raise InputError("LowRankCovariance: expected orthonormal rows, got others; transpose what torch.linalg.eigh returns")
