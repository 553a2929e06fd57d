r"""What was measured: $y = A(x) + $ noise, in physical units.

A law enters the same way: the operator is the residual of the law, y = 0, and std is the tolerance.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from physdiff.base.checks import check_finite
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.noise import GaussianNoise, Noise, fitted_to

__all__ = ["LinearOperator", "MatrixOperator", "Observation", "Operator"]


class Operator(Saved, ABC):
    """Abstract map from windows in physical units to readings.

    Attributes:
        spec: What the windows are, if the operator depends on it; a posterior then checks that its prior draws the same.
        differentiable: Whether torch can differentiate it; methods with gradients refuse those that say no.
    """

    spec: FieldSpec | None = None
    differentiable: bool = True

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Window (B, C, T, *S) -> readings (B, *m), differentiable, each sample on its own."""


class LinearOperator(Operator):
    """Abstract linear (or affine) map; methods that need linearity ask for this type."""

    @abstractmethod
    def adjoint(self, r: Tensor) -> Tensor:
        """Transpose of the linear part: readings (B, *m) -> window (B, C, T, *S)."""


class MatrixOperator(LinearOperator):
    """A linear map given by its matrix: weighted means, line integrals, test problems.

    Args:
        matrix: (m, C, T, *S), one window of weights for each reading; (m, d) for windows of d entries in all.
        shape: (C, T, *S), only where `matrix` is (m, d).

    Raises:
        ShapeError: If the weights do not fit windows of `shape`.
    """

    def __init__(self, matrix: Tensor, shape: tuple[int, ...] | None = None) -> None:
        self.shape = tuple(matrix.shape[1:] if shape is None else shape)
        if len(self.shape) < 2 or matrix.shape[1:].numel() != torch.Size(self.shape).numel():
            raise ShapeError(f"MatrixOperator: expected one weight for each entry of a window (C, T, *S), got {tuple(matrix.shape)} for {self.shape}")
        self.matrix = check_finite(matrix, "MatrixOperator").flatten(1)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, m)."""
        if x.shape[1:] != self.shape:
            raise ShapeError(f"MatrixOperator: expected windows (batch, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        return x.flatten(1) @ self.matrix.to(x).T

    def adjoint(self, r: Tensor) -> Tensor:
        """(B, m) -> (B, C, T, *S)."""
        return (r @ self.matrix.to(r)).reshape(-1, *self.shape)


class Observation:
    """Readings with the operator that makes them and their noise.

    Args:
        operator: From windows to readings.
        y: Readings (*m) in physical units (axes of length one may be left out), or one number for all; NaN where nothing was read.
        std: Standard deviation of independent normal noise, in the unit of y.
        noise: Any other noise law, instead of std.

    Raises:
        InputError: If neither or both of std and noise are given, a reading is infinite or impossible under the noise law, or every one is missing.
    """

    def __init__(self, operator: Operator, y: Tensor | float, *, std: float | Tensor | None = None, noise: Noise | None = None) -> None:
        if noise is None and std is not None:
            noise = GaussianNoise(std)
        elif noise is None or std is not None:
            raise InputError("Observation: expected exactly one of std and noise; give std= for independent normal noise")
        self.operator, self.noise = operator, noise
        self.y = y if isinstance(y, Tensor) else torch.as_tensor(y, dtype=torch.float64)
        if bool(self.y.isinf().any()):
            raise InputError("Observation: expected finite readings, and NaN where nothing was read, got infinite ones; check the fill value")
        if not bool(self.y.isfinite().any()):
            raise InputError("Observation: expected at least one finite reading, got none; drop this observation")
        self.noise.check(self.y)

    def residual(self, x: Tensor) -> Tensor:
        """The misfit y - A(x), (B, *m); NaN where nothing was read.

        Raises:
            ShapeError: If y and A(x) do not fit.
        """
        predicted = self.operator(x)
        return self._readings(predicted) - predicted

    def seen(self, shape: torch.Size) -> Tensor:
        """True where there is a reading, of `shape` (*m)."""
        known = self.y.isfinite()
        return known.expand(shape) if self.y.ndim == 0 else fitted_to(known, shape, "Observation y")

    def log_prob(self, x: Tensor, extra_var: Tensor | None = None) -> Tensor:
        """Log likelihood of windows (B, C, T, *S) in physical units, a SUM over the readings there are, (B,), float64.

        It is -inf for a window whose own readings are not finite; only y decides what is missing.
        """
        predicted = self.operator(x)
        lost = ~predicted.isfinite() & self.seen(predicted.shape[1:]).to(predicted.device)
        value = self.noise.log_likelihood(self._readings(predicted), predicted, extra_var)
        return torch.where(lost.flatten(1).any(1), -torch.inf, value)

    def _readings(self, predicted: Tensor) -> Tensor:
        """Readings with the dtype, the device and (unless it is one number) the shape of A(x), (*m)."""
        y = self.y.to(predicted)
        return y if y.ndim == 0 else fitted_to(y, predicted.shape[1:], "Observation y")
