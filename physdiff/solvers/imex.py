r"""Implicit-explicit steps: the stiff linear part L implicitly, the rest N explicitly, so that the step need not resolve what L damps.

Runge-Kutta pairs share their times and end in their last stage,

$$Y_i = u + \Delta t\sum_{j<i} \big(\hat a_{ij} N(Y_j) + a_{ij} L Y_j\big) + \Delta t\,a_{ii} L Y_i, \qquad u^+ = Y_s,$$

which makes the limit of an infinitely stiff L a step of the limiting law. ARS222 and ARS443 (Ascher, Ruuth and Spiteri, 1997) are L-stable; CN_RK2
(Heun's method with the trapezoidal rule) and CN_RK4 (Carpenter and Kennedy's low-storage scheme, 1994, likewise) are cheap in turbulence, whose
viscosity is mild at the steps that the flow allows. CNAB2 needs one evaluation of N per step,

$$(1 - \tfrac{\Delta t}{2} L)\,u^{n+1} = (1 + \tfrac{\Delta t}{2} L)\,u^n + \Delta t\,(\tfrac32 N^n - \tfrac12 N^{n-1}),$$

and starts with CN_RK2. Its $N^{n-1}$ is part of its own form of the state (`enter`, `advance`, `leave`): nothing is remembered between calls, so a
single `step` is a start, and a chain of `advance` is the method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE
from physdiff.solvers.runge_kutta import Tableau
from physdiff.solvers.split import SplitLaw, split_law
from physdiff.solvers.stepper import Stepper

__all__ = ["ARS222", "ARS443", "CNAB2", "CN_RK2", "CN_RK4", "ImexRungeKutta", "ImexTableau"]

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class ImexTableau:
    """Coefficients of an implicit-explicit Runge-Kutta pair whose step is its last stage.

    Args:
        name: Of the method.
        order: Of accuracy of the pair.
        explicit: Row i holds the i weights of N at the stages before stage i; the first row is empty.
        implicit: Row i holds the i + 1 weights of L at the stages up to stage i; the first row is a zero.
    """

    name: str
    order: int
    explicit: Rows
    implicit: Rows

    def __post_init__(self) -> None:
        sizes = [len(row) for row in self.explicit], [len(row) - 1 for row in self.implicit]
        if not sizes[0] == sizes[1] == list(range(len(self.explicit))) or len(self.explicit) < 2:
            raise InputError(f"ImexTableau {self.name}: expected row i of `explicit` with i entries and of `implicit` with i + 1, got {self!r}")
        if self.implicit[0] != (0.0,) or any(row[-1] < 0 for row in self.implicit):
            raise InputError(f"ImexTableau {self.name}: expected a first stage at the start and a diagonal of at least zero, got {self.implicit!r}")
        if any(abs(sum(a) - sum(b)) > 1e-9 for a, b in zip(self.explicit, self.implicit, strict=True)) or abs(sum(self.explicit[-1]) - 1) > 1e-9:
            raise InputError(f"ImexTableau {self.name}: expected rows of equal sums, the last 1, got {self!r}")

    @property
    def c(self) -> tuple[float, ...]:
        """Times of the stages, as shares of the step."""
        return tuple(sum(row) for row in self.explicit)

    def explicit_part(self) -> Tableau:
        """The method that N alone is advanced by."""
        return Tableau(self.name, self.order, self.explicit, (*_normed(self.explicit[-1]), 0.0))


def _normed(row: tuple[float, ...]) -> tuple[float, ...]:
    total = sum(row)  # published low-storage weights add up to one but for their thirteenth digit
    return tuple(w / total for w in row)


def _low_storage(name: str, order: int, alpha: Sequence[float], *, beta: Sequence[float], gamma: Sequence[float]) -> ImexTableau:
    """The pair of h <- N + beta h, u <- u + gamma dt h + dt (alpha' - alpha) (L u + L u')/2, written out."""
    explicit: list[tuple[float, ...]] = [()]
    implicit: list[tuple[float, ...]] = [(0.0,)]
    kept: list[float] = []  # weights of N in h
    for k, (b, g) in enumerate(zip(beta, gamma, strict=True)):
        half = 0.5 * (alpha[k + 1] - alpha[k])
        kept = [*(b * w for w in kept), 1.0]
        explicit.append(tuple(w + g * h for w, h in zip((*explicit[-1], 0.0), kept, strict=True)))
        before = implicit[-1]
        implicit.append((*before[:-1], before[-1] + half, half))
    return ImexTableau(name, order, tuple(explicit), tuple(implicit))


_G = 1 - 0.5**0.5
_D = 1 - 1 / (2 * _G)

ARS222 = ImexTableau("ARS(2,2,2)", 2, ((), (_G,), (_D, 1 - _D)), ((0.0,), (0.0, _G), (0.0, 1 - _G, _G)))
ARS443 = ImexTableau(
    "ARS(4,4,3)",
    3,
    ((), (1 / 2,), (11 / 18, 1 / 18), (5 / 6, -5 / 6, 1 / 2), (1 / 4, 7 / 4, 3 / 4, -7 / 4)),
    ((0.0,), (0.0, 1 / 2), (0.0, 1 / 6, 1 / 2), (0.0, -1 / 2, 1 / 2, 1 / 2), (0.0, 3 / 2, -3 / 2, 1 / 2, 1 / 2)),
)
CN_RK2 = ImexTableau("CN-RK2", 2, ((), (1.0,), (0.5, 0.5)), ((0.0,), (0.5, 0.5), (0.5, 0.0, 0.5)))
CN_RK4 = _low_storage(
    "CN-RK4",
    2,
    (0.0, 0.1496590219993, 0.3704009573644, 0.6222557631345, 0.9582821306748, 1.0),
    beta=(0.0, -0.4178904745, -1.192151694643, -1.697784692471, -1.514183444257),
    gamma=(0.1496590219993, 0.3792103129999, 0.8229550293869, 0.6994504559488, 0.1530572479681),
)


class ImexRungeKutta(Stepper):
    """Advances the law's `stiff` part implicitly and the rest explicitly, by a pair of tableaux.

    The step limit is that of the explicit part. With Spectral operators the implicit part costs a division; with others a linear solve per stage.

    Args:
        pde: The law.
        operators: Derivatives on the grid.
        tableau: The pair.

    Raises:
        UnsupportedOperator: If the operators are Spectral and the stiff part breaks its rules.
    """

    def __init__(self, pde: PDE, operators: Operators, tableau: ImexTableau = ARS222) -> None:
        self.pde, self.operators, self.tableau, self.order = pde, operators, tableau, tableau.order
        self._split = split_law(pde, operators)

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step of the pair; see Stepper.step."""
        return self.leave(self.advance(self.enter(u), t, dt))

    def enter(self, u: Fields) -> Fields:
        """Waves where the operators are Spectral; see Stepper.enter."""
        return self._split.enter(u)

    def advance(self, state: Fields, t: float, dt: float) -> Fields:
        """One step in the stepper's own form; see Stepper.advance."""
        return _stages(self._split, self.tableau, state, t=t, dt=dt)[0]

    def leave(self, state: Fields) -> Fields:
        """See Stepper.leave."""
        return self._split.leave(state)

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Reach of the explicit part over its largest eigenvalue; see Stepper.limit."""
        return self._split.limit(u, t, self.tableau.explicit_part().careful())


class CNAB2(Stepper):
    """Crank-Nicolson for the `stiff` part and the two-step method of Adams and Bashforth for the rest: one evaluation of it per step.

    Within one interval between frames the method runs on; each interval begins with one step of CN_RK2.

    Args:
        pde: The law.
        operators: Derivatives on the grid.

    Raises:
        UnsupportedOperator: If the operators are Spectral and the stiff part breaks its rules.
    """

    def __init__(self, pde: PDE, operators: Operators) -> None:
        self.pde, self.operators, self.order = pde, operators, 2
        self._split = split_law(pde, operators)

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One starting step; see Stepper.step."""
        return self.leave(self.advance(self.enter(u), t, dt))

    def enter(self, u: Fields) -> Fields:
        """The fields alone: no step has been made."""
        return self._split.enter(u)

    def advance(self, state: Fields, t: float, dt: float) -> Fields:
        """One step; the state that is returned holds the explicit part and the length of this step beside the fields.

        Steps may differ in length: the extrapolation is to the middle of the step, N + dt / (2 dt') (N - N').
        """
        fields = {n: state[n] for n in self.pde.fields}
        if _LENGTH not in state:
            end, now = _stages(self._split, CN_RK2, fields, t=t, dt=dt)
        else:
            now, linear = self._split.explicit(fields, t), self._split.stiff(fields, t)
            ratio = 0.5 * dt / state[_LENGTH]
            known = {n: v + 0.5 * dt * linear[n] + dt * (now[n] + ratio * (now[n] - state[_before(n)])) for n, v in fields.items()}
            end = self._split.solve(known, 0.5 * dt, t + dt)
        history: dict[str, Tensor] = {_before(n): v for n, v in now.items()}
        return {**end, **history, _LENGTH: torch.as_tensor(dt, dtype=torch.float64, device="cpu")}

    def leave(self, state: Fields) -> Fields:
        """The fields without their history."""
        return self._split.leave({n: state[n] for n in self.pde.fields})

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Half over the largest eigenvalue of the explicit part: half the real interval; there is no imaginary one. See Stepper.limit."""
        return self._split.limit(u, t, 0.5)


_LENGTH = "length of the step before"


def _before(name: str) -> str:
    return f"{name} (rest of the law one step before)"


def _stages(split: SplitLaw, tableau: ImexTableau, state: Fields, *, t: float, dt: float) -> tuple[dict[str, Tensor], Fields]:
    """The last stage, and N at the first."""
    y: dict[str, Tensor] = {n: state[n] for n in split.pde.fields}
    explicit: list[Fields] = []
    implicit: list[Fields] = []
    size = len(tableau.explicit)
    for i in range(size):
        moment, share = t + tableau.c[i] * dt, dt * tableau.implicit[i][-1]
        if i > 0:
            known = _sum(state, [*tableau.explicit[i], *tableau.implicit[i][:-1]], [*explicit, *implicit], dt=dt)
            y = split.solve(known, share, moment) if share else known
        if i + 1 == size:
            break
        explicit.append(split.explicit(y, moment) if any(row[i] for row in tableau.explicit[i + 1 :]) else {})
        if not any(row[i] for row in tableau.implicit[i + 1 :]):
            implicit.append({})
        else:
            implicit.append({n: (y[n] - known[n]) / share for n in y} if share else split.stiff(y, moment))
    return y, explicit[0]


def _sum(start: Fields, weights: list[float], slopes: list[Fields], *, dt: float) -> dict[str, Tensor]:
    out = dict(start)
    for w, slope in zip(weights, slopes, strict=True):
        if w != 0:
            out = {n: out[n] + (w * dt) * slope[n] for n in slope}
    return out
