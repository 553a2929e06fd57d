r"""A linear first guess: the linear inverse model in the space of the leading patterns (Penland, 1989; here as direct ridge regression).

With EOFs $E$ (r area-weighted leading patterns of the training anomalies), principal components $p_t = E^+ a_t$ of the known frames and the
remainder $q = a_0 - E p_0$ of the last one, the anomaly $l$ steps ahead is guessed as

$$ \hat a_l = E\,\big(B_l\,[p_0; p_{-1}; \dots]\big) + \rho_l\, q, \qquad
   B_l = \arg\min \sum |p_l - B_l p|^2 + \mu \operatorname{tr}(\Sigma_p)/n_p\,|B_l - K_l|^2 , $$

where $K_l$ is the damped persistence of each pattern, $p_l \approx \operatorname{diag}(k_l)\, p_0$.

Each lead has its own regression, so errors do not build up, and a damping $\rho_l$ for what the patterns do not resolve. On a few hundred
frames the in-sample residuals are too small: fit the network on residuals of guesses that have not seen the window (`folds`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from physdiff.base.errors import DataError, InputError
from physdiff.base.saved import Saved

__all__ = ["RANKS", "Guess", "LinearFit", "LinearForecast", "away_from", "fit_linear_forecast"]

RANKS = (6, 10, 14, 20, 30)
"""Numbers of patterns that cross-validation chooses from."""


class LinearForecast(Saved, nn.Module):
    """Guess the anomalies of the coming frames from those of the known ones.

    Args:
        patterns: EOFs E, (r, C, *S).
        projection: Their (weighted) pseudo-inverse, (r, C, *S).
        regression: B_l, (horizon, r, history r); the newest frame's components come first.
        damping: rho_l, (horizon,).
    """

    def __init__(self, patterns: Tensor, projection: Tensor, *, regression: Tensor, damping: Tensor) -> None:
        super().__init__()
        self.patterns: Tensor
        self.projection: Tensor
        self.regression: Tensor
        self.damping: Tensor
        # a matrix read from a file is contiguous; one that is not takes another path through the BLAS and differs in the last bit
        self.register_buffer("patterns", patterns.contiguous(), persistent=False)
        self.register_buffer("projection", projection.contiguous(), persistent=False)
        self.register_buffer("regression", regression.contiguous(), persistent=False)
        self.register_buffer("damping", damping.contiguous(), persistent=False)

    @property
    def horizon(self) -> int:
        """Number of frames guessed."""
        return self.regression.shape[0]

    @property
    def history(self) -> int:
        """Number of known frames used."""
        return self.regression.shape[2] // self.regression.shape[1]

    def forward(self, known: Tensor) -> Tensor:
        """Anomalies of the known frames (B, C, history, *S) -> guessed anomalies (B, C, horizon, *S)."""
        if known.shape[2] < self.history:
            raise InputError(f"LinearForecast: expected at least {self.history} known frames, got {known.shape[2]}")
        frames = known[:, :, -self.history :].flip(2).movedim(2, 1)  # (B, h, C, *S), newest first
        flat = frames.flatten(2)
        components = flat @ self.projection.to(flat).flatten(1).T  # (B, h, r)
        patterns = self.patterns.to(flat).flatten(1)
        remainder = flat[:, 0] - components[:, 0] @ patterns
        ahead = torch.einsum("lrp,bp->blr", self.regression.to(flat), components.flatten(1))
        guess = ahead @ patterns + self.damping.to(flat)[:, None] * remainder[:, None]
        return guess.reshape(*guess.shape[:2], *frames.shape[2:]).movedim(1, 2)


class Guess(Protocol):
    """A forecast of anomalies: (B, C, history, *S) -> (B, C, horizon, *S); `LinearForecast` and `ZonalForecast` are modules of this kind."""

    @property
    def horizon(self) -> int:
        """Number of frames guessed."""

    @property
    def history(self) -> int:
        """Number of known frames used."""

    def __call__(self, known: Tensor) -> Tensor:
        """Guess."""


@dataclass(frozen=True)
class LinearFit:
    """A linear forecast together with its cross-validated versions.

    Args:
        full: Fitted on all windows.
        folds: The k-th has not seen the windows of fold k.
        fold_of: Fold of each training window, (n,), int64.
        residuals: What the fold's guess left of each training window, (n, C, horizon, *S); honest forecast errors to resample.
    """

    full: Guess
    folds: tuple[Guess, ...]
    fold_of: Tensor
    residuals: Tensor


def fit_linear_forecast(
    anomalies: Tensor, history: int, *, rank: int | None = None, ridge: float = 1e-3, folds: int = 5, weights: Tensor | None = None
) -> LinearFit:
    """Fit the linear forecast on windows of anomalies, in the order of time.

    Args:
        anomalies: (n, C, T, *S) windows, T = history + horizon, finite, in time order.
        history: Number of known frames at the beginning of each window.
        rank: Number of patterns kept (at most n - 1); None: the one of `RANKS` with the smallest cross-validated squared error,
            each channel in units of its variance.
        ridge: Penalty mu in units of the mean variance of a predictor.
        folds: Number of contiguous blocks for cross-validation; windows that overlap a block count for no training of its fold.
        weights: Area weights (*S); equal if None.

    Raises:
        DataError: If there are too few windows, or a fold leaves too few that share no frame with it.
    """
    n, frames = anomalies.shape[0], anomalies.shape[2]
    fold_of = torch.arange(n) * folds // n
    outside = [away_from(fold_of == k, frames) for k in range(folds)]
    if frames <= history or n < 4 * folds or min(int(o.sum()) for o in outside) < 4:
        raise DataError(
            f"linear first guess: expected windows longer than {history} frames, {4 * folds} or more and some that share no frame with a fold, "
            f"got {n} of {frames} frames; use more data or fewer folds"
        )
    ranks = RANKS if rank is None else (rank,)
    by_fold = [_fits(anomalies[o], history=history, ranks=ranks, ridge=ridge, weights=weights) for o in outside]
    tried = []
    for i, candidate in enumerate(ranks):
        fits, residuals = tuple(fold[i] for fold in by_fold), torch.empty_like(anomalies[:, :, history:])
        for k, fit in enumerate(fits):
            inside = anomalies[fold_of == k]
            residuals[fold_of == k] = inside[:, :, history:] - fit(inside[:, :, :history])
        tried.append((_error(residuals, anomalies, weights), candidate, fits, residuals))
    _, best, fits, residuals = min(tried, key=lambda t: t[:2])
    (full,) = _fits(anomalies, history=history, ranks=(best,), ridge=ridge, weights=weights)
    return LinearFit(full, fits, fold_of, residuals)


def away_from(block: Tensor, frames: int) -> Tensor:
    """Windows that share no frame with a window of the block, (n,), boolean."""
    inside, index = block.nonzero()[:, 0], torch.arange(block.numel())
    return (index < inside[0] - frames) | (index > inside[-1] + frames)


def _error(residuals: Tensor, anomalies: Tensor, weights: Tensor | None) -> float:
    """Mean squared error in units of each channel's variance."""
    area = 1.0 if weights is None else weights.double() / weights.double().mean()
    over = [0, *range(2, residuals.ndim)]
    variance = (anomalies.double() ** 2 * area).mean(over).clamp_min(1e-300)
    return float(((residuals.double() ** 2 * area).mean(over) / variance).mean())


