r"""From cell means to values at the faces: piecewise constant, MUSCL and WENO.

With one-sided differences $a = v_i - v_{i-1}$, $b = v_{i+1} - v_i$, MUSCL puts a line of slope $\sigma(a, b)$ through each cell, limited so
that no new extremum arises:

$$v_{i\pm 1/2} = v_i \pm \tfrac12\sigma, \qquad \sigma_{\text{van Leer}} = \frac{2ab}{a+b},\quad
\sigma_{\text{MC}} = \operatorname{minmod}(2a, 2b, \tfrac{a+b}{2}).$$

WENO5 mixes three parabolas with weights that leave out those which cross a jump; where the field is smooth the value at the face is of order 5.
``Z`` is sharper than ``JS`` and does not depend on the unit of the field; ``JS`` compares squares of differences with 1e-6. Steps must be small
against $h^{5/3}$ to see order 5 with a Runge-Kutta method of order 3.

References: van Leer, 1979; Jiang and Shu, Efficient implementation of weighted ENO schemes, 1996; Borges et al., 2008 (WENO-Z).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of

__all__ = ["MUSCL", "WENO5", "PiecewiseConstant", "Reconstruction", "mc", "minmod", "van_leer"]

Limiter = Callable[[Tensor, Tensor], Tensor]


def minmod(a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two slopes, zero where their signs differ: the most careful limiter."""
    smaller = torch.where(a.abs() < b.abs(), a, b)
    return torch.where(a * b > 0, smaller, torch.zeros_like(a))


def mc(a: Tensor, b: Tensor) -> Tensor:
    """Monotonised central: the mean slope, at most twice either one."""
    return minmod(minmod(2 * a, 2 * b), (a + b) / 2)


def van_leer(a: Tensor, b: Tensor) -> Tensor:
    """The harmonic mean of two slopes, zero where their signs differ; smooth."""
    same = a * b > 0
    # the denominator is made safe before dividing, else gradients through the other branch are not numbers
    total = torch.where(same, a + b, torch.ones_like(a))
    return torch.where(same, 2 * a * b / total, torch.zeros_like(a))


class Reconstruction(ABC):
    """Abstract way from cell means to the values at both faces of each cell.

    Attributes:
        reach: Cells needed on either side of one.
        order: Of accuracy at the faces where the field is smooth.
    """

    reach: ClassVar[int]
    order: ClassVar[int]

    @abstractmethod
    def sides(self, v: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Values at the lower and at the upper face of each cell along an axis, `reach` cells fewer at both ends.

        Args:
            v: Cell means, n cells along the axis.
            axis: The axis.

        Returns:
            Two tensors with n - 2 reach cells along the axis.
        """


@dataclass(frozen=True)
class PiecewiseConstant(Reconstruction):
    """The mean of the cell: order 1, the most robust."""

    reach: ClassVar[int] = 0
    order: ClassVar[int] = 1

    def sides(self, v: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """See Reconstruction.sides."""
        return v, v


@dataclass(frozen=True)
class MUSCL(Reconstruction):
    """A limited line: order 2.

    Args:
        limiter: `van_leer`, `mc`, `minmod`, or any function of the two one-sided differences.
    """

    limiter: Limiter = van_leer

    reach: ClassVar[int] = 1
    order: ClassVar[int] = 2

    def sides(self, v: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """See Reconstruction.sides."""
        n = v.shape[axis] - 1
        difference = v.narrow(axis, 1, n) - v.narrow(axis, 0, n)
        half = 0.5 * self.limiter(difference.narrow(axis, 0, n - 1), difference.narrow(axis, 1, n - 1))
        centre = v.narrow(axis, 1, n - 1)
        return centre - half, centre + half


@dataclass(frozen=True)
class WENO5(Reconstruction):
    """Three weighted parabolas: order 5.

    Args:
        weights: ``"JS"`` or ``"Z"``.

    Raises:
        InputError: If the weights are none of these.
    """

    weights: str = "JS"

    reach: ClassVar[int] = 2
    order: ClassVar[int] = 5

    def __post_init__(self) -> None:
        check_one_of(self.weights, ("JS", "Z"), "WENO5 weights")

    def sides(self, v: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """See Reconstruction.sides."""
        n = v.shape[axis] - 4
        a, b, c, d, e = (v.narrow(axis, i, n) for i in range(5))
        rough = (
            13 / 12 * (a - 2 * b + c) ** 2 + 0.25 * (a - 4 * b + 3 * c) ** 2,
            13 / 12 * (b - 2 * c + d) ** 2 + 0.25 * (b - d) ** 2,
            13 / 12 * (c - 2 * d + e) ** 2 + 0.25 * (3 * c - 4 * d + e) ** 2,
        )
        weigh = self._jiang_shu if self.weights == "JS" else self._borges
        sizes = weigh(rough)
        upper = _mix((a, b, c, d, e), [share * w for share, w in zip((0.1, 0.6, 0.3), sizes, strict=True)])
        lower = _mix((e, d, c, b, a), [share * w for share, w in zip((0.1, 0.6, 0.3), reversed(sizes), strict=True)])
        return lower, upper

    @staticmethod
    def _jiang_shu(rough: tuple[Tensor, ...]) -> list[Tensor]:
        return [(1e-6 + beta) ** -2 for beta in rough]

    @staticmethod
    def _borges(rough: tuple[Tensor, ...]) -> list[Tensor]:
        # as small as the square of a quotient by it allows
        epsilon = 1e-40 if rough[0].dtype == torch.float64 else 1e-16
        jump = (rough[0] - rough[2]).abs()
        return [1 + (jump / (beta + epsilon)) ** 2 for beta in rough]


def _mix(v: tuple[Tensor, ...], w: list[Tensor]) -> Tensor:
    """Value at the upper face of the middle one of five cells."""
    a, b, c, d, e = v
    parabolas = ((2 * a - 7 * b + 11 * c) / 6, (-b + 5 * c + 2 * d) / 6, (2 * c + 5 * d - e) / 6)
    return sum((x * y for x, y in zip(w, parabolas, strict=True)), torch.zeros_like(c)) / (w[0] + w[1] + w[2])
