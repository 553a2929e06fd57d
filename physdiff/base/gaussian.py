"""A diagonal Gaussian as a value: the form in which a transition of a reverse process is handed over.

log N(x; m, s) = sum_i [ -(x_i - m_i)^2 / (2 s_i^2) - log s_i - log(2 pi)/2 ]
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng

__all__ = ["Gaussian"]


@dataclass(frozen=True)
class Gaussian:
    """Independent normal entries with mean (B, ...) and a standard deviation that broadcasts against it.

    Args:
        mean: Tensor (B, *shape).
        std: Tensor that broadcasts against `mean`; zero where the transition is deterministic.
    """

    mean: Tensor
    std: Tensor

    def sample(self, rng: Rng) -> Tensor:
        """One draw per entry of the mean, (B, *shape)."""
        return self.mean + self.std * rng.normal(self.mean.shape, like=self.mean)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density at `x` (B, *shape), summed over all but the first dimension, (B,), in float64.

        Raises:
            InputError: If an entry has no spread: a deterministic transition has no density.
        """
        if not bool((self.std > 0).all()):
            raise InputError("Gaussian.log_prob: expected std > 0, got 0: a deterministic transition has no density; compare the means instead")
        mean, std, x = self.mean.double(), self.std.double(), x.double()
        entries = -0.5 * ((x - mean) / std) ** 2 - torch.log(std) - 0.5 * math.log(2 * math.pi)
        return entries.reshape(entries.shape[0], -1).sum(1)

    def shift(self, delta: Tensor) -> Gaussian:
        """The same Gaussian with its mean moved by `delta`."""
        return Gaussian(self.mean + delta, self.std)
