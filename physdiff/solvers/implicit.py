r"""Diagonally implicit Runge-Kutta methods: stable for steps of any length, for laws whose stiff part is nonlinear.

$$Y_i = u + \Delta t \sum_{j<i} a_{ij} k_j + \Delta t\,a_{ii} f(Y_i,\, t + c_i\Delta t), \qquad k_i = f(Y_i), \qquad
u^+ = u + \Delta t\sum_i b_i k_i.$$

Each stage is a nonlinear system for the fields, solved by Newton's method with GMRES and differentiated by the implicit function theorem
(`implicit_stage`). Backward Euler and the pair and triple of Alexander are L-stable: what is stiff is damped however long the step. The implicit
midpoint rule and the trapezoidal rule (Crank-Nicolson) are A-stable and keep the size of a wave; they do not damp what they cannot follow.
References: Alexander, Diagonally implicit Runge-Kutta methods for stiff ODEs, 1977; Hairer and Wanner, Solving ODEs II, 1996.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE
from physdiff.solvers.newton import Newton, implicit_stage
from physdiff.solvers.stages import Rows, check_stages, moved, stability
from physdiff.solvers.stepper import Stepper

__all__ = ["BACKWARD_EULER", "CRANK_NICOLSON", "IMPLICIT_MIDPOINT", "SDIRK2", "SDIRK3", "DiagonalTableau", "ImplicitRungeKutta"]


@dataclass(frozen=True)
class DiagonalTableau:
    """Coefficients of a diagonally implicit Runge-Kutta method.

    Args:
        name: Of the method.
        order: Of accuracy.
        a: Row i holds the i + 1 weights of the stages up to stage i itself; the last of a row is at least zero.
        b: Weights of the stages in the step.
    """

    name: str
    order: int
    a: Rows
    b: tuple[float, ...]

    def __post_init__(self) -> None:
        check_stages(f"DiagonalTableau {self.name}", self.a, self.b, implicit=True)

    @property
    def c(self) -> tuple[float, ...]:
        """Times of the stages, as shares of the step."""
        return tuple(sum(row) for row in self.a)

    def stability(self, z: Tensor) -> Tensor:
        """R(z), the factor by which one step multiplies u' = lambda u with z = lambda dt; complex128 of z's shape."""
        return stability(self.a, self.b, z)


_G2 = 1 - math.sqrt(0.5)
_G3 = 0.435866521508458999416019  # root of g^3 - 3 g^2 + 3/2 g - 1/6 between 1/6 and 1/2

BACKWARD_EULER = DiagonalTableau("backward Euler", 1, ((1.0,),), (1.0,))
IMPLICIT_MIDPOINT = DiagonalTableau("implicit midpoint", 2, ((0.5,),), (1.0,))
CRANK_NICOLSON = DiagonalTableau("Crank-Nicolson", 2, ((0.0,), (0.5, 0.5)), (0.5, 0.5))
SDIRK2 = DiagonalTableau("SDIRK2", 2, ((_G2,), (1 - _G2, _G2)), (1 - _G2, _G2))
SDIRK3 = DiagonalTableau(
    "SDIRK3",
    3,
    ((_G3,), ((1 - _G3) / 2, _G3), (-1.5 * _G3**2 + 4 * _G3 - 0.25, 1.5 * _G3**2 - 5 * _G3 + 1.25, _G3)),
    (-1.5 * _G3**2 + 4 * _G3 - 0.25, 1.5 * _G3**2 - 5 * _G3 + 1.25, _G3),
)


class ImplicitRungeKutta(Stepper):
    """Advances the whole right-hand side of a law implicitly: stiff and nonstiff, linear or not.

    No step is too long for stability: choose it by accuracy, ``solve(..., substeps=n)`` or ``solve(..., tol=e)``. Gradients through a step cost one
    adjoint linear solve per stage, whatever Newton's method took; second derivatives are refused.

    Args:
        pde: The law, smooth where Newton's method looks for a root.
        operators: Derivatives on the grid.
        tableau: The method.
        newton: How hard roots are sought; None for the defaults.
    """

    def __init__(self, pde: PDE, operators: Operators, tableau: DiagonalTableau = SDIRK2, *, newton: Newton | None = None) -> None:
        self.pde, self.operators, self.tableau = pde, operators, tableau
        self.order = tableau.order
        self._newton = newton or Newton()

    def rhs(self, u: Fields, t: float) -> Fields:
        """Right-hand side of the fields (B, *S), dealiased."""
        D, names = self.operators, self.pde.fields
        law = self.pde.bound(D.ndim, like=u[names[0]])
        linear = law.stiff(u, D.of(u, t))
        rest = law.explicit({n: D.dealias(u[n]) for n in names}, D, t)
        return {n: linear[n] + D.dealias(rest[n]) for n in names}

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step of the tableau; see Stepper.step.

        Raises:
            Diverged: If a stage is not found.
        """
        u = {n: u[n] for n in self.pde.fields}
        slopes: list[Fields] = []
        stage: Fields = u
        for row, c in zip(self.tableau.a, self.tableau.c, strict=True):
            known, share, moment = moved(u, dt, row, slopes=slopes), row[-1] * dt, t + c * dt
            if share == 0:
                stage = known
                slopes.append(self.rhs(stage, moment))
            else:
                stage = implicit_stage(partial(self.rhs, t=moment), known, share, guess=stage, time=moment, newton=self._newton)
                slopes.append({n: (stage[n] - known[n]) / share for n in stage})
        return stage if self.tableau.b == self.tableau.a[-1] else moved(u, dt, self.tableau.b, slopes=slopes)

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Infinity: all methods of this file are stable for any step; see Stepper.limit."""
        return math.inf
