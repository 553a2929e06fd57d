r"""Exponential time differencing: the stiff linear part exactly, the rest by Runge-Kutta, in Fourier space.

With $\lambda$ the symbol of the stiff part, $z = \lambda\Delta t$ and $N$ the transform of the rest (Cox and Matthews, 2002), ETDRK4 is

$$a = e^{z/2}\hat u + Q N_u,\quad b = e^{z/2}\hat u + Q N_a,\quad c = e^{z/2} a + Q(2N_b - N_u),$$
$$\hat u^+ = e^z\hat u + f_1 N_u + 2 f_2 (N_a + N_b) + f_3 N_c,$$

$Q = \Delta t\,(e^{z/2}-1)/z$, $f_1 = \Delta t\,[-4-z+e^z(4-3z+z^2)]/z^3$, $f_2 = \Delta t\,[2+z+e^z(z-2)]/z^3$,
$f_3 = \Delta t\,[-4-3z-z^2+e^z(4-z)]/z^3$. Near $z = 0$ these lose all digits, so each is the mean over a circle around z in the complex plane,
in float64 (Kassam and Trefethen, 2005). The mean stays complex: its real part alone would drop the order to one where the symbol has an
imaginary part (advection, dispersion).
"""

from __future__ import annotations

import cmath
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from physdiff.base.errors import UnsupportedOperator
from physdiff.grids.field_spec import Fields
from physdiff.operators.fourier_symbol import FourierSymbol
from physdiff.operators.operators import Operators
from physdiff.operators.spectral import Spectral
from physdiff.operators.wave_operators import WaveOperators
from physdiff.pdes.pde import PDE
from physdiff.solvers.stepper import Stepper, spectral_radius

__all__ = ["ETDRK2", "ETDRK4", "etd_weights"]

_POINTS = 32
_KEPT = 8
# Reach along the imaginary axis of the explicit part: that of RK4, and a careful value for the second-order method, which has none.
_REACH = {2: 1.0, 4: 2.82}


class ETDRK4(Stepper):
    """Fourth-order exponential Runge-Kutta on a periodic grid.

    Waves above two thirds of the shortest feel the stiff part alone (unless the operators were built with ``dealias=False``), which keeps
    quadratic products free of aliasing and linear laws exact.

    Args:
        pde: The law; its `stiff` part has constant coefficients.
        operators: Spectral derivatives.

    Raises:
        UnsupportedOperator: If the operators are not Spectral, or the stiff part breaks its rules.
    """

    def __init__(self, pde: PDE, operators: Operators) -> None:
        self.pde, self.operators, self.order = pde, operators, 4
        self._form = _FourierForm(pde, operators, "ETDRK4")

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step; see Stepper.step."""
        return self.leave(self.advance(self.enter(u), t, dt))

    def enter(self, u: Fields) -> Fields:
        """The waves of the fields; see Stepper.enter."""
        return self._form.waves(u)

    def leave(self, state: Fields) -> Fields:
        """The fields of the waves; see Stepper.leave."""
        return self._form.fields(state)

    def advance(self, state: Fields, t: float, dt: float) -> Fields:
        """One step of the waves; see Stepper.advance."""
        form = self._form
        w, start = form.weights(state, dt), form.kept(state)
        n_u = form.explicit(start, t)
        half = {k: w[k]["half"] * v for k, v in start.items()}
        a = {k: torch.addcmul(half[k], w[k]["q"], n_u[k]) for k in start}
        n_a = form.explicit(a, t + dt / 2)
        b = {k: torch.addcmul(half[k], w[k]["q"], n_a[k]) for k in start}
        n_b = form.explicit(b, t + dt / 2)
        c = {k: torch.addcmul(w[k]["half"] * a[k], w[k]["q"], 2 * n_b[k] - n_u[k]) for k in start}
        n_c = form.explicit(c, t + dt)
        end = {}
        for k, v in state.items():
            end[k] = w[k]["full"] * v
            kept = form.columns(end[k]).addcmul_(w[k]["f1"], n_u[k])
            kept.addcmul_(w[k]["f2"], n_a[k] + n_b[k], value=2).addcmul_(w[k]["f3"], n_c[k])
        return form.tidy(end)

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Reach over the largest eigenvalue of the explicit part; see Stepper.limit."""
        return self._form.limit(u, t, _REACH[4])


class ETDRK2(Stepper):
    r"""Second-order exponential Runge-Kutta: $a = e^z\hat u + \Delta t\,\varphi_1 N_u$, $\hat u^+ = a + \Delta t\,\varphi_2 (N_a - N_u)$.

    Here $\varphi_1 = (e^z-1)/z$ and $\varphi_2 = (e^z-1-z)/z^2$.

    Args:
        pde: The law; its `stiff` part has constant coefficients.
        operators: Spectral derivatives.

    Raises:
        UnsupportedOperator: If the operators are not Spectral, or the stiff part breaks its rules.
    """

    def __init__(self, pde: PDE, operators: Operators) -> None:
        self.pde, self.operators, self.order = pde, operators, 2
        self._form = _FourierForm(pde, operators, "ETDRK2")

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step; see Stepper.step."""
        return self.leave(self.advance(self.enter(u), t, dt))

    def enter(self, u: Fields) -> Fields:
        """The waves of the fields; see Stepper.enter."""
        return self._form.waves(u)

    def leave(self, state: Fields) -> Fields:
        """The fields of the waves; see Stepper.leave."""
        return self._form.fields(state)

    def advance(self, state: Fields, t: float, dt: float) -> Fields:
        """One step of the waves; see Stepper.advance."""
        form = self._form
        w, start = form.weights(state, dt), form.kept(state)
        n_u = form.explicit(start, t)
        end = {k: w[k]["full"] * v for k, v in state.items()}
        a = {k: form.columns(v).addcmul_(w[k]["phi1"], n_u[k]) for k, v in end.items()}
        n_a = form.explicit({k: v.clone() for k, v in a.items()}, t + dt)
        for k, v in a.items():
            v.addcmul_(w[k]["phi2"], n_a[k] - n_u[k])
        return form.tidy(end)

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Reach over the largest eigenvalue of the explicit part; see Stepper.limit."""
        return self._form.limit(u, t, _REACH[2])


