r"""The time grid that suits a model: dynamic programming over the steps of a fine run.

A fine run of the flow gives states x_i and posterior means D_i on M nodes. One DDIM step from node i to a later node j ends at x_ij, and what
it costs is its error at the end of the flow, estimated mode by mode of the Fourier transform in space,

    cost_ij = sum_k w_k r_k,      r_k^2 = E|x_ij - x_j|_k^2 / E|x_j|_k^2

A Gaussian flow stretches each mode by its own standard deviation, hence keeps errors that are counted as shares of it: the r_k of a grid's steps add
up at the end, and so do costs (a bound by the triangle inequality; equality where all steps err to one side, as on Gaussians). w_k = 1/K counts all
modes alike ("modes"), w_k in proportion to the mode's final amplitude counts what is large ("energy"). The cheapest way of exactly n steps through
the nodes is found by V_j(n) = min_i V_i(n - 1) + cost_ij. On isotropic Gaussian data cost_ij = 1 - cos(theta_j - theta_i), theta = arctan(u/c),
and the result is the grid of equal angles. Reference: Chen et al., On the trajectory regularity of ODE-based diffusion sampling, 2024, who count
plain distances to the fine run with a factor 1.15 for a step, which the shares make unnecessary.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.samplers.sampler import Level, level_at
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import Schedule

__all__ = ["cheapest_path", "step_costs"]

_SHARE = 1e-4  # modes with less of the mean variance say nothing about a field, as in `diagnose`


@torch.no_grad()
def step_costs(
    denoiser: Denoiser, x: Tensor, *, cond: Tensor | None = None, nodes: int = 60, weight: str = "modes"
) -> tuple[Tensor, Tensor]:
    """What each step between nodes costs.

    Args:
        denoiser: The denoiser.
        x: States at time 1, (B, C, T, *S).
        cond: Encoded condition (B or 1, C'', T, *S).
        nodes: Number of noisy nodes, equally spaced in lam; also the evaluations of the fine run.
        weight: ``"modes"`` or ``"energy"``.

    Returns:
        Times (nodes + 1,) from 1 to 0, and costs (nodes + 1, nodes + 1), float64, infinite but above the diagonal.

    Raises:
        InputError: If there are fewer than three nodes, or the weight is unknown.
        Diverged: If the denoiser gives a number that is not finite.
    """
    check_one_of(weight, ("modes", "energy"), "step_costs.weight")
    if nodes < 3:
        raise InputError(f"step_costs: expected three nodes or more, got {nodes}; some 60 are usual")
    times, schedule = timesteps(denoiser.schedule, nodes), denoiser.schedule
    seen = _Seen(denoiser)
    end = ExponentialMultistep(3).run(seen, x, times, cond=cond, rng=Rng(0))
    states, means = [_modes(s) for s in [*seen.states, end]], [_modes(m) for m in seen.means]
    power = [s.abs().square().mean(0) for s in states]
    heard = power[-1] > _SHARE * power[-1].mean()
    size = power[-1][heard].sqrt()
    share = size / size.sum() if weight == "energy" else torch.full_like(size, 1 / len(size))
    levels = [level_at(schedule, t) for t in times]
    cost = torch.full((nodes + 1, nodes + 1), torch.inf, dtype=torch.float64)
    for i in range(nodes):
        for j in range(i + 1, nodes + 1):
            kept, gained = _ddim(levels[i], levels[j])
            error = (kept * states[i] + gained * means[i] - states[j]).abs().square().mean(0)
            ratio = (error[heard] / power[j][heard]).sqrt()
            cost[i, j] = float((share * ratio).sum())
    return times, cost


def cheapest_path(cost: Tensor, steps: int) -> list[int]:
    """The nodes of the cheapest way from the first to the last node in exactly so many steps, (steps + 1,) indices, by dynamic programming.

    Args:
        cost: Cost of a step from node i to node j > i, (M, M); what is not above the diagonal is not read.
        steps: Number of steps, 1 to M - 1.

    Raises:
        InputError: If there are not that many steps to take, or the matrix is not square.
    """
    count = cost.shape[0]
    if cost.ndim != 2 or cost.shape[1] != count or not 1 <= steps < count:
        raise InputError(f"cheapest_path: expected a square matrix and 1 to {count - 1} steps, got {tuple(cost.shape)} and {steps}; take more nodes")
    ahead = torch.ones_like(cost, dtype=torch.bool).triu(1)
    step = torch.where(ahead, cost.double(), torch.inf)
    value, before = step[0].clone(), list[Tensor]()
    for _ in range(steps - 1):
        value, origin = (value[:, None] + step).min(0)
        before.append(origin)
    path = [count - 1]
    for origin in reversed(before):
        path.append(int(origin[path[-1]]))
    return [0, *reversed(path)]


def _ddim(t: Level, s: Level) -> tuple[float, float]:
    """Weights of state and mean in a DDIM step, finite at both ends."""
    return float(s.sigma / t.sigma), float(s.alpha * -torch.expm1(t.lam - s.lam))


def _modes(x: Tensor) -> Tensor:
    space = list(range(3, x.ndim))
    wide = x.double()
    return torch.fft.rfftn(wide, dim=space, norm="ortho") if space else wide


class _Seen(Denoiser):
    """A denoiser that remembers its noisy samples and means."""

    schedule: Schedule

    def __init__(self, inner: Denoiser) -> None:
        super().__init__()
        self.inner, self.schedule = inner, inner.schedule
        self.states, self.means = list[Tensor](), list[Tensor]()

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        mean = self.inner(x_t, t, cond)
        self.states.append(x_t.to(torch.promote_types(x_t.dtype, torch.float32)))
        self.means.append(mean)
        return mean
