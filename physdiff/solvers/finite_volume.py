r"""Finite volumes: what leaves a cell arrives in its neighbour, shocks included.

$$\frac{d\bar u_i}{dt} = -\sum_d \frac{F_{i+1/2} - F_{i-1/2}}{h_d} + \text{(stiff + production)}_i, \qquad
F_{i+1/2} = \mathcal F(u^-_{i+1/2}, u^+_{i+1/2})$$

The law's `primitive` variables go from the cells to both sides of every face (`Reconstruction`), and a `RiemannFlux` decides what passes. Sums over
cells are kept to rounding, so shocks move at the right speed. Values of `positive` variables at faces are drawn towards the mean of their cell where
they would fall below a hundredth of it (Zhang and Shu, 2010, applied to primitive variables). `stiff` and `production` are centred differences on
the same cells, extended by the same boundary conditions.

Values are means over cells. Reconstruction goes direction by direction: in one dimension its order is that of the scheme; in more, fluxes at the
centres of faces and values at the centres of cells make the scheme of order 2, with WENO5 at a small constant. References: LeVeque, Finite Volume
Methods for Hyperbolic Problems, 2002; Shu, 1997.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, GridMismatch, InputError, ShapeError
from physdiff.grids.boundary import Boundary
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.pde import PDE
from physdiff.solvers.cell_operators import CellOperators
from physdiff.solvers.outer_cells import OuterCells
from physdiff.solvers.point_operators import PointOperators
from physdiff.solvers.reconstruction import MUSCL, Reconstruction
from physdiff.solvers.riemann import Face, RiemannFlux, Rusanov
from physdiff.solvers.runge_kutta import SSPRK3, Tableau
from physdiff.solvers.stages import moved
from physdiff.solvers.stepper import Stepper, spectral_radius

__all__ = ["FiniteVolume"]

_LEAST = 0.01
_REMEDY = "take shorter steps (a smaller cfl), Rusanov() or PiecewiseConstant(), or check the initial state"


class FiniteVolume(Stepper):
    """Advances cell means of a law with `flux` and `speeds` on a uniform CartesianGrid in one to three dimensions.

    Args:
        pde: The law.
        grid: The grid; cells are centred at its points.
        reconstruction: From cells to faces: `PiecewiseConstant()`, `MUSCL(limiter)`, `WENO5(weights)`.
        riemann: Flux between two states: `Rusanov()` for any law, `HLL()`, `HLLC()`, `Godunov()`.
        boundary: Conditions at open ends, for all fields or by axis or by field: Outflow, Reflecting, Neumann, or Dirichlet (the state outside).
        tableau: Explicit Runge-Kutta method.

    Raises:
        InputError: If the law has no flux, the Riemann flux is not made for it, operators are given for the grid, or an open end has no condition.
        GridMismatch: If the grid is not a uniform CartesianGrid.
    """

    def __init__(
        self,
        pde: PDE,
        grid: Grid,
        *,
        reconstruction: Reconstruction = MUSCL(),  # noqa: B008 - a frozen value
        riemann: RiemannFlux = Rusanov(),  # noqa: B008 - a frozen value
        boundary: Boundary | None = None,
        tableau: Tableau = SSPRK3,
    ) -> None:
        if isinstance(grid, Operators):
            raise InputError(f"FiniteVolume: expected the grid itself, got {type(grid).__name__} operators; it makes its own: give their grid")
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise GridMismatch(f"FiniteVolume: expected a uniform CartesianGrid, got {grid.summary()}; regrid, or use another stepper")
        if type(pde).flux is PDE.flux or type(pde).speeds is PDE.speeds:
            raise InputError(
                f"FiniteVolume: expected a law with flux and speeds, got {type(pde).__name__}, which is not written in conservation form; "
                "use RungeKutta or an exponential integrator, or give it both methods"
            )
        riemann.check(pde)
        self.pde, self.grid, self.order = pde, grid, tableau.order
        self.reconstruction, self.riemann, self.tableau = reconstruction, riemann, tableau
        self.outer = OuterCells(grid, pde.fields, boundary)
        self.operators: Operators = FiniteDifference(grid)
        self._rest = _Rest(pde, grid, self.outer, order=6 if reconstruction.order > 2 else 2)
        depth = reconstruction.reach + 1
        self._extended = [PointOperators(self.outer.places(d, depth)) for d in range(grid.ndim)]
        self._faces = [PointOperators(_face_coordinates(grid, d)) for d in range(grid.ndim)]
        self._cells = PointOperators(grid.coordinates())

    def rhs(self, u: Fields, t: float) -> dict[str, Tensor]:
        """Rate of change of the cell means (B, *S)."""
        law = self._law(u)
        total = self._rest(law, u, t)
        for direction in range(self.grid.ndim):
            axis, h = -1 - direction, self.grid.spacing[self.grid.ndim - 1 - direction]
            n = u[law.fields[0]].shape[axis]
            for name, flux in self.fluxes(u, t, direction).items():
                gain = (flux.narrow(axis, 0, n) - flux.narrow(axis, 1, n)) / h
                total[name] = total[name] + gain if name in total else gain
        return total

    def fluxes(self, u: Fields, t: float, direction: int) -> dict[str, Tensor]:
        """Flux of each field through the faces along a direction (0, 1, 2 for x, y, z), one more than cells."""
        law, axis, reach = self._law(u), -1 - direction, self.reconstruction.reach
        names = law.fields
        extended = self.outer.extend({name: u[name] for name in names}, direction, reach + 1, t=t)
        w = law.primitive(extended, self._extended[direction], t)
        means = torch.stack(list(w.values()))
        lower, upper = self.reconstruction.sides(means, axis)
        if reach:
            means = means.narrow(axis, reach, means.shape[axis] - 2 * reach)
            lower, upper = _drawn_in(means, lower, upper, [i for i, name in enumerate(w) if name in law.positive])
        faces, D = means.shape[axis] - 1, self._faces[direction]
        sides = (upper.narrow(axis, 0, faces), lower.narrow(axis, 1, faces))
        left, right = (law.conserved(dict(zip(w, side.unbind(0), strict=True)), D, t) for side in sides)
        flux = self.riemann.through(law, left, right, face=Face(D, t, direction))
        if self.grid.periodic[self.grid.ndim - 1 - direction]:
            # the last face is the first one, to the last bit
            flux = {name: torch.cat([f.narrow(axis, 0, faces - 1), f.narrow(axis, 0, 1)], dim=axis) for name, f in flux.items()}
        return flux

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step of the tableau; see Stepper.step.

        Raises:
            Diverged: If a density, pressure or depth falls below zero.
        """
        slopes: list[Fields] = []
        for row, c in zip(self.tableau.a, self.tableau.c, strict=True):
            slopes.append(self.rhs(moved(u, dt, row, slopes=slopes), t + c * dt))
        after = moved(u, dt, self.tableau.b, slopes=slopes)
        self._check(after, t + dt)
        return after

    def limit(self, u: Fields, t: float = 0.0) -> float:
        r"""The step at which waves cross a cell, $1/\max\sum_d s_d/h_d$, shortened where stiff and production limit it too.

        Raises:
            Diverged: If a density, pressure or depth is below zero.
        """
        self._check(u, t)
        law, steps = self._law(u), tuple(reversed(self.grid.spacing))
        speeds = law.speeds(u, self._cells, t)
        rate = sum((s.detach() / h for s, h in zip(speeds, steps, strict=True)), torch.zeros_like(u[law.fields[0]]))
        crossing = max([float(rate.max()), *(self._entering(law, u, t, d) / h for d, h in enumerate(steps))])
        if not math.isfinite(crossing):
            raise Diverged(law.fields[0], t, f"the speeds of {type(law).__name__} are not finite; {_REMEDY}")
        if self._rest.present:
            crossing += spectral_radius(lambda v: self._rest(law, v, t), {n: u[n] for n in law.fields}) / self.tableau.reach()[0]
        return 1 / crossing if crossing > 0 else math.inf

    def unstable_beyond(self, u: Fields, t: float = 0.0) -> float:
        """1.25 times the limit, where even first-order upwinding under SSPRK3 grows; see Stepper.unstable_beyond."""
        return 1.25 * self.limit(u, t)

    def _entering(self, law: PDE, u: Fields, t: float, direction: int) -> float:
        """Largest speed along a direction with the states outside, which may be faster than all inside."""
        depth = self.reconstruction.reach + 1
        outside = self.outer.extend({name: u[name] for name in law.fields}, direction, depth, t=t)
        return float(law.speeds(outside, self._extended[direction], t)[direction].detach().max())

    def _law(self, u: Fields) -> PDE:
        first = u[self.pde.fields[0]]
        if tuple(first.shape[1:]) != self.grid.shape:
            raise ShapeError(f"FiniteVolume: expected fields (batch, {', '.join(map(str, self.grid.shape))}), got {tuple(first.shape)}")
        return self.pde.bound(self.grid.ndim, like=first)

    def _check(self, u: Fields, t: float) -> None:
        if not self.pde.positive:
            return
        w = self._law(u).primitive(u, self._cells, t)
        for name in self.pde.positive:
            if not bool((w[name].detach() >= 0).all()):
                raise Diverged(name, t, _REMEDY, event="is not positive")


