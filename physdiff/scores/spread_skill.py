r"""Spread of an ensemble and its ratio to the error of the mean.

$$\mathrm{SSR} = \sqrt{\frac{m+1}{m}}\; \frac{\sqrt{\langle s^2\rangle}}{\sqrt{\langle(\bar x-y)^2\rangle}},$$
$$s^2 = \frac{1}{m-1}\sum_i (x_i-\bar x)^2,$$

one for a perfect ensemble of any size m, below one for an over-confident one. Variance and squared error are
averaged over cells and cases before the roots. References: Fortin et al. (2014), "Why should ensemble spread
match the RMSE of the ensemble mean?".
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.scores.pointwise import squared_error_of_mean
from physdiff.scores.reduce import Averaged, check_case, reduced

__all__ = ["ensemble_variance", "predictive_variance", "spread", "spread_skill"]

_BLOCK = 2**13  # cells at a time


def ensemble_variance(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Unbiased variance of the members (ddof 1), in squared units.

    Missing where the truth is, so that errors and spreads share their cells.

    Args:
        members: (m, *batch, *S), m >= 2.
        truth: (*batch, *S); only its missing cells matter.
        weights: (*S) for the weighted mean, None for the map.

    Raises:
        ShapeError: If shapes do not fit or there is one member only.
    """
    members, truth = check_case(members, truth, weights, least=2, what="ensemble variance")
    flat = members.reshape(members.shape[0], -1)
    variance = torch.cat([_variance(block) for block in torch.split(flat, _BLOCK, 1)]).reshape(truth.shape)
    return reduced(variance.masked_fill(truth.isnan(), float("nan")), weights)


def _variance(block: Tensor) -> Tensor:
    """Of few enough cells that both passes find them in the cache: seven times as fast on a CPU as one call for all cells."""
    return (block - block.mean(0)).square().sum(0) / (block.shape[0] - 1)


def predictive_variance(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Variance times (m+1)/m: what a perfect ensemble expects of the squared error of its mean.

    Arguments and errors as in `ensemble_variance`.
    """
    return ensemble_variance(members, truth, weights) * ((members.shape[0] + 1) / members.shape[0])


def _root_ratio(variance: Tensor, squared: Tensor) -> Tensor:
    return variance.sqrt() / squared.sqrt()


# root mean variance, in the field's units; and its ratio to the error of the mean, which should be 1
spread = Averaged((ensemble_variance,), torch.sqrt)
spread_skill = Averaged((predictive_variance, squared_error_of_mean), _root_ratio)
