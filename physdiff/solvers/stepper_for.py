"""The stepper that suits a law on a grid, or the one asked for by its name, with the operators it takes.

Sites of a ring get shifts, the sphere its metric, closed boxes Fourier modes, flows between walls a projection, and any other box between walls
differences with no slope at its ends. What a law is made for comes first: a density Chang and Cooper's scheme, a gas and its like finite volumes.
"""

from __future__ import annotations

from collections.abc import Callable

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.grids.boundary import Neumann, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.lattice import Lattice
from physdiff.operators.operators import Operators
from physdiff.operators.spectral import Spectral
from physdiff.operators.sphere import Sphere
from physdiff.operators.wall_operators import WallOperators
from physdiff.pdes.darcy import Darcy
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.ideal_gas import IdealGas
from physdiff.pdes.lorenz import Lorenz63, Lorenz96
from physdiff.pdes.pde import PDE
from physdiff.pdes.porous_medium import PorousMedium
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.etdrk import ETDRK2, ETDRK4, StrehmelWeiner
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.imex import ImexRungeKutta
from physdiff.solvers.implicit import ImplicitRungeKutta
from physdiff.solvers.implicit_diffusion import ImplicitDiffusion
from physdiff.solvers.markov_chain import MarkovChain
from physdiff.solvers.projection import ProjectedRungeKutta
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.stepper import Stepper

__all__ = ["SOLVERS", "stepper_for"]

SOLVERS: dict[str, Callable[[PDE, Grid], Stepper]] = {
    "chang_cooper": lambda law, grid: ChangCooper(law, grid),  # type: ignore[arg-type]
    "etdrk2": lambda law, grid: ETDRK2(law, Spectral(grid)),
    "etdrk4": lambda law, grid: ETDRK4(law, Spectral(grid)),
    "finite_volume": lambda law, grid: FiniteVolume(law, grid, boundary=None if all(grid.periodic) else Outflow()),
    "imex": lambda law, grid: ImexRungeKutta(law, _operators(law, grid)),
    "implicit": lambda law, grid: ImplicitRungeKutta(law, _operators(law, grid)),
    "markov_chain": lambda law, grid: MarkovChain(law, grid),  # type: ignore[arg-type]
    "implicit_diffusion": lambda law, grid: ImplicitDiffusion(law, grid, order=2),  # type: ignore[arg-type]
    "projected": lambda law, grid: ProjectedRungeKutta(law, _operators(law, grid)),
    "runge_kutta": lambda law, grid: RungeKutta(law, _operators(law, grid)),
    "strehmel_weiner": lambda law, grid: StrehmelWeiner(law, Spectral(grid)),
}
"""Steppers by name, each made of a law and a grid."""


def stepper_for(law: PDE, grid: Grid, solver: str | None = None) -> Stepper:
    """A stepper for the law on the grid.

    Args:
        law: Any law that evolves in time.
        grid: Where. Walls, at its open ends: none is crossed by a density or by an incompressible flow, gases and shallow water leave freely
            (`Outflow`), anything else has no slope there.
        solver: Its name in `SOLVERS`; by the law and the grid if None.

    Raises:
        InputError: If there is no such solver, the law is steady, or the solver is not made for the law.
        UnsupportedOperator: If the operators of the solver do not suit the grid.
        GridMismatch: Likewise.
    """
    if isinstance(law, Darcy):
        raise InputError("Darcy: expected a law that evolves in time, got a steady one; use solve_darcy, or physdiff generate --recipe fno_darcy")
    if solver is not None:
        check_one_of(solver, SOLVERS, "solver")
    if isinstance(law, ShallowWaterSphere) and not isinstance(grid, LatLonGrid):
        raise InputError(f"ShallowWaterSphere: expected a LatLonGrid, got {grid.summary()}; or take ShallowWater, which is plane")
    directions = getattr(law, "ndim", grid.ndim)
    if directions != grid.ndim:
        name = type(law).__name__
        what = f"got {directions} on a grid of {grid.ndim}; set ndim or take a grid of {directions} dimensions"
        raise InputError(f"{name} ndim: expected the number of dimensions of the grid, {what}")
    return SOLVERS[solver or _suits(law, grid)](law, grid)


def _suits(law: PDE, grid: Grid) -> str:
    if isinstance(law, FokkerPlanck):
        return "chang_cooper" if law.tensor is None else "markov_chain"
    if isinstance(law, PorousMedium):
        return "implicit_diffusion"
    if isinstance(law, IdealGas | ShallowWater):
        return "finite_volume"
    operators = _operators(law, grid)
    if isinstance(operators, Spectral):
        return "etdrk4"
    return "projected" if isinstance(operators, WallOperators) else "runge_kutta"


def _operators(law: PDE, grid: Grid) -> Operators:
    if isinstance(law, Lorenz63 | Lorenz96):
        return Lattice(grid)
    if isinstance(grid, LatLonGrid):
        return Sphere(grid, polar_filter=grid.periodic[1])
    if isinstance(grid, CartesianGrid) and all(grid.periodic):
        return Spectral(grid)
    if "pressure" in law.diagnostics and any(name.startswith("velocity_") for name in law.fields):
        return WallOperators(grid, boundary=Reflecting())
    return FiniteDifference(grid, order=2, boundary=Neumann(0.0))
