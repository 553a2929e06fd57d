r"""Isotonic distributional regression: the law of y for each x, if larger x never makes large y less probable.

With pairs $(x_i, y_i)$ of weights $w_i$, for every threshold z

$$F_z = \arg\min \sum_i w_i\,(F_z(x_i) - 1_{y_i \le z})^2 \quad \text{over } F_z \text{ that fall with } x, \qquad
  F_z(x_i) = \min_{j \le i}\,\max_{k \ge i}\, \frac{\sum_{l=j}^k w_l 1_{y_l \le z}}{\sum_{l=j}^k w_l},$$

what pooling adjacent violators finds. No shape and no number to tune: of all such families it has the least CRPS on the pairs. Covariates of more
than 300 values are grouped in order into so many of about equal weight first, whose members share a law. Henzi, Ziegel and Gneiting, Isotonic
distributional regression, 2021; Barlow and others, Statistical inference under order restrictions, 1972, the formula.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = ["isotonic_cdf", "isotonic_quantiles"]

_GROUPS = 300     # a matrix of groups by groups is taken for each threshold
_THRESHOLDS = 300


def isotonic_cdf(covariate: Tensor, outcome: Tensor, thresholds: Tensor, *, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The fitted distribution functions.

    Args:
        covariate: x, (n,).
        outcome: y, (n,).
        thresholds: z, (K,), increasing.
        weights: (n,), positive; None means equal ones.

    Returns:
        Increasing values of x, (G,), each the mean of its group, and the probabilities of y <= z there, (G, K): falling along x, rising along z.

    Raises:
        ShapeError: If covariate, outcome and weights are not alike, or there is no pair.
        InputError: If a value is not finite, a weight not positive, or thresholds do not increase.
    """
    weights = torch.ones_like(outcome) if weights is None else weights
    if covariate.ndim != 1 or covariate.shape != outcome.shape or weights.shape != outcome.shape or not len(covariate):
        got = ", ".join(str(tuple(v.shape)) for v in (covariate, outcome, weights))
        raise ShapeError(f"isotonic_cdf: expected covariate, outcome and weights (n,), n >= 1, got {got}")
    if not bool((covariate.isfinite() & outcome.isfinite() & weights.isfinite() & (weights > 0)).all()):
        raise InputError("isotonic_cdf: expected finite values and positive weights; leave missing pairs out")
    if not bool(thresholds.isfinite().all() & (thresholds.diff() > 0).all()):
        raise InputError("isotonic_cdf thresholds: expected finite numbers that increase, got others; sort them")
    x, y, w = covariate.double(), outcome.double(), weights.double()
    group = _groups(x, w)
    count = int(group.max()) + 1
    total = torch.zeros(count, dtype=torch.float64).index_add(0, group, w)
    knots = torch.zeros(count, dtype=torch.float64).index_add(0, group, w * x) / total
    share = torch.zeros(count, len(thresholds), dtype=torch.float64)
    for k, z in enumerate(thresholds.double()):
        share[:, k] = _falling(torch.zeros(count, dtype=torch.float64).index_add(0, group, w * (y <= z)) / total, total)
    # rising along z but for rounding
    return knots, share.cummax(1).values


def isotonic_quantiles(covariate: Tensor, outcome: Tensor, levels: Tensor, *, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Quantiles of the fitted laws: the least z with F_z(x) >= level, of all outcomes or, of more than 300, of that many of their quantiles.

    Args:
        covariate: x, (n,).
        outcome: y, (n,).
        levels: (m,), in (0, 1).
        weights: (n,), positive; None means equal ones.

    Returns:
        Increasing values of x, (G,), and quantiles (G, m), rising along both.

    Raises:
        ShapeError: As `isotonic_cdf`.
        InputError: As `isotonic_cdf`, or if a level is not strictly between 0 and 1.
    """
    if not bool(((levels > 0) & (levels < 1)).all()):
        raise InputError(f"isotonic_quantiles levels: expected numbers in (0, 1), got {levels.tolist()[:5]}")
    z = outcome.double().unique()
    if len(z) > _THRESHOLDS:
        # the largest stays, so that every law ends at one
        z = z[torch.linspace(0, len(z) - 1, _THRESHOLDS, dtype=torch.float64).round().long()]
    knots, cdf = isotonic_cdf(covariate, outcome, z, weights=weights)
    place = torch.searchsorted(cdf.contiguous(), levels.double().expand(len(knots), -1).contiguous() - 1e-12)
    return knots, z[place.clamp_max(len(z) - 1)]


def _groups(x: Tensor, w: Tensor) -> Tensor:
    """Which group each pair is in; equal x share one."""
    values, where = x.unique(return_inverse=True)
    if len(values) <= _GROUPS:
        return where
    of_value = torch.zeros(len(values), dtype=torch.float64).index_add(0, where, w)
    middle = (of_value.cumsum(0) - 0.5 * of_value) / of_value.sum()
    _, group = (middle * _GROUPS).floor().clamp_max(_GROUPS - 1).unique(return_inverse=True)
    return group[where]


def _falling(mean: Tensor, weight: Tensor) -> Tensor:
    """The nearest sequence that does not rise, by the formula of the module."""
    total, sums = weight.cumsum(0), (weight * mean).cumsum(0)
    # average of entries j..k, at (j, k)
    average = (sums[None] - (sums - weight * mean)[:, None]) / (total[None] - (total - weight)[:, None])
    average = average.masked_fill(torch.ones_like(average, dtype=torch.bool).tril(-1), -torch.inf)
    largest = average.flip(1).cummax(1).values.flip(1)
    return largest.cummin(0).values.diagonal().clamp(0.0, 1.0)
