r"""One exponential multistep engine: DPM-Solver++ 2M and 3M, UniPC of any order, DEIS, SDE-DPM-Solver++, in one loop.

Between nodes the network's output is the Lagrange polynomial through its last p values (for a corrector also the new one), and the linear part
of the flow is integrated exactly. With tau = lam - lam_t in [0, h], h = lam_s - lam_t, u = sigma/alpha and basis l_j,

    clean:  x_s = (sigma_s/sigma_t) e^{-k^2 h} x_t + alpha_s sum_j w_j D_j + sigma_s sqrt(1 - e^{-2 k^2 h}) z
            w_j = int_0^h (1 + k^2) e^{-(1 + k^2)(h - tau)} l_j dtau        k = 0: the flow; k = 1: the reverse SDE
    noise:  x_s = (alpha_s/alpha_t) x_t - sigma_s sum_j w_j eps_j,        w_j = int_0^h e^{h - tau} l_j dtau

The w_j come from Gauss-Legendre sums; closed recursions lose their digits at small h. Order p with p nodes, p + 1 with the corrector, which reuses
the next step's evaluation and so is free; with k > 0 the order in law is 2 at most. In this language p = 2 clean is DPM-Solver++ 2M with exact
weights, p = 3 its third order done right (public code leaves a factor 2 out and is of order 2), the corrector makes it UniPC, and noise with
polynomials in u or t is DEIS. References: Lu et al., DPM-Solver++, 2022; Zhao et al., UniPC, 2023; Zhang and Chen, DEIS, 2023; Hochbruck and
Ostermann, Exponential integrators, 2010.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.samplers.ddim import first_order_kernel
from physdiff.diffusion.samplers.sampler import Level, Sampler, denoised, level_at, start_state, step_noise
from physdiff.diffusion.schedule import Schedule

__all__ = ["ExponentialMultistep", "Multistep", "Node", "UniPC", "gauss_legendre", "lagrange", "lam_weights"]


@dataclass(frozen=True)
class Node:
    """One evaluation: where it was made, and what the polynomials run through.

    Args:
        level: The noise level.
        place: Value of the polynomials' variable there.
        output: Output (B, ...), in the form the method extrapolates.
    """

    level: Level
    place: float
    output: Tensor


class Multistep(Sampler, ABC):
    """The loop of all multistep methods. A final class sets `order` and `corrector` and gives `place`, `output` and `advance`."""

    order: int
    corrector: bool
    lower_final: bool = False

    def least_steps(self) -> int:
        """With fewer steps than its order a multistep method is another one."""
        return self.order

    @abstractmethod
    def place(self, schedule: Schedule, level: Level) -> float:
        """The polynomials' variable at a level; finite."""

    @abstractmethod
    def output(self, x: Tensor, mean: Tensor, level: Level) -> Tensor:
        """What is extrapolated, from state and posterior mean at a level."""

    @abstractmethod
    def advance(self, schedule: Schedule, x: Tensor, nodes: list[Node], *, t: Level, s: Level, z: Tensor | None) -> Tensor:
        """One step from t to s along the polynomial through the nodes (newest first), with noise z if the method takes any."""

    def stochastic(self) -> bool:
        """Whether `advance` wants noise."""
        return False

    def regular(self, t: Level, s: Level) -> bool:
        """Whether `advance` can do the step; else it is a step of `ddim`: from infinite noise, or to clean."""
        return math.isfinite(float(s.lam) - float(t.lam))

    def mean_at(self, denoiser: Denoiser, x: Tensor, t: Tensor, *, level: Level, cond: Tensor | None, step: int, steps: int) -> Tensor:
        """The posterior mean in the coordinates of the state."""
        return denoised(denoiser, x, t, cond=cond, step=step, steps=steps)

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`."""
        x, steps = start_state(x, times)
        schedule, history, before = denoiser.schedule, list[Node](), None
        there = level_at(schedule, steps[0][0])
        for i, (t, s) in enumerate(steps):
            here, there = there, level_at(schedule, s)
            mean = self.mean_at(denoiser, x, t, level=here, cond=cond, step=i, steps=len(steps))
            if not self.regular(here, there):
                x, history, before = first_order_kernel(schedule, x, mean, t=t, s=s, eta=0.0).mean, [], None
                continue
            node = Node(here, self.place(schedule, here), self.output(x, mean, here))
            if self.corrector and before is not None:
                x = self.advance(schedule, before, [node, *history], t=history[0].level, s=here, z=None)
            order = min(self.order, len(steps) - i) if self.lower_final else self.order
            history = [node, *history][: self.order]
            noise = step_noise(rng, i, x) if self.stochastic() else None
            before, x = x, self.advance(schedule, x, history[:order], t=here, s=there, z=noise)
        return x


class ExponentialMultistep(Multistep):
    """The engine of the module's formulas.

    Args:
        order: Number p of outputs in the polynomial.
        prediction: ``"clean"`` or ``"noise"``: which output is extrapolated. Noise is for networks that predict it, and not for the last, clean part.
        corrector: Redo each step with the output at its end (UniPC): one order more, no evaluation more.
        noise: The share k of fresh noise: 0 the flow, 1 the reverse SDE, anything above 0 keeps the marginals; clean prediction only.
        variable: The polynomials' variable: ``"lam"``, ``"u"`` (DEIS, rho-AB) or ``"t"`` (DEIS, t-AB).
        lower_final: Lower the order over the last steps, so that none of them extrapolates far; for fewer than 15 steps.

    Raises:
        InputError: If a choice makes no sense: no order, noise with a corrector or with noise prediction.
    """

    def __init__(
        self,
        order: int = 2,
        prediction: str = "clean",
        *,
        corrector: bool = False,
        noise: float = 0.0,
        variable: str = "lam",
        lower_final: bool = False,
    ) -> None:
        if order < 1:
            raise InputError(f"{type(self).__name__}: expected order >= 1, got {order}")
        check_one_of(prediction, ("clean", "noise"), f"{type(self).__name__} prediction")
        check_one_of(variable, ("lam", "u", "t"), f"{type(self).__name__} variable")
        check_positive(noise, f"{type(self).__name__} noise", zero=True)
        if noise > 0 and (corrector or prediction == "noise"):
            raise InputError(
                f"{type(self).__name__}: expected noise=0 with a corrector or noise prediction, got {noise}; fresh noise between predictor and "
                'corrector spoils the latter, and exploding weights the second: take prediction="clean" without a corrector'
            )
        self.order, self.prediction, self.corrector, self.noise = order, prediction, corrector, noise
        self.variable, self.lower_final = variable, lower_final

    def place(self, schedule: Schedule, level: Level) -> float:
        """The polynomials' variable, see `Multistep.place`."""
        return float(_place(self.variable, schedule, level.lam))

    def output(self, x: Tensor, mean: Tensor, level: Level) -> Tensor:
        """The mean, or the noise (x - alpha mean)/sigma."""
        return mean if self.prediction == "clean" else (x - float(level.alpha) * mean) / float(level.sigma)

    def stochastic(self) -> bool:
        """Whether the method takes noise."""
        return self.noise > 0

    def advance(self, schedule: Schedule, x: Tensor, nodes: list[Node], *, t: Level, s: Level, z: Tensor | None) -> Tensor:
        """One step, see `Multistep.advance`."""
        clean, k2 = self.prediction == "clean", self.noise**2
        h = float(s.lam) - float(t.lam)
        rate = 1 + k2 if clean else -1.0
        if self.variable == "lam":  # depends on differences alone
            weights = lam_weights(tuple(n.place - float(t.lam) for n in nodes), h, rate)
        else:
            weights = _weights(self.variable, schedule, nodes, t=t, h=h, rate=rate)
        if clean:
            scale, factor = float(s.sigma / t.sigma) * math.exp(-k2 * h), float(s.alpha)
        else:
            scale, factor = float(s.alpha / t.alpha), -float(s.sigma)
        x = scale * x
        for weight, node in zip(weights, nodes, strict=True):
            x = x + factor * weight * node.output
        return x if z is None else x + float(s.sigma) * math.sqrt(-math.expm1(-2 * k2 * h)) * z


class UniPC(ExponentialMultistep):
    """UniPC of any order with exact ("varying") coefficients: predictor of order p, corrector of order p + 1, one evaluation per step.

    Args:
        order: Order p of the predictor.
        prediction: ``"clean"`` or ``"noise"``.
        lower_final: Lower the order over the last steps.
    """

    def __init__(self, order: int = 3, prediction: str = "clean", *, lower_final: bool = False) -> None:
        super().__init__(order, prediction, corrector=True, lower_final=lower_final)


def lagrange(at: Tensor, places: list[float]) -> Tensor:
    """The Lagrange basis of p distinct places at points (q,), (p, q), float64."""
    # numpy: at sixteen points torch's calls would cost more than their work
    points, rows = at.numpy(), []
    for j, own in enumerate(places):
        row = np.ones_like(points)
        for i, other in enumerate(places):
            if i != j:
                row = row * ((points - other) / (own - other))
        rows.append(row)
    return torch.from_numpy(np.stack(rows))


@lru_cache(maxsize=1)
def gauss_legendre() -> tuple[Tensor, Tensor]:
    """The 16 points of [-1, 1] and their weights, float64."""
    points, weights = np.polynomial.legendre.leggauss(16)
    return torch.from_numpy(points), torch.from_numpy(weights)


def _place(variable: str, schedule: Schedule, lam: Tensor) -> Tensor:
    if variable == "lam":
        return lam
    return torch.exp(-lam) if variable == "u" else schedule.time_of(lam)


@lru_cache(maxsize=4096)
def lam_weights(offsets: tuple[float, ...], h: float, rate: float) -> tuple[float, ...]:
    """The w_j of the module's formulas over [0, h], divided by alpha_s, for means at the offsets lam_j - lam_t <= 0."""
    tau, weight = _gauss(h, rate)
    return tuple((lagrange(tau, list(offsets)) @ weight).tolist())


def _weights(variable: str, schedule: Schedule, nodes: list[Node], *, t: Level, h: float, rate: float) -> tuple[float, ...]:
    tau, weight = _gauss(h, rate)
    basis = lagrange(_place(variable, schedule, t.lam + tau), [n.place for n in nodes])
    return tuple((basis @ weight).tolist())


def _gauss(h: float, rate: float) -> tuple[Tensor, Tensor]:
    """Points of [0, h] and weights that carry |rate| e^{-rate (h - tau)}; 16 points are exact to rounding up to rate h = 8."""
    pieces = max(1, math.ceil(abs(rate) * h / 8))
    points, weights = gauss_legendre()
    edges = torch.linspace(0, h, pieces + 1, dtype=torch.float64)[:-1, None]
    tau = (edges + h / pieces * (points + 1) / 2).flatten()
    return tau, weights.repeat(pieces) * (h / pieces / 2) * abs(rate) * torch.exp(-rate * (h - tau))
