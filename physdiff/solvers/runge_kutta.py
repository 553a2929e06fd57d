r"""Explicit Runge-Kutta methods, one loop and the coefficients as data.

$$k_i = f\Big(u + \Delta t \sum_{j<i} a_{ij} k_j,\; t + c_i \Delta t\Big), \qquad u^+ = u + \Delta t \sum_i b_i k_i, \qquad c_i = \sum_j a_{ij}.$$

A method's stability function is $R(z) = 1 + z\,b^T (I - z A)^{-1} \mathbf 1$; from it comes how far a step may go along the negative real axis
(diffusion) and the imaginary axis (advection).

An embedded pair has a second row of weights $\hat b$ of lower order: $\Delta t\sum_i (b_i - \hat b_i) k_i$ estimates the error of the lower
result at no further evaluation, and the step goes on from the higher one. References: Butcher, Numerical Methods for Ordinary Differential
Equations, 2016; Shu and Osher, 1988 (SSPRK3); Bogacki and Shampine, 1989; Dormand and Prince, 1980; Tsitouras, 2011.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE
from physdiff.solvers.stages import Rows, check_stages, moved, stability
from physdiff.solvers.stepper import EmbeddedStepper, Stepper, shortest_wave_rate, spectral_radius

__all__ = [
    "BOGACKI_SHAMPINE",
    "DORMAND_PRINCE",
    "EULER",
    "HEUN2",
    "KUTTA3",
    "MIDPOINT",
    "RK4",
    "SSPRK3",
    "TSITOURAS",
    "EmbeddedPair",
    "EmbeddedRungeKutta",
    "RungeKutta",
    "Tableau",
]


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
    a: Rows
    b: tuple[float, ...]

    def __post_init__(self) -> None:
        check_stages(f"Tableau {self.name}", self.a, self.b, implicit=False)

    @property
    def c(self) -> tuple[float, ...]:
        """Times of the stages, as shares of the step."""
        return tuple(sum(row) for row in self.a)

    def stability(self, z: Tensor) -> Tensor:
        """R(z), the factor by which one step multiplies u' = lambda u with z = lambda dt; complex128 of z's shape."""
        return stability(self.a, self.b, z)

    def reach(self) -> tuple[float, float]:
        """How far |R| <= 1 holds along the negative real axis and along the imaginary axis."""
        line = torch.linspace(0, 20, 20001, dtype=torch.float64, device="cpu")
        # 1e-10: rounding of |R| = 1 near the origin; a method without an imaginary interval leaves it at the first points
        ends = [(self.stability(direction * line).abs() > 1 + 1e-10).double().argmax() for direction in (-1.0, 1j)]
        return float(line[ends[0] - 1]), float(line[max(int(ends[1]) - 1, 0)])

    def careful(self) -> float:
        """The smaller reach; half the real one where there is no imaginary interval to speak of (Euler, second order)."""
        real, imaginary = self.reach()
        return min(real, imaginary) if imaginary > 0.1 else real / 2


EULER = Tableau("Euler", 1, ((),), (1.0,))
MIDPOINT = Tableau("midpoint", 2, ((), (0.5,)), (0.0, 1.0))
HEUN2 = Tableau("Heun", 2, ((), (1.0,)), (0.5, 0.5))
KUTTA3 = Tableau("Kutta", 3, ((), (0.5,), (-1.0, 2.0)), (1 / 6, 2 / 3, 1 / 6))
SSPRK3 = Tableau("SSPRK3", 3, ((), (1.0,), (0.25, 0.25)), (1 / 6, 1 / 6, 2 / 3))
RK4 = Tableau("RK4", 4, ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6))


@dataclass(frozen=True)
class EmbeddedPair:
    """A method and a second row of weights for its stages, of lower order.

    Args:
        tableau: The method that is advanced.
        lower: The second weights.
        lower_order: Their order of accuracy, below that of the tableau.
    """

    tableau: Tableau
    lower: tuple[float, ...]
    lower_order: int

    def __post_init__(self) -> None:
        name = f"EmbeddedPair {self.tableau.name}"
        if len(self.lower) != len(self.tableau.b) or abs(sum(self.lower) - 1) > 1e-12:
            raise InputError(f"{name}: expected {len(self.tableau.b)} weights that sum to 1, got {self.lower!r}")
        if not 1 <= self.lower_order < self.tableau.order:
            raise InputError(f"{name}: expected a lower order from 1 to {self.tableau.order - 1}, got {self.lower_order!r}")


BOGACKI_SHAMPINE = EmbeddedPair(
    Tableau("Bogacki-Shampine", 3, ((), (1 / 2,), (0.0, 3 / 4), (2 / 9, 1 / 3, 4 / 9)), (2 / 9, 1 / 3, 4 / 9, 0.0)),
    (7 / 24, 1 / 4, 1 / 3, 1 / 8),
    2,
)
DORMAND_PRINCE = EmbeddedPair(
    Tableau(
        "Dormand-Prince",
        5,
        (
            (),
            (1 / 5,),
            (3 / 40, 9 / 40),
            (44 / 45, -56 / 15, 32 / 9),
            (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
            (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
            (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
        ),
        (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0.0),
    ),
    (5179 / 57600, 0.0, 7571 / 16695, 393 / 640, -92097 / 339200, 187 / 2100, 1 / 40),
    4,
)
_T5 = (0.09646076681806523, 0.01, 0.4798896504144996, 1.379008574103742, -3.290069515436081, 2.324710524099774)
_T5_ERROR = (
    -0.001780011052225777,
    -0.0008164344596567469,
    0.007880878010261995,
    -0.1447110071732629,
    0.5823571654525552,
    -0.45808210592918697,
    1 / 66,
)
TSITOURAS = EmbeddedPair(
    Tableau(
        "Tsitouras",
        5,
        (
            (),
            (0.161,),
            (-0.008480655492356989, 0.335480655492357),
            (2.8971530571054935, -6.359448489975075, 4.3622954328695815),
            (5.325864828439257, -11.748883564062828, 7.4955393428898365, -0.09249506636175525),
            (5.86145544294642, -12.92096931784711, 8.159367898576159, -0.071584973281401, -0.028269050394068383),
            _T5,
        ),
        (*_T5, 0.0),
    ),
    tuple(b - e for b, e in zip((*_T5, 0.0), _T5_ERROR, strict=True)),
    4,
)


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
        return moved(u, dt, self.tableau.b, slopes=self.slopes(u, t, dt))

    def slopes(self, u: Fields, t: float, dt: float) -> list[Fields]:
        """The right-hand sides of all stages of a step."""
        out: list[Fields] = []
        for row, c in zip(self.tableau.a, self.tableau.c, strict=True):
            out.append(self.rhs(moved(u, dt, row, slopes=out), t + c * dt))
        return out

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """`careful` of the tableau over the largest eigenvalue met, or next to open ends a bound of it; see Stepper.limit."""
        limit = self._over_radius(self.tableau.careful(), u, t)
        if all(getattr(getattr(self.operators, "grid", None), "periodic", (True,))):
            return limit
        rate = shortest_wave_rate(lambda v: self.rhs(v, t), {n: u[n] for n in self.pde.fields})
        return min(limit, self.tableau.careful() / rate) if rate > 0 else limit

    def unstable_beyond(self, u: Fields, t: float = 0.0) -> float:
        """The larger reach over the largest eigenvalue met; see Stepper.unstable_beyond."""
        return self._over_radius(max(self.tableau.reach()), u, t)

    def _over_radius(self, reach: float, u: Fields, t: float) -> float:
        radius = spectral_radius(lambda v: self.rhs(v, t), {n: u[n] for n in self.pde.fields})
        return reach / radius if radius > 0 else float("inf")


class EmbeddedRungeKutta(EmbeddedStepper):
    """Advances the whole right-hand side of a law explicitly and estimates the error of each step, for ``solve(..., tol=e)``.

    Args:
        pde: The law.
        operators: Derivatives on the grid.
        pair: The method and its second weights.
    """

    def __init__(self, pde: PDE, operators: Operators, pair: EmbeddedPair = DORMAND_PRINCE) -> None:
        self.pde, self.operators, self.pair = pde, operators, pair
        self.order, self.error_order = pair.tableau.order, pair.lower_order
        self._method = RungeKutta(pde, operators, pair.tableau)

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step of the higher order; see Stepper.step."""
        return self._method.step(u, t, dt)

    def step_with_error(self, u: Fields, t: float, dt: float) -> tuple[Fields, Fields]:
        """One step, and how far the lower weights would have come away from it; see EmbeddedStepper.step_with_error."""
        slopes = self._method.slopes(u, t, dt)
        weights = [(b - low) * dt for b, low in zip(self.pair.tableau.b, self.pair.lower, strict=True)]
        error = {n: sum((w * s[n] for w, s in zip(weights, slopes, strict=True)), torch.zeros_like(u[n])) for n in self.pde.fields}
        return moved(u, dt, self.pair.tableau.b, slopes=slopes), error

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Reach of the method over the largest eigenvalue met; see Stepper.limit."""
        return self._method.limit(u, t)

    def unstable_beyond(self, u: Fields, t: float = 0.0) -> float:
        """See Stepper.unstable_beyond."""
        return self._method.unstable_beyond(u, t)
