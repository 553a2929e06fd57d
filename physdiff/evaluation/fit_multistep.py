r"""Coefficients of a multistep method fitted to a model: each step's weights by least squares against a fine run from the same starts.

Step by step, in the states the fitted method itself reaches, so that a later step mends what an earlier one left,

    minimise  sum |x_s(w) - x_s^fine|^2 + mu |w - w'|^2 sum_j |alpha_s (1 - e^{-h}) (D_0 - D_j)|^2    over w_1, ..., w_{p-1},  w_0 = 1 - sum w_j

with w the shares of `FittedMultistep` and w' those of the exponential multistep method of order p (1, 0, ... in the step to time 0). At the
starts of the fit no step is worse than the classical one from the same state. A few hundred fields give thousands of equations for two or three
unknowns; what the starts do not tell (D hardly moves at high noise) the small mu leaves classical. References: methods/diffusion 7.3, and those of
`fitted_multistep`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.exponential import lam_weights
from physdiff.diffusion.samplers.fitted_multistep import FittedMultistep, linear_step
from physdiff.diffusion.samplers.sampler import denoised, level_at, start_state
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.evaluation.path_grid import fine_run

__all__ = ["fit_multistep"]

_RIDGE = 1e-6  # mu: an error of a thousandth of the differences outweighs a change of the weights by one
_APART = 0.4  # of the fine spacing: levels of the fine run closer to a node than this would make its differences noisy


@torch.no_grad()
def fit_multistep(
    denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, order: int = 4, nodes: int = 60
) -> FittedMultistep:
    """Fit the weights of a multistep method on given times.

    Args:
        denoiser: The denoiser.
        x: States at times[0], (B, C, T, *S), some 32 fields.
        times: Strictly decreasing times (N + 1,), for draws from 1 to 0.
        cond: Encoded condition (B or 1, C'', T, *S).
        order: Number p of means in a step, two or more.
        nodes: Levels of the fine run between the times.

    Returns:
        The sampler, with its times.

    Raises:
        InputError: If there is nothing to fit (order below two), or the times do not fall.
        Diverged: If the denoiser gives a number that is not finite.
    """
    if order < 2:
        raise InputError(f"fit_multistep: expected order 2 or more, got {order}; of order 1 there is DDIM, with nothing to fit")
    grid = times.detach().to(device="cpu", dtype=torch.float64)
    wide, steps = start_state(x, grid)
    targets = _targets(denoiser, wide, grid, cond=cond, nodes=nodes)
    weights, means, lams = torch.zeros(len(steps), order, dtype=torch.float64), list[Tensor](), list[float]()
    state = wide
    for i, (t, s) in enumerate(steps):
        here, there = level_at(denoiser.schedule, t), level_at(denoiser.schedule, s)
        means = [denoised(denoiser, state, t, cond=cond, step=i, steps=len(steps)), *means][:order]
        lams = [float(here.lam), *lams][:order]
        plain = _classical(lams, float(there.lam))
        along = [linear_step(0 * state, m, here=here, there=there) for m in means]
        known = linear_step(state, 0 * state, here=here, there=there) + sum(w * a for w, a in zip(plain, along, strict=True))
        ways = torch.stack([(a - along[0]).double().flatten() for a in along[1:]], 1) if i else torch.empty(0, 0)
        found = _least_squares(ways, (targets[i] - known).double().flatten()) if i else []
        shares = [plain[0] - sum(found), *(w + f for w, f in zip(plain[1:], found, strict=True))]
        weights[i, : len(shares)] = torch.tensor(shares, dtype=torch.float64)
        state = known + sum(f * (a - along[0]) for f, a in zip(found, along[1:], strict=True))
    return FittedMultistep(grid, weights)


def _classical(lams: list[float], end: float) -> list[float]:
    """Shares of the means in a step of the exponential multistep method, newest first; the newest alone where the step has no end in lam."""
    finite = [lam for lam in lams if math.isfinite(lam)]
    if not math.isfinite(end) or not math.isfinite(lams[0]):
        return [1.0, *[0.0] * (len(lams) - 1)]
    h = end - lams[0]
    shares = [w / -math.expm1(-h) for w in lam_weights(tuple(lam - lams[0] for lam in finite), h, 1.0)]
    return [*shares, *[0.0] * (len(lams) - len(finite))]


def _targets(denoiser: Denoiser, x: Tensor, grid: Tensor, *, cond: Tensor | None, nodes: int) -> list[Tensor]:
    """States of a fine run at the times of the grid but the first."""
    fine = timesteps(denoiser.schedule, nodes)[1:-1]
    lams, own = denoiser.schedule.lam(fine), denoiser.schedule.lam(grid)
    apart = ~((lams[:, None] - own[None]).abs() < _APART * lams.diff().abs().median()).any(1)
    between = fine[apart & (fine < grid[0]) & (fine > grid[-1])]
    whole = torch.cat([grid, between]).sort(descending=True).values
    states, _ = fine_run(denoiser, x, whole, cond=cond)
    return [states[int((whole == t).nonzero()[0])] for t in grid[1:]]


def _least_squares(ways: Tensor, rest: Tensor) -> list[float]:
    gram = ways.T @ ways
    size = float(gram.trace())
    if size == 0:
        return [0.0] * ways.shape[1]
    return list(torch.linalg.solve(gram + _RIDGE * size * torch.eye(len(gram)).to(gram), ways.T @ rest).tolist())
