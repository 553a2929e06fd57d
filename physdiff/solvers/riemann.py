r"""Fluxes between two states at a face: Rusanov, HLL, HLLC and Godunov's for Burgers.

$$F_{\text{Rusanov}} = \tfrac12(F_L + F_R) - \tfrac12 s_{\max}(u_R - u_L), \qquad
F_{\text{HLL}} = \frac{S_R F_L - S_L F_R + S_L S_R (u_R - u_L)}{S_R - S_L}\;\text{ where } S_L < 0 < S_R.$$

HLLC restores the contact wave between the two: a density jump or a shear at rest stays as it is. Speeds are those of Davis,
$S_L = \min(u_L - c_L, u_R - c_R)$, $S_R = \max(u_L + c_L, u_R + c_R)$. References: Toro, Riemann Solvers and Numerical Methods for Fluid
Dynamics, 2009;
Toro, Spruce and Speares, 1994; Godunov, 1959.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.ideal_gas import IdealGas
from physdiff.pdes.pde import PDE

__all__ = ["HLL", "HLLC", "Face", "Godunov", "RiemannFlux", "Rusanov"]


@dataclass(frozen=True)
class Face:
    """Where a flux is taken.

    Args:
        D: Knows the coordinates of the faces.
        t: Time.
        direction: Normal of the faces, 0, 1, 2 for x, y, z.
    """

    D: Operators
    t: float
    direction: int


class RiemannFlux(ABC):
    """Abstract flux through a face from the states on both sides; it must be the law's flux where they are equal."""

    def check(self, pde: PDE) -> None:
        """Raise InputError if the law is none for this flux; default: any law will do."""
        return None

    @abstractmethod
    def through(self, pde: PDE, left: Fields, right: Fields, *, face: Face) -> dict[str, Tensor]:
        """Flux of each field along the normal.

        Args:
            pde: The law, bound to the fields.
            left: Fields on the lower side.
            right: Fields on the upper side.
            face: Place, time and normal.
        """


@dataclass(frozen=True)
class Rusanov(RiemannFlux):
    """One speed for all waves: any law with `flux` and `speeds`, robust, smears contacts."""

    def through(self, pde: PDE, left: Fields, right: Fields, *, face: Face) -> dict[str, Tensor]:
        """See RiemannFlux.through."""
        i = face.direction
        below, above = (pde.flux(u, face.D, face.t) for u in (left, right))
        half = torch.maximum(pde.speeds(left, face.D, face.t)[i], pde.speeds(right, face.D, face.t)[i]) / 2
        return {name: (below[name][i] + above[name][i]) / 2 - half * (right[name] - left[name]) for name in pde.fields}


@dataclass(frozen=True)
class HLL(RiemannFlux):
    """The slowest and the fastest wave: laws with a velocity among their primitive variables (gas, shallow water)."""

    def check(self, pde: PDE) -> None:
        """See RiemannFlux.check."""
        if not any(name.startswith("momentum_") for name in pde.fields):
            raise InputError(f"HLL: expected a law with momentum, whose waves move with its velocity, got {type(pde).__name__}; use Rusanov()")

    def through(self, pde: PDE, left: Fields, right: Fields, *, face: Face) -> dict[str, Tensor]:
        """See RiemannFlux.through."""
        i = face.direction
        below, above = (pde.flux(u, face.D, face.t) for u in (left, right))
        low, high = _outer_speeds(pde, left, right, face)
        # without waves both ways one of the two is zero, and the flux that of the upwind side
        low, high = low.clamp(max=0), high.clamp(min=0)
        width = high - low
        safe = torch.where(width > 0, width, torch.ones_like(width))
        made = {}
        for name in pde.fields:
            mixed = (high * below[name][i] - low * above[name][i] + low * high * (right[name] - left[name])) / safe
            made[name] = torch.where(width > 0, mixed, (below[name][i] + above[name][i]) / 2)
        return made


@dataclass(frozen=True)
class HLLC(RiemannFlux):
    """HLL with the contact wave: for gases. Strong shocks along a grid line may want HLL or Rusanov (carbuncle)."""

    def check(self, pde: PDE) -> None:
        """See RiemannFlux.check."""
        if not isinstance(pde, IdealGas):
            raise InputError(f"HLLC: expected a law of a gas (Euler, CompressibleNavierStokes), got {type(pde).__name__}; use HLL() or Rusanov()")

    def through(self, pde: PDE, left: Fields, right: Fields, *, face: Face) -> dict[str, Tensor]:
        """See RiemannFlux.through."""
        assert isinstance(pde, IdealGas)
        i = face.direction
        below, above = (pde.flux(u, face.D, face.t) for u in (left, right))
        low, high = _outer_speeds(pde, left, right, face)
        v = [pde.velocity(u)[i] for u in (left, right)]
        p = [pde.pressure(u) for u in (left, right)]
        inflow = left["density"] * (low - v[0]), right["density"] * (high - v[1])
        middle = (p[1] - p[0] + inflow[0] * v[0] - inflow[1] * v[1]) / (inflow[0] - inflow[1])
        star = [_star(pde, u, face, inside=(s, middle)) for u, s in ((left, low), (right, high))]
        made = {}
        for name in pde.fields:
            inner_left = below[name][i] + low * (star[0][name] - left[name])
            inner_right = above[name][i] + high * (star[1][name] - right[name])
            inner = torch.where(middle >= 0, inner_left, inner_right)
            made[name] = torch.where(low >= 0, below[name][i], torch.where(high <= 0, above[name][i], inner))
        return made


@dataclass(frozen=True)
class Godunov(RiemannFlux):
    """The exact solution at the face, max(f(max(u_L, 0)), f(min(u_R, 0))) with f = u^2 / 2: Burgers."""

    def check(self, pde: PDE) -> None:
        """See RiemannFlux.check."""
        if not isinstance(pde, Burgers):
            raise InputError(f"Godunov: expected Burgers, whose Riemann problem it solves exactly, got {type(pde).__name__}; use Rusanov()")

    def through(self, pde: PDE, left: Fields, right: Fields, *, face: Face) -> dict[str, Tensor]:
        """See RiemannFlux.through."""
        return {"u": torch.maximum(left["u"].clamp(min=0) ** 2, right["u"].clamp(max=0) ** 2) / 2}


def _outer_speeds(pde: PDE, left: Fields, right: Fields, face: Face) -> tuple[Tensor, Tensor]:
    """Speeds of the slowest and the fastest wave along the normal."""
    name = f"velocity_{'xyz'[face.direction]}"
    bounds = []
    for u in (left, right):
        v = pde.primitive(u, face.D, face.t)[name]
        c = pde.speeds(u, face.D, face.t)[face.direction] - v.abs()
        bounds.append((v - c, v + c))
    return torch.minimum(bounds[0][0], bounds[1][0]), torch.maximum(bounds[0][1], bounds[1][1])


def _star(pde: IdealGas, u: Fields, face: Face, *, inside: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """The state between an outer wave and the contact."""
    outer, middle = inside
    i, density = face.direction, u["density"]
    velocity = pde.velocity(u)
    gap = outer - middle
    # zero only where the wave is the contact itself, and then the state is not used
    safe = torch.where(gap == 0, torch.ones_like(gap), gap)
    made = {"density": density * (outer - velocity[i]) / safe}
    for j, (x, v) in enumerate(zip("xyz", velocity, strict=False)):
        made[f"momentum_{x}"] = made["density"] * (middle if i == j else v)
    push = middle + pde.pressure(u) / (density * (outer - velocity[i]))
    made["energy"] = made["density"] * (u["energy"] / density + (middle - velocity[i]) * push)
    return made
