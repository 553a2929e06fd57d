r"""Initial fields drawn at random: the protocol, and homogeneous Gaussian random fields.

$$u = \text{mean} + \text{std}\; \mathcal F^{-1}\big[\sqrt{P(k)}\,\hat w\big] / c, \qquad
P(k) = e^{-k^2\ell^2/2} \;\text{ or }\; (1 + k^2\ell^2)^{-s/2}$$

with white noise $w$ and $c$ such that the standard deviation at every point is `std`. The first spectrum (no `slope`) belongs to the covariance
$e^{-r^2/2\ell^2}$, the second one falls like $k^{-s}$ beyond $1/\ell$ (Whittle, 1954; with $s = 2\alpha$, $\ell = 1/\tau$ the fields
$(-\Delta + \tau^2)^{-\alpha}$ of Li et al., Fourier neural operator, 2021). Between walls the field is cut out of a periodic box of twice the
length; on the sphere it is one of space, cut by the sphere (`ball_waves`). A positive field is $\text{mean}\,e^{sg - s^2/2}$ of a Gaussian field g
of variance one, $s^2 = \ln(1 + \text{std}^2/\text{mean}^2)$, which has that mean and that standard deviation.
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
from physdiff.grids.latlon import LatLonGrid
from physdiff.solvers.ball_waves import ball_waves

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
    """A random field, homogeneous and isotropic, on a uniform CartesianGrid or a LatLonGrid.

    Args:
        length: Length scale, in the grid's unit.
        slope: Fall of the spectral density beyond 1 / length, as a power of the wave number; None for a Gaussian spectrum.
        mean: Mean of the values.
        std: Standard deviation of the values at each point.
        varying_mean: Whether the average over the box varies from sample to sample too; if not it is `mean` to rounding (if positive, about so).
        positive: Whether values are above zero, log-normal instead of Gaussian; then the mean must be.

    Raises:
        InputError: If the length or the slope is not positive, the std is negative, or a positive field has no positive mean.
    """

    length: float
    slope: float | None = None
    mean: float = 0.0
    std: float = 1.0
    varying_mean: bool = False
    positive: bool = False

    def __post_init__(self) -> None:
        check_positive(self.length, "RandomField length")
        check_positive(self.std, "RandomField std", zero=True)
        if self.slope is not None:
            check_positive(self.slope, "RandomField slope")
        if not math.isfinite(self.mean):
            raise InputError(f"RandomField mean: expected a finite number, got {self.mean!r}")
        if self.positive and self.mean <= 0:
            raise InputError(f"RandomField mean: expected a number above zero for a positive field, got {self.mean!r}; or leave out positive")

    def sample(self, grid: Grid, n: int, rng: Rng, *, start: int = 0, like: Tensor | None = None) -> Tensor:
        """Draw samples start, ..., start + n - 1; each depends on its own index only.

        Args:
            grid: A uniform CartesianGrid, or a LatLonGrid.
            n: Number of samples.
            rng: Source of randomness.
            start: Index of the first sample, so that a long run can be drawn in parts.
            like: Gives dtype and device; float32 on the CPU if None.

        Returns:
            Values (n, *S).

        Raises:
            GridMismatch: If the grid is another one.
            InputError: If the grid resolves no wave of the spectrum, or a slope is asked for on the sphere.
        """
        unit = self._unit(grid, range(start, start + n), rng, like)
        if not self.positive:
            return self.mean + self.std * unit
        s = math.sqrt(math.log1p((self.std / self.mean) ** 2))
        return self.mean * torch.exp(s * unit - s**2 / 2)

    def _unit(self, grid: Grid, indices: range, rng: Rng, like: Tensor | None) -> Tensor:
        """The Gaussian field of mean zero and variance one."""
        if isinstance(grid, LatLonGrid):
            if self.slope is not None:
                raise InputError("RandomField slope: expected none on the sphere, where the Gaussian spectrum alone is built; leave it out")
            unit = ball_waves(grid, self.length, indices, rng=rng, like=like)
        else:
            box = _periodic(grid)
            noise = rng.normal_each(indices, box.shape, like=like)
            axes = tuple(range(-grid.ndim, 0))
            unit = torch.fft.irfftn(torch.fft.rfftn(noise, dim=axes) * self._amplitude(box).to(noise), s=box.shape, dim=axes)
            if all(grid.periodic):
                return unit
            for axis, size in zip(axes, grid.shape, strict=True):
                unit = unit.narrow(axis, 0, size)
        return unit if self.varying_mean else unit - (unit * grid.weights().to(unit)).flatten(1).sum(1).reshape(-1, *([1] * grid.ndim))

    def _amplitude(self, grid: CartesianGrid) -> Tensor:
        """Factor of each wave of white noise, (*half), such that the result has variance one at each point."""
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


def _periodic(grid: Grid) -> CartesianGrid:
    """The grid, with open axes made periodic at twice their length."""
    if not isinstance(grid, CartesianGrid) or not grid.uniform:
        raise GridMismatch(f"RandomField: expected a uniform CartesianGrid or a LatLonGrid, got {grid.summary()}")
    times = [1 if closed else 2 for closed in grid.periodic]
    return CartesianGrid(
        tuple(m * n for m, n in zip(times, grid.shape, strict=True)), tuple(m * length for m, length in zip(times, grid.extent, strict=True))
    )


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
