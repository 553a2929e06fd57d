r"""Intervals for series whose law drifts: what was just seen sets the next bound.

Split conformal bounds need exchangeable cases. A time series has none, so these methods give up the finite-sample guarantee and keep coverage
in the long run instead. `adaptive_radius` (adaptive conformal inference) moves the level after every miss,

$$\alpha_{t+1} = \alpha_t + \gamma\,(\alpha - \mathrm{err}_t),$$

with which the share of misses over T steps differs from $\alpha$ by at most $(\max(\alpha_1, 1-\alpha_1) + \gamma) / (\gamma T)$ whatever the
series does.
`sequential_interval` takes quantiles of the last residuals (EnbPI), or regresses them on the residuals just before (SPCI; here by linear quantile
regression, where the paper has forests), and of all intervals $[Q(\beta), Q(1-\alpha+\beta)]$ takes the narrowest.
References: Gibbs and Candes (2021), "Adaptive conformal inference under distribution shift"; Xu and Xie (2021), EnbPI; Xu and Xie (2023), "Sequential
predictive conformal inference for time series"; Hunter and Lange (2000), "Quantile regression via an MM algorithm".
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.uq.conformal import cases_needed

__all__ = ["adaptive_radius", "quantile_regression", "sequential_interval"]

_SPLITS = 5        # values of beta tried, as in the paper
_EVERY = 10        # steps between two regressions; what they are fed is new at every step
_TOLERANCE = 1e-3  # in standard deviations of the response


def adaptive_radius(scores: Tensor, *, level: float = 0.9, window: int = 200, rate: float = 0.02, lag: int = 1) -> Tensor:
    """Bounds of nonconformity scores, each from scores known at its time.

    Args:
        scores: (T, *S) in order of time; every cell is a series of its own. The last `lag` may be NaN, not known yet.
        level: Share of scores that is to stay below in the long run.
        window: Number of last scores a bound is a quantile of.
        rate: gamma; larger follows drift faster and wavers more.
        lag: Steps until a score is known (a forecast of lead l is judged l steps later).

    Returns:
        (T, *S); NaN until enough scores are known for the level, infinite where the level has been driven to one.

    Raises:
        InputError: If level or rate are not in (0, 1), or window or lag are too small.
        ShapeError: If scores have no time dim.
    """
    least = _checked(scores, level, window, lag)
    if not 0 < rate < 1:
        raise InputError(f"adaptive_radius rate: expected a number in (0, 1), as in 0.02, got {rate!r}")
    radius = scores.new_full(scores.shape, float("nan"))
    alpha = scores.new_full(scores.shape[1:], 1 - level)
    for t in range(lag - 1 + least, scores.shape[0]):
        judged = t - lag
        error = (scores[judged] > radius[judged]).to(scores.dtype)
        alpha = torch.where(radius[judged].isnan(), alpha, alpha + rate * ((1 - level) - error))
        seen = scores[max(0, judged + 1 - window) : judged + 1].sort(0).values
        count = seen.shape[0]
        rank = torch.ceil((count + 1) * (1 - alpha) - 1e-9).clamp(min=0).long()
        bound = seen.gather(0, (rank - 1).clamp(0, count - 1)[None])[0]
        bound = bound.masked_fill(rank > count, float("inf")).masked_fill(rank < 1, float("-inf"))
        radius[t] = bound
    return radius


def sequential_interval(
    residuals: Tensor, *, level: float = 0.9, window: int = 300, past: int = 3, rate: float = 0.01, lag: int = 1
) -> tuple[Tensor, Tensor]:
    """Lower and upper bound of the next residual, each from residuals known at its time.

    Args:
        residuals: Truth minus forecast, (T, *S) in order of time; every cell is a series of its own. The last `lag` may be NaN, not known yet.
        level: Share of residuals that is to lie inside.
        window: Number of last residuals that quantiles or regressions are taken of.
        past: Number of known residuals just before that the next one is regressed on (SPCI); 0 for the quantiles alone (EnbPI).
        rate: gamma of the adaptive level, 0 for a fixed one.
        lag: Steps until a residual is known.

    Returns:
        Two tensors (T, *S), NaN until the window holds enough: `cases_needed` residuals, with a past ten for every coefficient.

    Raises:
        InputError: If level is not in (0, 1), the rate not in [0, 1), or window, past or lag are too small.
        ShapeError: If residuals have no time dim.
    """
    least = _checked(residuals, level, window, lag)
    if past < 0 or (past and window < 10 * (past + 1)):
        need = 10 * (past + 1)
        raise InputError(f"sequential_interval: expected a window of {need} residuals, ten for each coefficient, got {window}; take a shorter past")
    if not 0 <= rate < 1:
        raise InputError(f"sequential_interval rate: expected a number in [0, 1), as in 0.01, got {rate!r}")
    if past:
        least = 10 * (past + 1) + past + lag - 1
    flat = residuals.reshape(residuals.shape[0], -1)
    lower, upper = (torch.full_like(flat, float("nan")) for _ in range(2))
    alpha = flat.new_full(flat.shape[1:], 1 - level)
    fit: _Fit | None = None
    first = lag - 1 + least
    for t in range(first, flat.shape[0]):
        judged = t - lag
        missed = (flat[judged] < lower[judged]) | (flat[judged] > upper[judged])
        moved = (alpha + rate * ((1 - level) - missed.to(flat))).clamp(1e-3, 0.999)
        alpha = torch.where(lower[judged].isnan(), alpha, moved)
        known = flat[: judged + 1]
        if not past:
            lower[t], upper[t] = _empirical(known[-window:], alpha)
            continue
        if fit is None or (t - first) % _EVERY == 0:
            fit = _regressed(known[-window - past - lag + 1 :], alpha, past=past, lag=lag, before=fit)
        lower[t], upper[t] = fit.at(known[-past:])
    return lower.reshape(residuals.shape), upper.reshape(residuals.shape)


def quantile_regression(x: Tensor, y: Tensor, level: Tensor, *, start: Tensor | None = None, steps: int = 200) -> Tensor:
    r"""Coefficients of linear conditional quantiles, $\min_b \sum_i \rho_\tau(y_i - x_i b)$ with $\rho_\tau(u) = u(\tau - 1_{u<0})$.

    Each step minimises the quadratic that touches the loss from above at the present residuals, so that the loss never rises.

    Args:
        x: (*B, n, p), with a column of ones for an intercept.
        y: (*B, n).
        level: tau, broadcast against *B.
        start: Coefficients (*B, p) to start from; None takes least squares.
        steps: Steps at most; 20 bring the loss within a per cent of its least, from the coefficients of a window before within less.

    Returns:
        (*B, p).
    """
    scale = y.std(-1, keepdim=True).clamp_min(torch.finfo(y.dtype).tiny)
    ridge = 1e-9 * torch.eye(x.shape[-1], dtype=x.dtype, device=x.device)
    tilt = (2 * level[..., None] - 1).to(x)
    b = _solved(x, torch.ones_like(y), y, ridge=ridge) if start is None else start
    for _ in range(steps):
        fit = (x @ b[..., None])[..., 0]
        # the corner of the loss is rounded over a thousandth of the spread, below what a quantile of a window can tell
        curve = 1 / (1e-3 * scale + (y - fit).abs())
        new = _solved(x, curve, y + tilt / curve, ridge=ridge)
        moved = ((x @ (new - b)[..., None])[..., 0].abs() / scale).amax()
        b = new
        if float(moved) < _TOLERANCE:
            break
    return b


def _solved(x: Tensor, weights: Tensor, y: Tensor, *, ridge: Tensor) -> Tensor:
    normal = (x * weights[..., None]).transpose(-1, -2) @ x
    trace = normal.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
    right = (x.transpose(-1, -2) @ (weights * y)[..., None]).expand(*normal.shape[:-1], 1)
    return torch.linalg.solve(normal + trace * ridge, right)[..., 0]


def _levels(alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Levels of the lower and upper quantiles tried, (5, cells); a beta of zero asks for a quantile no sample has."""
    beta = alpha * (torch.arange(1, _SPLITS + 1, device=alpha.device) / (_SPLITS + 1)).to(alpha)[:, None]
    return beta, 1 - alpha + beta


