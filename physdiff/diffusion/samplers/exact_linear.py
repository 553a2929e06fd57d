r"""The multistep sampler whose linear part is the data's own: exact on Gaussians of any spectrum, in one step.

Given mean m and covariance C of the data, each mode of variance c has the flow of N(0, c) as its linear part, which stretches it by
$S(u) = \sqrt{c + u^2}$ (y = x/alpha, u = sigma/alpha). With the denoiser split as $D - m = g\,(y - m) + (1 - g)\,G$, $g = c/(c + u^2)$, the
flow from u_t to u_s is, mode by mode and without approximation,

    y_s - m = q (y_t - m) + int_q^1 G dq',    q = S(u_s)/S(u_t),    q' = S(u_s)/S(u')

A constant G moves the state a share 1 - q towards it. c = 0 is clean prediction (q = u_s/u_t, G = D - m), and for Gaussian data G = 0. Only G is
extrapolated, by Lagrange polynomials in the mean angle of the modes,

    v(u) = mean_i arctan(u / (kappa s_i)),    s_i: eight quantiles of the modes' standard deviations, each mode counted by its own

which is finite at both ends: grids of equal steps in v go from infinite noise to none, without a last step to the mean, and put their levels where
the modes have their scales, whatever the spectrum. The corrector of UniPC gives one order more for nothing. The covariance need not be exact: G
takes what it leaves. Derived for physdiff; the idea of an exact linear part with statistics of the data is that of Zheng et al., DPM-Solver-v3,
2023, and the angle for one variance that of Lu and Song, Simplifying, stabilizing and scaling continuous-time consistency models, 2024.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.exponential import Multistep, Node, lagrange
from physdiff.diffusion.samplers.sampler import Level, Sampler, denoised, level_at, start_state
from physdiff.diffusion.samplers.timesteps import angle_scales, mean_angle, timesteps
from physdiff.diffusion.schedule import Schedule

__all__ = ["ExactLinear"]

_POINTS = 24


class ExactLinear(Sampler):
    """Multistep sampler with the exact linear part of the data's mean and covariance; deterministic, one evaluation per step.

    Args:
        order: Number of outputs in the predictor's polynomial; order + 1 with the corrector.
        base: Mean and covariance; None: those under the network (`PreconditionedDenoiser.base`), or of a Gaussian denoiser.
        corrector: Redo each step with the output at its end.
        kappa: Scale of the angle in standard deviations; smaller puts more levels at low noise.

    Raises:
        InputError: If a number makes no sense; when run, if no base is given or found.
    """

    def __init__(self, order: int = 3, *, base: GaussianDenoiser | None = None, corrector: bool = True, kappa: float = 0.5) -> None:
        if order < 1:
            raise InputError(f"ExactLinear: expected order >= 1, got {order}")
        self.order, self.base, self.corrector, self.kappa = order, base, corrector, check_positive(kappa, "ExactLinear.kappa")

    def grid(self, denoiser: Denoiser, steps: int) -> Tensor:
        """Times from 1 to 0 with equal steps of the mean angle, see `Sampler.grid`."""
        return timesteps(denoiser.schedule, steps, "angle", scale=self.kappa, covariance=self._found(denoiser).covariance)

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`; `rng` is not used."""
        wide, _ = start_state(x, times)
        modes = _InModes(self, self._found(denoiser), wide, cond)
        state = modes.enter(wide, level_at(denoiser.schedule, times[0]))
        return modes.leave(modes.run(denoiser, state, times, cond=cond, rng=rng), level_at(denoiser.schedule, times[-1]))

    def _found(self, denoiser: Denoiser) -> GaussianDenoiser:
        base = self.base
        if base is None:
            base = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else denoiser if isinstance(denoiser, GaussianDenoiser) else None
        if base is None:
            raise InputError(
                "ExactLinear: expected the data's mean and covariance, got neither a base nor a denoiser with one; give base=GaussianDenoiser(...) "
                "(see spectral_covariance, low_rank_covariance), or take UniPC() or DPMSolver2M()"
            )
        return base


class _InModes(Multistep):
    """One run: the state is x - alpha m in the modes of the covariance, (B, n)."""

    def __init__(self, sampler: ExactLinear, base: GaussianDenoiser, x: Tensor, cond: Tensor | None) -> None:
        self.order, self.corrector = sampler.order, sampler.corrector
        self.covariance, self.mean, self.shape = base.covariance, base.prior_mean(x, cond), x.shape[1:]
        self.variances = base.covariance.mode_variances().to(x.device)
        self.scales = sampler.kappa * angle_scales(base.covariance)
        self.middle = float(self.scales.log().mean().exp())

    def enter(self, x: Tensor, level: Level) -> Tensor:
        return self.covariance.modes(x - float(level.alpha) * self.mean)

    def leave(self, state: Tensor, level: Level) -> Tensor:
        return self.covariance.from_modes(state, self.shape) + float(level.alpha) * self.mean

    def mean_at(self, denoiser: Denoiser, x: Tensor, t: Tensor, *, cond: Tensor | None, step: int, steps: int) -> Tensor:
        field = self.leave(x, level_at(denoiser.schedule, t))
        return self.covariance.modes(denoised(denoiser, field, t, cond=cond, step=step, steps=steps) - self.mean)

    def regular(self, t: Level, s: Level) -> bool:
        return True  # the angle is finite at both ends

    def place(self, schedule: Schedule, level: Level) -> float:
        return float(mean_angle(torch.exp(-level.lam), self.scales))

    def output(self, x: Tensor, mean: Tensor, level: Level) -> Tensor:
        alpha, sigma = float(level.alpha), float(level.sigma)
        # G = D - m + (c/u^2)(D - y), in a form that also holds where alpha = 0
        return mean + (self.variances * (alpha / sigma**2)).to(x.dtype) * (alpha * mean - x)

    def advance(self, schedule: Schedule, x: Tensor, nodes: list[Node], *, t: Level, s: Level, z: Tensor | None) -> Tensor:
        scale, weights = self._weights([n.place for n in nodes], t, s)
        x = scale.to(x.dtype) * x
        for weight, node in zip((float(s.alpha) * weights).to(x.dtype), nodes, strict=True):
            x = x + weight * node.output
        return x

    def _weights(self, places: list[float], t: Level, s: Level) -> tuple[Tensor, Tensor]:
        """The stretch of x (n,), and the integrals of the basis over q' for each mode (p, n)."""
        c = self.variances
        stretch = torch.sqrt((s.alpha**2 * c + s.sigma**2) / (t.alpha**2 * c + t.sigma**2))
        high, low = float(torch.exp(-t.lam)), float(torch.exp(-s.lam))
        first, last = math.atan(high / self.middle), math.atan(low / self.middle)
        points, weights = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(_POINTS))
        tangent = torch.tan(last + (first - last) * (points + 1) / 2)
        u = self.middle * tangent
        du = (first - last) / 2 * weights * self.middle * (1 + tangent**2)
        total = c + (u**2)[:, None].to(c.device)
        density = torch.sqrt((c + low**2) / total) * (u * du)[:, None].to(c.device) / total
        out = lagrange(mean_angle(u, self.scales), places).to(c.device) @ density
        # the basis sums to one: so do the weights, to 1 - q, also for modes that the sum does not resolve
        whole = 1 - stretch * (t.alpha / s.alpha)
        return stretch, torch.cat([(whole - out[1:].sum(0))[None], out[1:]])
