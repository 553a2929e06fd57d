r"""Noise of an observation: how likely are readings y where the model predicts A(x).

    GaussianNoise     y - A(x) ~ N(0, s_i^2), every reading on its own
    CorrelatedNoise   y - A(x) ~ N(0, D C D), D = diag(s)
    StudentNoise      (y - A(x)) / s_i ~ Student's t with nu degrees of freedom: readings of which some are far off
    PoissonNoise      y ~ Poisson(A(x)): counts
    ThresholdNoise    A(x) + N(0, s_i^2) > y, or below it: readings beyond what an instrument tells, and events

Missing readings are NaN in $r = y - A(x)$; they do not count, and give no gradient. `extra_var` is the variance of A(x) itself, as a denoiser's
uncertainty pushed through the operator; it adds to the noise variance. With it (also with zero) a law that holds for some predictions only is
continued beyond them, so that a state on its way from noise to data is not lost for what it is not yet.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.grids.distance import separation
from physdiff.grids.grid import Grid

__all__ = ["CorrelatedNoise", "GaussianNoise", "Noise", "NormalNoise", "PoissonNoise", "StudentNoise", "ThresholdNoise", "fitted_to"]


class Noise(Saved, ABC):
    """Abstract noise law."""

    @abstractmethod
    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Sum over the entries that are not NaN of the log density of a residual (B, *m) -> (B,), float64."""

    @abstractmethod
    def variance(self, like: Tensor) -> Tensor:
        """Variance per entry of one reading whose expectation is `like` (*m), float64."""

    def log_likelihood(self, y: Tensor, predicted: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Log density of readings y (*m) given A(x) (B, *m), (B,), float64; `log_prob` of the misfit, for laws that need no more."""
        return self.log_prob(y - predicted, extra_var)

    def sample(self, predicted: Tensor, *, rng: Rng) -> Tensor:
        """Readings of A(x) (..., *m) with noise, of the same shape: for twin experiments.

        Raises:
            InputError: If the law says only how likely readings are.
        """
        raise InputError(f"{type(self).__name__}: expected a noise law that can draw readings, got one without `sample`; write it")

    def check(self, y: Tensor) -> None:
        """Raise InputError if readings y (*m; NaN where missing) are impossible under the law; by default none are."""


class NormalNoise(Noise):
    """Abstract normal noise, of any covariance: what guidance by Gaussian formulas takes."""

    @abstractmethod
    def decorrelated(self, residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Residuals turned so that their noise is independent.

        Args:
            residual: (B, *m).
            seen: (*m), True where there is a reading; k of them.

        Returns:
            Linear map, orthogonal on the seen ones, of the residuals, (B, k), and the variances of their noise (k,), float64.
        """


class GaussianNoise(NormalNoise):
    """Independent normal noise.

    Args:
        std: Standard deviation in the unit of the readings; one number, or a tensor that broadcasts against the readings.

    Raises:
        InputError: If a standard deviation is not a positive finite number.
    """

    def __init__(self, std: float | Tensor) -> None:
        self.std = _positive(std, "GaussianNoise", "standard deviations")

    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        r"""$-\sum_i [r_i^2/(2 v_i) + \log(2\pi v_i)/2]$ with $v_i = $ std$_i^2$ + extra variance.

        Args:
            residual: (B, *m); NaN where nothing was read.
            extra_var: Broadcasts against the residual, in squared units of the readings.

        Returns:
            (B,), float64.
        """
        r, missing = _cleaned(residual)
        v = self.variance(r[0])
        if extra_var is not None:
            v = v + extra_var.to(r)
        return torch.where(missing, 0.0, _log_normal(r, v)).flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        """std^2 per entry, shaped like `like`, float64.

        Raises:
            ShapeError: If the standard deviations do not fit the readings.
        """
        return _each(self.std**2, like, "GaussianNoise std")

    def sample(self, predicted: Tensor, *, rng: Rng) -> Tensor:
        """Readings with noise, shape and dtype of `predicted`."""
        return predicted + (_each(self.std, predicted, "GaussianNoise std") * rng.normal(predicted.shape, like=predicted)).to(predicted)

    def decorrelated(self, residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The residuals that are seen, and their variances."""
        chosen = seen.flatten().to(residual.device)
        return residual.flatten(1)[:, chosen], self.variance(torch.empty(residual.shape[1:], device=residual.device)).flatten()[chosen]


class CorrelatedNoise(NormalNoise):
    r"""Normal noise of covariance D C D along the last axis of the readings, D = diag(std); further axes are independent of each other.

    Args:
        covariance: C, (n, n), of the n entries of the last axis, or of all readings in storage order; a correlation where `std` is given.
        std: Factors; one number, or a tensor that broadcasts against the readings.

    Raises:
        InputError: If C is not symmetric and positive definite, or a std not a positive finite number.
    """

    def __init__(self, covariance: Tensor, std: float | Tensor = 1.0) -> None:
        c = torch.as_tensor(covariance, dtype=torch.float64).cpu()
        if c.ndim != 2 or c.shape[0] != c.shape[1] or not c.numel() or not bool(c.isfinite().all()) or not torch.allclose(c, c.T, rtol=1e-9):
            raise InputError(f"CorrelatedNoise: expected a symmetric finite covariance (n, n), got {tuple(c.shape)}")
        self.covariance, self.std = (c + c.T) / 2, _positive(std, "CorrelatedNoise", "standard deviations")
        values = torch.linalg.eigvalsh(self.covariance)
        # below this an eigenvalue is rounding
        if float(values[0]) <= len(c) * torch.finfo(c.dtype).eps * float(values[-1]):
            raise InputError(
                f"CorrelatedNoise: expected a positive definite covariance, got eigenvalues {float(values[0]):.2g} to {float(values[-1]):.2g}; add "
                "each reading's own variance to its diagonal, and drop a reading that comes twice"
            )
        self._parts: dict[bytes, tuple[Tensor, Tensor]] = {}

    @classmethod
    def by_distance(cls, grid: Grid, points: Tensor, *, std: float | Tensor, length: float, share: float = 1.0) -> CorrelatedNoise:
        r"""Errors of sensors that fall off with distance: C = share exp(-d/length) + (1 - share) I.

        Args:
            grid: Where the sensors are.
            points: Their places (n, ndim), x, y, z order (longitude, latitude in degrees on the sphere).
            std: Standard deviation of the errors, as above.
            length: In the grid's unit (metres on the sphere).
            share: Share of the variance that is correlated.

        Raises:
            InputError: If the length is not positive, the share not in [0, 1], or two sensors stand at one place with nothing of their own.
        """
        check_positive(length, "CorrelatedNoise length")
        if not 0 <= share <= 1:
            raise InputError(f"CorrelatedNoise: expected a share between 0 and 1, got {share!r}")
        places = torch.as_tensor(points, dtype=torch.float64)
        return cls(share * torch.exp(-separation(grid, places, places) / length) + (1 - share) * torch.eye(len(places), dtype=torch.float64), std)

    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        r"""$-\frac12 r^\top S^{-1} r - \frac12 \log\det 2\pi S$, (B,), float64, S = D C D + diag(extra variance) cut to entries not NaN."""
        r, missing = _cleaned(residual)
        total = r.new_zeros(len(r))
        patterns, which = torch.unique(missing.flatten(1), dim=0, return_inverse=True)
        extra = None if extra_var is None else extra_var.to(r).expand(r.shape)
        for g, pattern in enumerate(patterns):
            rows, seen = (which == g).nonzero()[:, 0], ~pattern.reshape(r.shape[1:])
            if extra is None:
                terms = _log_normal(*self.decorrelated(r[rows], seen)).sum(1)
            else:
                terms = self._widened(r[rows], extra[rows], seen)
            total = total.index_add(0, rows, terms)
        return total

    def variance(self, like: Tensor) -> Tensor:
        """Diagonal of D C D, shaped like `like`, float64."""
        shape = self._shape(like.shape)
        own = self.covariance.diagonal().to(like.device).expand(shape).reshape(like.shape)
        return own * _each(self.std**2, like, "CorrelatedNoise std")

    def sample(self, predicted: Tensor, *, rng: Rng) -> Tensor:
        """Readings with noise, shape and dtype of `predicted` (..., *m); the std must fit its last axes."""
        n = len(self.covariance)
        if predicted.shape[-1] != n:
            raise ShapeError(f"CorrelatedNoise.sample: expected readings (..., {n}), got {tuple(predicted.shape)}; flatten them first")
        white = rng.normal(predicted.shape, like=predicted.double())
        noise = white @ torch.linalg.cholesky(self.covariance).T.to(white)
        return predicted + (noise * _each(self.std, predicted, "CorrelatedNoise std")).to(predicted)

    def decorrelated(self, residual: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """The seen residuals of each block in the eigenvectors of its covariance, (B, k), and the eigenvalues (k,)."""
        turned, values = [], []
        for block, keep, covariance in self._blocks(residual, seen):
            key = keep.cpu().numpy().tobytes() + covariance.numpy().tobytes()
            if key not in self._parts:
                self._parts[key] = torch.linalg.eigh(covariance)
            value, vectors = self._parts[key]
            turned.append((block.double() @ vectors.to(block.device)).to(residual))
            values.append(value.to(block.device))
        return torch.cat(turned, 1), torch.cat(values)

    def _widened(self, r: Tensor, extra: Tensor, seen: Tensor) -> Tensor:
        total = r.new_zeros(len(r))
        for (block, _, covariance), (more, _, _) in zip(self._blocks(r, seen), self._blocks(extra, seen), strict=True):
            lower = torch.linalg.cholesky(covariance.to(r) + torch.diag_embed(more))
            white = torch.linalg.solve_triangular(lower, block[:, :, None], upper=False)[:, :, 0]
            total = total + _log_normal(white, torch.ones_like(white)).sum(1) - lower.diagonal(dim1=1, dim2=2).log().sum(1)
        return total

    def _blocks(self, r: Tensor, seen: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Of each block that has readings: its seen entries (B, k), which they are (n,), and D C D of them, on the CPU."""
        shape = self._shape(r.shape[1:])
        std = _each(self.std, r[0], "CorrelatedNoise std").cpu().reshape(-1, shape[-1])
        for block, keep, s in zip(r.reshape(len(r), -1, shape[-1]).unbind(1), seen.reshape(-1, shape[-1]), std, strict=True):
            chosen = keep.cpu().nonzero()[:, 0]
            if len(chosen):
                yield block[:, chosen.to(r.device)], keep, s[chosen, None] * self.covariance[chosen][:, chosen] * s[chosen]

    def _shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        n = len(self.covariance)
        if shape and shape[-1] == n:
            return tuple(shape)
        if math.prod(shape) == n:
            return (n,)
        raise ShapeError(f"CorrelatedNoise: expected readings with a last axis of {n}, or {n} in all, got {tuple(shape)}")


class StudentNoise(Noise):
    r"""Independent noise with heavy tails: $(y - A(x))/s$ has Student's t law, of density $\propto (1 + r^2/(\nu s^2))^{-(\nu + 1)/2}$.

    Args:
        scale: s in the unit of the readings; one number, or a tensor that broadcasts against the readings. The variance is s^2 nu/(nu - 2).
        dof: nu; 1 is Cauchy's law, and from 30 on it is nearly normal.

    Raises:
        InputError: If a scale or nu is not a positive finite number.
    """

    def __init__(self, scale: float | Tensor, dof: float = 4.0) -> None:
        self.scale, self.dof = _positive(scale, "StudentNoise", "scales"), float(_positive(dof, "StudentNoise", "degrees of freedom"))

    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Sum of the log densities, (B,), float64; with an extra variance that of scale^2 + extra (not the convolution, but its spread)."""
        r, missing = _cleaned(residual)
        v = _each(self.scale**2, r[0], "StudentNoise scale")
        if extra_var is not None:
            v = v + extra_var.to(r)
        nu = self.dof
        constant = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - 0.5 * math.log(nu * math.pi)
        terms = constant - 0.5 * torch.log(v) - (nu + 1) / 2 * torch.log1p(r**2 / (nu * v))
        return torch.where(missing, 0.0, terms).flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        """scale^2 nu/(nu - 2), shaped like `like`, float64; up to nu = 2, where there is none, scale^2."""
        factor = self.dof / (self.dof - 2) if self.dof > 2 else 1.0
        return factor * _each(self.scale**2, like, "StudentNoise scale")

    def sample(self, predicted: Tensor, *, rng: Rng) -> Tensor:
        """Readings with noise, shape and dtype of `predicted`."""
        draw = torch.as_tensor(rng.generator().standard_t(self.dof, tuple(predicted.shape)), device=predicted.device)
        return predicted + (_each(self.scale, predicted, "StudentNoise scale") * draw).to(predicted)


class PoissonNoise(Noise):
    """Counts whose expectations are A(x).

    A negative expectation is impossible (log likelihood -inf). Where the fields of the prior can be negative let the operator make expectations of
    them, as the exponential of a log concentration.
    """

    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Not defined: counts have no law of the misfit alone.

        Raises:
            InputError: Always; ask for `log_likelihood`.
        """
        raise InputError("PoissonNoise: expected readings and expectations, got a misfit alone; use log_likelihood(y, predicted)")

    def log_likelihood(self, y: Tensor, predicted: Tensor, extra_var: Tensor | None = None) -> Tensor:
        r"""$\sum_i [y_i \log\lambda_i - \lambda_i - \log y_i!]$ with $\lambda = A(x)$, (B,), float64; -inf where an expectation is negative.

        With an extra variance v (also zero) each term is continued below max(y, 1)/2 by a parabola of the same value and slope, and divided by
        1 + v/max(y, 1).
        """
        count, rate = y.double(), predicted.double()
        missing = (count - rate).isnan()
        count, rate = torch.where(missing, 0.0, count), torch.where(missing, 1.0, rate)
        factorial = torch.lgamma(count + 1)
        if extra_var is None:
            terms = torch.where(rate < 0, -torch.inf, torch.xlogy(count, rate.clamp_min(0)) - rate - factorial)
        else:
            least = count.clamp_min(1.0)
            edge = least / 2
            above = rate.clamp_min(edge)
            off = (rate - edge).clamp_max(0.0)
            terms = torch.xlogy(count, above) - above - factorial + (count / edge - 1) * off - 0.5 * least / edge**2 * off**2
            terms = terms / (1 + extra_var.to(rate) / least)
        return torch.where(missing, 0.0, terms).flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        """The expectation `like` itself, float64; at least one, so that it is a scale where nothing is expected."""
        return like.double().clamp_min(1.0)

    def sample(self, predicted: Tensor, *, rng: Rng) -> Tensor:
        """Counts, shape and dtype of `predicted`.

        Raises:
            InputError: If an expectation is negative or not finite.
        """
        bad = ~(predicted.isfinite() & (predicted >= 0))
        if bool(bad.any()):
            raise InputError(f"PoissonNoise: expected expectations >= 0, got {float(predicted[bad][0]):g}; let the operator make them positive")
        return torch.as_tensor(rng.generator().poisson(predicted.detach().double().cpu().numpy())).to(predicted)

    def check(self, y: Tensor) -> None:
        """Raise InputError unless readings are counts 0, 1, 2, ..., or NaN."""
        known = y[y.isfinite()]
        bad = (known < 0) | (known != known.round())
        if bool(bad.any()):
            raise InputError(f"PoissonNoise: expected counts 0, 1, 2, ..., got {float(known[bad][0]):g}; use another noise law for means or rates")


class ThresholdNoise(Noise):
    r"""All that is read is on which side of y the quantity lies: $P = \Phi(\pm(A(x) - y)/s)$.

    Readings out of an instrument's range (Tobin, 1958); as s goes to 0 events, whose probability is the evidence (Finzi et al., 2023).

    Args:
        std: s in the unit of the readings; one number, or a tensor that broadcasts against the readings.
        above: Whether the quantity lies above y; else below.

    Raises:
        InputError: If a standard deviation is not a positive finite number.
    """

    def __init__(self, std: float | Tensor, *, above: bool = True) -> None:
        self.std, self.above = _positive(std, "ThresholdNoise", "standard deviations"), above

    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Sum of the log probabilities given y - A(x), (B,), float64; exact where A(x) is normal with the extra variance."""
        r, missing = _cleaned(residual)
        v = self.variance(r[0]) + (0.0 if extra_var is None else extra_var.to(r))
        terms = torch.special.log_ndtr((-r if self.above else r) / v.sqrt())
        return torch.where(missing, 0.0, terms).flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        """std^2 per entry, shaped like `like`, float64: how sharp the threshold is."""
        return _each(self.std**2, like, "ThresholdNoise std")


def fitted_to(values: Tensor, shape: Sequence[int], what: str) -> Tensor:
    """`values` in `shape`, where both are the same but for axes of length one.

    Raises:
        ShapeError: If they are not.
    """
    if [n for n in values.shape if n != 1] != [n for n in shape if n != 1]:
        raise ShapeError(f"{what}: expected shape {tuple(shape)} (axes of length one may be left out), got {tuple(values.shape)}")
    return values.reshape(tuple(shape))


def _positive(values: float | Tensor, who: str, what: str) -> Tensor:
    tensor = torch.as_tensor(values, dtype=torch.float64)
    bad = ~(tensor.isfinite() & (tensor > 0))
    if bool(bad.any()):
        raise InputError(
            f"{who}: expected positive finite {what}, got {float(tensor[bad][0]):g}; for readings without error give a std small against the field's"
        )
    return tensor


def _each(values: Tensor, like: Tensor, what: str) -> Tensor:
    """Values per entry of `like`, which may leave out axes of length one."""
    values = values.to(like.device)
    try:
        return values.expand(like.shape)
    except RuntimeError:
        return fitted_to(values, like.shape, what)


def _cleaned(residual: Tensor) -> tuple[Tensor, Tensor]:
    """Residuals in float64 with zeros where they are missing, and where that is.

    Cleaned before anything is computed: a NaN in the branch not taken would still make the gradient NaN.
    """
    r = residual.double()
    missing = r.isnan()
    return torch.where(missing, 0.0, r), missing


def _log_normal(r: Tensor, v: Tensor) -> Tensor:
    return -0.5 * r**2 / v - 0.5 * torch.log(2 * math.pi * v)
