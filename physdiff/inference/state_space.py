r"""Linear-Gaussian state spaces, exactly and by particles.

$$ x_0 \sim N(m, P), \qquad x_t = F x_{t-1} + N(0, Q), \qquad y_t = H x_t + N(0, R). $$

`kalman` gives the filter, the smoother and the evidence in closed form; `particle_filter` estimates the same from particles, and takes any other
`StateSpace`, too. The guided filter draws from $p(x_t | x_{t-1}, y_t)$, its weights are $p(y_t | x_{t-1})$. References: Kalman, 1960; Rauch, Tung and
Striebel, 1965; Gordon, Salmond and Smith, 1993; Doucet, Godsill and Andrieu, 2000 (guided).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from physdiff.base.checks import check_finite
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.smc import FeynmanKac, Particles, SMCRun, Weighed, run_smc
from physdiff.inference.weights import LogWeights

__all__ = ["Kalman", "LinearGaussian", "StateSpace", "kalman", "particle_filter"]


class StateSpace(ABC):
    """A hidden state that moves at random and is read with noise."""

    @abstractmethod
    def start(self, shape: Sequence[int], rng: Rng) -> Tensor:
        """States at the first time, (*shape, d)."""

    @abstractmethod
    def move(self, t: int, x: Tensor, rng: Rng) -> Tensor:
        """States at time t given those at t - 1, (*shape, d)."""

    @abstractmethod
    def log_likelihood(self, t: int, x: Tensor, y: Tensor) -> Tensor:
        """Log density of the readings y (m,) of time t, (*shape)."""

    def guided(self, t: int, x: Tensor | None, y: Tensor, *, rng: Rng, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """States at time t drawn from p(x_t | x_(t-1), y_t), and log p(y_t | x_(t-1)); x is None at the first time.

        Raises:
            InputError: If the model has no such law in closed form.
        """
        raise InputError(f"particle_filter: expected a model whose law given the next reading is known, got {type(self).__name__}; use guided=False")


@dataclass(frozen=True, eq=False)
class LinearGaussian(StateSpace):
    """The model above, the same at all times.

    Args:
        transition: F, (d, d).
        noise: Q, (d, d).
        matrix: H, (m, d).
        reading_noise: R, (m, m).
        mean: m, (d,).
        covariance: P, (d, d).
        dtype: Of the particles; weights are float64 always.

    Raises:
        ShapeError: If the sizes do not fit.
        InputError: If a covariance is not symmetric and positive definite.
    """

    transition: Tensor
    noise: Tensor
    matrix: Tensor
    reading_noise: Tensor
    mean: Tensor
    covariance: Tensor
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        m, d = self.matrix.shape
        wanted = {"transition": (d, d), "noise": (d, d), "matrix": (m, d), "reading_noise": (m, m), "mean": (d,), "covariance": (d, d)}
        for name, shape in wanted.items():
            value = check_finite(getattr(self, name), f"LinearGaussian {name}").double()
            if value.shape != shape:
                raise ShapeError(f"LinearGaussian: expected {name} {shape}, got {tuple(value.shape)}")
            object.__setattr__(self, name, value)
        _ = self._roots

    @cached_property
    def _roots(self) -> dict[str, Tensor]:
        return {name: _root(getattr(self, name), name) for name in ("noise", "reading_noise", "covariance")}

    @cached_property
    def _white(self) -> tuple[Tensor, Tensor, float]:
        """Whitening of the readings' noise, of H, and the constant of its density."""
        white = torch.linalg.inv(self._roots["reading_noise"])
        return white, white @ self.matrix, float(white.diagonal().log().sum()) - 0.5 * len(white) * math.log(2 * math.pi)

    @cached_property
    def _first(self) -> tuple[Tensor, Tensor, Tensor, float]:
        return _updated(self.covariance, self.matrix, self.reading_noise)

    @cached_property
    def _next(self) -> tuple[Tensor, Tensor, Tensor, float]:
        return _updated(self.noise, self.matrix, self.reading_noise)

    def start(self, shape: Sequence[int], rng: Rng) -> Tensor:
        """Draws from N(m, P)."""
        return self._spread(self.mean.to(self.dtype), self._roots["covariance"], (*shape, len(self.mean)), rng)

    def move(self, t: int, x: Tensor, rng: Rng) -> Tensor:
        """F x and noise."""
        return self._spread(_times(self.transition, x), self._roots["noise"], x.shape, rng)

    def log_likelihood(self, t: int, x: Tensor, y: Tensor) -> Tensor:
        """Log N(y; H x, R)."""
        white, whitened, constant = self._white
        return _squared(_times(whitened, x).sub_((white @ y).to(x.dtype))).mul_(-0.5).add_(constant)

    def guided(self, t: int, x: Tensor | None, y: Tensor, *, rng: Rng, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The Kalman update of every particle's own forecast."""
        gain, root, white, constant = self._first if x is None else self._next
        forecast = self.mean.to(self.dtype).expand(*shape, -1) if x is None else _times(self.transition, x)
        misfit = y.to(forecast.dtype) - _times(self.matrix, forecast)
        log_g = constant - 0.5 * _squared(_times(white, misfit))
        return self._spread(forecast + _times(gain, misfit), root, forecast.shape, rng), log_g

    def _spread(self, centre: Tensor, root: Tensor, shape: Sequence[int], rng: Rng) -> Tensor:
        # torch's own generator, seeded by the key: twice as quick as keyed numbers, and the noise is most of a filter's work
        seed = int(rng.integers(0, 2**63 - 1))
        z = torch.randn(tuple(shape), dtype=self.dtype, generator=torch.Generator().manual_seed(seed))
        scale = _multiple(root)
        return torch.add(centre, z, alpha=scale) if scale is not None else _times(root, z).add_(centre)


@dataclass(frozen=True, eq=False)
class Kalman:
    """The exact answer, float64.

    Args:
        means: E[x_t | y_1..y_t], (T, d).
        covariances: (T, d, d).
        smooth_means: E[x_t | all y], (T, d).
        smooth_covariances: (T, d, d).
        log_evidence: Logarithm of p(y).
    """

    means: Tensor
    covariances: Tensor
    smooth_means: Tensor
    smooth_covariances: Tensor
    log_evidence: float


def kalman(model: LinearGaussian, y: Tensor) -> Kalman:
    """Kalman filter and Rauch-Tung-Striebel smoother.

    Args:
        model: The model.
        y: Readings (T, m); NaN where nothing was read.

    Raises:
        ShapeError: If the readings do not fit the model.
    """
    y = _readings(model, y)
    m, p, total = model.mean, model.covariance, 0.0
    means, covariances, forecasts = [], [], []
    for t in range(len(y)):
        if t:
            m, p = model.transition @ m, model.transition @ p @ model.transition.T + model.noise
        forecasts.append((m, p))
        seen = y[t].isfinite()
        if bool(seen.any()):
            h, r = model.matrix[seen], model.reading_noise[seen][:, seen]
            s, misfit = h @ p @ h.T + r, y[t][seen] - h @ m
            gain = torch.linalg.solve(s, h @ p).T
            total += float(-0.5 * (misfit @ torch.linalg.solve(s, misfit) + torch.logdet(s) + len(misfit) * math.log(2 * math.pi)))
            keep = torch.eye(len(m), dtype=m.dtype) - gain @ h
            m, p = m + gain @ misfit, keep @ p @ keep.T + gain @ r @ gain.T
        means.append(m)
        covariances.append(p)
    smooth = [(means[-1], covariances[-1])]
    for t in range(len(y) - 2, -1, -1):
        (ahead, spread), (after, wide) = forecasts[t + 1], smooth[0]
        back = torch.linalg.solve(spread, model.transition @ covariances[t]).T
        smooth.insert(0, (means[t] + back @ (after - ahead), covariances[t] + back @ (wide - spread) @ back.T))
    return Kalman(torch.stack(means), torch.stack(covariances), torch.stack([s[0] for s in smooth]), torch.stack([s[1] for s in smooth]), total)


class _Filter(FeynmanKac):
    def __init__(self, model: StateSpace, y: Tensor, *, guided: bool) -> None:
        self.model, self.y, self.guided, self.steps = model, y, guided, len(y) - 1

    def start(self, shape: Sequence[int], rng: Rng) -> Weighed:
        return self._weighed(0, None, tuple(shape), rng)

    def move(self, k: int, particles: Particles, rng: Rng) -> Weighed:
        return self._weighed(k, particles[0], particles[0].shape[:-1], rng)

    def _weighed(self, t: int, x: Tensor | None, shape: Sequence[int], rng: Rng) -> Weighed:
        y = self.y[t]
        seen = bool(y.isfinite().all())
        if seen and self.guided:
            new, log_g = self.model.guided(t, x, y, rng=rng, shape=shape)
            return (new,), log_g
        new = self.model.start(shape, rng) if x is None else self.model.move(t, x, rng)
        return (new,), self.model.log_likelihood(t, new, y) if seen else torch.zeros(tuple(shape), dtype=torch.float64)


def particle_filter(
    model: StateSpace,
    y: Tensor,
    particles: int | Sequence[int],
    *,
    rng: Rng,
    guided: bool = False,
    scheme: str = "systematic",
    threshold: float = 0.5,
    means: bool = False,
) -> SMCRun:
    """Bootstrap or guided particle filter.

    Args:
        model: The model; `guided` needs one whose law given the next reading is known, as `LinearGaussian`.
        y: Readings (T, m); a row of NaN where nothing was read.
        particles: Number N, or (*batch, N) for filters side by side.
        rng: Randomness.
        guided: Whether particles look at the next reading before they move.
        scheme: See `run_smc`.
        threshold: See `run_smc`.
        means: Whether `kept` holds the filter's means E[x_t | y_1..y_t], one (*batch, d) for each time.

    Raises:
        ShapeError: If readings are no (T, m) with T >= 1.
        InputError: If a row of readings is missing in part, or infinite.
        CollapsedWeights: If all particles lose their weight; the message names the time.
    """
    y = _readings(model, y)
    known = y.isfinite()
    if bool((known.any(1) != known.all(1)).any()) or bool(y.isinf().any()):
        raise InputError("particle_filter: expected rows of readings that are finite or all NaN, got some in part; split the model by reading")
    keep = _mean if means else None
    return run_smc(_Filter(model, y, guided=guided), particles, rng=rng, scheme=scheme, threshold=threshold, ancestry=False, keep=keep)


def _mean(particles: Particles, weights: LogWeights) -> Tensor:
    return (weights.normalised[..., None] * particles[0]).sum(-2)


def _readings(model: StateSpace, y: Tensor) -> Tensor:
    width = model.matrix.shape[0] if isinstance(model, LinearGaussian) else None
    if y.ndim != 2 or len(y) < 1 or (width is not None and y.shape[1] != width):
        raise ShapeError(f"readings: expected (times, {'readings' if width is None else width}), got {tuple(y.shape)}")
    return y.double()


def _root(covariance: Tensor, name: str) -> Tensor:
    lower, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) or not torch.allclose(covariance, covariance.T, rtol=1e-10, atol=0):
        raise InputError(f"LinearGaussian: expected {name} symmetric and positive definite, got {covariance.tolist()}")
    return lower


