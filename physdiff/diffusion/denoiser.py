"""The one question every diffusion method asks: given a noisy sample, what is the mean of the clean ones?

    D(x_t, t, cond) = E[x_0 | x_t, cond],    x_t = alpha x_0 + sigma eps

Score, noise and velocity follow from it by `parametrize`. Reference: Robbins, An empirical Bayes approach to
statistics, 1956 (Tweedie's formula); Karras et al., 2022.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from physdiff.base.saved import Saved
from physdiff.diffusion.schedule import Schedule

__all__ = ["Denoiser"]


class Denoiser(Saved, nn.Module, ABC):
    """The posterior mean of the clean sample. A final class sets `schedule` and gives `forward`."""

    schedule: Schedule

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Return E[x_0 given x_t].

        Args:
            x_t: Noisy sample (B, C, T, *S), float32 or float64.
            t: Diffusion times () or (B,).
            cond: The ENCODED condition (B or 1, C'', T, *S), on the grid of x_t.

        Returns:
            The posterior mean, shape and dtype of `x_t`.
        """

    def weight(self, t: Tensor) -> Tensor:
        """Weight of the squared error at time t: 1 + 1/u^2, which suits data of variance one; float64."""
        return 1 + torch.exp(2 * self.schedule.lam(t))
