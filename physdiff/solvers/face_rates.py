r"""Rates of change of velocities on faces and scalars at centres: transport, viscosity, forces; all but the pressure.

Beside an obstacle the fluid sticks to, the neighbour across its surface is minus the value (the surface lies half a cell away), beside one it slides
along it is the value itself; scalars have no flux there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.operators.face_projection import FaceProjection
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.pdes.incompressible import IncompressibleFlow, velocity_names
from physdiff.pdes.pde import value_of
from physdiff.solvers.face_ends import FaceEnds
from physdiff.solvers.face_terms import along, carried, second_difference
from physdiff.solvers.face_viscosity import FaceViscosity
from physdiff.solvers.point_operators import PointOperators

__all__ = ["FaceRates"]


class FaceRates:
    """The right-hand side of `StaggeredFlow` on all faces.

    Args:
        pde: The law.
        ends: What holds at the ends.
        faces: Which faces are closed.
        limited: Whether velocities are carried upwind with limited slopes.
        slip: Whether the fluid slides along obstacles.
    """

    def __init__(self, pde: IncompressibleFlow | BuoyantFlow, ends: FaceEnds, faces: FaceProjection, *, limited: bool, slip: bool) -> None:
        self.pde, self.ends, self.limited = pde, ends, limited
        self.grid, self._fluid = ends.grid, faces.fluid
        self._names = velocity_names(self.grid.ndim)
        self._spacing = tuple(reversed(self.grid.spacing))
        self._points = [PointOperators(ends.points(i)) for i in range(self.grid.ndim)]
        self._centres = PointOperators(ends.points(None))
        self._wet = (~faces.solid).double()
        self._blocked = bool(faces.solid.any())
        self._beside = [self._surface(i, faces.solid) * (-1.0 if slip else 1.0) for i in range(self.grid.ndim)] if self._blocked else None
        self._passed = [self._wider(m, -1 - i) for i, m in enumerate(self._fluid)] if self._blocked else None

    def all(self, state: Fields, t: float, *, viscous: bool = True) -> dict[str, Tensor]:
        """Rates of all fields of a state on all faces, with or without viscosity; on faces whose velocity is given they mean nothing."""
        first = state[self._names[0]]
        law = self.pde.bound(self.grid.ndim, like=first)
        wide = {(n, j): self.ends.extended(state[n], n, j, t=t) for n in self.pde.fields for j in range(self.grid.ndim)}
        out = {}
        for i, name in enumerate(self._names):
            rate = self._transport(state[name], i, wide)
            rate = rate + law.viscosity * self._spread(state[name], i, wide) if viscous else rate
            force = self._force(law, i, wide, like=state[name], t=t)
            rate = rate if force is None else rate + force
            out[name] = rate * self._fluid[i].to(rate) if self._blocked else rate
        if isinstance(law, BuoyantFlow):
            out["buoyancy"] = self._scalar(law, state, wide, t=t)
        return out

    def spread(self, state: Fields, t: float) -> dict[str, Tensor]:
        """The Laplacian of each component of the velocity."""
        out = {}
        for i, name in enumerate(self._names):
            wide = {(name, j): self.ends.extended(state[name], name, j, t=t) for j in range(self.grid.ndim)}
            out[name] = self._spread(state[name], i, wide) * self._fluid[i].to(state[name])
        return out

    def implicit(self) -> tuple[FaceViscosity, ...]:
        """What inverts 1 - a times the Laplacian, for each component."""
        beside: list[Tensor | None] = [None] * self.grid.ndim if self._beside is None else [*self._beside]
        return tuple(FaceViscosity(self.ends, i, name, fluid=self._fluid[i], beside=beside[i]) for i, name in enumerate(self._names))

    def carried(self, state: Fields, t: float) -> Tensor:
        """Rate of the scalar alone, for a flow that is given."""
        b = state["buoyancy"]
        law = self.pde.bound(self.grid.ndim, like=b)
        assert isinstance(law, BuoyantFlow)
        return self._scalar(law, state, {("buoyancy", j): self.ends.extended(b, "buoyancy", j, t=t) for j in range(self.grid.ndim)}, t=t)

    def sizes(self, state: Fields, t: float, *, viscous: bool = True) -> tuple[float, float]:
        """The largest rates of advection, sum of |u_j| / h_j inside and at the ends, and of explicit diffusion, 4 nu sum of 1 / h_j^2."""
        speed: Tensor | None = None
        at_ends = sum(self.ends.fastest(i, t, like=state[name]) / self._spacing[i] for i, name in enumerate(self._names))
        for i, name in enumerate(self._names):
            f = state[name].detach().abs()
            n = f.shape[-1 - i] - 1
            part = torch.maximum(f.narrow(-1 - i, 0, n), f.narrow(-1 - i, 1, n)) / self._spacing[i]
            speed = part if speed is None else speed + part
        assert speed is not None
        spread = [self.pde.viscosity if viscous else 0.0, getattr(self.pde, "diffusivity", 0.0)]
        largest = max(float(torch.as_tensor(v).detach().max()) for v in spread)
        return max(float(speed.max()), at_ends), 4 * largest * sum(1 / h**2 for h in self._spacing)

    def _transport(self, f: Tensor, i: int, wide: dict[tuple[str, int], Tensor]) -> Tensor:
        total = torch.zeros_like(f)
        swept = torch.zeros_like(f)  # the same in advective form, without what is carried along i itself
        open_ends = self.ends.open_ends[i]
        for j, h in enumerate(self._spacing):
            mine, axis = wide[self._names[i], j], -1 - j
            if i == j:
                w = (along(mine, axis, (1, 3)) + along(mine, axis, (2, 3))) / 2
            else:
                theirs = wide[self._names[j], i]
                w = (along(theirs, -1 - i, (1, 3)) + along(theirs, -1 - i, (2, 3))) / 2
            flux = carried(mine, w, axis, limited=self.limited, has_ends=not self.grid.periodic[axis])
            part = (along(flux, axis, (1, 1)) - along(flux, axis, (0, 1))) / h
            total = total - part
            if i != j and any(open_ends):
                swept = swept - part + f * (along(w, axis, (1, 1)) - along(w, axis, (0, 1))) / h
        return self._leaving(f, total, swept, i) if any(open_ends) else total

    def _leaving(self, f: Tensor, total: Tensor, swept: Tensor, i: int) -> Tensor:
        """At open ends what leaves is carried out by its own speed, and nothing is brought in."""
        axis, h = f.ndim - 1 - i, self._spacing[i]
        n = f.shape[axis]
        parts = [total.narrow(axis, 0, 1), total.narrow(axis, 1, n - 2), total.narrow(axis, n - 1, 1)]
        for side, is_open in enumerate(self.ends.open_ends[i]):
            if is_open:
                edge, inner = f.narrow(axis, side * (n - 1), 1), f.narrow(axis, 1 if side == 0 else n - 2, 1)
                out = edge.clamp_min(0.0) if side else (-edge).clamp_min(0.0)
                parts[2 * side] = swept.narrow(axis, side * (n - 1), 1) - out * (edge - inner) / h
        return torch.cat(parts, axis)

    def _spread(self, f: Tensor, i: int, wide: dict[tuple[str, int], Tensor]) -> Tensor:
        total = torch.zeros_like(f)
        for j, h in enumerate(self._spacing):
            total = total + second_difference(wide[self._names[i], j], -1 - j) / h**2
        return total if self._beside is None else total - self._beside[i].to(f) * f

    def _force(self, law: IncompressibleFlow | BuoyantFlow, i: int, wide: dict[tuple[str, int], Tensor], *, like: Tensor, t: float) -> Tensor | None:
        if isinstance(law, IncompressibleFlow):
            return None if law.forcing is None else torch.zeros_like(like) + value_of(law.forcing[i], self._points[i], t, like=like)
        lift = law.lift_along(self._names[i])
        if isinstance(lift, float) and lift == 0.0:
            return None
        b = wide["buoyancy", i]
        return value_of(lift, self._points[i], t, like=like) * (along(b, -1 - i, (1, 3)) + along(b, -1 - i, (2, 3))) / 2

    def _scalar(self, law: BuoyantFlow, state: Fields, wide: dict[tuple[str, int], Tensor], *, t: float) -> Tensor:
        b = state["buoyancy"]
        total = torch.zeros_like(b)
        for j, (name, h) in enumerate(zip(self._names, self._spacing, strict=True)):
            f, axis = wide["buoyancy", j], -1 - j
            passed = None if self._passed is None else self._passed[j].to(b)
            slope = (along(f, axis, (2, 3)) - along(f, axis, (1, 3))) / h
            slope = slope * self._fluid[j].to(b) if self._blocked else slope
            flux = carried(f, state[name], axis, limited=True, has_ends=not self.grid.periodic[axis], passed=passed) - law.diffusivity * slope
            total = total - (along(flux, axis, (1, 1)) - along(flux, axis, (0, 1))) / h
        if isinstance(law.source, float) and law.source == 0.0 and isinstance(law.stratification, float) and law.stratification == 0.0:
            return total
        w, axis = state[law.upward], -1 - self._names.index(law.upward)
        gain = value_of(law.source, self._centres, t, like=b) - law.stratification * (along(w, axis, (0, 1)) + along(w, axis, (1, 1))) / 2
        return total + gain * self._wet.to(b)

    def _surface(self, i: int, solid: Tensor) -> Tensor:
        """For each face, over the directions along it: how much of both neighbours is obstacle, over the spacing's square."""
        axis = solid.ndim - 1 - i
        half = self._wider(solid.double(), axis - solid.ndim, centres=True)
        beside = (along(half, axis - solid.ndim, (1, 3)) + along(half, axis - solid.ndim, (2, 3))) / 2
        total = torch.zeros_like(beside)
        for j, h in enumerate(self._spacing):
            if j != i:
                near = self._wider(beside, -1 - j, centres=True, outside=0.0)
                total += (along(near, -1 - j, (1, 4)) + along(near, -1 - j, (3, 4))) / h**2
        return total

    def _wider(self, m: Tensor, axis: int, *, centres: bool = False, outside: float | None = None) -> Tensor:
        """Numbers on faces with one more beyond both ends, or at centres with two: from around, or what lies next (or `outside`)."""
        n = m.shape[axis]
        if self.grid.periodic[self.grid.ndim + axis]:
            low, high = (m.narrow(axis, n - 2, 2), m.narrow(axis, 0, 2)) if centres else (m.narrow(axis, n - 2, 1), m.narrow(axis, 1, 1))
        else:
            low, high = m.narrow(axis, 0, 1), m.narrow(axis, n - 1, 1)
            if outside is not None:
                low, high = torch.full_like(low, outside), torch.full_like(high, outside)
            if centres:
                low, high = torch.cat([low, low], axis), torch.cat([high, high], axis)
        return torch.cat([low, m, high], axis)
