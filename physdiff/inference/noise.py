r"""Noise of an observation: how likely is a misfit $r = y - A(x)$.

Missing readings (NaN in y) do not count. `extra_var` is the variance of A(x) itself, as a denoiser's uncertainty pushed through the
operator; it adds to the noise variance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.saved import Saved

__all__ = ["GaussianNoise", "Noise"]


class Noise(Saved, ABC):
    """Abstract noise law of the misfit."""

    @abstractmethod
    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Sum over observed (finite) entries of the log density of residual (B, ...) -> (B,), float64."""

    @abstractmethod
    def variance(self, like: Tensor) -> Tensor:
        """Variance per entry of one reading, shaped like `like` (without batch)."""


class GaussianNoise(Noise):
    """Independent normal noise.

    Args:
        std: Standard deviation in the unit of the readings; one number or one per entry of y.

    Raises:
        InputError: If a standard deviation is not a positive finite number.
    """

    def __init__(self, std: float | Tensor) -> None:
        self.std = torch.as_tensor(std, dtype=torch.float64)
        if not bool((self.std.isfinite() & (self.std > 0)).all()):
            raise InputError(f"GaussianNoise: expected positive finite standard deviations, got minimum {float(self.std.min())}")

    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        r"""$-\sum_i [r_i^2/(2 v_i) + \log(2\pi v_i)/2]$ with $v_i = $ std$_i^2$ + extra variance; see Noise.log_prob."""
        r = residual.double()
        v = self.variance(r[0]).to(r.device)
        if extra_var is not None:
            v = v + extra_var.to(r)
        terms = -0.5 * r**2 / v - 0.5 * torch.log(2 * math.pi * v)
        return torch.where(r.isfinite(), terms, torch.zeros_like(terms)).flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        """std^2 per entry, float64."""
        return (self.std**2).to(like.device).expand(like.shape)
