r"""Errors cell by cell, of the members or of their mean, and correlations.

With members x_i and truth y: `squared_error` is the mean over i of $(x_i-y)^2$, the error of a typical
member; `squared_error_of_mean` is $(\bar x-y)^2$. For m independent members and a truth of the same law the
first expects $2\sigma^2$, the second $(1+1/m)\sigma^2$. Conventions and missing values: see reduce.py.
Reference: Rasp et al., WeatherBench 2 (2024).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.scores.reduce import Averaged, check_case, field_weights, reduced, shared_weights, weighted_mean

__all__ = [
    "acc",
    "bias",
    "correlation",
    "ensemble_mae",
    "ensemble_rmse",
    "mae",
    "rmse",
    "squared_error",
    "squared_error_of_mean",
    "vrmse",
]

_LEAST_VARIANCE = 1e-7  # The Well's, so that constant fields have a finite error


def squared_error(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over members of (x_i - y)^2, in squared units; see reduce.py for shapes and errors."""
    members, truth = check_case(members, truth, weights, what="squared_error")
    return reduced((members - truth).square().mean(0), weights)


def squared_error_of_mean(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """(mean of the members - y)^2, in squared units; see reduce.py for shapes and errors."""
    members, truth = check_case(members, truth, weights, what="squared_error_of_mean")
    return reduced((members - truth).mean(0).square(), weights)


def mae(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean over members of |x_i - y|, in the field's units; see reduce.py for shapes and errors."""
    members, truth = check_case(members, truth, weights, what="mae")
    return reduced((members - truth).abs().mean(0), weights)


def ensemble_mae(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """|mean of the members - y|, in the field's units; see reduce.py for shapes and errors."""
    members, truth = check_case(members, truth, weights, what="ensemble_mae")
    return reduced((members - truth).mean(0).abs(), weights)


def bias(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of the members - y, signed, in the field's units; see reduce.py for shapes and errors."""
    members, truth = check_case(members, truth, weights, what="bias")
    return reduced((members - truth).mean(0), weights)


# root mean squared error of a typical member, and of the mean of the members; both in the field's units
rmse = Averaged((squared_error,), torch.sqrt)
ensemble_rmse = Averaged((squared_error_of_mean,), torch.sqrt)


def acc(
    members: Tensor,
    truth: Tensor,
    weights: Tensor | None = None,
    *,
    climatology: Tensor,
    centred: bool = False,
    space: int | None = None,
) -> Tensor:
    r"""Anomaly correlation of the ensemble mean, a score of whole fields.

    $\langle f'o'\rangle / \sqrt{\langle f'^2\rangle \langle o'^2\rangle}$ with f' = mean of the members -
    climatology, o' = truth - climatology, and area-weighted means over space. The climatology has no default,
    because a correlation of raw fields is near one whatever the forecast: use ``functools.partial(acc,
    climatology=...)`` as the score.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S); None means equal weights.
        climatology: Broadcasts to truth, in its units.
        centred: Whether to subtract the spatial means of f' and o' first.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch), in [-1, 1]; NaN where an anomaly vanishes everywhere.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="acc")
    try:
        normal = climatology.to(truth).expand(truth.shape)
    except RuntimeError as error:
        wanted, got = tuple(truth.shape), tuple(climatology.shape)
        raise ShapeError(f"acc climatology: expected one that broadcasts to {wanted}, got {got}") from error
    forecast, observed = members.mean(0) - normal, truth - normal
    weights = field_weights(truth, weights, space)
    axes = tuple(range(-weights.ndim, 0))
    share = shared_weights(forecast[None], observed, weights)
    if centred:
        back = (..., *[None] * len(axes))
        forecast = forecast - weighted_mean(forecast, share, axes=axes)[back]
        observed = observed - weighted_mean(observed, share, axes=axes)[back]
    product = weighted_mean(forecast * observed, share, axes=axes)
    powers = [weighted_mean(x.square(), share, axes=axes) for x in (forecast, observed)]
    return product / (powers[0] * powers[1]).sqrt()


def correlation(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, space: int | None = None) -> Tensor:
    """Mean over members of Pearson's correlation in space of x_i and y, a score of whole fields, in [-1, 1].

    `acc` is that of the mean of the members, of departures from a climatology.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S); None means equal weights.
        space: Number of dims of S where weights are None (default: all).

    Returns:
        (*batch), NaN where a field is constant. Cells missing in the truth or a member are left out for that member.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="correlation")
    zero = truth.new_zeros(())
    return torch.stack([acc(x[None], truth, weights, climatology=zero, centred=True, space=space) for x in members]).mean(0)


def _variance_share(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, space: int | None = None) -> Tensor:
    members, truth = check_case(members, truth, weights, what="vrmse")
    area = field_weights(truth, weights, space)
    share, axes = shared_weights(members, truth, area), tuple(range(-area.ndim, 0))
    error = weighted_mean((members - truth).square().mean(0), share, axes=axes)
    anomaly = truth - weighted_mean(truth, share, axes=axes)[(..., *[None] * area.ndim)]
    return error / (weighted_mean(anomaly.square(), share, axes=axes) + _LEAST_VARIANCE)


# root of the mean squared error of a typical member over the truth's variance in space, 1 for the truth's mean; The Well (Ohana et al. 2024) takes
# the root case by case
vrmse = Averaged((_variance_share,), torch.sqrt)
