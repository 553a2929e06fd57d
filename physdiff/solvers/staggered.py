r"""Incompressible flow on staggered cells (marker and cell), with walls, inflow, outflow and obstacles; free of divergence to rounding.

Each component of the velocity lives on the faces it crosses, pressure and scalars at centres. After each Runge-Kutta stage

$$u_i = P\Big(u + \Delta t\sum_{j<i} a_{ij} k_j\Big), \qquad k = -\nabla_h\cdot(u\,\hat u) + \nu\Delta_h u + f,$$

with the exact P of `FaceProjection`: what leaves each cell enters its neighbours, nothing passes a closed face. Without viscosity the central form
keeps the energy in exact time, obstacles or not. With `implicit` a step is Heun's for the rest and, for each stage, with the pressure p known so far,

$$\Big(1 - \tfrac{\nu\Delta t}2\Delta_h\Big) u^* = u + \Delta t\,(N - \nabla_h p) + \tfrac{\nu\Delta t}2\Delta_h u, \qquad u^+ = P u^*.$$

Scalars are carried with limited slopes: no new extrema, and their integral changes by what passes the ends. References: Harlow and Welch, Numerical
calculation of time-dependent viscous incompressible flow of fluid with free surface (1965); Van Kan, A second-order accurate pressure-correction
scheme for viscous incompressible flow (1986); Sanderse and Koren, Accuracy analysis of explicit Runge-Kutta methods applied to the incompressible
Navier-Stokes equations (2012).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.boundary import Boundary
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.face_projection import FaceProjection
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.operators import Vector
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.pdes.incompressible import IncompressibleFlow, velocity_names
from physdiff.solvers.face_ends import FaceEnds
from physdiff.solvers.face_rates import FaceRates
from physdiff.solvers.runge_kutta import HEUN2, SSPRK3, Tableau
from physdiff.solvers.stepper import Stepper

__all__ = ["StaggeredFlow"]


class StaggeredFlow(Stepper):
    """Advances IncompressibleFlow or BuoyantFlow with any mixture of ends.

    The fields are those of the law, each (B, *S): `velocity_x` holds the velocity across the upper x-face of each cell (the lower faces of an open
    axis follow from the boundary or, at an open end, from the cell's own balance), scalars are means of cells. `from_centres` and `at_centres`
    translate. At each end of an open axis the component across it says what the end is: ``Dirichlet(0.0)`` a wall, ``Dirichlet(profile)`` an inflow,
    ``Reflecting()`` a slip wall, ``Outflow()`` an open end at zero pressure, where what has arrived leaves and nothing is brought in.

    Args:
        pde: An IncompressibleFlow or a BuoyantFlow.
        grid: A uniform CartesianGrid in two or three dimensions.
        boundary: Conditions for every field at every open end, in any form `ends_of` takes; None where all axes are periodic.
        solid: Obstacles, bool of the grid's shape (storage order), True in solid cells; nothing passes their faces.
        slip: Whether the fluid slides along the obstacles; it sticks to them if False.
        limited: Whether velocities are carried upwind with limited slopes: for flows whose finest eddies the grid does not hold. Central if False.
        tableau: The method in time.
        implicit: Whether viscosity is taken implicitly, so that it does not limit the step: order 2, whatever the tableau.

    Raises:
        UnsupportedOperator: If the law is another one.
        InputError: If the grid, a condition or the obstacles make no sense.
        ShapeError: If the obstacles have another shape than the grid.
    """

    pde: IncompressibleFlow | BuoyantFlow

    def __init__(
        self,
        pde: IncompressibleFlow | BuoyantFlow,
        grid: Grid,
        boundary: Boundary | None = None,
        *,
        solid: Tensor | None = None,
        slip: bool = False,
        limited: bool = False,
        tableau: Tableau = SSPRK3,
        implicit: bool = False,
    ) -> None:
        if not isinstance(pde, IncompressibleFlow | BuoyantFlow):
            raise UnsupportedOperator("advance", "StaggeredFlow", f"it knows IncompressibleFlow and BuoyantFlow, got {type(pde).__name__}")
        if not isinstance(grid, CartesianGrid) or not grid.uniform or grid.ndim != pde.ndim or min(grid.shape) < 4:
            raise InputError(f"StaggeredFlow: expected a uniform CartesianGrid of {pde.ndim} dimensions, at least 4 cells each, got {grid.summary()}")
        self.pde, self.grid, self.tableau, self.order = pde, grid, tableau, tableau.order
        self._names = velocity_names(grid.ndim)
        self._scalars = tuple(name for name in pde.fields if name not in self._names)
        self.ends = FaceEnds(grid, boundary, velocity=self._names, scalars=self._scalars)
        self.pressure_solver = FaceProjection(grid, self.ends.open_ends, solid)
        self.rates = FaceRates(pde, self.ends, self.pressure_solver, limited=limited, slip=slip)
        self.operators = FiniteDifference(grid)
        self._given = self.ends.brings_in()
        self._viscosity = self.rates.implicit() if implicit else None
        if implicit:
            self.tableau, self.order = HEUN2, 2

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step; see Stepper.step."""
        start = self._state(u, t)
        if self._viscosity is not None:
            return self._stored(self._spreading(start, t, dt))
        slopes: list[dict[str, Tensor]] = []
        for row, c in zip(self.tableau.a, self.tableau.c, strict=True):
            slopes.append(self.rates.all(self._moved(start, slopes, row, t=t + c * dt, dt=dt), t + c * dt))
        return self._stored(self._moved(start, slopes, self.tableau.b, t=t + dt, dt=dt))

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Estimate of the longest stable step: advection and diffusion along all axes added; see Stepper.limit."""
        real, _ = self.tableau.reach()
        advection, diffusion = self.rates.sizes(self._state(u, t), t, viscous=self._viscosity is None)
        rate = advection / self.tableau.careful() + diffusion / real
        return 1.0 / rate if rate > 0 else float("inf")

    def unstable_beyond(self, u: Fields, t: float = 0.0) -> float:
        """The larger reach over the larger of both rates; see Stepper.unstable_beyond."""
        rate = max(self.rates.sizes(self._state(u, t), t, viscous=self._viscosity is None))
        return max(self.tableau.reach()) / rate if rate > 0 else float("inf")

    def faces(self, u: Fields, t: float = 0.0) -> Vector:
        """Velocities on all faces, component i with one face more along its own direction than there are cells."""
        state = self._state(u, t)
        return tuple(state[name] for name in self._names)

    def from_centres(self, u: Fields, t: float = 0.0) -> dict[str, Tensor]:
        """The law's fields from values at centres: velocities averaged to faces and made free of divergence, nothing across closed faces.

        Raises:
            InputError: If what the ends let in and out cannot balance.
        """
        state = {name: u[name] for name in self._scalars}
        for i, name in enumerate(self._names):
            axis, c = -1 - i, u[name]
            if self.ends.pair(name, i) is None:
                upper = (c + torch.roll(c, -1, axis)) / 2
                state[name] = torch.cat([upper.narrow(axis, c.shape[axis] - 1, 1), upper], axis)
            else:
                n = c.shape[axis]
                inner = (c.narrow(axis, 1, n - 1) + c.narrow(axis, 0, n - 1)) / 2
                state[name] = torch.cat([c.narrow(axis, 0, 1), inner, c.narrow(axis, n - 1, 1)], axis)
        return self._stored(self._projected(state, t))

    def at_centres(self, u: Fields, t: float = 0.0) -> dict[str, Tensor]:
        """The law's fields with velocities at centres, the means of both faces."""
        state = self._state(u, t)
        means = {name: _mean(state[name], -1 - i) for i, name in enumerate(self._names)}
        return {name: means.get(name, state[name]) for name in self.pde.fields}

    def divergence(self, u: Fields, t: float = 0.0) -> Tensor:
        """Of the velocity, at centres."""
        return self.pressure_solver.divergence(self.faces(u, t))

    def pressure(self, u: Fields, t: float = 0.0) -> Tensor:
        """At centres; zero at open ends, of zero mean where there are none. Velocities given at the ends count as steady."""
        rates = self.rates.all(self._state(u, t), t)
        accelerations = self._held(rates, t, still=True)
        found = self.pressure_solver.potential(self.pressure_solver.divergence(tuple(accelerations[name] for name in self._names)))
        return getattr(self.pde, "density", 1.0) * found

    def _spreading(self, start: dict[str, Tensor], t: float, dt: float) -> dict[str, Tensor]:
        """Heun's method for the rest and Crank and Nicolson's for viscosity, with the gradient of the pressure known so far."""
        first = self.rates.all(start, t, viscous=False)
        law = self.pde.bound(self.grid.ndim, like=start[self._names[0]])
        half, before = 0.5 * dt * law.viscosity, self.rates.spread(start, t)
        rates = self._held({name: first[name] + law.viscosity * before[name] for name in self._names}, t, still=True)
        pressure = self.pressure_solver.potential(self.pressure_solver.divergence(tuple(rates[name] for name in self._names)))
        slopes, state = first, start
        for stage in range(2):
            moved = {name: start[name] + dt * slopes[name] for name in self._scalars}
            held = self._held({**{name: start[name] for name in self._names}, **moved}, t + dt)
            ahead, push = self.rates.spread(held, t + dt), self.pressure_solver.gradient(pressure)
            assert self._viscosity is not None
            for name, solver, p in zip(self._names, self._viscosity, push, strict=True):
                held[name] = held[name] + solver.solve(dt * (slopes[name] - p) + half * (before[name] + ahead[name]), half)
            state, phi = self._pressed(held, t + dt)
            if stage == 0:
                pressure = pressure + phi / dt
                second = self.rates.all(state, t + dt, viscous=False)
                slopes = {name: (first[name] + second[name]) / 2 for name in first}
        return state

    def _state(self, u: Fields, t: float) -> dict[str, Tensor]:
        """All faces: the lower ones of open axes are put on, at a free end by the balance of the cell there."""
        state = {name: u[name] for name in self._scalars}
        free = []
        for i, name in enumerate(self._names):
            axis, f = -1 - i, u[name]
            first = f.narrow(axis, f.shape[axis] - 1, 1) if self.ends.pair(name, i) is None else torch.zeros_like(f.narrow(axis, 0, 1))
            state[name] = torch.cat([first, f], axis)
            if self.ends.open_ends[i][0]:
                free.append((i, name))
        state = self._held(state, t)
        for i, name in free:
            axis, f = -1 - i, state[name]
            excess = self.pressure_solver.divergence(tuple(state[n] for n in self._names)).narrow(axis, 0, 1)
            low = excess * self.grid.spacing[self.grid.ndim - 1 - i]
            mask = self.pressure_solver.fluid[i].narrow(axis, 0, 1).to(f)
            state[name] = torch.cat([low * mask, f.narrow(axis, 1, f.shape[axis] - 1)], axis)
        return state

    def _stored(self, state: Fields) -> dict[str, Tensor]:
        cut = {name: state[name].narrow(-1 - i, 1, state[name].shape[-1 - i] - 1) for i, name in enumerate(self._names)}
        return {name: cut.get(name, state[name]) for name in self.pde.fields}

    def _moved(self, start: Fields, slopes: list[dict[str, Tensor]], weights: tuple[float, ...], *, t: float, dt: float) -> dict[str, Tensor]:
        out = dict(start)
        if not weights:
            return out
        for w, slope in zip(weights, slopes, strict=True):
            if w != 0:
                out = {name: out[name] + (w * dt) * slope[name] for name in out}
        return self._projected(out, t)

    def _projected(self, state: dict[str, Tensor], t: float) -> dict[str, Tensor]:
        return self._pressed(state, t)[0]

    def _pressed(self, state: dict[str, Tensor], t: float) -> tuple[dict[str, Tensor], Tensor]:
        held = self._held(state, t)
        flow = tuple(held[name] for name in self._names)
        if self._given:
            self.pressure_solver.check_balance(flow, t)
        pressed, phi = self.pressure_solver.project(flow)
        return {**held, **dict(zip(self._names, pressed, strict=True))}, phi

    def _held(self, state: Fields, t: float, *, still: bool = False) -> dict[str, Tensor]:
        """The state with what is given on the ends' faces (zero if still), and nothing on closed faces."""
        out = dict(state)
        for i, name in enumerate(self._names):
            f = out[name]
            axis = f.ndim - 1 - i
            n = f.shape[axis]
            parts = [f.narrow(axis, 0, 1), f.narrow(axis, 1, n - 2), f.narrow(axis, n - 1, 1)]
            for side, place in enumerate((0, 2)):
                value = self.ends.across(i, side, t, like=f)
                if value is not None:
                    parts[place] = torch.zeros_like(parts[place]) + (0.0 if still else value)
            out[name] = torch.cat(parts, axis) * self.pressure_solver.fluid[i].to(f)
        return out


def _mean(f: Tensor, axis: int) -> Tensor:
    n = f.shape[axis] - 1
    return (f.narrow(axis, 0, n) + f.narrow(axis, 1, n)) / 2
