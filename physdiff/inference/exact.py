r"""Targets whose posterior and evidence are known in closed form: the truth against which posterior samplers are proved.

Gaussian: prior $N(m, C)$, readings $y = A x + $ noise of covariance $R$. With $S = A C A^\top + R$ and $K = C A^\top S^{-1}$

$$ E[x|y] = m + K(y - A m), \qquad \mathrm{Cov}[x|y] = C - K A C, \qquad \log p(y) = \log N(y; A m, S). $$

Mixture: every component is updated like that, and its weight becomes $w_k N(y; A m_k, S_k)$ over their sum, which is the evidence. Random
fields seen through a filter: the same for each Fourier mode. Reference: Anderson and Moore, Optimal filtering, 1979.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.diffusion.covariance import FourierCovariance, LowRankCovariance, dense_covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import EDMSchedule, Schedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import LinearOperator, MatrixOperator, Observation
from physdiff.inference.posterior import Posterior
from physdiff.transforms.normalizer import Normalizer

__all__ = [
    "FieldTarget",
    "FourierFilter",
    "GaussianTarget",
    "MixtureLaw",
    "MixtureTarget",
    "ar1_covariance",
    "ar1_target",
    "field_spectrum",
    "plain_prior",
    "plain_spec",
    "separable_covariance",
]


def plain_spec(shape: tuple[int, ...]) -> FieldSpec:
    """What windows (C, T, *S) of plain numbers are: fields u0, u1, ... without unit on a unit box, one frame per second."""
    if len(shape) < 3:
        raise ShapeError(f"plain_spec: expected (C, T, *S), got {shape}")
    names = tuple(f"u{i}" for i in range(shape[0]))
    return FieldSpec(names, ("1",) * shape[0], CartesianGrid(shape[2:], periodic=False), 1.0, shape[1])


def plain_prior(denoiser: Denoiser, spec: FieldSpec, *, sampler: Sampler | None = None, steps: int = 20) -> DiffusionPrior:
    """A prior whose coefficients are the values themselves; Heun's method if no sampler is given."""
    unchanged = Normalizer((), torch.zeros(()).double(), torch.ones(()).double())
    return DiffusionPrior(denoiser, unchanged, spec, sampler=sampler or Heun(), steps=steps)


@dataclass(frozen=True, eq=False)
class GaussianTarget:
    """A Gaussian prior and linear readings.

    Args:
        mean: Prior mean (d,), float64, as all the others.
        covariance: Prior covariance (d, d).
        matrix: A, (m, d).
        y: Readings (m,).
        std: Standard deviations of the readings' independent noise (m,).
        spec: What the windows of d entries are; None: one field, one frame, d points.

    Raises:
        ShapeError: If the sizes do not fit.
    """

    mean: Tensor
    covariance: Tensor
    matrix: Tensor
    y: Tensor
    std: Tensor
    spec: FieldSpec | None = None

    def __post_init__(self) -> None:
        m, d = self.matrix.shape
        shapes = [tuple(v.shape) for v in (self.mean, self.covariance, self.y, self.std)]
        if shapes != [(d,), (d, d), (m,), (m,)] or torch.Size(self.window.shape).numel() != d:
            raise ShapeError(
                f"GaussianTarget: expected mean, covariance, y, std of shapes {[(d,), (d, d), (m,), (m,)]} and windows of {d}, got {shapes}"
            )

    @property
    def window(self) -> FieldSpec:
        """What the windows are."""
        return plain_spec((1, 1, len(self.mean))) if self.spec is None else self.spec

    @cached_property
    def _gain(self) -> Tensor:
        cross = self.covariance @ self.matrix.T
        return torch.linalg.solve(self._evidence_covariance, cross.T).T

    @property
    def _evidence_covariance(self) -> Tensor:
        return self.matrix @ self.covariance @ self.matrix.T + torch.diag(self.std**2)

    @property
    def posterior_mean(self) -> Tensor:
        """E[x|y], (d,)."""
        return self.mean + self._gain @ (self.y - self.matrix @ self.mean)

    @property
    def posterior_covariance(self) -> Tensor:
        """Cov[x|y], (d, d)."""
        c = self.covariance - self._gain @ self.matrix @ self.covariance
        return (c + c.T) / 2

    @property
    def log_evidence(self) -> float:
        """Logarithm of p(y)."""
        return float(_log_normal(self.y - self.matrix @ self.mean, self._evidence_covariance))

    def denoiser(self, schedule: Schedule) -> GaussianDenoiser:
        """E[x_0 | x_t] under the prior, for any schedule."""
        return GaussianDenoiser(schedule, self.mean.reshape(self.window.shape), dense_covariance(self.covariance))

    def posterior_denoiser(self, schedule: Schedule) -> GaussianDenoiser:
        """E[x_0 | x_t, y], for any schedule: what guidance should give."""
        return GaussianDenoiser(schedule, self.posterior_mean.reshape(self.window.shape), dense_covariance(self.posterior_covariance))

    def posterior(self, schedule: Schedule | None = None, *, sampler: Sampler | None = None, steps: int = 20) -> Posterior:
        """The target as a posterior sampler takes it; EDMSchedule if none is given."""
        return _posterior(self.denoiser(schedule or EDMSchedule()), self, sampler, steps)

    def draw(self, n: int, *, rng: Rng) -> Tensor:
        """Exact draws from the posterior, (n, C, T, *S)."""
        draws = _normal(self.posterior_mean, self.posterior_covariance, rng.normal((n, len(self.mean)), like=self.mean))
        return draws.reshape(n, *self.window.shape)


