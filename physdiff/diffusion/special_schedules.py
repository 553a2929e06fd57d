r"""Schedules beside the five usual ones: sub-VP, decay-linear, a table of betas, and the shift of any of them.

A field whose energy sits in few modes needs more noise to be destroyed than one of white noise: multiply u = sigma/alpha by a factor
(`ShiftedSchedule`), so that at t = 1 the largest spectral variance is below 1e-3 u^2, or start from the right Gaussian (`GaussianDenoiser.noisy`).
The cosine schedule without offset ("GVP", "trigonometric") is `CosineSchedule(0.0)`. References: Song et al., Score-based generative modeling
through stochastic differential equations, 2021 (sub-VP); Ho et al., 2020 (betas); Lu et al., DPM-Solver, 2022 (their interpolation); Hoogeboom et
al., Simple diffusion, 2023, and Esser et al., Scaling rectified flow transformers, 2024 (shift).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.diffusion.schedule import Schedule, VPSchedule

__all__ = ["DecaySchedule", "DiscreteSchedule", "ShiftedSchedule", "SubVPSchedule"]


def _double(t: Tensor | float) -> Tensor:
    return torch.as_tensor(t, dtype=torch.float64)


class SubVPSchedule(Schedule):
    r"""Sub-VP: alpha as in `VPSchedule`, $\sigma = 1 - \alpha^2$ (not its root), so that the variance stays below the VP one.

    lam is +inf at t = 0 and finite at t = 1.

    Args:
        beta_min: Rate at t = 0.
        beta_max: Rate at t = 1.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self._vp = VPSchedule(beta_min, beta_max)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample."""
        return self._vp.log_alpha(t)

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise, 1 - alpha^2 without cancellation."""
        return -torch.expm1(2 * self.log_alpha(t))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt = -2 alpha d alpha/dt); both finite at t = 0."""
        rate = 0.5 * (self._vp.beta_min + (self._vp.beta_max - self._vp.beta_min) * _double(t))
        alpha = self.alpha(t)
        return -alpha * rate, 2 * alpha**2 * rate

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`: alpha solves alpha^2 + alpha e^{-lam} - 1 = 0."""
        half = 0.5 * torch.exp(-_double(lam))
        # -log alpha = arcsinh(e^{-lam}/2): keeps its digits near t = 0
        decay = 2 * torch.asinh(half)
        spread = self._vp.beta_max - self._vp.beta_min
        root = torch.sqrt(self._vp.beta_min**2 + 2 * spread * decay)
        return (2 * decay / (root + self._vp.beta_min)).clamp(0, 1)


class DecaySchedule(Schedule):
    r"""The linear path run through at another pace: $\sigma = \tau$, $\alpha = 1 - \tau$, $\tau = (1 - c^t)/(1 - c)$.

    c > 1 spends more time at low noise, c < 1 at high noise; lam is infinite at both ends.

    Args:
        pace: The constant c, positive and not 1 (which is `RectifiedSchedule`).
    """

    def __init__(self, pace: float = 0.01) -> None:
        self.pace = check_positive(pace, "DecaySchedule.pace")
        if pace == 1:
            raise InputError("DecaySchedule: expected pace other than 1, got 1; take RectifiedSchedule")
        self._log = math.log(pace)

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise."""
        return torch.expm1(self._log * _double(t)) / math.expm1(self._log)

    def alpha(self, t: Tensor | float) -> Tensor:
        """Factor on the clean sample, 1 - sigma without cancellation, exactly zero at t = 1."""
        rest = 1 - _double(t)
        return torch.expm1(-self._log * rest) / math.expm1(-self._log)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample."""
        return torch.log(self.alpha(t))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt)."""
        rate = self._log * torch.exp(self._log * _double(t)) / math.expm1(self._log)
        return -rate, rate

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        tau = torch.sigmoid(-_double(lam))
        return (torch.log1p(tau * math.expm1(self._log)) / self._log).clamp(0, 1)


class DiscreteSchedule(Schedule):
    r"""The schedule of a discrete chain, $\alpha_n = \prod_{k \le n}\sqrt{1 - \beta_k}$, variance preserving, log alpha linear in t between t = n/N.

    lam is +inf at t = 0 and finite at t = 1: chains have no last level of pure noise, so start from the right Gaussian.

    Args:
        betas: The betas (N,), each in (0, 1).

    Raises:
        InputError: If a beta is not between 0 and 1.
    """

    def __init__(self, betas: Tensor) -> None:
        values = betas.detach().double().cpu()
        if values.ndim != 1 or not len(values) or not bool(((values > 0) & (values < 1)).all()):
            raise InputError(f"DiscreteSchedule: expected betas (N,) in (0, 1), got shape {tuple(betas.shape)}; a schedule needs a finite end")
        self._log_alpha = torch.cat([values.new_zeros(1), 0.5 * torch.log1p(-values).cumsum(0)])

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample."""
        table, time = self._log_alpha.to(_double(t).device), _double(t)
        left, share = self._piece(time)
        return table[left] + share * (table[left + 1] - table[left])

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise, sqrt(1 - alpha^2) without cancellation."""
        return torch.sqrt(-torch.expm1(2 * self.log_alpha(t)))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt), constant in log alpha within a piece; at a node those of the piece on its right."""
        time = _double(t)
        table, (left, _) = self._log_alpha.to(time.device), self._piece(time)
        slope = (table[left + 1] - table[left]) * (len(table) - 1)
        alpha, sigma = self(time)
        return alpha * slope, -(alpha**2) * slope / sigma

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        value = _double(lam)
        table, wanted = self._log_alpha.to(value.device), 0.5 * torch.logaddexp(torch.zeros_like(value), -2 * value)
        left = (torch.searchsorted(-table, wanted.contiguous()) - 1).clamp(0, len(table) - 2)
        share = (wanted + table[left]) / (table[left] - table[left + 1])
        return ((left + share) / (len(table) - 1)).clamp(0, 1)

    def _piece(self, time: Tensor) -> tuple[Tensor, Tensor]:
        place = time * (len(self._log_alpha) - 1)
        left = place.detach().floor().long().clamp(0, len(self._log_alpha) - 2)
        return left, place - left


