r"""Log weights of particles: normalised weights, effective sizes, evidence.

With weights $W_i = e^{l_i} / \sum_j e^{l_j}$ and increments $g_i$ (logarithms of what the weights are multiplied by):

$$ \mathrm{ESS} = \frac{1}{\sum_i W_i^2}, \qquad \mathrm{CESS}(g) = \frac{N (\sum_i W_i e^{g_i})^2}{\sum_i W_i e^{2 g_i}}, \qquad
   \log \frac{Z'}{Z} = \log \sum_i W_i e^{g_i}. $$

References: Kong, Liu and Wong, Sequential imputations and Bayesian missing data problems, 1994 (ESS); Zhou, Johansen and Aston, Toward automatic
model comparison, 2016 (CESS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from physdiff.base.errors import CollapsedWeights, ShapeError

__all__ = ["LogWeights"]

_REMEDY = "raise the noise std or temper the likelihood, take more particles or more steps, and check the unit of the readings"


@dataclass(frozen=True, eq=False)
class LogWeights:
    """Log weights of one population of particles, or of a batch of populations; a value, never changed in place.

    Args:
        values: (..., N), kept in float64, not normalised; -inf is a weight of zero.

    Raises:
        CollapsedWeights: If a weight is NaN or +inf, or all of a population are zero.
        ShapeError: If there is no particle.
    """

    values: Tensor
    _top: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        values = self.values.detach().double()
        if values.ndim < 1 or values.shape[-1] < 1:
            raise ShapeError(f"LogWeights: expected (..., particles), got shape {tuple(values.shape)}")
        # one pass finds both: NaN and +inf make the largest NaN or +inf, all zero makes it -inf
        top = values.amax(-1, keepdim=True)
        if not bool(top.isfinite().all()):
            bad = int((values.isnan() | (values == torch.inf)).sum())
            got = f"NaN or inf at {bad} of {values.numel()}" if bad else "zero weights only"
            raise CollapsedWeights(f"LogWeights: expected finite log weights (-inf for zero), got {got}; {_REMEDY}")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "_top", top)

    @classmethod
    def equal(cls, shape: Sequence[int], device: torch.device | None = None) -> LogWeights:
        """Equal weights of `shape` (..., N)."""
        return cls(torch.zeros(tuple(shape), dtype=torch.float64, device=device))

    @property
    def count(self) -> int:
        """Number N of particles of a population."""
        return self.values.shape[-1]

    @cached_property
    def _scaled(self) -> tuple[Tensor, Tensor, Tensor]:
        """The largest log weight, the weights over it, and their sum: one exponential serves everything below."""
        scaled = (self.values - self._top).exp_()
        return self._top, scaled, scaled.sum(-1, keepdim=True)

    @property
    def normalised(self) -> Tensor:
        """Weights W that sum to one over the last axis, (..., N), float64."""
        _, scaled, total = self._scaled
        return scaled / total

    @property
    def ess(self) -> Tensor:
        """Effective sample size of each population, (...), between 1 and N."""
        _, scaled, total = self._scaled
        return total[..., 0] ** 2 / torch.linalg.vector_norm(scaled, dim=-1) ** 2

    @property
    def log_mean(self) -> Tensor:
        """Logarithm of the mean weight, (...): what the evidence gains when the population is resampled and its weights reset to one."""
        top, _, total = self._scaled
        return (top + torch.log(total / self.count))[..., 0]

    def times(self, increments: Tensor) -> LogWeights:
        """The weights multiplied by e^increments (..., N); a particle of weight zero stays one, whatever its increment.

        Raises:
            ShapeError: If the shapes differ.
            CollapsedWeights: If the increment of a particle that counts is NaN or +inf, or no particle is left.
        """
        if increments.shape != self.values.shape:
            raise ShapeError(f"LogWeights.times: expected increments of shape {tuple(self.values.shape)}, got {tuple(increments.shape)}")
        total = self.values + increments.detach()  # float64, whatever the increments are
        if not bool(total.amax().isfinite()):
            # -inf + inf and -inf + NaN: only where the weight was zero already may that pass
            total = torch.where(self.values == -torch.inf, self.values, total)
        return LogWeights(total)

    def log_ratio(self, increments: Tensor) -> Tensor:
        """Growth of the log evidence by increments (..., N): the log of their weighted mean, (...)."""
        return torch.logsumexp(self.times(increments).values, -1) - torch.logsumexp(self.values, -1)

    def cess(self, increments: Tensor) -> Tensor:
        """Conditional effective sample size of increments (..., N), (...), between 1 and N: N where they are all equal, whatever the weights."""
        here, once = torch.log_softmax(self.values, -1), self.times(increments).values
        once = once - torch.logsumexp(self.values, -1, keepdim=True)
        twice = torch.where(here == -torch.inf, here, 2 * once - here)
        return self.count * torch.exp(2 * torch.logsumexp(once, -1) - torch.logsumexp(twice, -1))
