r"""Initial fields drawn at random: the protocol, and homogeneous Gaussian random fields on periodic grids.

$$u = \text{mean} + \text{std}\; \mathcal F^{-1}\big[\sqrt{P(k)}\,\hat w\big] / c, \qquad
P(k) = e^{-k^2\ell^2/2} \;\text{ or }\; (1 + k^2\ell^2)^{-s/2}$$

with white noise $w$ and $c$ such that the standard deviation at every point is `std`. The first spectrum (no `slope`) belongs to the covariance
$e^{-r^2/2\ell^2}$, the second one falls like $k^{-s}$ beyond $1/\ell$ (Whittle, 1954; with $s = 2\alpha$, $\ell = 1/\tau$ the fields
$(-\Delta + \tau^2)^{-\alpha}$ of Li et al., Fourier neural operator, 2021).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid

__all__ = ["InitialField", "RandomField", "initial_fields"]


class InitialField(Saved, ABC):
    """Abstract random field: what `generate` draws initial values from."""

    @abstractmethod
    def sample(self, grid: Grid, n: int, rng: Rng, *, start: int = 0, like: Tensor | None = None) -> Tensor:
        """Draw samples start, ..., start + n - 1; each depends on `rng` and its own index only.

        Args:
            grid: Where.
            n: Number of samples.
            rng: Source of randomness.
            start: Index of the first sample, so that a long run can be drawn in parts.
            like: Gives dtype and device; float32 on the CPU if None.

        Returns:
            Values (n, *S).
        """


@dataclass(frozen=True)
class RandomField(InitialField):
    """A Gaussian random field, homogeneous and isotropic, on a uniform periodic grid.

    Args:
        length: Length scale, in the grid's unit.
        slope: Fall of the spectral density beyond 1 / length, as a power of the wave number; None for a Gaussian spectrum.
        mean: Mean of the values.
        std: Standard deviation of the values at each point.
        varying_mean: Whether the average over the box varies from sample to sample too; if not it is `mean` to rounding.

    Raises:
        InputError: If the length or the slope is not positive, or the std is negative.
    """

    length: float
    slope: float | None = None
    mean: float = 0.0
    std: float = 1.0
    varying_mean: bool = False

    def __post_init__(self) -> None:
        check_positive(self.length, "RandomField length")
        check_positive(self.std, "RandomField std", zero=True)
        if self.slope is not None:
            check_positive(self.slope, "RandomField slope")
        if not math.isfinite(self.mean):
            raise InputError(f"RandomField mean: expected a finite number, got {self.mean!r}")

    def sample(self, grid: Grid, n: int, rng: Rng, *, start: int = 0, like: Tensor | None = None) -> Tensor:
        """Draw samples start, ..., start + n - 1; each depends on its own index only.

        Args:
            grid: A uniform CartesianGrid, periodic along every axis.
            n: Number of samples.
            rng: Source of randomness.
            start: Index of the first sample, so that a long run can be drawn in parts.
            like: Gives dtype and device; float32 on the CPU if None.

        Returns:
            Values (n, *S).

        Raises:
            GridMismatch: If the grid is not uniform and periodic.
            InputError: If the grid resolves no wave of the spectrum.
        """
        amplitude = self._amplitude(grid)
        noise = rng.normal_each(range(start, start + n), grid.shape, like=like)
        axes = tuple(range(-grid.ndim, 0))
        shaped = torch.fft.rfftn(noise, dim=axes) * amplitude.to(noise)
        return self.mean + self.std * torch.fft.irfftn(shaped, s=grid.shape, dim=axes)

    def _amplitude(self, grid: Grid) -> Tensor:
        """Factor of each wave of white noise, (*half), such that the result has variance one at each point."""
        if not isinstance(grid, CartesianGrid) or not grid.uniform or not all(grid.periodic):
            raise GridMismatch(f"RandomField: expected a uniform grid, periodic along every axis; got {grid.summary()}")
        waves = [
            torch.fft.fftfreq(n, h, dtype=torch.float64, device="cpu") * 2 * math.pi
            for n, h in zip(grid.shape, grid.spacing, strict=True)
        ]
        square = sum((k**2 for k in torch.meshgrid(*waves, indexing="ij")), torch.zeros(grid.shape, dtype=torch.float64))
        scaled = square * self.length**2
        power = torch.exp(-scaled / 2) if self.slope is None else (1 + scaled) ** (-self.slope / 2)
        if not self.varying_mean:
            power[(0,) * grid.ndim] = 0.0
        mean_power = power.mean()
        if float(mean_power) < 1e-30:
            raise InputError(f"RandomField length {self.length:g}: the box {grid.extent} holds no wave of that length; take a shorter one")
        return (power / mean_power).sqrt()[..., : grid.shape[-1] // 2 + 1]


def initial_fields(
    initial: InitialField | Mapping[str, InitialField],
    names: Sequence[str],
    grid: Grid,
    *,
    n: int,
    rng: Rng,
    start: int = 0,
    like: Tensor | None = None,
) -> dict[str, Tensor]:
    """Initial values for every field of a law, each (n, *S).

    Args:
        initial: One random field for all, or one per name; every name has its own stream of `rng`.
        names: Names of the fields, as in ``pde.fields``.
        grid: Where.
        n: Number of samples.
        rng: Source of randomness.
        start: Index of the first sample.
        like: Gives dtype and device.

    Raises:
        InputError: If a name has no random field.
    """
    table = dict.fromkeys(names, initial) if isinstance(initial, InitialField) else initial
    missing = [name for name in names if name not in table]
    if missing:
        raise InputError(f"initial_fields: expected a random field for {', '.join(names)}; missing {', '.join(missing)}")
    return {name: table[name].sample(grid, n, rng.child(name), start=start, like=like) for name in names}
