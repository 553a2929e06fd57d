r"""Members from perturbed initial states, in the house of priors.

The known frames of a draw are moved by $\pm \tfrac{s}{\sqrt2}\, d$, d one of K differences of two states of the training data at one time of day,
which have the covariance C of the data twice: perturbations of covariance $s^2 C$ with structures that the model knows. The first block of a forecast
begins so; the next ones go on from what the members have become. What the model itself does wrong is not in this spread. Magnusson, Nycander and
Kaellen, Flow-dependent versus flow-independent initial perturbations, 2009.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.weight_ensemble import borrow
from physdiff.diffusion.window_prior import WindowPrior

__all__ = ["InputPerturbed"]


class InputPerturbed(WindowPrior):
    """A prior given known frames, begun from perturbed ones.

    Args:
        prior: The prior.
        differences: (K, C, history, *S), physical units; `state_differences` takes them from data.
        size: s, the standard deviation of the perturbation as a share of the data's.

    Raises:
        InputError: If the prior has no condition, or the size is negative.
        ShapeError: If the differences are not windows of its known frames.
    """

    no_posterior: ClassVar[str] = "its draws begin from states of their own; condition the prior inside it"

    def __init__(self, prior: WindowPrior, differences: Tensor, size: float) -> None:
        super().__init__()
        check_positive(size, "InputPerturbed size", zero=True)
        if prior.cond_spec is None:
            raise InputError("InputPerturbed: expected a prior given known frames, got one without; there is nothing to perturb")
        shape = differences.shape
        fits = differences.ndim == 3 + prior.spec.grid.ndim and shape[0] > 0 and 0 < shape[2] <= prior.spec.frames
        if not fits or (shape[1], *shape[3:]) != (len(prior.spec.names), *prior.spec.grid.shape):
            wanted = (len(prior.spec.names), "history", *prior.spec.grid.shape)
            raise ShapeError(f"InputPerturbed: expected differences (K, {', '.join(map(str, wanted))}), got {tuple(shape)}")
        # a gap in the training data perturbs nothing
        self.prior, self.size = prior, float(size)
        self.differences = differences.detach().nan_to_num(0.0)
        borrow(self, prior)

    @property
    def model(self) -> nn.Module:
        """The network."""
        return self.prior.model

    @property
    def onward(self) -> WindowPrior:
        """The prior as it is."""
        return self.prior

    def base(self, completed: Tensor | None) -> Tensor | None:
        """That of the prior."""
        return self.prior.base(completed)

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """See `WindowPrior.draw`; of the condition as it is given."""
        return self.prior.draw(noise, completed, rng=rng)

    def _sample(self, n: int, cond: Tensor | None, *, rng: Rng, max_batch: int, numbers: Sequence[int]) -> Tensor:
        if cond is None:
            return self.prior._sample(n, cond, rng=rng, max_batch=max_batch, numbers=numbers)  # which says what is missing
        dice = torch.special.ndtr(rng.child("perturbation").normal_each(range(n), (2,), like=torch.zeros((), dtype=torch.float64)))
        which = (dice[:, 0] * len(self.differences)).long().clamp_max(len(self.differences) - 1)
        sign = torch.where(dice[:, 1] < 0.5, -1.0, 1.0).reshape(-1, *[1] * (self.differences.ndim - 1))
        moved = (self.size / math.sqrt(2) * sign * self.differences[which]).to(cond)
        window = cond.expand(n, *cond.shape[1:]).clone()
        window[:, : moved.shape[1], : moved.shape[2]] += moved
        return self.prior._sample(n, window, rng=rng, max_batch=max_batch, numbers=numbers)
