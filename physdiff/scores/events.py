r"""Scores of events: how probable an ensemble held it that a threshold would be passed.

An event is $y > u$; k of m members have it. With $p = k/m$ and $o = 1_{y>u}$

$$\mathrm{BS} = (p-o)^2 \ \text{(biased)}, \qquad (p-o)^2 - \frac{p(1-p)}{m-1}\ \text{(fair)},$$

and the threshold-weighted CRPS is the CRPS of $\max(x, u)$: the integral of the fair Brier scores of all thresholds above u. `events_by_count`
holds what reliability diagrams and ROC curves are made of. Thresholds may be a number or a field (a quantile of the climatology).
References: Brier (1950); Ferro (2014); Gneiting and Ranjan (2011), threshold weights; Mason (1982), ROC; Murphy (1973), the decomposition.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.crps import crps
from physdiff.scores.reduce import Averaged, check_case, field_weights, reduced

__all__ = ["brier_score", "events_by_count", "quantile_score", "reliability", "roc_area", "threshold_crps"]


def brier_score(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, threshold: float | Tensor, fair: bool = True) -> Tensor:
    """Brier score of the event truth > threshold; the fair one does not reward having many members.

    Args:
        members: (m, *batch, *S), m >= 2 if fair.
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.
        threshold: In the field's units, broadcast against truth.
        fair: Whether to take off what m members cost in expectation.

    Raises:
        ShapeError: If shapes do not fit or there are too few members.
    """
    members, truth = check_case(members, truth, weights, least=2 if fair else 1, what="brier_score")
    level, count = _level(threshold, truth), members.shape[0]
    p = (members > level).to(truth.dtype).mean(0)
    score = (p - (truth > level).to(truth.dtype)).square()
    if fair:
        score = score - p * (1 - p) / (count - 1)
    return reduced(_where_known(score, members, truth), weights)


def threshold_crps(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, above: float | Tensor) -> Tensor:
    """Fair CRPS that looks at values above a threshold only: the CRPS of max(x, above), in the field's units.

    Args:
        members: (m, *batch, *S), m >= 2.
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.
        above: In the field's units, broadcast against truth; for low values negate members, truth and threshold.

    Raises:
        ShapeError: If shapes do not fit or there is one member only.
    """
    members, truth = check_case(members, truth, weights, least=2, what="threshold_crps")
    level = _level(above, truth)
    return crps(torch.maximum(members, level), torch.maximum(truth, level), weights)


def quantile_score(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, level: float) -> Tensor:
    r"""Pinball loss $2\,(1_{y \le q} - \tau)(q - y)$ of the members' quantile at plotting position $\tau (m+1)$.

    Twice the usual loss, so that its mean over all levels is the CRPS.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.
        level: tau, from 1/(m+1) to m/(m+1): beyond the members there is no quantile.

    Raises:
        ShapeError: If shapes do not fit or the members are too few for the level.
        InputError: If level is not strictly between 0 and 1.
    """
    members, truth = check_case(members, truth, weights, what="quantile_score")
    if not 0 < level < 1:
        raise InputError(f"quantile_score level: expected a number between 0 and 1, got {level!r}")
    place = level * (members.shape[0] + 1) - 1
    if not -1e-9 <= place <= members.shape[0] - 1 + 1e-9:
        got = members.shape[0]
        raise ShapeError(f"quantile_score: expected members enough for the level {level:g}, got {got}; the outermost stand for 1/(m+1) and m/(m+1)")
    ordered, below = members.sort(0).values, min(max(int(place + 1e-9), 0), members.shape[0] - 1)
    q = torch.lerp(ordered[below], ordered[min(below + 1, members.shape[0] - 1)], max(place - below, 0.0))
    return reduced(_where_known(2 * ((truth <= q).to(truth.dtype) - level) * (q - truth), members, truth), weights)


def events_by_count(
    members: Tensor, truth: Tensor, weights: Tensor | None = None, *, threshold: float | Tensor, happened: bool, space: int | None = None
) -> Tensor:
    """Share of the area where k members have the event and it happened (or did not), k = 0 to m; a score of whole fields.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S); None means equal weights.
        threshold: In the field's units, broadcast against truth.
        happened: Which of the two.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch, m + 1); both kinds together sum to one.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="events_by_count")
    level = _level(threshold, truth)
    area = field_weights(truth, weights, space).to(truth)
    missing = truth.isnan() | members.isnan().any(0)
    share = area.expand(truth.shape).masked_fill(missing, 0.0)
    counted = share.masked_fill((truth > level) != happened, 0.0)
    first = truth.ndim - area.ndim
    k = (members > level).sum(0).flatten(first)
    bins = truth.new_zeros(*truth.shape[:first], members.shape[0] + 1)
    return bins.scatter_add(-1, k, counted.flatten(first)) / share.flatten(first).sum(-1, keepdim=True)


def reliability(*, threshold: float | Tensor) -> Averaged:
    """Observed frequency of the event for each number of members that have it, (m + 1): a perfect ensemble expects nearly k/m.

    A score for `evaluate`; frequencies are those of all cases together, NaN where no case has that number.

    Args:
        threshold: In the field's units, broadcast against truth.
    """
    return Averaged(_parts(threshold), _frequency)


def roc_area(*, threshold: float | Tensor) -> Averaged:
    """Area under the ROC curve (hit rate over false alarm rate as the number of members asked for falls): 0.5 knows nothing, 1 all.

    A score for `evaluate`; NaN where the event always or never happened.

    Args:
        threshold: In the field's units, broadcast against truth.
    """
    return Averaged(_parts(threshold), _area)


class _Counted:
    """`events_by_count` with its options, by a class so that a score can be pickled."""

    def __init__(self, threshold: float | Tensor, happened: bool) -> None:
        self.threshold, self.happened = threshold, happened

    def __call__(self, members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
        return events_by_count(members, truth, weights, threshold=self.threshold, happened=self.happened)


def _parts(threshold: float | Tensor) -> tuple[_Counted, _Counted]:
    return _Counted(threshold, True), _Counted(threshold, False)


def _frequency(hits: Tensor, others: Tensor) -> Tensor:
    return hits / (hits + others)


def _area(hits: Tensor, others: Tensor) -> Tensor:
    # rates as the number of members asked for falls from m to 0; the curve starts at (0, 0)
    rates = [torch.cat([v.new_zeros(*v.shape[:-1], 1), v.flip(-1).cumsum(-1)], -1) / v.sum(-1, keepdim=True) for v in (hits, others)]
    return torch.trapezoid(rates[0], rates[1], dim=-1)


def _level(threshold: float | Tensor, truth: Tensor) -> Tensor:
    level = torch.as_tensor(threshold, dtype=truth.dtype, device=truth.device)
    try:
        return level.expand(truth.shape)
    except RuntimeError as error:
        raise ShapeError(f"threshold: expected a field that broadcasts to {tuple(truth.shape)}, got {tuple(level.shape)}") from error


def _where_known(values: Tensor, members: Tensor, truth: Tensor) -> Tensor:
    return values.masked_fill(truth.isnan() | members.isnan().any(0), float("nan"))
