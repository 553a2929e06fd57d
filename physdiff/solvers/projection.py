r"""Explicit Runge-Kutta steps of a flow between walls, made free of divergence after each stage.

$$u_i = P\Big(u + \Delta t\sum_{j<i} a_{ij} k_j\Big), \qquad k_j = f(u_j, t_j),$$

which keeps the order of the method for the velocity (Sanderse and Koren, Accuracy analysis of explicit Runge-Kutta methods applied to the
incompressible Navier-Stokes equations, 2012). P is the operators' projection; between walls it is an approximate one (`WallOperators`).
"""

from __future__ import annotations

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators, PoissonOperators
from physdiff.pdes.incompressible import velocity_names
from physdiff.pdes.pde import PDE
from physdiff.solvers.runge_kutta import HEUN2, RungeKutta, Tableau
from physdiff.solvers.stages import moved
from physdiff.solvers.stepper import Stepper

__all__ = ["ProjectedRungeKutta"]


class ProjectedRungeKutta(Stepper):
    """Advances incompressible flow with any operators that can project.

    Args:
        pde: A law with the fields velocity_x, velocity_y[, velocity_z], such as IncompressibleFlow or BuoyantFlow.
        operators: WallOperators, or Spectral.
        tableau: The method.

    Raises:
        UnsupportedOperator: If the operators cannot project.
        InputError: If the law has no velocity.
    """

    def __init__(self, pde: PDE, operators: Operators, tableau: Tableau = HEUN2) -> None:
        if not isinstance(operators, PoissonOperators):
            raise UnsupportedOperator("project", type(operators).__name__, "use WallOperators between walls, Spectral on periodic boxes")
        self._names = velocity_names(operators.ndim)
        missing = [name for name in self._names if name not in pde.fields]
        if missing:
            raise InputError(f"ProjectedRungeKutta: expected a law with {', '.join(self._names)}, got {type(pde).__name__}")
        self.pde, self.operators, self.tableau, self.order = pde, operators, tableau, tableau.order
        self._whole = RungeKutta(pde, operators, tableau)

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step; see Stepper.step."""
        slopes: list[Fields] = []
        for row, c in zip(self.tableau.a, self.tableau.c, strict=True):
            slopes.append(self._whole.rhs(self._moved(u, dt, row, slopes=slopes), t + c * dt))
        return self._moved(u, dt, self.tableau.b, slopes=slopes)

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """That of the same method without projections; see RungeKutta.limit."""
        return self._whole.limit(u, t)

    def _moved(self, u: Fields, dt: float, weights: tuple[float, ...], *, slopes: list[Fields]) -> Fields:
        out = moved({name: u[name] for name in self.pde.fields}, dt, weights, slopes=slopes)
        if not weights:
            return out
        flow = self.operators.project(tuple(out[name] for name in self._names))
        return {**out, **dict(zip(self._names, flow, strict=True))}
