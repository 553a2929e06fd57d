r"""In which representation do we learn: the abstract transform.

A transform maps a physical window $x$ (B, C, T, \*S) to coefficients $z$ (B, C', T', \*S') and back, `decode(encode(x)) == x` to rounding.
It may depend on the condition window (the hour of the day, the last known frame), which is always given in physical units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from physdiff.base.checks import check_finite
from physdiff.base.saved import Saved
from physdiff.grids.field_spec import FieldSpec

__all__ = ["Batches", "Sample", "Shape", "Transform"]

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """A batch of training windows on the way through the stages of a transform.

    Args:
        x: (B, C, T, *S); NaN where missing (behind a wavelet: where a cell holds no value at all).
        cond: Condition window (B, C', T, *S) in physical units, or None.
        known: Share of known cells of each entry of `x`, same shape, in [0, 1]; None: all known.
    """

    x: Tensor
    cond: Tensor | None = None
    known: Tensor | None = None


Batches = Callable[[], Iterator[Sample]]


class Transform(Saved, nn.Module, ABC):
    """Abstract invertible map between windows and coefficients.

    A final class gives `_encode`, `_decode` and `out_shape`; one with statistics also gives `fitted_from`.
    """

    def encode(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Window (B, C, T, *S) in physical units to coefficients (B, C', T', *S').

        Raises:
            InputError: If `x` holds NaN: missing values are filled before (`DiffusionPrior.encode` does it).
        """
        check_finite(x, f"{type(self).__name__}.encode", "fill missing values before a transform; a prior does it for you")
        return self._encode(x, cond)

    def decode(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        """Coefficients (B, C', T', *S') back to the window (B, C, T, *S)."""
        return self._decode(z, cond)

    @abstractmethod
    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        """The map itself; pointwise ones let NaN pass."""

    @abstractmethod
    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        """The inverse map."""

    @abstractmethod
    def out_shape(self, shape: Shape) -> Shape:
        """(C, T, *S) -> (C', T', *S')."""

    def weight(self, known: Tensor) -> Tensor:
        """Share of known cells behind each coefficient; `known` (B, C, T, *S) in [0, 1]. Default: pointwise."""
        return known

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> Transform:
        """The same transform with its statistics taken from training windows.

        Args:
            batches: Called once per pass; yields the windows as they reach this stage.
            spec: What the untransformed windows are (grid, time step, names).
            cond_spec: What the condition windows are.
        """
        del batches, spec, cond_spec
        return self