class MixtureLaw(ABC):
    """Abstract posterior of a mixture of Gaussians and linear readings: every part is updated on its own and weighed by its evidence.

    Attributes:
        weights: Prior weights (K,), not necessarily normalised.
    """

    weights: Tensor

    @property
    @abstractmethod
    def parts(self) -> tuple[GaussianTarget, ...]:
        """The target of each component."""

    @property
    def window(self) -> FieldSpec:
        """What the windows are."""
        return self.parts[0].window

    @property
    def _joint(self) -> Tensor:
        return torch.log(self.weights / self.weights.sum()) + self.weights.new_tensor([p.log_evidence for p in self.parts])

    @property
    def log_evidence(self) -> float:
        """Logarithm of p(y)."""
        return float(torch.logsumexp(self._joint, 0))

    @property
    def posterior_weights(self) -> Tensor:
        """Probability of each component given y, (K,)."""
        return torch.softmax(self._joint, 0)

    @property
    def posterior_means(self) -> Tensor:
        """Means of the components given y, (K, d)."""
        return torch.stack([p.posterior_mean for p in self.parts])

    @property
    def posterior_covariances(self) -> Tensor:
        """Covariances of the components given y, (K, d, d)."""
        return torch.stack([p.posterior_covariance for p in self.parts])

    @property
    def posterior_mean(self) -> Tensor:
        """E[x|y], (d,)."""
        return self.posterior_weights @ self.posterior_means

    @property
    def posterior_covariance(self) -> Tensor:
        """Cov[x|y], (d, d)."""
        off = self.posterior_means - self.posterior_mean
        return torch.einsum("k,kij->ij", self.posterior_weights, self.posterior_covariances + off[:, :, None] * off[:, None, :])

    def draw(self, n: int, *, rng: Rng) -> Tensor:
        """Exact draws from the posterior, (n, C, T, *S)."""
        edges = torch.cumsum(self.posterior_weights, 0)
        which = torch.searchsorted(edges, rng.child("component").uniform((n,), like=edges), right=True).clamp_max(len(edges) - 1)
        means = self.posterior_means
        noise = rng.child("value").normal((n, means.shape[1]), like=means)
        each = torch.stack([_normal(m, c, noise) for m, c in zip(means, self.posterior_covariances, strict=True)])
        return each[which, torch.arange(n)].reshape(n, *self.window.shape)