def _narrowest(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    lower, upper = torch.minimum(lower, upper), torch.maximum(lower, upper)
    best = (upper - lower).argmin(0, keepdim=True)
    return lower.gather(0, best)[0], upper.gather(0, best)[0]


def _empirical(known: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
    """Narrowest interval between order statistics at plotting positions p (n + 1)."""
    count = known.shape[0]
    ordered = known.sort(0).values

    def at(level: Tensor) -> Tensor:
        place = (level * (count + 1) - 1).clamp(0, count - 1)
        whole = place.floor().long()
        above = (whole + 1).clamp(max=count - 1)
        return torch.lerp(ordered.gather(0, whole), ordered.gather(0, above), place - whole)

    low, high = _levels(alpha)
    return _narrowest(at(low), at(high))


@dataclass(frozen=True)
class _Fit:
    """Regressions of a residual on the last known ones: coefficients (10, cells, past + 1) on residuals over `scale` (cells)."""

    coefficients: Tensor
    scale: Tensor

    def at(self, last: Tensor) -> tuple[Tensor, Tensor]:
        """Bounds (cells) after the known residuals (past, cells)."""
        now = torch.cat([last.T / self.scale[:, None], torch.ones_like(self.scale)[:, None]], -1)
        found = (self.coefficients * now).sum(-1) * self.scale
        return _narrowest(found[:_SPLITS], found[_SPLITS:])


def _regressed(known: Tensor, alpha: Tensor, *, past: int, lag: int, before: _Fit | None) -> _Fit:
    # rows: a residual on the `past` ones that were known when it was forecast, those `lag` steps before and earlier
    rows = known.unfold(0, past, 1)[: known.shape[0] - past - lag + 1]
    y = known[past + lag - 1 :]
    scale = known.std(0).clamp_min(torch.finfo(known.dtype).tiny)
    design = torch.cat([rows / scale[:, None], torch.ones_like(rows[..., :1])], -1).movedim(0, 1)
    levels = torch.cat(_levels(alpha))
    start = None if before is None else before.coefficients
    y, design = (v.expand(len(levels), *v.shape) for v in (y.T / scale[:, None], design))
    return _Fit(quantile_regression(design, y, levels, start=start, steps=200 if start is None else 20), scale)


def _checked(series: Tensor, level: float, window: int, lag: int) -> int:
    if series.ndim < 1:
        raise ShapeError("expected a series (T, ...) with time first, got a number")
    least = cases_needed(level)
    if window < least or lag < 1:
        raise InputError(f"expected a window of at least {least} for a level of {level:g} and a lag of at least 1, got {window} and {lag}")
    if bool(series[:-lag].isnan().any()):
        raise InputError("expected a series without missing values before its last `lag` steps, got NaN; leave missing steps out")
    return least