def etd_weights(symbol: Tensor, dt: float) -> dict[str, Tensor]:
    r"""The functions of $z = \lambda\Delta t$ above, times $\Delta t$ where they multiply N.

    Args:
        symbol: Symbol of the stiff part, of any shape; taken to complex128.
        dt: Length of the step.

    Returns:
        `full` and `half` (exponentials), `q`, `f1`, `f2`, `f3` (ETDRK4), `phi1`, `phi2` (ETDRK2); complex128, of the symbol's shape,
        differentiable in it.
    """
    z = symbol.to(torch.complex128) * dt
    formulas: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "q": lambda w, e: (torch.exp(w / 2) - 1) / w,
        "f1": lambda w, e: (-4 - w + e * (4 - 3 * w + w * w)) / w**3,
        "f2": lambda w, e: (2 + w + e * (w - 2)) / w**3,
        "f3": lambda w, e: (-4 - 3 * w - w * w + e * (4 - w)) / w**3,
        "phi1": lambda w, e: (e - 1) / w,
        "phi2": lambda w, e: (e - 1 - w) / (w * w),
    }
    means = {name: torch.zeros_like(z) for name in formulas}
    for j in range(_POINTS):
        w = z + cmath.exp(2j * math.pi * (j + 0.5) / _POINTS)
        e = torch.exp(w)
        for name, formula in formulas.items():
            means[name] = means[name] + formula(w, e) * (dt / _POINTS)
    return {"full": torch.exp(z), "half": torch.exp(z / 2), **means}


class _FourierForm:
    """A law in Fourier space: symbols, explicit part, and the weights of the last few step lengths."""

    def __init__(self, pde: PDE, operators: Operators, what: str) -> None:
        if not isinstance(operators, Spectral):
            remedy = "it advances Fourier amplitudes; build it with Spectral(grid), or use RungeKutta"
            raise UnsupportedOperator(what, type(operators).__name__, remedy)
        self._pde, self._operators = pde, WaveOperators(operators)
        self._block = self._operators.block
        self._law = pde.bound(operators.ndim)
        symbols = FourierSymbol(operators.grid).symbol(self._law.stiff, pde.fields)
        self._symbols = {n: self._block.turned(s) for n, s in symbols.items()}
        self._grows = any(bool((s.real > 0).any()) for s in symbols.values())
        self._kept: OrderedDict[tuple[object, ...], dict[str, dict[str, Tensor]]] = OrderedDict()

    def waves(self, u: Fields) -> dict[str, Tensor]:
        return {n: self._block.whole(u[n]) for n in self._pde.fields}

    def fields(self, state: Fields) -> dict[str, Tensor]:
        return {n: self._block.fields(v) for n, v in state.items()}

    def kept(self, state: Fields) -> dict[str, Tensor]:
        return {n: self._block.kept(v) for n, v in state.items()}

    def columns(self, waves: Tensor) -> Tensor:
        return self._block.kept(waves)

    def explicit(self, kept: Mapping[str, Tensor], t: float) -> dict[str, Tensor]:
        """The waves of the law's explicit part, of and into those that do not alias."""
        D = self._operators
        return D.end(self._law.explicit(D.begin(kept), D, t))

    def tidy(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state less what no real field has, where growth would raise it from rounding."""
        return {n: self._block.symmetric(v) for n, v in state.items()} if self._grows else state

    def weights(self, state: Fields, dt: float) -> dict[str, dict[str, Tensor]]:
        """The weights of a step for each field, in the waves' precision and on their device."""
        like = next(iter(state.values()))
        key = (dt, like.dtype, like.device)
        if key in self._kept:
            return self._kept[key]
        made = {}
        for n, s in self._symbols.items():
            made[n] = {k: (w if k == "full" else self._block.kept(w)).to(like) for k, w in etd_weights(s, dt).items()}
        # weights that carry gradients belong to one backward pass only
        if not any(s.requires_grad for s in self._symbols.values()):
            self._kept[key] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made

    def limit(self, u: Fields, t: float, reach: float) -> float:
        def rhs(v: Fields) -> Fields:
            state = self.waves(v)
            found = self.explicit(self.kept(state), t)
            return {n: self._block.inverse(found[n].expand(self._block.kept(w).shape)) for n, w in state.items()}

        radius = spectral_radius(rhs, {n: u[n] for n in self._pde.fields})
        return reach / radius if radius > 0 else float("inf")