@dataclass(frozen=True, eq=False)
class MixtureTarget(MixtureLaw):
    """A mixture of Gaussians with independent entries, and linear readings.

    Args:
        weights: (K,), float64, as all the others; normalised here.
        means: (K, d).
        stds: (K, d).
        matrix: A, (m, d).
        y: Readings (m,).
        std: Standard deviations of the readings' independent noise (m,).
        spec: What the windows of d entries are; None: one field, one frame, d points.
    """

    weights: Tensor
    means: Tensor
    stds: Tensor
    matrix: Tensor
    y: Tensor
    std: Tensor
    spec: FieldSpec | None = None

    @cached_property
    def parts(self) -> tuple[GaussianTarget, ...]:
        """The target of each component."""
        return tuple(
            GaussianTarget(m, torch.diag(s**2), self.matrix, self.y, self.std, self.spec) for m, s in zip(self.means, self.stds, strict=True)
        )

    def denoiser(self, schedule: Schedule) -> MixtureDenoiser:
        """E[x_0 | x_t] under the prior, for any schedule."""
        shape = (len(self.weights), *self.window.shape)
        return MixtureDenoiser(schedule, self.weights, self.means.reshape(shape), stds=self.stds.reshape(shape))

    def posterior(self, schedule: Schedule | None = None, *, sampler: Sampler | None = None, steps: int = 20) -> Posterior:
        """The target as a posterior sampler takes it; EDMSchedule if none is given."""
        return _posterior(self.denoiser(schedule or EDMSchedule()), self, sampler, steps)


class FourierFilter(LinearOperator):
    """A filter on a periodic grid, as blurring or the heat equation: mode k of every field and frame is multiplied by a_k.

    Args:
        transfer: a, real, of the grid's shape in the order of torch's fftn, equal at k and -k.
    """

    def __init__(self, transfer: Tensor) -> None:
        self.transfer = transfer

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, C, T, *S)."""
        axes = tuple(range(-self.transfer.ndim, 0))
        return torch.fft.ifftn(self.transfer.to(x) * torch.fft.fftn(x, dim=axes), dim=axes).real

    def adjoint(self, r: Tensor) -> Tensor:
        """The filter itself: its eigenvalues are real."""
        return self(r)


@dataclass(frozen=True, eq=False)
class FieldTarget:
    """A homogeneous random field on a periodic grid, seen everywhere through a filter and noise.

    Args:
        spec: One field, one frame, a uniform periodic grid.
        spectrum: Variance c of each mode under the unitary FFT, of the grid's shape, as `field_spectrum` gives it.
        transfer: a, see FourierFilter.
        y: Readings, of the grid's shape.
        std: Standard deviation of their noise.
    """

    spec: FieldSpec
    spectrum: Tensor
    transfer: Tensor
    y: Tensor
    std: float

    @property
    def posterior_mean(self) -> Tensor:
        r"""Mode k is $c_k a_k y_k / (a_k^2 c_k + s^2)$; (C, T, *S)."""
        gain = self.spectrum * self.transfer / (self.transfer**2 * self.spectrum + self.std**2)
        return torch.fft.ifftn(gain * torch.fft.fftn(self.y)).real.reshape(self.spec.shape)

    @property
    def posterior_spectrum(self) -> Tensor:
        r"""Variance of each mode given y, $c_k s^2 / (a_k^2 c_k + s^2)$, of the grid's shape."""
        return self.spectrum * self.std**2 / (self.transfer**2 * self.spectrum + self.std**2)

    @property
    def log_evidence(self) -> float:
        """Logarithm of p(y)."""
        v = self.transfer**2 * self.spectrum + self.std**2
        power = torch.fft.fftn(self.y, norm="ortho").abs() ** 2
        return float(-0.5 * (power / v + torch.log(2 * math.pi * v)).sum())

    def denoiser(self, schedule: Schedule) -> GaussianDenoiser:
        """E[x_0 | x_t] under the prior, for any schedule."""
        covariance = FourierCovariance(self.spectrum.reshape(self.spec.shape), self.spec.grid.ndim)
        return GaussianDenoiser(schedule, torch.zeros(self.spec.shape, dtype=self.spectrum.dtype), covariance)

    def posterior(self, schedule: Schedule | None = None, *, sampler: Sampler | None = None, steps: int = 20) -> Posterior:
        """The target as a posterior sampler takes it; EDMSchedule if none is given."""
        prior = plain_prior(self.denoiser(schedule or EDMSchedule()), self.spec, sampler=sampler, steps=steps)
        return Posterior(prior, Observation(FourierFilter(self.transfer), self.y.reshape(self.spec.shape), std=self.std))


