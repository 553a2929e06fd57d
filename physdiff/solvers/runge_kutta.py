r"""Explicit Runge-Kutta methods, one loop and the coefficients as data.

$$k_i = f\Big(u + \Delta t \sum_{j<i} a_{ij} k_j,\; t + c_i \Delta t\Big), \qquad u^+ = u + \Delta t \sum_i b_i k_i, \qquad c_i = \sum_j a_{ij}.$$

A method's stability function is $R(z) = 1 + z\,b^T (I - z A)^{-1} \mathbf 1$; from it comes how far a step may go along the negative real axis
(diffusion) and the imaginary axis (advection). References: Butcher, Numerical Methods for Ordinary Differential Equations, 2016; Shu and
Osher, 1988 (SSPRK3).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE
from physdiff.solvers.stepper import Stepper, spectral_radius

__all__ = ["EULER", "HEUN2", "KUTTA3", "MIDPOINT", "RK4", "RungeKutta", "SSPRK3", "Tableau"]


@dataclass(frozen=True)
class Tableau:
    """Coefficients of an explicit Runge-Kutta method.

    Args:
        name: Of the method.
        order: Of accuracy.
        a: Row i holds the i weights of the stages before stage i; the first row is empty.
        b: Weights of the stages in the step.
    """

    name: str
    order: int
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.a) != len(self.b) or any(len(row) != i for i, row in enumerate(self.a)):
            raise InputError(f"Tableau {self.name}: expected row i of `a` with i entries and as many rows as `b`, got a = {self.a!r}")
        if abs(sum(self.b) - 1) > 1e-12:
            raise InputError(f"Tableau {self.name}: expected weights b that sum to 1, got {self.b!r}")

    @property
    def c(self) -> tuple[float, ...]:
        """Times of the stages, as shares of the step."""
        return tuple(sum(row) for row in self.a)

    def stability(self, z: Tensor) -> Tensor:
        """R(z), the factor by which one step multiplies u' = lambda u with z = lambda dt; complex128 of z's shape."""
        z = z.to(torch.complex128)
        stages: list[Tensor] = []
        for row in self.a:
            stages.append(z * (1 + sum((w * k for w, k in zip(row, stages, strict=True)), torch.zeros_like(z))))
        return 1 + sum((w * k for w, k in zip(self.b, stages, strict=True)), torch.zeros_like(z))

    def reach(self) -> tuple[float, float]:
        """How far |R| <= 1 holds along the negative real axis and along the imaginary axis."""
        line = torch.linspace(0, 20, 20001, dtype=torch.float64, device="cpu")
        # 1e-10: rounding of |R| = 1 near the origin; a method without an imaginary interval leaves it at the first points
        ends = [(self.stability(direction * line).abs() > 1 + 1e-10).double().argmax() for direction in (-1.0, 1j)]
        return float(line[ends[0] - 1]), float(line[max(int(ends[1]) - 1, 0)])


EULER = Tableau("Euler", 1, ((),), (1.0,))
MIDPOINT = Tableau("midpoint", 2, ((), (0.5,)), (0.0, 1.0))
HEUN2 = Tableau("Heun", 2, ((), (1.0,)), (0.5, 0.5))
KUTTA3 = Tableau("Kutta", 3, ((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6))
SSPRK3 = Tableau("SSPRK3", 3, ((), (1.0,), (0.25, 0.25)), (1 / 6, 1 / 6, 2 / 3))
RK4 = Tableau("RK4", 4, ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))


class RungeKutta(Stepper):
    """Advances the whole right-hand side of a law explicitly.

    Products are kept free of aliasing where the operators offer it: the nonstiff part sees, and gives, dealiased fields.

    Args:
        pde: The law.
        operators: Derivatives on the grid.
        tableau: The method.
    """

    def __init__(self, pde: PDE, operators: Operators, tableau: Tableau = RK4) -> None:
        self.pde, self.operators, self.tableau = pde, operators, tableau
        self.order = tableau.order

    def rhs(self, u: Fields, t: float) -> Fields:
        """Right-hand side of the fields (B, *S), dealiased."""
        D, names = self.operators, self.pde.fields
        law = self.pde.bound(D.ndim, like=u[names[0]])
        linear = law.stiff(u, D.of(u, t))
        rest = law.explicit({n: D.dealias(u[n]) for n in names}, D, t)
        return {n: linear[n] + D.dealias(rest[n]) for n in names}

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step of the tableau; see Stepper.step."""
        slopes: list[Fields] = []
        for row, c in zip(self.tableau.a, self.tableau.c, strict=True):
            slopes.append(self.rhs(_moved(u, dt, row, slopes), t + c * dt))
        return _moved(u, dt, self.tableau.b, slopes)

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Reach of the method over the largest eigenvalue met; see Stepper.limit.

        Where the method has no imaginary interval (Euler, second order) half the real one is taken.
        """
        real, imaginary = self.tableau.reach()
        radius = spectral_radius(lambda v: self.rhs(v, t), {n: u[n] for n in self.pde.fields})
        reach = min(real, imaginary) if imaginary > 0.1 else real / 2
        return reach / radius if radius > 0 else float("inf")


def _moved(u: Fields, dt: float, weights: tuple[float, ...], slopes: list[Fields]) -> Fields:
    out = dict(u)
    for w, slope in zip(weights, slopes, strict=True):
        if w != 0:
            out = {name: out[name] + (w * dt) * slope[name] for name in slope}
    return out
