r"""Zero mean and unit variance: $z = (x - m)/s$.

Statistics skip missing values; an entry known to less than one half does not count. What is constant gets $s = 1$, so that it becomes zero
rather than a division by nothing. Constant is what varies by less than 1e-6 of its mean, or of the largest deviation of its channel: never
of another channel, whose unit may be another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, NotFitted
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.transform import Batches, Shape, Transform

__all__ = ["Moments", "Normalizer", "guarded"]

_AXES = ("channel", "time", "space")


class Moments:
    """Mean and variance in one pass over batches (Chan, Golub and LeVeque, 1979), in float64, missing values skipped.

    Args:
        per: What gets statistics of its own, a subset of channel, time, space; everything else is averaged over.
    """

    def __init__(self, per: tuple[str, ...]) -> None:
        self.per = per
        self.count, self.mean, self.square = (torch.zeros(()).double() for _ in range(3))

    def add(self, x: Tensor, known: Tensor | None = None) -> None:
        """Take in (B, C, T, *S); NaN and entries known to less than one half are left out."""
        over = [0] + [d for d in range(1, x.ndim) if _AXES[min(d, 3) - 1] not in self.per]
        x = x.double()
        use = x.isfinite() if known is None else x.isfinite() & (known >= 0.5)
        n = use.sum(over, keepdim=True).double()[0]
        safe = n.clamp_min(1)
        mean = torch.where(use, x, 0.0).sum(over, keepdim=True)[0] / safe
        square = torch.where(use, (x - mean) ** 2, 0.0).sum(over, keepdim=True)[0]
        total = (self.count + n).clamp_min(1)
        delta = mean - self.mean
        self.square = self.square + square + delta**2 * self.count * n / total
        self.mean = self.mean + torch.where(n > 0, delta * n / total, 0.0)
        self.count = self.count + n

    @property
    def std(self) -> Tensor:
        """Standard deviation (population form) of the values seen."""
        return (self.square / self.count.clamp_min(1)).sqrt()


class Normalizer(Transform):
    """Subtract a mean and divide by a standard deviation.

    Args:
        per: Which axes have statistics of their own, a subset of ``("channel", "time", "space")``.
        mean: Broadcasts against (C, T, *S); None until fitted.
        std: Likewise, positive.
        centre: Whether a mean is subtracted when fitted; increments and anomalies may keep their zero.

    Raises:
        InputError: If `per` names something else or `std` is not positive.
        NotFitted: If used before `fitted`.
    """

    def __init__(
        self, per: tuple[str, ...] = ("channel",), mean: Tensor | None = None, std: Tensor | None = None, *, centre: bool = True
    ) -> None:
        super().__init__()
        unknown = set(per) - set(_AXES)
        if unknown or (mean is None) != (std is None):
            raise InputError(f"Normalizer: expected per within {_AXES} and mean and std together, got per = {per}")
        if std is not None and not bool((std > 0).all()):
            raise InputError("Normalizer: expected a positive std; leave constant fields at 1")
        self.per, self.centre = tuple(per), centre
        self.mean: Tensor | None
        self.std: Tensor | None
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.std is None:
            raise NotFitted("Normalizer: expected statistics, got none; use fitted(transform, data) first")
        return self.mean.to(like), self.std.to(like)

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        mean, std = self._statistics(x)
        return (x - mean) / std

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        mean, std = self._statistics(z)
        return z * std + mean

    def out_shape(self, shape: Shape) -> Shape:
        """The shape does not change."""
        return shape

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> Normalizer:
        """Take the statistics of the windows; one that has statistics stays as it is. See Transform.fitted_from."""
        if self.mean is not None:
            return self
        moments = Moments(self.per)
        for sample in batches():
            moments.add(sample.x, sample.known)
        if not bool((moments.count > 0).any()):
            raise InputError("Normalizer: expected at least one known value to take statistics of, got none")
        mean = moments.mean if self.centre else torch.zeros_like(moments.mean)
        std = moments.std if self.centre else (moments.std**2 + moments.mean**2).sqrt()
        return Normalizer(self.per, mean.float(), guarded(moments.mean, std).float(), centre=self.centre)


def guarded(mean: Tensor, std: Tensor) -> Tensor:
    """`std` (C, T, *S), with 1 in the place of what is constant: float32 cannot tell 1e-6 of a value from rounding."""
    widest = std.amax(tuple(range(1, std.ndim)), keepdim=True) if std.ndim > 1 else std
    return torch.where(std <= 1e-6 * torch.maximum(mean.abs(), widest), torch.ones_like(std), std)