def field_spectrum(grid: CartesianGrid, *, alpha: float = 4.0, tau: float = 3.0, std: float | None = None) -> Tensor:
    r"""Spectrum $c_k = (|k|^2 + \tau^2)^{-\alpha}$ of the random field $(-\Delta + \tau^2)^{-\alpha/2} w$ on a periodic box.

    Args:
        grid: Uniform and periodic.
        alpha: Power; fields are smoother the larger it is.
        tau: Wave number (2 pi over a length) below which the spectrum is flat.
        std: Standard deviation of the values to which all is scaled; None: the formula as it is.

    Returns:
        Variance of each mode under the unitary FFT, of the grid's shape, float64; zero for the mean, which is fixed to zero.
    """
    if not grid.uniform or not all(grid.periodic):
        raise InputError(f"field_spectrum: expected a uniform periodic grid, got {grid.summary()}")
    square = torch.zeros(grid.shape, dtype=torch.float64)
    for axis, (n, h) in enumerate(zip(grid.shape, grid.spacing, strict=True)):
        k = 2 * math.pi * torch.fft.fftfreq(n, h, dtype=torch.float64)
        square = square + (k**2).reshape(-1, *[1] * (grid.ndim - 1 - axis))
    spectrum = (square + tau**2) ** -alpha
    spectrum[(0,) * grid.ndim] = 0.0
    return spectrum if std is None else spectrum * std**2 / spectrum.mean()


def ar1_covariance(length: int, correlation: float) -> Tensor:
    r"""Covariance $\rho^{|i-j|}$ of a stationary first-order autoregression of unit variance, (length, length), float64."""
    steps = torch.arange(length, dtype=torch.float64)
    return torch.as_tensor(correlation, dtype=torch.float64) ** (steps[:, None] - steps).abs()


def ar1_target(length: int, correlation: float, *, seen: tuple[int, ...], y: Tensor, std: float) -> GaussianTarget:
    """A stationary AR(1) trajectory of unit variance, some of its frames read: windows (1, length, 1)."""
    matrix = torch.eye(length, dtype=torch.float64)[list(seen)]
    mean, noise = torch.zeros(length, dtype=torch.float64), torch.full((len(seen),), std, dtype=torch.float64)
    return GaussianTarget(mean, ar1_covariance(length, correlation), matrix, y.double(), noise, plain_spec((1, length, 1)))


def separable_covariance(time: Tensor, space: Tensor) -> LowRankCovariance:
    """Covariance of windows (1, T, *S) that is a product: time (T, T) times space (P, P), P points in storage order."""
    (a, u), (b, v) = torch.linalg.eigh(time), torch.linalg.eigh(space)
    return LowRankCovariance(torch.kron(u, v).T.contiguous(), torch.kron(a, b).clamp_min(0))


def _posterior(denoiser: Denoiser, target: GaussianTarget | MixtureTarget, sampler: Sampler | None, steps: int) -> Posterior:
    observation = Observation(MatrixOperator(target.matrix, target.window.shape), target.y, std=target.std)
    return Posterior(plain_prior(denoiser, target.window, sampler=sampler, steps=steps), observation)


def _log_normal(r: Tensor, covariance: Tensor) -> Tensor:
    lower = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(lower, r[:, None], upper=False)
    return -0.5 * (white**2).sum() - lower.diagonal().log().sum() - 0.5 * len(r) * math.log(2 * math.pi)


def _normal(mean: Tensor, covariance: Tensor, noise: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(covariance)
    return mean + (noise * values.clamp_min(0).sqrt()) @ vectors.T
