r"""Diffusion whose conductivity depends on what diffuses: the generalised porous medium equation.

$$\partial_t u = \nabla\cdot(k(u)\,\nabla u) = \nabla^2\,\Phi(u), \qquad \Phi(u) = \int_0^u k(v)\,dv$$

with Kirchhoff's integral $\Phi$, in which the equation stays meaningful where k vanishes or jumps. k = 1 is heat; $k = u^m$ the porous medium
equation proper, whose fronts move at finite speed; a k that jumps from nothing to one at $u^*$ Stefan's problem. Without flux through the walls the
integral of u is kept; u stays between its extremes. References: Vazquez, The Porous Medium Equation, 2007; Kirchhoff, 1894.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.saved import Saved
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean

__all__ = ["Conductivity", "JumpConductivity", "PorousMedium", "PowerConductivity"]


class Conductivity(Saved):
    """Abstract k(u); subclasses are frozen dataclasses whose parameters are numbers or Tensors () or (B,)."""

    @abstractmethod
    def at(self, u: Tensor) -> Tensor:
        """k(u), at least zero, of u's shape: the derivative of `integral`."""

    @abstractmethod
    def integral(self, u: Tensor) -> Tensor:
        """Kirchhoff's integral of k from 0 to u, of u's shape, differentiable in u and in the parameters."""


@dataclass(frozen=True, eq=False)
class PowerConductivity(Conductivity):
    """k = scale u^exponent for u above zero and, unless the exponent is zero, nothing below.

    Args:
        exponent: m, at least zero; 0 is heat.
        scale: k at u = 1, length squared per time.

    Raises:
        InputError: If one of them is negative or not finite.
    """

    exponent: Parameter
    scale: Parameter = 1.0

    def __post_init__(self) -> None:
        check_parameter(self.exponent, "PowerConductivity exponent", sign=-1)
        check_parameter(self.scale, "PowerConductivity scale", sign=-1)

    def at(self, u: Tensor) -> Tensor:
        """k(u)."""
        m, filled = torch.as_tensor(self.exponent, dtype=u.dtype, device=u.device), u > 0
        # powers of a safe number: derivatives at empty places are zero and not infinite
        return self.scale * torch.where(m == 0, torch.ones_like(u), torch.where(filled, torch.where(filled, u, torch.ones_like(u)) ** m, 0.0))

    def integral(self, u: Tensor) -> Tensor:
        """Scale u^(m + 1) / (m + 1)."""
        m, filled = torch.as_tensor(self.exponent, dtype=u.dtype, device=u.device), u > 0
        power = torch.where(filled, torch.where(filled, u, torch.ones_like(u)) ** (m + 1), 0.0)
        return self.scale * torch.where(m == 0, u, power / (m + 1))


@dataclass(frozen=True, eq=False)
class JumpConductivity(Conductivity):
    """K = `above` where u is at least the threshold, `below` elsewhere.

    Args:
        threshold: Where it jumps, in units of u.
        above: At least zero, length squared per time.
        below: Likewise.

    Raises:
        InputError: If a conductivity is negative or something is not finite.
    """

    threshold: Parameter
    above: Parameter = 1.0
    below: Parameter = 0.0

    def __post_init__(self) -> None:
        check_parameter(self.threshold, "JumpConductivity threshold")
        check_parameter(self.above, "JumpConductivity above", sign=-1)
        check_parameter(self.below, "JumpConductivity below", sign=-1)

    def at(self, u: Tensor) -> Tensor:
        """k(u)."""
        above, below = (torch.as_tensor(k, dtype=u.dtype, device=u.device) for k in (self.above, self.below))
        return torch.where(u >= self.threshold, above, below)

    def integral(self, u: Tensor) -> Tensor:
        """A broken line through the origin."""
        at = torch.as_tensor(self.threshold, dtype=u.dtype, device=u.device)
        excess, zero = (u - at).clamp(min=0), (-at).clamp(min=0)
        return self.above * (excess - zero) + self.below * (u - excess + zero)


@dataclass(frozen=True, eq=False)
class PorousMedium(PDE):
    """A scalar `u` that diffuses with a conductivity of its own making; see `ImplicitDiffusion` for its stepper.

    Written with Kirchhoff's integral: at points inside a phase, and on grids with the fluxes of neighbouring values of it. Where u has a front the
    strong form means nothing; judge data by the balance of cells.

    Args:
        conductivity: k(u): `PowerConductivity`, `JumpConductivity`, or another subclass of `Conductivity`.

    Raises:
        InputError: If it is no Conductivity.
    """

    conductivity: Conductivity

    fields: ClassVar[tuple[str, ...]] = ("u",)
    positive: ClassVar[tuple[str, ...]] = ("u",)

    def __post_init__(self) -> None:
        if not isinstance(self.conductivity, Conductivity):
            raise InputError(f"PorousMedium conductivity: expected a Conductivity such as PowerConductivity(exponent=2.0), got {self.conductivity!r}")

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """A moist ground."""
        return {"u": (1.0, 0.4)}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The Laplacian of Kirchhoff's integral."""
        return {"u": D.lap(self.conductivity.integral(u["u"]))}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean of u (`mass`)."""
        return {"mass": space_mean(u["u"], grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass: zero, in a box that nothing leaves."""
        return {"mass": torch.zeros_like(space_mean(u["u"], grid))}
