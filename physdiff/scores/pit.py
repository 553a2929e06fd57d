r"""Probability integral transform: the truth through the forecast's distribution function, uniform if the forecast is right.

Of m members it is made of the rank r of the truth,

$$u = \frac{r + v}{m+1}, \qquad v \text{ uniform on } (0, 1),$$

exactly uniform for a perfect ensemble of any size and law; without dice v = 1/2, whose expectation is the same. At ties r is any possible rank.
References: Dawid (1984); Czado, Gneiting and Held (2009), the randomised transform of discrete laws.
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.scores.rank_histogram import rank_bounds
from physdiff.scores.reduce import check_case, reduced

__all__ = ["pit"]


def pit(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, rng: Rng | None = None) -> Tensor:
    """Probability integral transform of the truth, in (0, 1); a perfect ensemble expects 1/2.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.
        rng: Dice that make it uniform; None takes the middle of what they could give.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="pit")
    low, high = rank_bounds(members, truth)
    share = 0.5 if rng is None else rng.uniform(tuple(truth.shape), like=truth)
    return reduced((low + share * (high - low + 1)) / (members.shape[0] + 1), weights)
