r"""Logarithmic (ignorance) score of an ensemble: minus the log of the density that it gives the truth, in nats.

$$\mathrm{LS}_{\text{Gauss}} = \tfrac12\log(2\pi s^2) + \frac{(y-\bar x)^2}{2 s^2}, \qquad
  \mathrm{LS}_{\text{kernel}} = -\log \frac1m\sum_i \frac{1}{h\sqrt{2\pi}}\, e^{-(y-x_i)^2/(2h^2)}, \qquad h = 1.06\, s\, m^{-1/5}.$$

A density has units, so that other units shift the score: compare models, not variables. The Gaussian score of m members expects more than that of
the law they come from; the fair one expects the same at any m >= 4 (Siegert et al. 2019): with k = m - 1

$$\tfrac12\log 2\pi + \tfrac12\big[\log s^2 - \psi(k/2) + \log(k/2)\big] + \tfrac12\Big[\frac{k-2}{k}\frac{(y-\bar x)^2}{s^2} - \frac1m\Big].$$

One number far from all members decides the mean, which CRPS does not let happen. References: Good (1952); Roulston and Smith (2002); Siegert, Ferro,
Stephenson and Leeuwenburgh (2019), "The ensemble-adjusted ignorance score"; Silverman (1986), the bandwidth.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.scores.reduce import check_case, reduced

__all__ = ["gaussian_log_score", "kernel_log_score"]


def gaussian_log_score(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, fair: bool = True) -> Tensor:
    """Log score of the Gaussian with the members' mean and variance (ddof 1), in nats.

    Args:
        members: (m, *batch, *S), m >= 4 if fair, else 2.
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.
        fair: Whether to take off what m members cost in expectation.

    Returns:
        Infinite where members agree: their density is zero elsewhere (and at the truth undefined).

    Raises:
        ShapeError: If shapes do not fit or there are too few members.
    """
    members, truth = check_case(members, truth, weights, least=4 if fair else 2, what="gaussian_log_score")
    m = members.shape[0]
    variance, mean = torch.var_mean(members, 0, correction=1)
    square = (truth - mean).square() / variance
    score = 0.5 * (math.log(2 * math.pi) + variance.log() + square)
    if fair:
        half = 0.5 * (m - 1)
        digamma = float(torch.special.digamma(torch.tensor(half, dtype=torch.float64)))
        score = score + 0.5 * (math.log(half) - digamma - square / half - 1 / m)
    return reduced(score.masked_fill(variance == 0, torch.inf), weights)


def kernel_log_score(members: Tensor, truth: Tensor, weights: Tensor | None = None, *, bandwidth: float | None = None) -> Tensor:
    """Log score of the mixture of one Gaussian around each member, in nats.

    Args:
        members: (m, *batch, *S), m >= 2 (one with a bandwidth).
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.
        bandwidth: h, in the field's units; None takes 1.06 s m^(-1/5) in each cell, the best one if the law is Gaussian.

    Returns:
        Infinite where members agree and no bandwidth is given.

    Raises:
        ShapeError: If shapes do not fit or there are too few members.
        InputError: If the bandwidth is not positive.
    """
    members, truth = check_case(members, truth, weights, least=2 if bandwidth is None else 1, what="kernel_log_score")
    m = members.shape[0]
    if bandwidth is None:
        h = 1.06 * m**-0.2 * members.std(0, correction=1)
    else:
        h = torch.full_like(truth, check_positive(bandwidth, "kernel_log_score bandwidth"))
    exponents = -0.5 * ((members - truth) / h).square()
    score = 0.5 * math.log(2 * math.pi) + math.log(m) + h.log() - exponents.logsumexp(0)
    return reduced(score.masked_fill(h == 0, torch.inf), weights)
