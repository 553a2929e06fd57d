r"""Which conditions join the networks of a decomposed domain: chosen from what earlier problems of a family showed.

A problem has parameters beta, an arm is a set of conditions, its reward the negative logarithm of the error that training with it left. Rewards
are a Gaussian process over both,

$$k\big((\beta, a), (\beta', a')\big) = s^2\, e^{-|\beta - \beta'|^2 / 2\ell_\beta^2}\, e^{-|a - a'|^2 / 2\ell_a^2} + \sigma^2\,\delta,$$

a being ones and zeros, and the next arm is the one of the largest upper bound $\mu + c\,\mathrm{sd}$, or the best of a draw (Thompson). Scales
are those of the largest evidence on a small grid, with $s^2$ in closed form. METALIC: Chiu, Wang, Kirby and Zhe, Meta learning of interface
conditions for multi-domain physics-informed neural networks, 2023, arXiv 2210.12669.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng

__all__ = ["ConditionTrial", "choose_conditions"]

_LENGTHS, _NOISES = (0.3, 0.6, 1.2, 2.5, 5.0), (0.05, 0.2, 0.6)


@dataclass(frozen=True)
class ConditionTrial:
    """What a set of conditions gave on one problem.

    Args:
        conditions: The set, in any order.
        parameters: beta, each in units in which a change by one matters.
        reward: Negative logarithm of the error (or of the loss).
    """

    conditions: tuple[str, ...]
    parameters: tuple[float, ...]
    reward: float


def choose_conditions(
    trials: Sequence[ConditionTrial],
    parameters: tuple[float, ...],
    *,
    menu: tuple[str, ...] = ("value", "slope", "residual"),
    courage: float = 2.0,
    rng: Rng | None = None,
) -> tuple[str, ...]:
    """The set of conditions to try next on a problem, for the `what` of `cut_conditions`.

    Args:
        trials: Of the family so far; without any the whole menu is the answer.
        parameters: beta of the problem.
        menu: The conditions there are; every set of them but the empty one is an arm.
        courage: c, how many standard deviations are added to the mean; 0 for the best guess, where nothing more is to be learnt.
        rng: For a draw in place of the upper bound (Thompson).

    Raises:
        InputError: If trials have other conditions or another number of parameters, or a reward is not finite.
    """
    check_positive(courage, "choose_conditions courage", zero=True)
    arms = [arm for size in range(len(menu), 0, -1) for arm in itertools.combinations(menu, size)]
    if not arms:
        raise InputError("choose_conditions menu: expected at least one condition, got none")
    for trial in trials:
        if not trial.conditions or not set(trial.conditions) <= set(menu) or len(trial.parameters) != len(parameters):
            wanted = f"conditions of {', '.join(menu)} and {len(parameters)} parameters"
            raise InputError(f"choose_conditions: expected trials with {wanted}, got {trial.conditions} and {trial.parameters}")
        if not math.isfinite(trial.reward):
            raise InputError(f"choose_conditions: expected finite rewards, got {trial.reward} for {trial.conditions}; give failed runs a low one")
    if not trials:
        return arms[0]
    mean, covariance = _posterior(trials, parameters, arms=arms, menu=menu)
    if rng is None:
        score = mean + courage * covariance.diagonal().clamp(min=0).sqrt()
    else:
        eye = torch.eye(len(arms), dtype=mean.dtype)
        factor = torch.linalg.cholesky(covariance + 1e-9 * float(covariance.diagonal().max().clamp(min=1e-12)) * eye)
        score = mean + factor @ rng.normal((len(arms),), like=mean)
    return arms[int(score.argmax())]


def _posterior(
    trials: Sequence[ConditionTrial], beta: tuple[float, ...], *, arms: Sequence[tuple[str, ...]], menu: tuple[str, ...]
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of the rewards of all arms on the problem."""
    tried = _places([(t.conditions, t.parameters) for t in trials], menu)
    asked = _places([(arm, beta) for arm in arms], menu)
    rewards = torch.tensor([t.reward for t in trials], dtype=torch.float64)
    level = rewards.mean()
    y, n = rewards - level, len(trials)
    eye = torch.eye(n, dtype=torch.float64)
    best, scales = -math.inf, (1.2, 1.2, 0.2)
    for lengths in itertools.product(_LENGTHS, _LENGTHS, _NOISES) if n > 1 else [scales]:
        factor = torch.linalg.cholesky(_kernel(tried, tried, lengths) + lengths[2] ** 2 * eye)
        fit = float(y @ torch.cholesky_solve(y[:, None], factor)[:, 0]) / n
        evidence = -0.5 * n * math.log(max(fit, 1e-12)) - float(factor.diagonal().log().sum())
        if evidence > best:
            best, scales = evidence, lengths
    factor = torch.linalg.cholesky(_kernel(tried, tried, scales) + scales[2] ** 2 * eye)
    # one reward tells no size: a factor of e is taken for usual
    size = max(float(y @ torch.cholesky_solve(y[:, None], factor)[:, 0]) / n, 1e-12) if n > 1 else 1.0
    across = _kernel(asked, tried, scales)
    mean = level + across @ torch.cholesky_solve(y[:, None], factor)[:, 0]
    return mean, size * (_kernel(asked, asked, scales) - across @ torch.cholesky_solve(across.mT, factor))


def _places(rows: Sequence[tuple[tuple[str, ...], tuple[float, ...]]], menu: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Parameters (n, p) and sets as ones and zeros (n, conditions)."""
    sets = [[float(name in conditions) for name in menu] for conditions, _ in rows]
    return torch.tensor([beta for _, beta in rows], dtype=torch.float64).reshape(len(rows), -1), torch.tensor(sets, dtype=torch.float64)


def _kernel(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], scales: tuple[float, ...]) -> Tensor:
    exponent = sum((torch.cdist(x, y) / length).square() for x, y, length in zip(a, b, scales, strict=False))
    return torch.exp(-0.5 * torch.as_tensor(exponent))
