r"""Exact solutions of the generalised porous medium equation, with moving fronts.

- `travelling_front`: $u = (m\,(t - x)_+)^{1/m}$ for $k = u^m$, driven by $u(0, t) = (m t)^{1/m}$; front at x = t.
- `barenblatt`: a point mass that spreads, $U = s^{-\alpha}(C - \kappa r^2 s^{-2\beta})_+^{1/m}$ with $s = t/(m+1)$, $\beta = 1/(dm + 2)$,
  $\alpha = d\beta$, $\kappa = \beta m/(2(m + 1))$ (Barenblatt, 1952; Zeldovich and Kompaneets, 1950).
- `StefanFront`: $u = 1 - (1 - u^*)\,\mathrm{erf}(x/2\sqrt t)/\mathrm{erf}(z)$ behind the front $x = 2z\sqrt t$ and nothing before it, for k = 1 above
  $u^*$ and 0 below, where $u^*\,\mathrm{erf}(z)\,z\,e^{z^2} = (1 - u^*)/\sqrt\pi$ (Stefan, 1889; Hansen et al., ProbConserv, 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.saved import Saved

__all__ = ["StefanFront", "barenblatt", "travelling_front", "travelling_front_mass"]


def travelling_front(x: Tensor, t: float | Tensor, *, exponent: float | Tensor) -> Tensor:
    """U at x >= 0 and times t, broadcast; the exponent m is a positive number or a Tensor that broadcasts with x."""
    behind = exponent * (t - x)
    filled = behind > 0
    return torch.where(filled, torch.where(filled, behind, torch.ones_like(behind)) ** (1 / exponent), 0.0)


def travelling_front_mass(t: float | Tensor, *, exponent: float | Tensor) -> float | Tensor:
    """Integral of the travelling front over x >= 0: m^(1 + 1/m) t^(1 + 1/m) / (m + 1)."""
    power = 1 + 1 / exponent
    return exponent**power * t**power / (exponent + 1)


def barenblatt(*coordinates_and_time: Tensor | float, exponent: float | Tensor, height: float = 1.0) -> Tensor:
    """A spreading point mass for k = u^exponent, at x, [y, [z,]] and t > 0.

    Args:
        coordinates_and_time: Coordinates, of one shape, and the time.
        exponent: m, positive; a number or a Tensor that broadcasts with the coordinates.
        height: C, positive: the density to the power m in the middle at t = m + 1.
    """
    *points, t = coordinates_and_time
    squares = [x**2 for x in points if isinstance(x, Tensor)]
    r2, s, d = sum(squares[1:], squares[0]), t / (exponent + 1), len(squares)
    beta = 1 / (d * exponent + 2)
    kappa = beta * exponent / (2 * (exponent + 1))
    inside = check_positive(height, "barenblatt height") - kappa * r2 * s ** (-2 * beta)
    filled = inside > 0
    return torch.where(filled, s ** (-d * beta) * torch.where(filled, inside, torch.ones_like(inside)) ** (1 / exponent), 0.0)


@dataclass(frozen=True)
class StefanFront(Saved):
    """Melting from x = 0, where u = 1; ahead of the front nothing.

    Args:
        threshold: u* between 0 and 1, the value behind the front.

    Raises:
        InputError: If it is not.
    """

    threshold: float

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise InputError(f"StefanFront threshold: expected a number between 0 and 1, got {self.threshold!r}")

    @property
    def z(self) -> float:
        """Half the front's position at t = 1, by bisection to rounding."""
        goal = (1 - self.threshold) / (self.threshold * math.sqrt(math.pi))
        low, high = 0.0, 1.0
        while math.erf(high) * high * math.exp(high**2) < goal:
            high *= 2
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if math.erf(middle) * middle * math.exp(middle**2) < goal else (low, middle)
        return (low + high) / 2

    def front(self, t: float) -> float:
        """Where it is, 2 z sqrt(t)."""
        return 2 * self.z * math.sqrt(t)

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """U at x >= 0 and one time t > 0."""
        behind = 1 - (1 - self.threshold) * torch.erf(x / (2 * math.sqrt(t))) / math.erf(self.z)
        return torch.where(x <= self.front(t), behind, torch.zeros_like(x))

    def mass(self, t: float) -> float:
        """Integral over x >= 0: 2 (1 - u*) sqrt(t / pi) / erf(z)."""
        return 2 * (1 - self.threshold) / math.erf(self.z) * math.sqrt(t / math.pi)
