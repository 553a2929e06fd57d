r"""The time grid that suits a model: dynamic programming over what steps between many levels cost, for the flow and for the reverse SDE.

A fine run of the flow gives states x_i and posterior means D_i on M nodes. One DDIM step from node i to a later node j ends at x_ij, and what
it costs is its error at the end of the flow, estimated mode by mode of the Fourier transform in space,

    cost_ij = sum_k w_k r_k,      r_k^2 = E|x_ij - x_j|_k^2 / E|x_j|_k^2

A Gaussian flow stretches each mode by its own standard deviation, hence keeps errors that are counted as shares of it: the r_k of a grid's steps add
up at the end, and so do costs (a bound by the triangle inequality; equality where all steps err to one side, as on Gaussians). w_k = 1/K counts all
modes alike ("modes"), w_k in proportion to the mode's final amplitude counts what is large ("energy"). The cheapest way of exactly n steps through
the nodes is found by V_j(n) = min_i V_i(n - 1) + cost_ij. On isotropic Gaussian data cost_ij = 1 - cos(theta_j - theta_i), theta = arctan(u/c),
and the result is the grid of equal angles. Reference: Chen et al., On the trajectory regularity of ODE-based diffusion sampling, 2024, who count
plain distances to the fine run with a factor 1.15 for a step, which the shares make unnecessary.

For the reverse SDE a step from u_i to u_j < u_i holds D fast that should follow the noise. By Girsanov the divergence of the path laws, sum of

    cost_ij = int_{u_j}^{u_i} u^-3 E|D(y_u, u) - D(y_{u_i}, u_i)|^2 du

bounds that of the samples. y_u = x_0 + W(u^2) with one Brownian motion for each clean sample gives all pairs at once, so that the optimum is found by
the same dynamic programming, where the authors descend by coordinates under noise. Reference: Sabour et al., Align your steps, 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.samplers.sampler import Level, denoised, level_at
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import Schedule

__all__ = ["cheapest_path", "divergence_costs", "fine_run", "step_costs"]

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
    states, means = ([_modes(s) for s in found] for found in fine_run(denoiser, x, times, cond=cond))
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


@torch.no_grad()
def divergence_costs(denoiser: Denoiser, x: Tensor, *, cond: Tensor | None = None, nodes: int = 60, rng: Rng = Rng(0)) -> tuple[Tensor, Tensor]:  # noqa: B008
    """What each step of the reverse SDE between nodes costs, in nats.

    The step to time 0 costs nothing and is taken from the last noisy node alone: from any other the divergence would be infinite.

    Args:
        denoiser: The denoiser.
        x: Clean samples (B, C, T, *S).
        cond: Encoded condition (B or 1, C'', T, *S).
        nodes: Number of noisy nodes, equally spaced in lam.
        rng: Randomness of the noise.

    Returns:
        Times (nodes + 1,) from 1 to 0, and costs (nodes + 1, nodes + 1), float64, infinite where there is no step.

    Raises:
        InputError: If there are fewer than three nodes.
        Diverged: If the denoiser gives a number that is not finite.
    """
    if nodes < 3:
        raise InputError(f"divergence_costs: expected three nodes or more, got {nodes}; some 60 are usual")
    times, schedule = timesteps(denoiser.schedule, nodes), denoiser.schedule
    noisy = times[:-1]
    alpha, ratio = schedule.alpha(noisy), torch.exp(-schedule.lam(noisy))
    if not bool(ratio.isfinite().all()):  # from infinite noise: the first step of the grid begins where it was laid out
        ratio = torch.where(ratio.isfinite(), ratio, ratio[1] ** 2 / ratio[2])
    y, means = x, [torch.empty(0)] * nodes
    for i in reversed(range(nodes)):
        fresh = (ratio[i] ** 2 - (ratio[i + 1] ** 2 if i + 1 < nodes else 0)).sqrt()
        y = y + fresh.to(x) * rng.child("noise", i).normal_each(range(len(x)), x.shape[1:], like=x)
        state = alpha[i].to(x) * y if float(alpha[i]) > 0 else y / ratio[i].to(x)
        means[i] = denoised(denoiser, state, noisy[i], cond=cond, step=i, steps=nodes).flatten(1).double()
    # between nodes: trapezia in log u, in which u^-2 E|.|^2 is smooth
    change = torch.stack([torch.stack([(a - b).square().sum(1).mean() for b in means]) for a in means]) * ratio**-2
    steps = 0.5 * (change[:, 1:] + change[:, :-1]) * -ratio.log().diff()
    cost = torch.full((nodes + 1, nodes + 1), torch.inf, dtype=torch.float64)
    upper = torch.ones(nodes, nodes, dtype=torch.bool).triu(1)
    summed = torch.cat([torch.zeros(nodes, 1, dtype=torch.float64), steps.cumsum(1)], 1)
    cost[:-1, :-1] = torch.where(upper, summed - summed.diagonal()[:, None], torch.inf)
    cost[-2, -1] = 0.0
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


@torch.no_grad()
def fine_run(denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """States at all times and posterior means at the noisy ones, of a run of order 3 along the flow, each (B, C, T, *S), float32 at least."""
    seen = _Seen(denoiser)
    end = ExponentialMultistep(3).run(seen, x, times, cond=cond, rng=Rng(0))
    return [*seen.states, end], seen.means


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
