r"""What was measured: $y = A(x) + $ noise, in physical units.

A law enters the same way: the operator is the residual of the law, y = 0, and std is the tolerance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.inference.noise import GaussianNoise, Noise

__all__ = ["LinearOperator", "Observation", "Operator"]


class Operator(Saved, ABC):
    """Abstract map from windows in physical units to readings."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Window (B, C, T, *S) -> readings (B, *m), differentiable."""


class LinearOperator(Operator):
    """Abstract linear (or affine) map; methods that need linearity ask for this type."""

    @abstractmethod
    def adjoint(self, r: Tensor) -> Tensor:
        """Transpose of the linear part: readings (B, *m) -> window (B, C, T, *S)."""


class Observation:
    """Readings with the operator that makes them and their noise.

    Args:
        operator: From windows to readings.
        y: Readings (*m), one number for all, or NaN where nothing was read.
        std: Standard deviation of independent normal noise, in the unit of y.
        noise: Any other noise law, instead of std.

    Raises:
        InputError: If neither or both of std and noise are given, or every reading is missing.
    """

    def __init__(
        self, operator: Operator, y: Tensor | float, *, std: float | Tensor | None = None, noise: Noise | None = None
    ) -> None:
        if (std is None) == (noise is None):
            raise InputError("Observation: expected exactly one of std and noise")
        self.operator = operator
        self.y = torch.as_tensor(y)
        if not bool(self.y.isfinite().any()):
            raise InputError("Observation: expected at least one finite reading, got none")
        self.noise = noise if noise is not None else GaussianNoise(std if std is not None else 1.0)

    def residual(self, x: Tensor) -> Tensor:
        """y - A(x), (B, *m); NaN where nothing was read.

        Raises:
            ShapeError: If y and A(x) do not fit.
        """
        predicted = self.operator(x)
        y = self.y.to(predicted)
        if y.ndim and y.shape != predicted.shape[1:]:
            raise ShapeError(f"Observation: expected readings of shape {tuple(predicted.shape[1:])}, got {tuple(y.shape)}")
        return y - predicted

    def log_prob(self, x: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Log likelihood of windows (B, C, T, *S) in physical units, a SUM over observed entries, (B,), float64."""
        return self.noise.log_prob(self.residual(x), extra_var)
