r"""Noise of an observation: how likely is a misfit $r = y - A(x)$.

Missing readings are NaN in $r$; they do not count, and give no gradient. `extra_var` is the variance of A(x) itself, as a denoiser's
uncertainty pushed through the operator; it adds to the noise variance.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved

__all__ = ["GaussianNoise", "Noise", "fitted_to"]


class Noise(Saved, ABC):
    """Abstract noise law of the misfit."""

    @abstractmethod
    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Sum over the entries that are not NaN of the log density of a residual (B, *m) -> (B,), float64."""

    @abstractmethod
    def variance(self, like: Tensor) -> Tensor:
        """Variance per entry of one reading, shaped like `like` (*m), float64."""


class GaussianNoise(Noise):
    """Independent normal noise.

    Args:
        std: Standard deviation in the unit of the readings; one number, or a tensor that broadcasts against the readings.

    Raises:
        InputError: If a standard deviation is not a positive finite number.
    """

    def __init__(self, std: float | Tensor) -> None:
        self.std = torch.as_tensor(std, dtype=torch.float64)
        bad = ~(self.std.isfinite() & (self.std > 0))
        if bool(bad.any()):
            raise InputError(
                f"GaussianNoise: expected positive finite standard deviations, got {float(self.std[bad][0]):g}; "
                "for readings without error give a std small against the field's"
            )

    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        r"""$-\sum_i [r_i^2/(2 v_i) + \log(2\pi v_i)/2]$ with $v_i = $ std$_i^2$ + extra variance.

        Args:
            residual: (B, *m); NaN where nothing was read.
            extra_var: Broadcasts against the residual, in squared units of the readings.

        Returns:
            (B,), float64.
        """
        r = residual.double()
        missing = r.isnan()
        # cleaned before the square: a NaN in the branch not taken would still make the gradient NaN
        r = torch.where(missing, 0.0, r)
        v = self.variance(r[0])
        if extra_var is not None:
            v = v + extra_var.to(r)
        terms = -0.5 * r**2 / v - 0.5 * torch.log(2 * math.pi * v)
        return torch.where(missing, 0.0, terms).flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        """std^2 per entry, shaped like `like`, float64.

        Raises:
            ShapeError: If the standard deviations do not fit the readings.
        """
        std = self.std.to(like.device)
        try:
            return (std**2).expand(like.shape)
        except RuntimeError:
            return fitted_to(std**2, like.shape, "GaussianNoise std")


def fitted_to(values: Tensor, shape: Sequence[int], what: str) -> Tensor:
    """`values` in `shape`, where both are the same but for axes of length one.

    Raises:
        ShapeError: If they are not.
    """
    if [n for n in values.shape if n != 1] != [n for n in shape if n != 1]:
        raise ShapeError(f"{what}: expected shape {tuple(shape)} (axes of length one may be left out), got {tuple(values.shape)}")
    return values.reshape(tuple(shape))
