r"""Weights of the terms of a loss, of spans of time and of single points.

Weights are values: every rule takes what was measured and returns new weights, without gradients. Classes are frozen dataclasses whose `update`
returns the next one; `dataclasses.asdict(w)` is their state, and ``Kind(**state)`` goes on from it.

- in time: `causal_weights` $w_i = \exp(-\epsilon\sum_{k<i} L_k)$, so that a span counts once those before it are solved (Wang, Sankaran and
  Perdikaris, 2022, arXiv 2203.07404); `CausalWeights` raises epsilon by itself;
- of terms: `gradient_norm_weights`, `tangent_kernel_weights` (Wang, Yu and Perdikaris, 2022, arXiv 2007.14527), `learning_rate_weights`
  (Wang, Teng and Perdikaris, 2021, arXiv 2001.04536), smoothed by `smoothed_weights`; `RelativeLossWeights` (ReLoBRaLo; Bischof and Kraus,
  2021, arXiv 2110.09813);
- of points: `AscendingWeights` (self-adaptive; McClenny and Braga-Neto, 2023, arXiv 2009.04544), `ResidualAttention` (Anagnostopoulos and others,
  2024, arXiv 2307.00379).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from physdiff.base.checks import check_finite, check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng

__all__ = [
    "AscendingWeights",
    "CausalWeights",
    "RelativeLossWeights",
    "ResidualAttention",
    "causal_weights",
    "gradient_norm_weights",
    "learning_rate_weights",
    "smoothed_weights",
    "tangent_kernel_weights",
    "time_chunks",
]


def time_chunks(squares: Tensor, chunks: int) -> Tensor:
    """Mean squared residual of each span of time, (n,) or (n, equations) -> (chunks,); rows in order of time (`in_time_order`).

    Raises:
        ShapeError: If n is no multiple of the number of chunks.
    """
    check_positive(chunks, "time_chunks chunks")
    if squares.ndim not in (1, 2) or len(squares) % chunks or not len(squares):
        raise ShapeError(f"time_chunks: expected (n,) or (n, equations) with n a multiple of {chunks}, got {tuple(squares.shape)}; draw so many")
    return squares.reshape(chunks, -1).mean(1)


def causal_weights(losses: Tensor, epsilon: float) -> Tensor:
    """exp(-epsilon times the sum of the losses of all earlier spans), (chunks,) -> (chunks,); the first is 1.

    Raises:
        InputError: If epsilon is negative, or losses are not finite.
    """
    check_positive(epsilon, "causal_weights epsilon", zero=True)
    losses = check_finite(losses.detach(), "causal_weights losses")
    return torch.exp(-epsilon * (losses.cumsum(0) - losses))


@dataclass(frozen=True)
class CausalWeights:
    """Causal weights whose epsilon goes up a ladder as the law is met: train on the mean of ``weights(L) * L``, then `update`.

    Args:
        ladder: Values of epsilon, increasing; one for a fixed epsilon.
        chunks: Number of spans of time.
        enough: Next value when the smallest weight is above this.
        rung: Where on the ladder it stands.
    """

    ladder: tuple[float, ...] = (1e-2, 1e-1, 1.0, 10.0, 100.0)
    chunks: int = 32
    enough: float = 0.99
    rung: int = 0

    def __post_init__(self) -> None:
        if not self.ladder or not 0 <= self.rung < len(self.ladder) or not 0 < self.enough < 1:
            raise InputError(f"CausalWeights: expected a ladder, a rung on it and 0 < enough < 1, got {self}")

    @property
    def epsilon(self) -> float:
        """The epsilon in use."""
        return self.ladder[self.rung]

    def weights(self, losses: Tensor) -> Tensor:
        """Weights (chunks,) for the losses of all spans (chunks,).

        Raises:
            ShapeError: If their number is not `chunks`.
        """
        if losses.shape != (self.chunks,):
            raise ShapeError(f"CausalWeights: expected losses ({self.chunks},), got {tuple(losses.shape)}; use `time_chunks`")
        return causal_weights(losses, self.epsilon)

    def update(self, losses: Tensor) -> CausalWeights:
        """The next rung, if all spans count nearly alike, else this one."""
        last = self.rung + 1 == len(self.ladder)
        return self if last or float(self.weights(losses).min()) <= self.enough else replace(self, rung=self.rung + 1)


def gradient_norm_weights(gradients: Tensor) -> Tensor:
    """Weights (terms,) that make all gradients equally long: their mean length over each, for gradients (terms, parameters).

    Raises:
        InputError: If gradients are not finite.
    """
    return _mean_over(torch.linalg.vector_norm(_gradients(gradients), dim=1))


def tangent_kernel_weights(traces: Tensor, counts: Tensor) -> Tensor:
    """Weights (terms,) that make all terms learn equally fast: the mean of tr K/N over each.

    Args:
        traces: Traces of the tangent kernels (terms,), the sums over points of the squared gradient of the residual (`tangent_kernel_trace`).
        counts: Numbers of points (terms,).

    Raises:
        InputError: If traces are negative or not finite.
    """
    traces = check_finite(traces.detach(), "tangent_kernel_weights traces")
    if bool((traces < 0).any()):
        raise InputError(f"tangent_kernel_weights: expected traces >= 0, got {traces.tolist()}")
    return _mean_over(traces / counts.to(traces))


def learning_rate_weights(gradients: Tensor, *, leading: int = 0) -> Tensor:
    """Learning-rate annealing: the largest entry of the leading term's gradient over the mean size of each term's; the leading one keeps 1.

    Args:
        gradients: Gradients (terms, parameters).
        leading: Index of the residual's term.

    Raises:
        InputError: If gradients are not finite.
    """
    size = _gradients(gradients).abs()
    weights = size[leading].max() / _above_zero(size.mean(1))
    weights[leading] = 1.0
    return weights


def smoothed_weights(weights: Tensor, target: Tensor, *, memory: float = 0.9) -> Tensor:
    """Exponential mean: memory * weights + (1 - memory) * target."""
    return torch.lerp(target.detach().to(weights), weights.detach(), memory)


@dataclass(frozen=True)
class RelativeLossWeights:
    r"""ReLoBRaLo: a term that has gone down less than the others counts more, measured from the start and, at random, from the last step.

    $\hat\lambda_i(t, t') = m\,\mathrm{softmax}_i(L_i(t)/(T L_i(t')))$ and $\lambda(t) = \alpha[\rho\lambda(t-1) + (1-\rho)\hat\lambda(t, 0)] +
    (1-\alpha)\hat\lambda(t, t-1)$ with $\rho \in \{0, 1\}$ drawn anew.

    Args:
        temperature: T; small ones look at the worst term only.
        memory: alpha.
        keep: Mean of rho.
        weights: lambda (m,), None before the first step, where all are 1.
        first: Losses at the start (m,).
        last: Losses at the last step (m,).
    """

    temperature: float = 1.0
    memory: float = 0.999
    keep: float = 0.999
    weights: Tensor | None = None
    first: Tensor | None = None
    last: Tensor | None = None

    def __post_init__(self) -> None:
        check_positive(self.temperature, "RelativeLossWeights temperature")
        if not (0 <= self.memory <= 1 and 0 <= self.keep <= 1):
            raise InputError(f"RelativeLossWeights: expected memory and keep from 0 to 1, got {self.memory} and {self.keep}")

    def update(self, losses: Tensor, rng: Rng) -> RelativeLossWeights:
        """The weights after a step with losses (m,).

        Raises:
            InputError: If losses are not finite.
        """
        losses = check_finite(losses.detach(), "RelativeLossWeights losses")
        if self.weights is None or self.first is None or self.last is None:
            return replace(self, weights=torch.ones_like(losses), first=losses.clone(), last=losses.clone())
        kept = float(rng.uniform()) < self.keep
        history = self.weights if kept else self._against(losses, self.first)
        weights = self.memory * history + (1 - self.memory) * self._against(losses, self.last)
        return replace(self, weights=weights, last=losses.clone())

    def _against(self, losses: Tensor, before: Tensor) -> Tensor:
        return len(losses) * torch.softmax(losses / (self.temperature * _above_zero(before)), dim=0)


@dataclass(frozen=True)
class AscendingWeights:
    r"""Self-adaptive weights of points: $\lambda_k$ ascends the loss $\sum_k \lambda_k^2 r_k^2$ that the network descends, by Adam.

    Points must stay the same from step to step; train on the mean of ``weights * r^2``.

    Args:
        values: lambda (n,), at the start say ones or uniform numbers.
        rate: Learning rate.
        first: First moment of Adam (n,); None for zero.
        second: Second moment (n,); None for zero.
        steps: Steps done.
    """

    values: Tensor
    rate: float = 1e-2
    first: Tensor | None = None
    second: Tensor | None = None
    steps: int = 0

    def __post_init__(self) -> None:
        check_positive(self.rate, "AscendingWeights rate")

    @property
    def weights(self) -> Tensor:
        """lambda^2, (n,)."""
        return self.values.square()

    def update(self, residual: Tensor) -> AscendingWeights:
        """The weights after a step with residuals (n,) or (n, equations) at the same points.

        Raises:
            InputError: If they are not finite.
            ShapeError: If their number is another.
        """
        squares = _squares(residual, len(self.values), "AscendingWeights")
        slope = 2 * self.values * squares.to(self.values) / len(self.values)
        step = self.steps + 1
        first = torch.lerp(slope, torch.zeros_like(slope) if self.first is None else self.first, 0.9)
        second = torch.lerp(slope.square(), torch.zeros_like(slope) if self.second is None else self.second, 0.999)
        size = (second / (1 - 0.999**step)).sqrt() + 1e-8
        values = (self.values + self.rate * first / (1 - 0.9**step) / size).clamp(min=0)
        return replace(self, values=values, first=first, second=second, steps=step)


@dataclass(frozen=True)
class ResidualAttention:
    """Bounded weights of points: w <- decay w + rate |r|/max|r|, at most rate/(1 - decay); train on the mean of (w r)^2.

    Args:
        weights: w (n,), at the start zeros or a small constant.
        decay: gamma.
        rate: eta.
    """

    weights: Tensor
    decay: float = 0.999
    rate: float = 0.01

    def __post_init__(self) -> None:
        check_positive(self.rate, "ResidualAttention rate")
        if not 0 <= self.decay < 1:
            raise InputError(f"ResidualAttention decay: expected at least 0 and below 1, got {self.decay}")

    def update(self, residual: Tensor) -> ResidualAttention:
        """The weights after a step with residuals (n,) or (n, equations) at the same points.

        Raises:
            InputError: If they are not finite.
            ShapeError: If their number is another.
        """
        size = _squares(residual, len(self.weights), "ResidualAttention").sqrt()
        share = (size / _above_zero(size.max())).to(self.weights)
        return replace(self, weights=self.decay * self.weights + self.rate * share)


def _squares(residual: Tensor, n: int, who: str) -> Tensor:
    """|r|^2 at each point."""
    if residual.ndim not in (1, 2) or len(residual) != n:
        raise ShapeError(f"{who}: expected residuals ({n},) or ({n}, equations), got {tuple(residual.shape)}; the points must stay the same")
    squares = check_finite(residual.detach(), f"{who} residual").square()
    return squares if squares.ndim == 1 else squares.sum(1)


def _gradients(gradients: Tensor) -> Tensor:
    if gradients.ndim != 2:
        raise ShapeError(f"gradients: expected (terms, parameters), got {tuple(gradients.shape)}; use `gradients_of`")
    return check_finite(gradients.detach(), "gradients")


def _mean_over(sizes: Tensor) -> Tensor:
    return sizes.mean() / _above_zero(sizes)


def _above_zero(sizes: Tensor) -> Tensor:
    # a term that is met exactly has no gradient: a large weight, not an infinite one
    return sizes.clamp(min=math.sqrt(torch.finfo(sizes.dtype).tiny))
