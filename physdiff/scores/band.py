r"""How good an interval or a band is: a lower and an upper field beside the truth.

The signature is that of every score; the "members" are two, the lower bound first. With bounds $l, u$ at level $1-\alpha$

$$\mathrm{IS}_\alpha = (u - l) + \tfrac{2}{\alpha}(l - y)_+ + \tfrac{2}{\alpha}(y - u)_+ ,$$

the interval score of Winkler (1972), is least in expectation for the true quantiles $\alpha/2$ and $1-\alpha/2$: it rewards a narrow band
and fines a miss by its distance. `held_share` judges a band as a whole: it holds a field if at least that share of the area lies inside.
References: Gneiting and Raftery (2007), section 6.2.
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.scores.reduce import check_case, field_weights, reduced, weighted_mean

__all__ = ["band_coverage", "band_holds", "band_width", "interval_score"]


def band_coverage(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Share of the truth with lower <= truth <= upper.

    Args:
        members: (2, *batch, *S), lower and upper bounds; infinite ones are allowed.
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map of zeros and ones.

    Raises:
        ShapeError: If shapes do not fit or there are not two bounds.
        InputError: If a lower bound is above the upper one.
    """
    lower, upper, truth = _bounds(members, truth, weights, "band_coverage")
    return reduced(_inside(lower, upper, truth), weights)


def band_width(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Upper minus lower bound (sharpness), in the field's units, where the truth is known. Arguments and errors as in `band_coverage`."""
    lower, upper, truth = _bounds(members, truth, weights, "band_width")
    return reduced((upper - lower).masked_fill(truth.isnan(), float("nan")), weights)


def interval_score(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, level: float = 0.9) -> Tensor:
    """Interval (Winkler) score of bounds meant to hold the truth with probability `level`, in the field's units.

    Arguments and errors as in `band_coverage`; InputError too if level is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level: expected a number between 0 and 1, as in 0.9, got {level!r}")
    lower, upper, truth = _bounds(members, truth, weights, "interval_score")
    fine = 2 / (1 - level)
    return reduced((upper - lower) + fine * ((lower - truth).clamp(min=0) + (truth - upper).clamp(min=0)), weights)


def band_holds(
    members: Tensor, truth: Tensor, weights: Tensor | None = None, *, share: float = 1.0, space: int | None = None
) -> Tensor:
    """One where at least `share` of the field's area lies inside, else zero; a score of whole fields.

    Args:
        members: (2, *batch, *S), lower and upper bounds.
        truth: (*batch, *S).
        weights: (*S) areas; None means equal ones.
        share: Share of the area, 1 for every cell of positive weight.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch), NaN where no cell is known.

    Raises:
        ShapeError: If shapes do not fit or there are not two bounds.
        InputError: If the share is not in (0, 1] or a lower bound is above the upper one.
    """
    if not 0 < share <= 1:
        raise InputError(f"share: expected a share of the area in (0, 1], got {share!r}")
    lower, upper, truth = _bounds(members, truth, weights, "band_holds")
    held = weighted_mean(_inside(lower, upper, truth), field_weights(truth, weights, space).to(truth))
    # a sum of rounded areas may miss its share by some ulp
    return (held >= share - 1e-6).to(truth.dtype).masked_fill(held.isnan(), float("nan"))


def _inside(lower: Tensor, upper: Tensor, truth: Tensor) -> Tensor:
    missing = truth.isnan() | lower.isnan() | upper.isnan()
    return ((lower <= truth) & (truth <= upper)).to(truth.dtype).masked_fill(missing, float("nan"))


def _bounds(members: Tensor, truth: Tensor, weights: Tensor | None, what: str) -> tuple[Tensor, Tensor, Tensor]:
    members, truth = check_case(members, truth, weights, what=what)
    if members.shape[0] != 2:
        raise ShapeError(f"{what}: expected two bounds, the lower first, got {members.shape[0]}; of an ensemble take central_interval first")
    lower, upper = members.unbind(0)
    if bool((lower > upper).any()):
        raise InputError(f"{what}: expected lower <= upper, got {int((lower > upper).sum())} cells the other way; swap the bounds")
    return lower, upper, truth
