r"""Exact conversions between what a network may predict and the posterior mean.

Any linear target $T = p\,x_0 + q\,\epsilon$ together with $x_t = \alpha x_0 + \sigma\epsilon$ inverts as

    det = alpha q - sigma p,    x_0 = (q x_t - sigma T) / det,    eps = (alpha T - p x_t) / det

A number k in [0, 1] as target is k-prediction, T = k x_0 + (k - 1) eps. Since both maps are linear, the same formulas hold for the posterior
means. References: Salimans and Ho, Progressive distillation, 2022 (v); Karras et al., 2022; Lipman et al., Flow matching for generative modeling,
2023 (velocity).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.diffusion.schedule import Schedule, per_sample

__all__ = [
    "TARGETS",
    "convert",
    "mean_of",
    "noise_of",
    "score_of",
    "target_coefficients",
    "target_of",
    "velocity_of",
]

TARGETS = ("clean", "noise", "score", "v", "velocity")


def target_coefficients(target: str | float, schedule: Schedule, t: Tensor | float) -> tuple[Tensor, Tensor]:
    r"""The pair (p, q) of the target $p\,x_0 + q\,\epsilon$ at time t, float64, shape of t.

    Args:
        target: "clean" (1, 0), "noise" (0, 1), "score" (0, -1/sigma), "v" (-sigma, alpha), "velocity" (d alpha/dt, d sigma/dt); a number k in [0, 1]
            is the k-prediction (k, k - 1), regular at every noise level for 0 < k < 1: k = 1 is "clean", k = 0 is minus "noise", and on the linear
            path k = 1/2 is minus half the velocity.
        schedule: The schedule.
        t: Times.

    Raises:
        InputError: If the target is unknown, or k outside [0, 1].
    """
    if isinstance(target, int | float):
        if not 0 <= target <= 1:
            raise InputError(f"target: expected a number k in [0, 1] or one of {', '.join(TARGETS)}, got {target}")
        one = torch.ones_like(schedule.sigma(t))
        return target * one, (target - 1) * one
    check_one_of(target, TARGETS, "target")
    if target == "velocity":
        return schedule.rates(t)
    alpha, sigma = schedule(t)
    zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
    if target == "clean":
        return one, zero
    if target == "noise":
        return zero, one
    return (zero, -1 / sigma) if target == "score" else (-sigma, alpha)


def mean_of(value: Tensor, x_t: Tensor, t: Tensor | float, *, schedule: Schedule, target: str | float) -> Tensor:
    """The posterior mean of x_0 from a prediction of `target`.

    Singular only where `target` does not determine x_0: "noise" where alpha = 0, "score" where alpha = 0 or
    sigma = 0; "v" never.

    Args:
        value: Predicted target (B, ...).
        x_t: Noisy sample (B, ...).
        t: Times () or (B,).
        schedule: The schedule.
        target: One of `TARGETS`, or a number k.

    Returns:
        Posterior mean, shape and dtype of `x_t`.
    """
    (alpha, sigma), (p, q) = schedule(t), target_coefficients(target, schedule, t)
    det = alpha * q - sigma * p
    return per_sample(q / det, x_t) * x_t - per_sample(sigma / det, x_t) * value


def target_of(mean: Tensor, x_t: Tensor, t: Tensor | float, *, schedule: Schedule, target: str | float) -> Tensor:
    """The value of `target` that belongs to the posterior mean `mean`; inverse of `mean_of`.

    With eps = (x_t - alpha mean)/sigma it is p mean + q eps; singular at sigma = 0 for all targets but
    "clean".
    """
    (alpha, sigma), (p, q) = schedule(t), target_coefficients(target, schedule, t)
    if target == "clean":
        return mean
    return per_sample(q / sigma, x_t) * x_t + per_sample(p - q * alpha / sigma, x_t) * mean


def convert(value: Tensor, x_t: Tensor, t: Tensor | float, *, schedule: Schedule, source: str | float, target: str | float) -> Tensor:
    """A prediction of `source` expressed as one of `target`, through the pairs (p, q) of both.

    The product p_b x_0 + q_b eps is formed from one 2x2 inversion, so that it is regular wherever both
    targets are.
    """
    (alpha, sigma), (p, q) = schedule(t), target_coefficients(source, schedule, t)
    p_b, q_b = target_coefficients(target, schedule, t)
    det = alpha * q - sigma * p
    return per_sample((p_b * q - q_b * p) / det, x_t) * x_t + per_sample((q_b * alpha - p_b * sigma) / det, x_t) * value


def noise_of(mean: Tensor, x_t: Tensor, t: Tensor | float, *, schedule: Schedule) -> Tensor:
    """The posterior mean of the noise, (x_t - alpha mean)/sigma."""
    return target_of(mean, x_t, t, schedule=schedule, target="noise")


def score_of(mean: Tensor, x_t: Tensor, t: Tensor | float, *, schedule: Schedule) -> Tensor:
    """The score grad log p_t(x_t) = (alpha mean - x_t)/sigma^2 (Tweedie)."""
    return target_of(mean, x_t, t, schedule=schedule, target="score")


def velocity_of(mean: Tensor, x_t: Tensor, t: Tensor | float, *, schedule: Schedule) -> Tensor:
    """The velocity dx/dt of the probability flow."""
    return target_of(mean, x_t, t, schedule=schedule, target="velocity")
