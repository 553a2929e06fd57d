r"""Restart: the flow, with a stretch of it gone through again and again from fresh noise.

When another sampler has come down to the node nearest u_low, noise is added up to u_high, in y = x/alpha

    y <- y + sqrt(u_high^2 - u_low^2) z

and the stretch is integrated back; this K times, then on to the end. Each round keeps the marginal of the exact score and forgets a part of the
errors made at higher noise (for data N(m, c^2) an error of the mean shrinks by sqrt((c^2 + u_low^2)/(c^2 + u_high^2)) a round), while the
discretisation keeps the size of a flow's. An error of the network within the stretch is not mended: every round makes it again. Reference: Xu et
al., Restart sampling for improving generative processes, 2023 (with noise inflation fixed at 1, which keeps the marginals).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.heun import Heun, add_noise
from physdiff.diffusion.samplers.sampler import Sampler, start_state, step_noise
from physdiff.diffusion.schedule import Schedule

__all__ = ["Restart"]


class Restart(Sampler):
    """Another sampler with one stretch repeated from fresh noise; order of that sampler.

    Each stretch is one run of the other sampler: a multistep method starts itself anew there, churn counts per stretch, and the
    step that `Diverged` names is counted within it.

    Args:
        sampler: The sampler that walks; None: `Heun()`.
        low: Noise-to-signal ratio u from which noise is added; the nearest node of the grid stands for it.
        high: Ratio up to which it is added.
        repeats: Rounds K; 0 is the other sampler.
        steps: Steps of each round, equal in lam.

    Raises:
        InputError: If the stretch is empty or counts are too small.
    """

    def __init__(self, sampler: Sampler | None = None, *, low: float = 0.06, high: float = 0.3, repeats: int = 2, steps: int = 2) -> None:
        if check_positive(low, "Restart.low") >= check_positive(high, "Restart.high"):
            raise InputError(f"Restart: expected low < high, got {low} and {high}; swap them")
        if repeats < 0 or steps < 1:
            raise InputError(f"Restart: expected repeats >= 0 and steps >= 1, got {repeats} and {steps}")
        self.sampler = Heun() if sampler is None else sampler
        self.low, self.high, self.repeats, self.steps = low, high, repeats, steps

    def grid(self, denoiser: Denoiser, steps: int) -> Tensor:
        """The other sampler's grid."""
        return self.sampler.grid(denoiser, steps)

    def evaluations_per_step(self) -> int:
        """The other sampler's."""
        return self.sampler.evaluations_per_step()

    def evaluations_besides(self) -> int:
        """The rounds'."""
        return self.repeats * self.steps * self.sampler.evaluations_per_step()

    def least_steps(self) -> int:
        """The other sampler's, two at least: a node between the ends is needed."""
        return max(2, self.sampler.least_steps())

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`.

        Raises:
            InputError: If no node of the grid lies below `high`, or `high` lies above its first.
        """
        x, steps = start_state(x, times)
        if self.repeats == 0:
            return self.sampler.run(denoiser, x, times, cond=cond, rng=rng)
        nodes = torch.stack([s for _, s in steps])
        at = self._node(denoiser.schedule, steps[0][0], nodes)
        again, grid = self._stretch(denoiser.schedule, nodes[at]), torch.cat([steps[0][0][None], nodes])
        x = self.sampler.run(denoiser, x, grid[: at + 2], cond=cond, rng=rng.child("before"))
        for k in range(self.repeats):
            x = add_noise(denoiser.schedule, x, again[-1], raised=again[0], noise=step_noise(rng, k, x))
            x = self.sampler.run(denoiser, x, again, cond=cond, rng=rng.child("round", k))
        return x if at + 1 == len(nodes) else self.sampler.run(denoiser, x, grid[at + 1 :], cond=cond, rng=rng.child("after"))

    def _node(self, schedule: Schedule, first: Tensor, nodes: Tensor) -> int:
        """Place among the nodes of the one nearest to low, in lam."""
        lams = torch.where(nodes > 0, schedule.lam(nodes), torch.inf)
        at = int((lams + math.log(self.low)).abs().argmin())
        if not -math.log(self.high) < float(lams[at]) < math.inf:
            ratios = torch.exp(-lams).tolist()
            raise InputError(f"Restart: expected a node with u below high = {self.high:g} and above 0, got {ratios}; take more steps or raise high")
        top = float(schedule.noise_ratio(first))
        if self.high > top:
            raise InputError(f"Restart: expected high within the grid, which starts at u = {top:g}, got {self.high:g}; lower it")
        return at

    def _stretch(self, schedule: Schedule, node: Tensor) -> Tensor:
        lams = torch.linspace(-math.log(self.high), float(schedule.lam(node)), self.steps + 1, dtype=torch.float64)
        times = schedule.time_of(lams)
        times[-1] = node
        return times
