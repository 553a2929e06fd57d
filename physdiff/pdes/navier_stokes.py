r"""Two-dimensional incompressible flow as the transport of vorticity.

$$\partial_t \omega + (u + U)\cdot\nabla\omega = \nu\Delta\omega - \mu\,\omega + g, \qquad -\Delta\psi = \omega, \qquad
u = (\partial_y\psi, -\partial_x\psi)$$

with viscosity $\nu$, linear drag $\mu$, a uniform mean flow $U$ and the curl $g$ of the force. The stream function is a diagnostic: grids
solve for it, points carry it as a second unknown and $\Delta\psi + \omega$ as a second residual. Budgets per unit area of a periodic box,
with $E = \tfrac12\langle|u|^2\rangle$, $Z = \tfrac12\langle\omega^2\rangle$, $P = \tfrac12\langle|\nabla\omega|^2\rangle$:
$\dot E = -2\nu Z - 2\mu E + \langle\psi g\rangle$ and $\dot Z = -2\nu P - 2\mu Z + \langle\omega g\rangle$.

Advection changes neither E nor Z, on a dealiased spectral grid to rounding. The law is for a periodic box (or for points); its flows go from
large eddies to small ones in Z, as $E(k) \sim k^{-3}$, and back in E, as $k^{-5/3}$ (Kraichnan, 1967; `scores.spectrum.isotropic_spectrum`).

Kolmogorov's flow: a force $F\sin(ky)$ along x, of curl $-kF\cos(ky)$, stirs a flow whose statistics do not depend on x. Its laminar form
$u = U\sin ky$, $U = F/(\nu k^2 + \mu)$ (`exact_vortices.kolmogorov_laminar`), loses stability to long waves along x if $U/\nu k > \sqrt 2$ without
drag (Meshalkin and Sinai, 1961). The diagonal forcing $A[\sin k(x + y) + \cos k(x + y)]$ with A = 0.1, $k = 2\pi$ on the unit square is that of the
data sets of Li et al. (Fourier neural operator, 2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.saved import Saved
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean, value_of
from physdiff.pdes.steady import SteadyFunction

__all__ = ["DiagonalForcing", "KolmogorovForcing", "NavierStokes"]


@dataclass(frozen=True, eq=False)
class KolmogorovForcing(SteadyFunction, Saved):
    """Curl of a steady force along x that varies along y: g(x, y, t) = -amplitude cos(wave_number y), per time squared.

    Args:
        amplitude: Amplitude of the curl, wave_number times that of the force; a number or a Tensor () or (B,).
        wave_number: Per length; on a periodic box a multiple of 2 pi over its extent along y.
    """

    amplitude: Parameter
    wave_number: float

    def __post_init__(self) -> None:
        check_parameter(self.amplitude, "KolmogorovForcing amplitude")
        check_parameter(self.wave_number, "KolmogorovForcing wave_number", sign=1)

    def __call__(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """Values at the points."""
        return -self.amplitude * torch.cos(self.wave_number * y)


@dataclass(frozen=True, eq=False)
class DiagonalForcing(SteadyFunction, Saved):
    """Curl of a steady force along the diagonal: g(x, y, t) = amplitude (sin k(x + y) + cos k(x + y)), per time squared.

    The defaults are those of the Fourier neural operator's data on the unit square.

    Args:
        amplitude: A number or a Tensor () or (B,).
        wave_number: k, per length; on a periodic box a multiple of 2 pi over its extents along x and along y.
    """

    amplitude: Parameter = 0.1
    wave_number: float = 2 * math.pi

    def __post_init__(self) -> None:
        check_parameter(self.amplitude, "DiagonalForcing amplitude")
        check_parameter(self.wave_number, "DiagonalForcing wave_number", sign=1)

    def __call__(self, x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
        """Values at the points."""
        angle = self.wave_number * (x + y)
        return self.amplitude * (torch.sin(angle) + torch.cos(angle))


@dataclass(frozen=True, eq=False)
class NavierStokes(PDE):
    """Vorticity of a plane flow; the stream function is diagnosed.

    Args:
        viscosity: At least zero, length squared per time; a number or a Tensor () or (B,).
        drag: Rate of linear drag, at least zero, per time.
        forcing: Curl of the force as a function of (x, y, t), per time squared; None for none.
        mean_flow: Uniform velocity (x, y) that carries everything.

    Raises:
        InputError: If the viscosity or the drag is negative or not finite, or the mean flow has not two components.
    """

    viscosity: Parameter
    drag: Parameter = 0.0
    forcing: Callable[..., Tensor] | None = None
    mean_flow: tuple[Parameter, Parameter] = (0.0, 0.0)

    fields: ClassVar[tuple[str, ...]] = ("vorticity",)
    diagnostics: ClassVar[tuple[str, ...]] = ("streamfunction",)

    def __post_init__(self) -> None:
        check_parameter(self.viscosity, "NavierStokes viscosity", sign=-1)
        check_parameter(self.drag, "NavierStokes drag", sign=-1)
        if not isinstance(self.mean_flow, tuple) or len(self.mean_flow) != 2:
            raise InputError(f"NavierStokes mean_flow: expected two components (x, y), got {self.mean_flow!r}")
        for v in self.mean_flow:
            check_parameter(v, "NavierStokes mean_flow")

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Viscosity and drag."""
        return {"vorticity": self.viscosity * D.lap(u["vorticity"]) - self.drag * u["vorticity"]}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Advection by the flow that the vorticity induces and by the mean flow, and the forcing."""
        omega = u["vorticity"]
        carried = -D.advect_vorticity(self.velocity(u, D), omega)
        return {"vorticity": carried if self.forcing is None else carried + value_of(self.forcing, D, t, like=omega)}

    def diagnose(self, u: Fields, D: Operators) -> Fields:
        """Add the stream function of zero mean, -lap psi = omega.

        Raises:
            UnsupportedOperator: If the operators cannot solve Poisson's equation; give the stream function as a second field (points).
        """
        return {**u, "streamfunction": -D.inv_lap(u["vorticity"])}

    def constraints(self, u: Fields, D: Operators) -> Fields:
        """What is left of lap psi + omega = 0, under the name of the stream function."""
        return {"streamfunction": D.lap(u["streamfunction"]) + u["vorticity"]}

    def velocity(self, u: Fields, D: Operators) -> Vector:
        """Velocity (x, y), mean flow included, from `u` with or without the stream function."""
        if D.ndim != 2:
            raise InputError(f"NavierStokes: expected a plane, got a grid of {D.ndim} dimensions; give the grid two sizes")
        psi_x, psi_y = D.grad(self.complete(u, D)["streamfunction"])
        along_x, along_y = self.mean_flow
        return psi_y + along_x, along_y - psi_x

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Mean vorticity (`circulation`), half its mean square (`enstrophy`), and `energy` (without the mean flow) if psi is given."""
        omega = u["vorticity"]
        out = {"circulation": space_mean(omega, grid), "enstrophy": space_mean(omega**2 / 2, grid)}
        if "streamfunction" in u:
            out["energy"] = space_mean(u["streamfunction"] * omega / 2, grid)
        return out

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """The budgets of the module's docstring."""
        law = self.bound(u["vorticity"].ndim - 1, like=u["vorticity"])
        full = law.complete(u, D)
        omega, psi = full["vorticity"], full["streamfunction"]
        g = torch.zeros_like(omega)
        if law.forcing is not None:
            g = g + value_of(law.forcing, D, t, like=omega)
        palinstrophy = sum((slope**2 for slope in D.grad(omega)), torch.zeros_like(omega))
        return {
            "circulation": space_mean(g - law.drag * omega, grid),
            "enstrophy": space_mean(omega * g - law.viscosity * palinstrophy - law.drag * omega**2, grid),
            "energy": space_mean(psi * g - law.viscosity * omega**2 - law.drag * omega * psi, grid),
        }
