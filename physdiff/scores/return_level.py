r"""Probabilities of events and return levels from an ensemble, each with its Monte Carlo error.

An event that k of m members have has the probability $p = k/m$ with the standard error $\sqrt{p(1-p)/m}$; the interval is Wilson's, which stays in
[0, 1] and is not empty for k = 0 (up to $z^2/(m+z^2)$ then). The level that a maximum of one block (a year, a run) passes with probability 1/T is
the quantile $1 - 1/T$ of independent block maxima, here by the generalised extreme value law

$$F(x) = \exp\!\big[-(1 + \xi\tfrac{x-\mu}{\sigma})^{-1/\xi}\big], \qquad x_T = \mu + \frac{\sigma}{\xi}\big[(-\log(1 - \tfrac1T))^{-\xi} - 1\big],$$

fitted by probability-weighted moments, which are linear in the order statistics and steadier than likelihood for some tens of maxima. The error is
that of resampled maxima (bootstrap): it holds what n maxima leave open, not that the law may be another or that maxima depend on each other.
References: Wilson (1927); Hosking, Wallis and Wood (1985); Coles (2001).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng

__all__ = ["EventProbability", "ReturnLevel", "event_probability", "return_level"]

_LEAST = 10


class EventProbability(NamedTuple):
    """Probability of an event with its Monte Carlo error; every entry (*S)."""

    probability: Tensor
    error: Tensor
    lower: Tensor
    upper: Tensor


class ReturnLevel(NamedTuple):
    """A return level with the interval of resampled maxima, (*S) each, and the parameters (3, *S): location, scale, shape xi."""

    level: Tensor
    lower: Tensor
    upper: Tensor
    parameters: Tensor


def event_probability(happened: Tensor, *, level: float = 0.9) -> EventProbability:
    """Share of members that have an event, with standard error and Wilson's interval.

    Args:
        happened: Boolean (m, *S), independent members first; as in ``members.amax(1) > 30``, any event of whole trajectories too.
        level: Probability of the interval.

    Raises:
        InputError: If the values are not boolean, or level is not strictly between 0 and 1.
        ShapeError: If there is no member.
    """
    if happened.dtype != torch.bool:
        raise InputError(f"event_probability: expected boolean values, got {happened.dtype}; compare first, as in members > threshold")
    if happened.ndim < 1 or not len(happened):
        raise ShapeError(f"event_probability: expected members (m, *S), one at least, got {tuple(happened.shape)}")
    z, m = _normal_quantile(level, "event_probability"), len(happened)
    p = happened.double().mean(0)
    centre, half = p + z**2 / (2 * m), z * (p * (1 - p) / m + z**2 / (4 * m**2)).sqrt()
    lower, upper = ((centre + sign * half) / (1 + z**2 / m) for sign in (-1, 1))
    # at zero and one the formula cancels to rounding
    return EventProbability(p, (p * (1 - p) / m).sqrt(), lower.clamp_min(0.0), upper.clamp_max(1.0))


def return_level(maxima: Tensor, period: float, *, rng: Rng, level: float = 0.9, draws: int = 200) -> ReturnLevel:
    """The level that a block's maximum passes once in `period` blocks in the mean.

    Args:
        maxima: (n, *S), n >= 10: the largest value of each independent block, of members, runs or years; for minima negate them and the result.
        period: T > 1, in blocks.
        rng: Randomness of the resampling.
        level: Probability of the interval.
        draws: Number of resamplings.

    Returns:
        In the field's units; NaN where a maximum is missing or all are equal.

    Raises:
        ShapeError: If there are less than ten maxima.
        InputError: If values are not floating point, or period, level or draws make no sense.
    """
    if not maxima.is_floating_point() or not period > 1 or draws < 20:
        got = f"{maxima.dtype}, {period} and {draws}"
        raise InputError(f"return_level: expected floating point maxima, a period above 1 and 20 draws at least, got {got}")
    if maxima.ndim < 1 or len(maxima) < _LEAST:
        raise ShapeError(f"return_level: expected maxima (n, *S) of {_LEAST} blocks at least, got {tuple(maxima.shape)}")
    tail = 0.5 * (1 - _checked(level, "return_level"))
    x, n = maxima.double(), len(maxima)
    parameters = _moments_fit(x)
    redrawn = torch.stack([_quantile(_moments_fit(x[rng.child(k).integers(0, n, (n,))]), period) for k in range(draws)])
    lower, upper = (redrawn.quantile(q, dim=0) for q in (tail, 1 - tail))
    return ReturnLevel(_quantile(parameters, period), lower, upper, parameters)


def _moments_fit(x: Tensor) -> Tensor:
    """Location, scale and xi by probability-weighted moments (unbiased b0, b1, b2), xi from the exact equation."""
    ordered, n = x.sort(0).values, len(x)
    j = torch.arange(n, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))
    b0 = ordered.mean(0)
    b1 = (j / (n - 1) * ordered).mean(0)
    b2 = (j * (j - 1) / ((n - 1) * (n - 2)) * ordered).mean(0)
    # (3 b2 - b0)/(2 b1 - b0) = (1 - 3^xi)/(1 - 2^xi) rises with xi: bisect
    wanted = (3 * b2 - b0) / (2 * b1 - b0)
    low, high = torch.full_like(b0, -5.0), torch.full_like(b0, 0.99)
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = _ratio(middle) > wanted
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    xi = 0.5 * (low + high)
    xi = torch.where(xi.abs() < 1e-8, 1e-8, xi)
    gamma = torch.exp(torch.lgamma(1 - xi))
    scale = (2 * b1 - b0) * xi / (gamma * (2**xi - 1))
    found = torch.stack((b0 + scale * (1 - gamma) / xi, scale, xi))
    return found.masked_fill(~((2 * b1 - b0 > 0) & b0.isfinite()), torch.nan)


def _ratio(xi: Tensor) -> Tensor:
    near = xi.abs() < 1e-8
    safe = torch.where(near, 1.0, xi)
    ratio = torch.expm1(safe * math.log(3)) / torch.expm1(safe * math.log(2))
    return torch.where(near, math.log(3) / math.log(2), ratio)


def _quantile(parameters: Tensor, period: float) -> Tensor:
    location, scale, xi = parameters
    level: Tensor = location + scale / xi * torch.expm1(-xi * math.log(-math.log1p(-1 / period)))
    return level


def _checked(level: float, what: str) -> float:
    if not 0 < level < 1:
        raise InputError(f"{what} level: expected a number between 0 and 1, as in 0.9, got {level!r}")
    return level


def _normal_quantile(level: float, what: str) -> float:
    return math.sqrt(2) * float(torch.special.erfinv(torch.tensor(_checked(level, what), dtype=torch.float64)))
