r"""Gaussian random fields in absolute units: the inverse of a power of a shifted Laplacian applied to white noise.

$$u = \sigma\,(-\Delta + \tau^2)^{-\alpha/2}\, W, \qquad \operatorname{cov} = \sigma^2 (-\Delta + \tau^2)^{-\alpha},$$

on a periodic box (Fourier modes $k = 2\pi n / L$) or between walls without flux (cosines $k = \pi n / L$), with the mean over the box removed. So on
every axis $\langle u^2\rangle = \sigma^2 \sum_{k \ne 0} (|k|^2 + \tau^2)^{-\alpha} / V$, where the sum runs over the modes that the grid holds
(Whittle, 1954; Li et al., Fourier neural operator, 2021, writes its initial conditions so).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import GridMismatch
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.solvers.initial import InitialField

__all__ = ["WhittleField"]


@dataclass(frozen=True)
class WhittleField(InitialField):
    r"""The field $\sigma(-\Delta + \tau^2)^{-\alpha/2} W$ of zero mean over the box, periodic or between walls without flux as the grid is.

    Args:
        sigma: Scale of the amplitude.
        tau: Inverse length, per length.
        alpha: Power of the operator in the covariance.

    Raises:
        InputError: If a number is not positive.
    """

    sigma: float
    tau: float
    alpha: float

    def __post_init__(self) -> None:
        for name in ("sigma", "tau", "alpha"):
            check_positive(getattr(self, name), f"WhittleField {name}")

    def sample(self, grid: Grid, n: int, rng: Rng, *, start: int = 0, like: Tensor | None = None) -> Tensor:
        """Draw samples start, ..., start + n - 1, (n, *S); see `InitialField.sample`.

        Raises:
            GridMismatch: If the grid is not uniform, or some axes close and others do not.
        """
        if not isinstance(grid, CartesianGrid) or not grid.uniform or len(set(grid.periodic)) > 1:
            raise GridMismatch(f"WhittleField: expected a uniform grid, periodic along every axis or along none; got {grid.summary()}")
        noise = rng.normal_each(range(start, start + n), grid.shape, like=like)
        root = self._spectrum(grid).sqrt()
        axes = tuple(range(-grid.ndim, 0))
        if grid.periodic[0]:
            shaped = torch.fft.rfftn(noise, dim=axes) * root[..., : grid.shape[-1] // 2 + 1].to(noise)
            return torch.fft.irfftn(shaped, s=grid.shape, dim=axes) / math.sqrt(math.prod(grid.spacing))
        u = noise * root.to(noise)
        for axis in axes:
            u = torch.movedim(torch.movedim(u, axis, -1) @ _cosines(grid.shape[axis], grid.extent[axis]).to(noise), -1, axis)
        return u

    def variance(self, grid: CartesianGrid) -> float:
        """Mean square over the box, of the modes that the grid holds."""
        return float(self._spectrum(grid).sum()) / math.prod(grid.extent)

    def _spectrum(self, grid: CartesianGrid) -> Tensor:
        """Variance of each mode's coefficient in an orthonormal basis, of the grid's shape."""
        if grid.periodic[0]:
            waves = [2 * math.pi * torch.fft.fftfreq(n, h, dtype=torch.float64) for n, h in zip(grid.shape, grid.spacing, strict=True)]
        else:
            waves = [math.pi / length * torch.arange(n, dtype=torch.float64) for n, length in zip(grid.shape, grid.extent, strict=True)]
        square = sum((k**2 for k in torch.meshgrid(*waves, indexing="ij")), torch.zeros(grid.shape, dtype=torch.float64))
        power = self.sigma**2 * (square + self.tau**2) ** -self.alpha
        power[(0,) * grid.ndim] = 0.0
        return power


def _cosines(n: int, length: float) -> Tensor:
    """Row k: the k-th cosine of an open axis, of norm one over its length, at the middles of n cells."""
    k = torch.arange(n, dtype=torch.float64)[:, None]
    middle = (torch.arange(n, dtype=torch.float64) + 0.5)[None]
    size = torch.where(k == 0, 1.0, 2.0) / length
    return size.sqrt() * torch.cos(math.pi * k * middle / n)
