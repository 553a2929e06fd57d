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
from collections.abc import Hashable

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import Covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.exponential import Multistep, Node, gauss_legendre, lagrange
from physdiff.diffusion.samplers.sampler import Level, Sampler, denoised, level_at, start_state
from physdiff.diffusion.samplers.timesteps import angle_scales, mean_angle, timesteps
from physdiff.diffusion.schedule import Schedule

__all__ = ["ExactLinear"]

_MOST_KEPT = 20_000_000  # numbers, 80 MB in float32


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

    def __init__(self, order: int = 3, *, base: GaussianDenoiser | None = None, corrector: bool = True, kappa: float = 1.0) -> None:
        if order < 1:
            raise InputError(f"ExactLinear: expected order >= 1, got {order}")
        self.order, self.base, self.corrector, self.kappa = order, base, corrector, check_positive(kappa, "ExactLinear.kappa")
        self._kept: tuple[Covariance | None, dict[Hashable, tuple[Tensor, Tensor]]] = (None, {})

    def grid(self, denoiser: Denoiser, steps: int) -> Tensor:
        """Times from 1 to 0 with equal steps of the mean angle, see `Sampler.grid`."""
        return timesteps(denoiser.schedule, steps, "angle", scale=self.kappa, covariance=self._found(denoiser).covariance)

    def run(self, denoiser: Denoiser, x: Tensor, times: Tensor, *, cond: Tensor | None = None, rng: Rng) -> Tensor:
        """Carry x from times[0] to times[-1], see `Sampler.run`; `rng` is not used."""
        wide, _ = start_state(x, times)
        modes = _InModes(self, self._found(denoiser), wide, cond)
        state = modes.enter(wide, level_at(denoiser.schedule, times[0]))
        return modes.leave(modes.run(denoiser, state, times, cond=cond, rng=rng), level_at(denoiser.schedule, times[-1]))

    def kept(self, covariance: Covariance) -> dict[Hashable, tuple[Tensor, Tensor]]:
        """Weights by step, of the last covariance met: the next batch takes the same steps."""
        if self._kept[0] is not covariance:
            self._kept = covariance, {}
        return self._kept[1]

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
        self.kept = sampler.kept(base.covariance)
        self.covariance, self.mean, self.shape = base.covariance, base.prior_mean(x, cond), x.shape[1:]
        self.variances = base.covariance.mode_variances().to(x.device)
        # many modes share a variance: their weights are computed once
        self.distinct, self.which = torch.unique(self.variances, return_inverse=True)
        self.ready: tuple[tuple[float, float], Tensor, Tensor] | None = None
        self.scales = sampler.kappa * angle_scales(base.covariance)
        self.middle = float(self.scales.log().mean().exp())

    def enter(self, x: Tensor, level: Level) -> Tensor:
        return self.covariance.modes(x - float(level.alpha) * self.mean)

    def leave(self, state: Tensor, level: Level) -> Tensor:
        return torch.add(self.covariance.from_modes(state, self.shape), self.mean, alpha=float(level.alpha))

    def mean_at(self, denoiser: Denoiser, x: Tensor, t: Tensor, *, level: Level, cond: Tensor | None, step: int, steps: int) -> Tensor:
        field = self.leave(x, level)
        return self.covariance.modes(denoised(denoiser, field, t, cond=cond, step=step, steps=steps) - self.mean)

    def regular(self, t: Level, s: Level) -> bool:
        return True  # the angle is finite at both ends

    def place(self, schedule: Schedule, level: Level) -> float:
        return float(mean_angle(torch.exp(-level.lam), self.scales))

    def output(self, x: Tensor, mean: Tensor, level: Level) -> Tensor:
        alpha, sigma = float(level.alpha), float(level.sigma)
        # G = D - m + (c/u^2)(D - y), in a form that also holds where alpha = 0
        return torch.addcmul(mean, (self.variances * (alpha / sigma**2)).to(x.dtype), alpha * mean - x)

    def advance(self, schedule: Schedule, x: Tensor, nodes: list[Node], *, t: Level, s: Level, z: Tensor | None) -> Tensor:
        places = [n.place for n in nodes]
        key = (*places, float(t.lam), float(s.lam), float(t.sigma), float(s.sigma), x.dtype, x.device)
        if key not in self.kept:
            scale, weights = self._weights(places, t, s)
            if len(self.kept) * weights.numel() > _MOST_KEPT:
                self.kept.clear()
            self.kept[key] = scale.to(x.dtype), (float(s.alpha) * weights).to(x.dtype)
        scale, weights = self.kept[key]
        x = scale[self.which] * x
        for weight, node in zip(weights[:, self.which], nodes, strict=True):
            x = torch.addcmul(x, weight, node.output)
        return x

    def _weights(self, places: list[float], t: Level, s: Level) -> tuple[Tensor, Tensor]:
        """The stretch of x (m,), and the integrals of the basis over q' (p, m), for each distinct variance."""
        c = self.distinct
        stretch = torch.sqrt((s.alpha**2 * c + s.sigma**2) / (t.alpha**2 * c + t.sigma**2))
        points, density = self._density(float(torch.exp(-t.lam)), float(torch.exp(-s.lam)))
        out = lagrange(points, places).to(c.device) @ density
        # the basis sums to one: so do the weights, to 1 - q, also for modes that the sum does not resolve
        whole = 1 - stretch * (t.alpha / s.alpha)
        return stretch, torch.cat([(whole - out[1:].sum(0))[None], out[1:]])

    def _density(self, high: float, low: float) -> tuple[Tensor, Tensor]:
        """Places of the Gauss-Legendre points between two noise ratios, and dq' there for each variance (points, m); kept for the corrector."""
        if self.ready is None or self.ready[0] != (high, low):
            first, last = math.atan(high / self.middle), math.atan(low / self.middle)
            points, weights = gauss_legendre()
            tangent = torch.tan(last + (first - last) * (points + 1) / 2)
            u = self.middle * tangent
            du = (first - last) / 2 * weights * self.middle * (1 + tangent**2)
            c = self.distinct
            # q' = sqrt((c + low^2)/(c + u^2)), so -dq'/du = q' u/(c + u^2)
            root = torch.rsqrt(c + (u**2)[:, None].to(c.device))
            density = root * root * root * (u * du)[:, None].to(c.device) * torch.sqrt(c + low**2)
            self.ready = (high, low), mean_angle(u, self.scales), density
        return self.ready[1:]