class ShiftedSchedule(Schedule):
    r"""Another schedule with its noise multiplied by a factor, u -> kappa u, renormalised where it preserves the variance or the sum.

    A variance-preserving schedule stays one ($\alpha^2 + \sigma^2 = 1$), the linear path stays $\alpha + \sigma = 1$ (so that t becomes kappa t/(1 +
    (kappa - 1) t)), others keep alpha and multiply sigma: the norm $n(\alpha, \sigma)$ of the base is kept.

    Args:
        base: The schedule.
        factor: The factor kappa: the ratio of correlation lengths or resolutions, above 1 for more noise.
        keep: ``"alpha"``, ``"square"`` (alpha^2 + sigma^2) or ``"sum"`` (alpha + sigma): what of the base stays as it is.
    """

    def __init__(self, base: Schedule, factor: float, keep: str = "alpha") -> None:
        self.base, self.factor = base, check_positive(factor, "ShiftedSchedule.factor")
        if keep not in ("alpha", "square", "sum"):
            raise InputError(f'ShiftedSchedule: expected keep "alpha", "square" or "sum", got {keep!r}')
        self.keep = keep

    def _norm(self, t: Tensor | float) -> Tensor:
        """By what alpha and factor * sigma are divided."""
        alpha, sigma = self.base(t)
        if self.keep == "alpha":
            return torch.ones_like(alpha)
        if self.keep == "sum":
            return (alpha + self.factor * sigma) / (alpha + sigma)
        return torch.sqrt((alpha**2 + (self.factor * sigma) ** 2) / (alpha**2 + sigma**2))

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample."""
        return self.base.log_alpha(t) - torch.log(self._norm(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise."""
        return self.factor * self.base.sigma(t) / self._norm(t)

    def lam(self, t: Tensor | float) -> Tensor:
        """The base's, less log kappa."""
        return self.base.lam(t) - math.log(self.factor)

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt), from those of the base."""
        (alpha, sigma), (a, s) = self.base(t), self.base.rates(t)
        k, norm = self.factor, self._norm(t)
        if self.keep == "alpha":
            growth = torch.zeros_like(alpha)
        elif self.keep == "sum":
            growth = (a + k * s) / (alpha + k * sigma) - (a + s) / (alpha + sigma)
        else:
            growth = (alpha * a + k**2 * sigma * s) / (alpha**2 + k**2 * sigma**2) - (alpha * a + sigma * s) / (alpha**2 + sigma**2)
        return (a - alpha * growth) / norm, k * (s - sigma * growth) / norm

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        return self.base.time_of(_double(lam) + math.log(self.factor))