def _fits(windows: Tensor, *, history: int, ranks: tuple[int, ...], ridge: float, weights: Tensor | None) -> list[LinearForecast]:
    """One forecast per rank; the patterns are found once."""
    shape = (windows.shape[1], *windows.shape[3:])
    flat = windows.movedim(2, 1).flatten(2).double()  # (n, T, C S)
    n, _, size = flat.shape
    root = torch.ones(size, dtype=torch.float64)
    if weights is not None:
        root = (weights.double().flatten() / weights.double().mean()).sqrt().repeat(shape[0])
    metric = root / _channel_scale(flat, shape[0])
    _, _, vectors = torch.linalg.svd(flat[:, history - 1] * metric, full_matrices=False)
    return [_fit(flat, vectors[: min(rank, n - 1, size)], metric, history=history, ridge=ridge, shape=shape) for rank in ranks]


def _fit(flat: Tensor, vectors: Tensor, metric: Tensor, *, history: int, ridge: float, shape: tuple[int, ...]) -> LinearForecast:
    rank, frames = vectors.shape[0], flat.shape[1]
    patterns, projection = vectors / metric, vectors * metric
    components = flat @ projection.T  # (n, T, r)
    predictors = components[:, :history].flip(1).flatten(1)
    gram = predictors.T @ predictors
    penalty = (ridge * gram.diagonal().mean()).clamp_min(1e-300)  # anomalies that are all zero have a forecast, too
    system = gram + penalty * torch.eye(gram.shape[0], dtype=torch.float64)
    newest = components[:, history - 1]
    remainder = flat[:, history - 1] - newest @ patterns
    regression, damping = [], []
    for lead in range(history, frames):
        # the penalty pulls towards damped persistence of each pattern, not towards zero: short leads stay sharp
        keep = (components[:, lead] * newest).sum(0) / (newest**2).sum(0).clamp_min(1e-300)
        step = torch.linalg.solve(system, predictors.T @ (components[:, lead] - keep * newest)).T
        step[:, :rank] += torch.diag(keep)
        regression.append(step)
        rest = flat[:, lead] - components[:, lead] @ patterns
        damping.append((rest * remainder * metric**2).sum() / (remainder**2 * metric**2).sum().clamp_min(1e-300))
    return LinearForecast(
        patterns.float().reshape(-1, *shape),
        projection.float().reshape(-1, *shape),
        regression=torch.stack(regression).float(),
        damping=torch.stack(damping).float(),
    )


def _channel_scale(flat: Tensor, channels: int) -> Tensor:
    """Standard deviation of each channel, repeated over its points: kelvin and pascal get an equal say."""
    per_channel = flat.reshape(*flat.shape[:2], channels, -1)
    std = per_channel.pow(2).mean((0, 1, 3)).sqrt()
    std = torch.where(std > 0, std, torch.ones_like(std))
    return std[:, None].expand(-1, per_channel.shape[3]).reshape(-1)
