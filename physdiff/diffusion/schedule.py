"""Noise schedules: how much of a sample is left, and how much noise it carries, at diffusion time t.

    x_t = alpha(t) x_0 + sigma(t) eps,    lam = log(alpha / sigma)  (half the log signal-to-noise ratio),    u
    = sigma / alpha

Time runs over [0, 1], t = 0 is clean. Everything is computed in float64 and cast once, when it meets the
state (`per_sample`). References: Song et al., Score-based generative modeling through stochastic differential
equations, 2021 (VP, VE); Nichol and Dhariwal, Improved denoising diffusion probabilistic models, 2021
(cosine); Karras et al., Elucidating the design space of diffusion-based generative models, 2022 (EDM); Liu et
al., Flow straight and fast, 2022 (rectified).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.saved import Saved

__all__ = [
    "CosineSchedule",
    "EDMSchedule",
    "RectifiedSchedule",
    "Schedule",
    "VESchedule",
    "VPSchedule",
    "per_sample",
]


def per_sample(value: Tensor, like: Tensor) -> Tensor:
    """A coefficient () or (B,) as (1 or B, 1, ..., 1), with dtype and device of the state `like` (B, ...)."""
    return value.to(device=like.device, dtype=like.dtype).reshape(-1, *([1] * (like.ndim - 1)))


def _double(t: Tensor | float) -> Tensor:
    return torch.as_tensor(t, dtype=torch.float64)


class Schedule(Saved, ABC):
    """A noise schedule on t in [0, 1].

    A final class gives `log_alpha`, `sigma`, `time_of` and `rates`. All methods take a number or a tensor of any shape
    and return float64 tensors of that shape on the same device; they are differentiable.
    """

    @abstractmethod
    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample; -inf where nothing of it is left."""

    @abstractmethod
    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise."""

    @abstractmethod
    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`; values beyond the ends give the ends."""

    def alpha(self, t: Tensor | float) -> Tensor:
        """Factor on the clean sample."""
        return torch.exp(self.log_alpha(t))

    def lam(self, t: Tensor | float) -> Tensor:
        """Half log signal-to-noise ratio log(alpha/sigma), decreasing; infinite where the class says so."""
        return self.log_alpha(t) - torch.log(self.sigma(t))

    def noise_ratio(self, t: Tensor | float) -> Tensor:
        """The noise-to-signal ratio u = sigma/alpha = exp(-lam), increasing in t."""
        return torch.exp(-self.lam(t))

    @abstractmethod
    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt); d sigma/dt is infinite at t = 0 for VP and cosine."""

    def __call__(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The pair (alpha, sigma)."""
        return self.alpha(t), self.sigma(t)


