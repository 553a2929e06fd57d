r"""Draws from a posterior, possibly weighted, with what is known of their quality.

Normalised weights $w_i = e^{l_i}/\sum_j e^{l_j}$; effective sample size $1/\sum_i w_i^2$ (Kong, Liu and Wong, Sequential imputations and
Bayesian missing data problems, 1994).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from physdiff.base.errors import CollapsedWeights, InputError, ShapeError
from physdiff.base.rng import Rng

__all__ = ["Ensemble"]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Members with log weights.

    Args:
        members: (n, C, T, *S) in physical units.
        log_weights: (n,), not normalised; kept in float64. -inf is a weight of zero.
        info: What the sampler reports of its run (ESS path, log evidence, acceptance, seconds, network evaluations), by name.

    Raises:
        ShapeError: If members and weights differ in number.
        CollapsedWeights: If a weight is NaN or infinite, or all are zero.
    """

    members: Tensor
    log_weights: Tensor
    info: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.log_weights.shape != (self.members.shape[0],):
            raise ShapeError(f"Ensemble: expected {self.members.shape[0]} log weights, got shape {tuple(self.log_weights.shape)}")
        weights = self.log_weights.double()
        if bool((weights.isnan() | (weights == torch.inf)).any()) or not bool((weights > -torch.inf).any()):
            raise CollapsedWeights("Ensemble: expected finite log weights, got NaN, inf or none above -inf; raise the noise or temper the likelihood")
        object.__setattr__(self, "log_weights", weights)

    @classmethod
    def equal(cls, members: Tensor, info: Mapping[str, Tensor] | None = None) -> Ensemble:
        """An ensemble of equal weights."""
        return cls(members, torch.zeros(members.shape[0], dtype=torch.float64, device=members.device), info or {})

    @property
    def weights(self) -> Tensor:
        """Normalised weights, (n,), float64."""
        return torch.softmax(self.log_weights, dim=0)

    @property
    def ess(self) -> float:
        """Effective sample size, between 1 and n."""
        return float(1.0 / (self.weights**2).sum())

    @property
    def equally_weighted(self) -> bool:
        """Whether all weights are equal (to rounding); writers and scores ask for it."""
        return bool(((self.log_weights - self.log_weights[0]).abs() <= 1e-12).all())

    def mean(self) -> Tensor:
        """Weighted mean of the members, (C, T, *S)."""
        return torch.tensordot(self.weights.to(self.members), self.members, dims=1)

    def draws(self, what: str = "this") -> Tensor:
        """The members, if their weights are equal: for everything that cannot weight them.

        Args:
            what: Who asks, for the message.

        Raises:
            InputError: If the weights differ.
        """
        if not self.equally_weighted:
            share = f"{self.ess:.1f} of {self.members.shape[0]}"
            raise InputError(f"{what}: expected equally weighted members, got an effective {share}; use ensemble.resample(rng) first")
        return self.members

    def resample(self, rng: Rng, n: int | None = None) -> Ensemble:
        """Draw n members (default as many) in proportion to their weights by systematic resampling (Kitagawa, 1996).

        One uniform number u serves all: draw k is the first member whose cumulative weight exceeds (k + u)/n, so that a member of weight w is
        drawn n w times on average, and never by one more or less than that. `info` is kept; ``ancestors`` in it holds the index of each draw.

        Raises:
            InputError: If n is below one.
        """
        count = self.members.shape[0] if n is None else n
        if count < 1:
            raise InputError(f"Ensemble.resample: expected n >= 1, got {count}")
        cumulative = torch.cumsum(self.weights.cpu(), dim=0)
        offset = rng.uniform((1,), like=cumulative)
        places = (torch.arange(count, dtype=torch.float64) + offset) / count
        # divided by its last entry, which becomes one exactly: no draw falls behind the last member with a weight
        index = torch.searchsorted(cumulative / cumulative[-1], places, right=True).clamp_max(len(cumulative) - 1)
        return Ensemble.equal(self.members[index.to(self.members.device)], {**self.info, "ancestors": index})
