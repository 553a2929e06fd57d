r"""Draws from a posterior, possibly weighted, with what is known of their quality.

Normalised weights $w_i = e^{l_i}/\sum_j e^{l_j}$; effective sample size $1/\sum_i w_i^2$ (Kong, 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from physdiff.base.errors import CollapsedWeights, ShapeError
from physdiff.base.rng import Rng

__all__ = ["Ensemble"]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members with log weights.

    Args:
        members: (n, C, T, *S) in physical units.
        log_weights: (n,), float64, not normalised.
        info: What the sampler reports (ESS path, log evidence, acceptance, seconds, network evaluations), by name.

    Raises:
        ShapeError: If members and weights differ in number.
        CollapsedWeights: If no weight is finite.
    """

    members: Tensor
    log_weights: Tensor
    info: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.log_weights.shape != (self.members.shape[0],):
            raise ShapeError(f"Ensemble: expected {self.members.shape[0]} log weights, got shape {tuple(self.log_weights.shape)}")
        if bool(self.log_weights.isnan().any()) or not bool((self.log_weights > -torch.inf).any()):
            raise CollapsedWeights("Ensemble: expected finite log weights, got NaN or none above -inf; raise the noise or temper the likelihood")

    @classmethod
    def equal(cls, members: Tensor, info: Mapping[str, Tensor] | None = None) -> Ensemble:
        """An ensemble of equal weights."""
        return cls(members, torch.zeros(members.shape[0], dtype=torch.float64), info or {})

    @property
    def weights(self) -> Tensor:
        """Normalised weights, (n,), float64."""
        return torch.softmax(self.log_weights.double(), dim=0)

    @property
    def ess(self) -> float:
        """Effective sample size, between 1 and n."""
        return float(1.0 / (self.weights**2).sum())

    @property
    def equally_weighted(self) -> bool:
        """Whether all weights are equal; writers and scores ask for it."""
        return bool((self.log_weights == self.log_weights[0]).all())

    def mean(self) -> Tensor:
        """Weighted mean of the members, (C, T, *S)."""
        return torch.tensordot(self.weights.to(self.members), self.members, dims=1)

    def resample(self, rng: Rng, n: int | None = None) -> Ensemble:
        """Draw n members (default as many) in proportion to their weights by systematic resampling (Kitagawa, 1996)."""
        count = n or self.members.shape[0]
        offsets = (torch.arange(count, dtype=torch.float64) + rng.uniform((1,), like=self.log_weights.double().cpu())) / count
        cumulative = torch.cumsum(self.weights.cpu(), dim=0)
        cumulative[-1] = 1.0
        index = torch.searchsorted(cumulative, offsets, right=False).clamp_max(len(cumulative) - 1)
        return Ensemble.equal(self.members[index.to(self.members.device)], self.info)
