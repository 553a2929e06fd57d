r"""Shallow water on the plane, in flux form: dam breaks, bores, rotation, ground and drag.

$$\partial_t h + \nabla\cdot m = 0, \qquad
\partial_t m + \nabla\cdot\left(\frac{m\otimes m}{h} + \tfrac g2(h^2 - b^2)\,I\right) = -g\,(h + b)\nabla b + f\,(m_y, -m_x) - r\,m$$

with $m = h u$ and $b$ the height of the ground. The ground is split so that over water at rest ($h + b$ uniform) the flux and its source cancel for
any linear difference, the same in both (Liang and Borthwick, 2009): a lake at rest stays at rest to rounding with every operator. Heights are best
measured from the water's surface.

Budgets on a periodic box: mass; energy $\tfrac12|m|^2/h + \tfrac g2 h^2 + g h b$ loses $r|m|^2/h$ where the flow is smooth, more at bores.

Dry ground: below `dry_depth` the velocity is $m h/d^2$ in place of $m/h$, which vanishes with $h$ (after Kurganov and Petrova, 2007); so depths of
zero are allowed on flat ground. Ground that rises out of the water is not built and refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE, Coefficient, Parameter, check_parameter, space_mean, value_of

__all__ = ["ShallowWater"]


@dataclass(frozen=True, eq=False)
class ShallowWater(PDE):
    """`depth`, `momentum_x` and, in two dimensions, `momentum_y` (depth times velocity).

    Args:
        gravity: g, above zero, length per time squared.
        coriolis: f, per time; a number, Tensor () or (B,), or a function of (x, y, t). Two dimensions only.
        bathymetry: Height of the ground, a function of (x, [y,] t), in the unit of depth; None for flat ground.
        drag: r, at least zero, per time; a number, Tensor () or (B,), or a function of (x, [y,] t).
        ndim: 1 or 2.
        dry_depth: Depth below which the velocity fades to zero.

    Raises:
        InputError: If a parameter makes no sense.
    """

    gravity: Parameter = 9.81
    coriolis: Coefficient = 0.0
    bathymetry: Callable[..., Tensor] | None = None
    drag: Coefficient = 0.0
    ndim: int = 2
    dry_depth: float = 1e-8

    positive: ClassVar[tuple[str, ...]] = ("depth",)

    def __post_init__(self) -> None:
        if isinstance(self.ndim, bool) or self.ndim not in (1, 2):
            raise InputError(f"ShallowWater ndim: expected 1 or 2 directions, got {self.ndim!r}")
        check_parameter(self.gravity, "ShallowWater gravity", sign=1)
        if callable(self.gravity) and not isinstance(self.gravity, Tensor):
            raise InputError("ShallowWater gravity: expected a number or a Tensor () or (B,), got a function")
        check_parameter(self.coriolis, "ShallowWater coriolis")
        check_parameter(self.drag, "ShallowWater drag", sign=-1)
        check_positive(self.dry_depth, "ShallowWater dry_depth")
        if self.ndim == 1 and not (isinstance(self.coriolis, int | float) and self.coriolis == 0):
            raise InputError("ShallowWater coriolis: a flow in one direction cannot be turned; leave it out or set ndim=2")
        if self.bathymetry is not None and (isinstance(self.bathymetry, Tensor) or not callable(self.bathymetry)):
            raise InputError(f"ShallowWater bathymetry: expected a function of (x, [y,] t) or None for flat ground, got {self.bathymetry!r}")

    @property
    def fields(self) -> tuple[str, ...]:  # type: ignore[override]
        """Depth and momentum along each direction."""
        return ("depth", "momentum_x", "momentum_y")[: self.ndim + 1]

    def velocity(self, u: Fields) -> Vector:
        """Velocity of fields (B, [T,] *S); fades to zero below `dry_depth`."""
        h = u["depth"]
        share = h / h.clamp(min=self.dry_depth) ** 2
        return tuple(u[name] * share for name in self.fields[1:])

    def primitive(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Velocity, and depth or, over ground, the height of the surface, so that a lake at rest has nothing to reconstruct.

        Raises:
            InputError: If the ground rises out of the water.
        """
        velocity = {f"velocity_{x}": v for x, v in zip("xy", self.velocity(u), strict=False)}
        if self.bathymetry is None:
            return {"depth": u["depth"], **velocity}
        if bool((u["depth"].detach() <= self.dry_depth).any()):
            raise InputError(
                f"ShallowWater: expected water of more than {self.dry_depth:g} everywhere over uneven ground, got a depth of "
                f"{float(u['depth'].detach().min()):g}; ground that rises out of the water is not built: lower it, or make it flat (bathymetry=None)"
            )
        return {"depth": u["depth"], "surface": u["depth"] + self._ground(D, t, u["depth"]), **velocity}

    def conserved(self, w: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Depth and momentum; over ground the depth is that of the surface above it."""
        depth = w["depth"] if self.bathymetry is None else w["surface"] - self._ground(D, t, w["surface"])
        return {"depth": depth, **{f"momentum_{x}": depth * w[f"velocity_{x}"] for x in "xy"[: self.ndim]}}

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """Depth and velocity of waves on water a unit deep."""
        return {"depth": (1.0, 0.1), **{f"velocity_{x}": (0.0, 0.3) for x in "xy"[: self.ndim]}}

    def initial(self, w: Fields, D: Operators, *, grid: Grid) -> Fields:
        """Depth and momentum.

        Raises:
            InputError: If a depth is below zero.
        """
        depth = w["depth"]
        if bool((depth < 0).any()):
            raise InputError(f"ShallowWater: expected depths of at least zero, got {float(depth.min()):g}; draw them with positive=True")
        return {"depth": depth, **{f"momentum_{x}": depth * w[f"velocity_{x}"] for x in "xy"[: self.ndim]}}

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """Transport of water and momentum, and the pressure."""
        if D.ndim != self.ndim:
            raise ShapeError(f"ShallowWater: expected operators in {self.ndim} directions (ndim of the law), got {D.ndim}; set ndim={D.ndim}")
        pressure = self.gravity / 2 * (u["depth"] ** 2 - self._ground(D, t, u["depth"]) ** 2)
        made: dict[str, Vector] = {"depth": tuple(u[name] for name in self.fields[1:])}
        for i, name in enumerate(self.fields[1:]):
            made[name] = tuple(u[name] * v + pressure if i == j else u[name] * v for j, v in enumerate(self.velocity(u)))
        return made

    def production(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Push of the ground, Coriolis force and drag."""
        h, momentum = u["depth"], [u[name] for name in self.fields[1:]]
        drag = value_of(self.drag, D, t, like=h)
        total = [-drag * m for m in momentum]
        if self.ndim == 2:
            f = value_of(self.coriolis, D, t, like=h)
            total = [total[0] + f * momentum[1], total[1] - f * momentum[0]]
        if self.bathymetry is not None:
            push = self.gravity * (h + self._ground(D, t, h))
            total = [have - push * slope for have, slope in zip(total, D.slopes(self.bathymetry, t, like=h), strict=True)]
        return dict(zip(self.fields, [torch.zeros_like(h), *total], strict=True))

    def speeds(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """Long waves carried by the flow, |u| + sqrt(g h), along each direction."""
        h = u["depth"]
        # the root of zero has no derivative; a negative depth gives not-a-number, which steppers report
        c = torch.where(h == 0, torch.zeros_like(h), torch.sqrt(self.gravity * torch.where(h == 0, torch.ones_like(h), h)))
        return tuple(v.abs() + c for v in self.velocity(u))

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means of depth (`mass`) and momentum, and the energy; it is left out over ground that moves, which does work."""
        h = u["depth"]
        made = {"mass": space_mean(h, grid), **{name: space_mean(u[name], grid) for name in self.fields[1:]}}
        ground: float | Tensor = 0.0
        if self.bathymetry is not None:
            ground = self.bathymetry(*(c.to(h) for c in grid.coordinates()), float("nan"))
            if not bool(torch.as_tensor(ground).isfinite().all()):
                return made
        law = self.bound(h.ndim - 1, like=h)
        moving = sum((u[name] * v / 2 for name, v in zip(self.fields[1:], self.velocity(u), strict=True)), torch.zeros_like(h))
        return {**made, "energy": space_mean(moving + law.gravity * h * (h / 2 + ground), grid)}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Mass 0, momentum that of production, energy -<r |m|^2 / h>, where the flow is smooth."""
        law, h = self.bound(u["depth"].ndim - 1, like=u["depth"]), u["depth"]
        rest = law.production(u, D, t)
        loss = sum((u[name] * v for name, v in zip(self.fields[1:], self.velocity(u), strict=True)), torch.zeros_like(h))
        every = {"mass": space_mean(torch.zeros_like(h), grid), **{name: space_mean(rest[name], grid) for name in self.fields[1:]}}
        every["energy"] = space_mean(-value_of(law.drag, D, t, like=h) * loss, grid)
        return {name: every[name] for name in self.invariants(u, grid)}

    def _ground(self, D: Operators, t: float | Tensor, like: Tensor) -> Tensor:
        zero = torch.zeros_like(like)
        return zero if self.bathymetry is None else zero + value_of(self.bathymetry, D, t, like=like)