def _updated(prior: Tensor, h: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor, float]:
    """Gain and root of the posterior covariance of N(., prior) read through h; whitening of the reading and the constant of its density."""
    s = h @ prior @ h.T + r
    gain = torch.linalg.solve(s, h @ prior).T
    keep = torch.eye(len(prior), dtype=prior.dtype) - gain @ h
    white = torch.linalg.inv(torch.linalg.cholesky(s))
    constant = float(white.diagonal().log().sum()) - 0.5 * len(r) * math.log(2 * math.pi)
    return gain, torch.linalg.cholesky(keep @ prior @ keep.T + gain @ r @ gain.T), white, constant


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    """Matrix times the last axis of x; multiples of the identity without a product of matrices."""
    scale = _multiple(matrix)
    return x @ matrix.to(x.dtype).T if scale is None else x * scale


def _multiple(matrix: Tensor) -> float | None:
    """The number of which this is the multiple of the identity, or None."""
    scale = float(matrix[0, 0])
    if matrix.shape[0] == matrix.shape[1] and (len(matrix) == 1 or torch.equal(matrix, scale * torch.eye(len(matrix), dtype=matrix.dtype))):
        return scale
    return None


def _squared(x: Tensor) -> Tensor:
    return x[..., 0].square() if x.shape[-1] == 1 else x.square().sum(-1)
