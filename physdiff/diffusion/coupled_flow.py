r"""Flows whose noise was chosen with the data: straighter paths, and no score.

x_t = t x_1 + (1 - t) z, and z paired with x_1 within a batch by the smallest sum of squared distances (minibatch optimal transport), or made
into it by an earlier flow (reflow). The learnt velocity w = E[x_1 - z | x_t] still carries noise to data. But given x_1 the noise is no longer
N(0, I), so that none of the conversions from w to the posterior mean, the noise or the score holds. Such a flow is therefore neither a `Denoiser`
nor a `Drift`, and its prior no `DiffusionPrior`: posterior samplers and SDEs refuse it by type, the flow itself is sampled. References: Tong et
al., Improving and generalizing flow-based generative models with minibatch optimal transport, 2024; Liu et al., Flow straight and fast, 2023.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from physdiff.base.checks import check_one_of
from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.network_drift import NetworkDrift
from physdiff.diffusion.schedule import per_sample
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.transform import Transform

__all__ = ["CoupledFlow", "CoupledPrior", "coupled_loss", "nearest_pairs"]

COUPLINGS = ("minibatch transport", "reflow")


def nearest_pairs(noise: Tensor, x: Tensor) -> Tensor:
    """The order of the noises whose sum of squared distances to x is smallest, (B,): noise[order] is paired with x.

    Shortest augmenting paths with potentials, O(B^3); batches of hundreds take fractions of a second.

    Raises:
        ShapeError: If the shapes differ.
    """
    if noise.shape != x.shape:
        raise ShapeError(f"nearest_pairs: expected noise of shape {tuple(x.shape)}, got {tuple(noise.shape)}")
    a, b = x.detach().flatten(1).double().cpu(), noise.detach().flatten(1).double().cpu()
    return torch.from_numpy(_assigned((-2 * a @ b.T + b.square().sum(1)).numpy()))


def _assigned(cost: np.ndarray) -> np.ndarray:
    """The column of every row in the cheapest assignment of a square matrix."""
    n = len(cost)
    rows, columns = np.zeros(n + 1), np.zeros(n + 1)  # potentials
    owner = np.full(n + 1, -1)  # row of each column; column n is where a new row begins
    for row in range(n):
        owner[n] = row
        best, before, seen, column = np.full(n, np.inf), np.full(n, n), np.zeros(n + 1, dtype=bool), n
        while owner[column] >= 0:
            seen[column] = True
            i = owner[column]
            free = ~seen[:n]
            reduced = cost[i] - rows[i] - columns[:n]
            closer = free & (reduced < best)
            best[closer], before[closer] = reduced[closer], column
            column = int(np.where(free, best, np.inf).argmin())
            step = best[column]
            rows[owner[seen]] += step
            columns[seen] -= step
            best[free] -= step
        while column != n:  # along the path back
            previous = before[column]
            owner[column] = owner[previous]
            column = previous
    found = np.empty(n, dtype=np.int64)
    found[owner[:n]] = np.arange(n)
    return found


class CoupledFlow(Saved, nn.Module):
    """The velocity of a flow with coupled noise.

    Args:
        network: A network as a one-sided `NetworkDrift`, of whose two outputs the difference is the velocity; apart they mean nothing.
        coupling: "minibatch transport" or "reflow": how the noise was chosen.

    Raises:
        InputError: If the network's path is not one-sided.
    """

    def __init__(self, network: NetworkDrift, coupling: str = "minibatch transport") -> None:
        super().__init__()
        check_one_of(coupling, COUPLINGS, "CoupledFlow coupling")
        if network.interpolant.two_sided:
            raise InputError(f"CoupledFlow: expected a one-sided path, got {network.interpolant.path!r}")
        self.network, self.coupling = network, coupling

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The velocity dx/dt at x_t (B, C, T, *S), t from 0 (noise) to 1 (data)."""
        v, h = self.network(x_t, t, cond)
        return v - h


def coupled_loss(flow: CoupledFlow, x: Tensor, t: Tensor, *, noise: Tensor, cond: Tensor | None = None) -> Tensor:
    """Mean squared error of the velocity, (B,); noise is paired with x here for minibatch transport, and comes paired for reflow.

    With a condition pairs should share it; the caller groups its batches so.
    """
    if flow.coupling == "minibatch transport":
        noise = noise[nearest_pairs(noise, x).to(noise.device)]
    x_t = per_sample(t, x) * x + per_sample(1 - t, x) * noise
    return (flow(x_t, t, cond) - (x - noise)).square().flatten(1).mean(1)


class CoupledPrior(WindowPrior):
    """A distribution of windows drawn by a coupled flow (Heun's method); no prior for a posterior.

    Args:
        flow: The flow on coefficients.
        transform: Between physical windows and coefficients, fitted.
        spec: What the windows are.
        steps: Steps, two evaluations each.
        cond_transform: How a condition window is completed and encoded.
        cond_spec: Names and units of the condition window.
    """

    no_posterior = "its noise was chosen with the data, so that neither E[x_0 | x_t] nor a score follows from its velocity"

    def __init__(
        self,
        flow: CoupledFlow,
        transform: Transform,
        spec: FieldSpec,
        *,
        steps: int = 10,
        cond_transform: ConditionTransform | None = None,
        cond_spec: FieldSpec | None = None,
    ) -> None:
        super().__init__()
        self.flow, self.transform, self.spec, self.steps = flow, transform, spec, steps
        self.cond_transform, self.cond_spec = cond_transform, cond_spec
        self._check_parts()

    @property
    def model(self) -> nn.Module:
        """The flow."""
        return self.flow

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """Coefficients from start noise, see `WindowPrior.draw`; `rng` is not used."""
        x, cond = noise, self.encode_cond(completed)
        times = torch.linspace(0, 1, self.steps + 1, dtype=torch.float64, device=x.device)
        for i, (t, s) in enumerate(zip(times[:-1], times[1:], strict=True)):
            h = float(s - t)
            first = self.flow(x, t, cond)
            x = x + 0.5 * h * (first + self.flow(x + h * first, s, cond))
            if not bool(x.isfinite().all()):
                raise Diverged("flow", float(t), f"step {i + 1} of {self.steps}; train longer, lower the learning rate or use float32")
        return x