class VPSchedule(Schedule):
    r"""Variance preserving with a linear rate, $\log\alpha = -(\beta_1-\beta_0)t^2/4 - \beta_0 t/2$.

    lam is +inf at t = 0 and finite at t = 1 (-5.03 with the defaults: alpha(1) = 0.0066).

    Args:
        beta_min: Rate at t = 0.
        beta_max: Rate at t = 1.
    """

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0) -> None:
        self.beta_min = check_positive(beta_min, "VPSchedule.beta_min")
        self.beta_max = check_positive(beta_max, "VPSchedule.beta_max")
        if beta_max < beta_min:
            raise InputError(f"VPSchedule: expected beta_min <= beta_max, got {beta_min} and {beta_max}; swap them")

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample."""
        time = _double(t)
        return -0.25 * (self.beta_max - self.beta_min) * time**2 - 0.5 * self.beta_min * time

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise, sqrt(1 - alpha^2) without cancellation."""
        return torch.sqrt(-torch.expm1(2 * self.log_alpha(t)))

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt), from alpha alpha' + sigma sigma' = 0."""
        alpha, sigma = self(t)
        rate = 0.5 * (self.beta_min + (self.beta_max - self.beta_min) * _double(t))
        return -alpha * rate, alpha**2 * rate / sigma

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        decay = _minus_log_alpha_squared(_double(lam))
        root = torch.sqrt(self.beta_min**2 + 2 * (self.beta_max - self.beta_min) * decay)
        return (2 * decay / (root + self.beta_min)).clamp(0, 1)


class CosineSchedule(Schedule):
    r"""Variance preserving with $\alpha = \cos(\frac\pi2\frac{t+c}{1+c}) / \cos(\frac\pi2\frac{c}{1+c})$.

    lam is +inf at t = 0 and -inf at t = 1, where nothing of the sample is left.

    Args:
        shift: The constant c, 0 or more; zero gives alpha = cos(pi t/2), sigma = sin(pi t/2).
    """

    def __init__(self, shift: float = 0.008) -> None:
        self.shift = check_positive(shift, "CosineSchedule.shift", zero=True)
        self._first = 0.5 * math.pi * shift / (1 + shift)
        self._slope = 0.5 * math.pi / (1 + shift)

    def alpha(self, t: Tensor | float) -> Tensor:
        """Factor on the clean sample, exactly zero at t = 1."""
        return torch.sin(self._slope * (1 - _double(t))) / math.cos(self._first)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample."""
        return torch.log(self.alpha(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise: cos^2 a - cos^2(a + d) = sin(2a + d) sin(d) keeps all digits."""
        d = self._slope * _double(t)
        return torch.sqrt(torch.sin(2 * self._first + d) * torch.sin(d)) / math.cos(self._first)

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt), from alpha alpha' + sigma sigma' = 0."""
        alpha, sigma = self(t)
        rate = self._slope * torch.cos(self._slope * (1 - _double(t))) / math.cos(self._first)
        return -rate, alpha * rate / sigma

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        value = _double(lam)
        sine, cosine = math.sin(self._first), math.cos(self._first)
        raised = torch.sigmoid(-2 * value) * cosine**2  # sin^2(a + d) - sin^2 a
        end = torch.sqrt(sine**2 + raised)
        angle = torch.atan2(end, torch.sigmoid(2 * value).sqrt() * cosine)
        # sin b - sin a = 2 cos((a+b)/2) sin((b-a)/2): b - a itself would cancel near t = 0
        total = (end + sine).clamp_min(torch.finfo(torch.float64).tiny)
        d = 2 * torch.asin((raised / (2 * total * torch.cos(0.5 * (angle + self._first)))).clamp(0, 1))
        return (d / self._slope).clamp(0, 1)


class _LogUniformSchedule(Schedule, ABC):
    """Variance exploding, uniform in log sigma: alpha = 1, sigma = sigma_min (sigma_max/sigma_min)^t."""

    sigma_min: float
    sigma_max: float

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Zero: the sample keeps its scale."""
        return torch.zeros_like(_double(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise."""
        return torch.exp(math.log(self.sigma_min) + math.log(self.sigma_max / self.sigma_min) * _double(t))

    def lam(self, t: Tensor | float) -> Tensor:
        """-log sigma, linear in t."""
        return -math.log(self.sigma_min) - math.log(self.sigma_max / self.sigma_min) * _double(t)

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt)."""
        sigma = self.sigma(t)
        return torch.zeros_like(sigma), math.log(self.sigma_max / self.sigma_min) * sigma

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        value = (-_double(lam) - math.log(self.sigma_min)) / math.log(self.sigma_max / self.sigma_min)
        return value.clamp(0, 1)


class VESchedule(_LogUniformSchedule):
    r"""Variance exploding: $\alpha = 1$, $\sigma = \sigma_{min} (\sigma_{max}/\sigma_{min})^t$.

    lam is finite at both ends; at t = 0 the noise is sigma_min, not zero.

    Args:
        sigma_min: Noise at t = 0; its square must be below the smallest spectral variance that shall survive.
        sigma_max: Noise at t = 1; 2 to 5 times the largest distance between two samples.
    """

    def __init__(self, sigma_min: float = 0.01, sigma_max: float = 100.0) -> None:
        self.sigma_min, self.sigma_max = _checked_range(sigma_min, sigma_max, "VESchedule")


class EDMSchedule(_LogUniformSchedule):
    r"""The range of Karras et al. (2022), $\alpha = 1$, $\sigma$ from 0.002 to 80, uniform in log sigma.

    lam is finite at both ends; at t = 0 the noise is sigma_min, not zero. The time grid that goes with it is
    `timesteps(kind="edm")`.

    Args:
        sigma_min: Noise at t = 0.
        sigma_max: Noise at t = 1.
    """

    def __init__(self, sigma_min: float = 0.002, sigma_max: float = 80.0) -> None:
        self.sigma_min, self.sigma_max = _checked_range(sigma_min, sigma_max, "EDMSchedule")


class RectifiedSchedule(Schedule):
    r"""The linear path of rectified flow and flow matching: $\alpha = 1 - t$, $\sigma = t$.

    lam is +inf at t = 0 and -inf at t = 1.
    """

    def alpha(self, t: Tensor | float) -> Tensor:
        """Factor on the clean sample."""
        return 1 - _double(t)

    def log_alpha(self, t: Tensor | float) -> Tensor:
        """Logarithm of the factor on the clean sample."""
        return torch.log1p(-_double(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        """Standard deviation of the noise."""
        return _double(t).clone()

    def rates(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """The derivatives (d alpha/dt, d sigma/dt) = (-1, 1)."""
        one = torch.ones_like(_double(t))
        return -one, one

    def time_of(self, lam: Tensor | float) -> Tensor:
        """The time at which lam(t) = `lam`."""
        return torch.sigmoid(-_double(lam))


def _minus_log_alpha_squared(lam: Tensor) -> Tensor:
    # softplus(-2 lam); torch's own softplus drops the tail beyond 20
    return torch.logaddexp(torch.zeros_like(lam), -2 * lam)


def _checked_range(low: float, high: float, what: str) -> tuple[float, float]:
    check_positive(low, f"{what}.sigma_min")
    check_positive(high, f"{what}.sigma_max")
    if high <= low:
        raise InputError(f"{what}: expected sigma_min < sigma_max, got {low} and {high}; swap them")
    return low, high
