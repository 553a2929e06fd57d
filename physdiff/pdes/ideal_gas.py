r"""What all flows of an ideal gas share: the conserved fields, pressure, flux and speeds.

$$p = (\gamma - 1)\left(E - \tfrac12\rho|u|^2\right),\quad c = \sqrt{\gamma p/\rho},\quad T = p/\rho,\quad
F = \left(\rho u,\; \rho u \otimes u + p I,\; (E + p)\,u\right)$$

Temperature is in units in which the gas constant is one, so $c_p = \gamma/(\gamma - 1)$. The number of directions is a number of the law
(`ndim`), since the names of its fields depend on it.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Parameter, check_parameter, space_mean

__all__ = ["IdealGas"]


class IdealGas(PDE, ABC):
    """Abstract law with the fields `density`, `momentum_x`, ... and `energy` (per volume, kinetic and internal).

    Attributes:
        heat_ratio: gamma, above one; a number or a Tensor () or (B,).
        ndim: Number of directions, 1 to 3.
    """

    heat_ratio: Parameter
    ndim: int

    positive: ClassVar[tuple[str, ...]] = ("density", "pressure")

    @property
    def fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """Density, momentum along each direction, energy."""
        return ("density", *(f"momentum_{x}" for x in "xyz"[: self.ndim]), "energy")

    def _check_gas(self) -> None:
        name = type(self).__name__
        if isinstance(self.ndim, bool) or self.ndim not in (1, 2, 3):
            raise InputError(f"{name} ndim: expected 1, 2 or 3 directions, got {self.ndim!r}")
        check_parameter(self.heat_ratio, f"{name} heat_ratio", sign=1)
        if callable(self.heat_ratio) and not isinstance(self.heat_ratio, Tensor):
            raise InputError(f"{name} heat_ratio: expected a number or a Tensor () or (B,), got a function; a mixture of gases is another law")
        if bool((torch.as_tensor(self.heat_ratio) <= 1).any()):
            raise InputError(f"{name} heat_ratio: expected values above 1 (1.4 for air), got {self.heat_ratio!r}")

    def state(self, density: Tensor, velocity: Sequence[Tensor], pressure: Tensor) -> dict[str, Tensor]:
        """The fields (B, *S) from density, velocity (x, y, z order) and pressure.

        Raises:
            ShapeError: If the velocity has another number of components than the law has directions.
            InputError: If a density or a pressure is not above zero.
        """
        name = type(self).__name__
        if len(velocity) != self.ndim:
            raise ShapeError(f"{name}.state: expected a velocity of {self.ndim} components (x, y, z order), got {len(velocity)}")
        for what, value in (("density", density), ("pressure", pressure)):
            if not bool((value.detach() > 0).all()):
                least = float(value.detach().min())
                raise InputError(f"{name}.state: expected a {what} above zero everywhere, got {least:g}; check the initial state")
        w = {"density": density, "pressure": pressure, **self._named(tuple(velocity))}
        zero = sum((torch.zeros_like(v) for v in velocity), torch.zeros_like(density) + torch.zeros_like(pressure))
        return self._at(zero)._conserved({name: v + zero for name, v in w.items()})

    def velocity(self, u: Fields) -> Vector:
        """Velocity of fields (B, [T,] *S), components x, y, z."""
        return tuple(u[f"momentum_{x}"] / u["density"] for x in "xyz"[: self.ndim])

    def pressure(self, u: Fields) -> Tensor:
        """Pressure of fields (B, [T,] *S)."""
        kinetic = sum((u[f"momentum_{x}"] ** 2 for x in "xyz"[: self.ndim]), torch.zeros_like(u["density"])) / (2 * u["density"])
        return (self._at(u["density"]).heat_ratio - 1) * (u["energy"] - kinetic)

    def sound_speed(self, u: Fields) -> Tensor:
        """Speed of sound of fields (B, [T,] *S)."""
        return torch.sqrt(self._at(u["density"]).heat_ratio * self.pressure(u) / u["density"])

    def temperature(self, u: Fields) -> Tensor:
        """P / rho of fields (B, [T,] *S), in units in which the gas constant is one."""
        return self.pressure(u) / u["density"]

    def entropy(self, u: Fields) -> Tensor:
        """Entropy per mass, ln(p / rho^gamma) / (gamma - 1), of fields (B, [T,] *S)."""
        gamma = self._at(u["density"]).heat_ratio
        return (torch.log(self.pressure(u)) - gamma * torch.log(u["density"])) / (gamma - 1)

    def primitive(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Density, velocity and pressure."""
        return {"density": u["density"], **self._named(self.velocity(u)), "pressure": self.pressure(u)}

    def conserved(self, w: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Density, momentum and energy."""
        return self._conserved(w)

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """Density, velocity and pressure of a gas that flows at a quarter of its speed of sound."""
        return {"density": (1.0, 0.2), **{f"velocity_{x}": (0.0, 0.3) for x in "xyz"[: self.ndim]}, "pressure": (1.0, 0.2)}

    def initial(self, w: Fields, D: Operators, *, grid: Grid) -> Fields:
        """Density, momentum and energy; see `state` for what is refused."""
        return self.state(w["density"], [w[f"velocity_{x}"] for x in "xyz"[: self.ndim]], w["pressure"])

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """Transport of mass, momentum and energy, and the pressure."""
        if D.ndim != self.ndim:
            name = type(self).__name__
            raise ShapeError(f"{name}: expected operators in {self.ndim} directions (ndim of the law), got {D.ndim}; set ndim={D.ndim}")
        velocity, p = self.velocity(u), self.pressure(u)
        momentum = [u[f"momentum_{x}"] for x in "xyz"[: self.ndim]]
        made: dict[str, Vector] = {"density": tuple(momentum)}
        for i, (x, m) in enumerate(zip("xyz", momentum, strict=False)):
            made[f"momentum_{x}"] = tuple(m * v + p if i == j else m * v for j, v in enumerate(velocity))
        made["energy"] = tuple((u["energy"] + p) * v for v in velocity)
        return made

    def speeds(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """Sound carried by the flow, |u| + c, along each direction."""
        c = self.sound_speed(u)
        return tuple(v.abs() + c for v in self.velocity(u))

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of density (`mass`), momentum, energy and entropy (per volume; kept where smooth, made at shocks and by viscosity)."""
        kept = {name: space_mean(u[name], grid) for name in self.fields if name != "density"}
        return {"mass": space_mean(u["density"], grid), **kept, "entropy": space_mean(u["density"] * self.entropy(u), grid)}

    def _conserved(self, w: Fields) -> dict[str, Tensor]:
        density, velocity = w["density"], [w[f"velocity_{x}"] for x in "xyz"[: self.ndim]]
        kinetic = density / 2 * sum((v**2 for v in velocity), torch.zeros_like(density))
        momentum = {f"momentum_{x}": density * v for x, v in zip("xyz", velocity, strict=False)}
        return {"density": density, **momentum, "energy": w["pressure"] / (self.heat_ratio - 1) + kinetic}

    def _named(self, velocity: Vector) -> dict[str, Tensor]:
        return {f"velocity_{x}": v for x, v in zip("xyz", velocity, strict=False)}

    def _at(self, f: Tensor) -> Self:
        # users call the helpers on the law as it is, steppers on the bound one: binding twice changes nothing
        return self.bound(f.ndim - 1, like=f)