class _Rest:
    """Stiff part and production by centred differences, on cells that are extended beyond open ends."""

    def __init__(self, pde: PDE, grid: CartesianGrid, outer: OuterCells, *, order: int) -> None:
        self.present = type(pde).stiff is not PDE.stiff or type(pde).production is not PDE.production
        # a derivative of a derivative reaches twice as far; what is one-sided beyond that is cut off
        self._depth = tuple(0 if closed or not self.present else order for closed in grid.periodic)
        self._outer, self._grid = outer, grid
        if self.present:
            shape = tuple(n + 2 * more for n, more in zip(grid.shape, self._depth, strict=True))
            extent = tuple(n * h for n, h in zip(shape, grid.spacing, strict=True))
            origin = tuple(x - more * h for x, more, h in zip(grid.origin, self._depth, grid.spacing, strict=True))
            self._operators = CellOperators(CartesianGrid(shape, extent, origin, periodic=grid.periodic), order=order)

    def __call__(self, law: PDE, u: Fields, t: float) -> dict[str, Tensor]:
        if not self.present:
            return {}
        wider = [0] * self._grid.ndim
        full: Fields = {name: u[name] for name in law.fields}
        for axis, more in enumerate(self._depth):
            if more:
                full = self._outer.extend(full, self._grid.ndim - 1 - axis, more, t=t, wider=wider, mirrored=True)
                wider[axis] = more
        D = self._operators
        linear, rest = law.stiff(full, D.of(full, t)), law.production(full, D.of(full, t), t)
        return {name: self._inner(linear[name] + rest[name]) for name in law.fields}

    def _inner(self, f: Tensor) -> Tensor:
        for axis, (more, n) in enumerate(zip(self._depth, self._grid.shape, strict=True)):
            if more:
                f = f.narrow(axis - self._grid.ndim, more, n)
        return f


def _drawn_in(means: Tensor, lower: Tensor, upper: Tensor, positive: list[int]) -> tuple[Tensor, Tensor]:
    """Both sides of each cell, nearer to its mean where a positive variable would fall below a share of its own."""
    if not positive:
        return lower, upper
    mean = means[positive]
    least = torch.minimum(lower[positive], upper[positive])
    room, drop = (1 - _LEAST) * mean.clamp(min=0), mean - least
    far = drop > room
    share = torch.where(far, room / torch.where(far, drop, torch.ones_like(drop)), torch.ones_like(drop)).amin(0)
    return means + share * (lower - means), means + share * (upper - means)


def _face_coordinates(grid: CartesianGrid, direction: int) -> Vector:
    axis = grid.ndim - 1 - direction
    axes = list(grid.axes())
    h = grid.spacing[axis]
    axes[axis] = axes[axis][0] - h / 2 + h * torch.arange(grid.shape[axis] + 1, dtype=torch.float64, device="cpu")
    return tuple(reversed(torch.meshgrid(*axes, indexing="ij")))
