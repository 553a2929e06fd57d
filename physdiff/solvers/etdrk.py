r"""Exponential time differencing: the stiff linear part exactly, the rest by Runge-Kutta, in Fourier space.

With $\lambda$ the symbol of the stiff part, $z = \lambda\Delta t$ and $N$ the transform of the rest (Cox and Matthews, 2002), ETDRK4 is

$$a = e^{z/2}\hat u + Q N_u,\quad b = e^{z/2}\hat u + Q N_a,\quad c = e^{z/2} a + Q(2N_b - N_u) = e^z\hat u + Q(e^{z/2}-1) N_u + 2 Q N_b,$$
$$\hat u^+ = e^z\hat u + f_1 N_u + 2 f_2 (N_a + N_b) + f_3 N_c,$$

$Q = \Delta t\,(e^{z/2}-1)/z$, $f_1 = \Delta t\,[-4-z+e^z(4-3z+z^2)]/z^3$, $f_2 = \Delta t\,[2+z+e^z(z-2)]/z^3$,
$f_3 = \Delta t\,[-4-3z-z^2+e^z(4-z)]/z^3$. Near $z = 0$ these lose all digits, so each is the mean over a circle around z in the complex plane,
in float64 (Kassam and Trefethen, 2005). The mean stays complex: its real part alone would drop the order to one where the symbol has an
imaginary part (advection, dispersion).

The error of a step is estimated by a second formula of one order less from evaluations that are made anyway. For ETDRK4 the explicit part at
the end, $N_{u^+}$, which begins the next step, takes the place of $N_c$: the estimate is $f_3 (N_c - N_{u^+})$. It does not see what depends on
time alone, as a forcing does: then $N_c = N_{u^+}$. So it is never taken below the bend of N over the step, squared over the size of N. For
ETDRK2 the estimate is $\varphi_2 (N_a - N_u)$, by which it differs from the first-order method.
"""

from __future__ import annotations

import cmath
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from functools import partial

import torch
from torch import Tensor

from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE
from physdiff.solvers.fourier_form import FourierForm, Times, Waves, WaveState, Weights, times_of
from physdiff.solvers.step_replay import StepReplay
from physdiff.solvers.stepper import EmbeddedStepper

__all__ = ["ETDRK2", "ETDRK4", "StrehmelWeiner", "etd_weights"]

_POINTS = 20
# Reach along the imaginary axis of the explicit part: that of RK4, and a careful value for the second-order method, which has none.
_REACH = {2: 1.0, 4: 2.82}
# The bend of the explicit part, squared over its size, is 20 times the error of Simpson's rule for one frequency; divided by this it errs on
# the side of care.
_CAUTION = 3.0


class _Exponential(EmbeddedStepper, ABC):
    """What both orders share: waves in and out, the estimate in waves, the limit, and both kinds of step as they are replayed.

    Args:
        pde: The law.
        operators: Spectral derivatives.
        kinds: Names of the weights that a step takes.
    """

    def __init__(self, pde: PDE, operators: Operators, kinds: tuple[str, ...]) -> None:
        self.pde, self.operators = pde, operators
        self._form = FourierForm(pde, operators, what=type(self).__name__, weights=partial(etd_weights, kinds=kinds))
        self._step, self._watched_step = (StepReplay(self._form, text, kinds) for text in (self._end, self._end_and_error))

    @abstractmethod
    def _stages(self, state: Fields, weights: Weights, times: Times) -> tuple[dict[str, Tensor], list[Waves]]:
        """The waves one step later, and the explicit part at each stage."""

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
        return dict(zip(self.pde.fields, self._step(state, t, dt), strict=True))

    def step_with_error(self, u: Fields, t: float, dt: float) -> tuple[Fields, Fields]:
        """One step and the estimate of its error; see EmbeddedStepper.step_with_error."""
        state = self.enter(u)
        weights = self._form.weights(state, dt)
        end, stages = self._stages(state, weights, times_of(t, dt))
        _, late, _ = self._differences(weights, stages, self._form.slopes(end, t + dt))
        return self.leave(end), {n: self._form.inverse(w, like=state[n]) for n, w in late.items()}

    def advance_with_error(self, state: Fields, t: float, dt: float) -> tuple[Fields, Tensor]:
        """The same in waves; the explicit part at the end, which the estimate needs, begins the next step."""
        names = self.pde.fields
        found = self._watched_step(state, t, dt)
        end, new = (dict(zip(names, part, strict=True)) for part in (found[: len(names)], found[len(names) : -1]))
        return WaveState(end, new), found[-1]

    def _end(self, state: Fields, weights: Weights, times: Times) -> tuple[Tensor, ...]:
        end = self._stages(state, weights, times)[0]
        return tuple(end[n] for n in self.pde.fields)

    def _end_and_error(self, state: Fields, weights: Weights, times: Times) -> tuple[Tensor, ...]:
        form = self._form
        end, stages = self._stages(state, weights, times)
        new = form.slopes(end, times[2])
        with torch.no_grad():
            size, late, curved = self._differences(weights, stages, new)
            shares = []
            for n, v in end.items():
                tiny = torch.finfo(v.dtype).tiny
                guard = form.norm(curved[n]).square() / (_CAUTION * form.norm(size[n]).clamp_min(tiny))
                shares.append(torch.maximum(form.norm(late[n]), guard) / form.norm(v).clamp_min(tiny))
            error = torch.stack(torch.broadcast_tensors(*shares)).amax(0)  # type: ignore[no-untyped-call]
        return (*(end[n] for n in self.pde.fields), *(new[n] for n in self.pde.fields), error)

    @abstractmethod
    def _differences(self, weights: Weights, stages: list[Waves], new: Waves) -> tuple[Waves, Waves, Waves]:
        """Each weighed like a step: the size of the explicit part, the estimate, and the bend of the explicit part (zero if the estimate sees it)."""

    def first_step(self, state: Fields, t: float, tol: float) -> float:
        """The share tol^(1 / (p + 1)) of the time in which the explicit part would change a field by its size."""
        with torch.no_grad():
            now = self._form.slopes(state, t)
            rates = [float((self._form.norm(now[n]) / self._form.norm(v).clamp_min(torch.finfo(v.dtype).tiny)).max()) for n, v in state.items()]
        fastest = max(rates)
        return float(tol ** (1 / (self.error_order + 1)) / fastest) if fastest > 0 else math.inf

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Reach over the largest eigenvalue of the explicit part; see Stepper.limit."""
        return self._form.limit(u, t, _REACH[self.order])


class ETDRK4(_Exponential):
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
        super().__init__(pde, operators, ("full", "half", "q", "back", "f1", "f2", "f3"))
        self.order, self.error_order = 4, 3

    def _stages(self, state: Fields, weights: Weights, times: Times) -> tuple[dict[str, Tensor], list[Waves]]:
        form, w, (t, middle, last) = self._form, weights, times
        start, n_u = form.kept(state), form.slopes(state, t)
        half = {k: w[k]["half"] * v for k, v in start.items()}
        n_a = form.from_text({k: torch.addcmul(v, w[k]["q"], n_u[k]) for k, v in half.items()}, middle)
        n_b = form.from_text({k: torch.addcmul(v, w[k]["q"], n_a[k]) for k, v in half.items()}, middle)
        end = {k: w[k]["full"] * v for k, v in state.items()}
        ends = form.kept(end)
        c = {k: torch.addcmul(v, w[k]["back"], n_u[k]) for k, v in ends.items()}
        n_c = form.from_text({k: torch.addcmul(v, w[k]["q"], n_b[k], value=2) for k, v in c.items()}, last)
        for k, v in ends.items():
            # in place: sums do not keep their terms for a backward pass
            v.addcmul_(w[k]["f1"], n_u[k]).addcmul_(w[k]["f2"], n_a[k] + n_b[k], value=2).addcmul_(w[k]["f3"], n_c[k])
        return form.tidy(end), [n_u, n_a, n_b, n_c]

    def _differences(self, weights: Weights, stages: list[Waves], new: Waves) -> tuple[Waves, Waves, Waves]:
        return _late_differences(weights, stages, new)


class StrehmelWeiner(_Exponential):
    r"""Fourth-order exponential Runge-Kutta with smaller errors where the stiff part damps; as many evaluations as `ETDRK4`.

    With $\varphi_j$ of z and $\varphi_{j,2}$ of $z/2$:

    $$a = e^{z/2}\hat u + \tfrac{\Delta t}{2}\varphi_{1,2} N_u,\qquad
    b = e^{z/2}\hat u + \tfrac{\Delta t}{2}\bigl[(\varphi_{1,2} - \varphi_{2,2}) N_u + \varphi_{2,2} N_a\bigr],$$
    $$c = e^z\hat u + \Delta t\bigl[(\varphi_1 - 2\varphi_2) N_u - 2\varphi_2 N_a + 4\varphi_2 N_b\bigr],$$
    $$\hat u^+ = e^z\hat u + f_1 N_u + 4 f_2 N_b + f_3 N_c.$$

    Its stages keep their order where $|z|$ is large, those of Cox and Matthews fall to the first. Reference: Strehmel and Weiner, B-convergence
    results for linearly implicit one step methods, 1987, as written by Hochbruck and Ostermann, Explicit exponential Runge-Kutta methods for
    semilinear parabolic problems, 2005.

    Args:
        pde: The law; its `stiff` part has constant coefficients.
        operators: Spectral derivatives.

    Raises:
        UnsupportedOperator: If the operators are not Spectral, or the stiff part breaks its rules.
    """

    def __init__(self, pde: PDE, operators: Operators) -> None:
        super().__init__(pde, operators, ("full", "half", "q", "bend", "straight", "ahead", "phi2", "f1", "f2", "f3"))
        self.order, self.error_order = 4, 3

    def _stages(self, state: Fields, weights: Weights, times: Times) -> tuple[dict[str, Tensor], list[Waves]]:
        form, w, (t, middle, last) = self._form, weights, times
        start, n_u = form.kept(state), form.slopes(state, t)
        half = {k: w[k]["half"] * v for k, v in start.items()}
        n_a = form.from_text({k: torch.addcmul(v, w[k]["q"], n_u[k]) for k, v in half.items()}, middle)
        b = {k: torch.addcmul(v, w[k]["straight"], n_u[k]) for k, v in half.items()}
        n_b = form.from_text({k: torch.addcmul(v, w[k]["bend"], n_a[k]) for k, v in b.items()}, middle)
        end = {k: w[k]["full"] * v for k, v in state.items()}
        ends = form.kept(end)
        c = {k: torch.addcmul(v, w[k]["ahead"], n_u[k]).addcmul_(w[k]["phi2"], n_a[k], value=-2) for k, v in ends.items()}
        n_c = form.from_text({k: torch.addcmul(v, w[k]["phi2"], n_b[k], value=4) for k, v in c.items()}, last)
        for k, v in ends.items():
            v.addcmul_(w[k]["f1"], n_u[k]).addcmul_(w[k]["f2"], n_b[k], value=4).addcmul_(w[k]["f3"], n_c[k])
        return form.tidy(end), [n_u, n_a, n_b, n_c]

    def _differences(self, weights: Weights, stages: list[Waves], new: Waves) -> tuple[Waves, Waves, Waves]:
        return _late_differences(weights, stages, new)


class ETDRK2(_Exponential):
    r"""Second-order exponential Runge-Kutta: $a = e^z\hat u + \Delta t\,\varphi_1 N_u$, $\hat u^+ = a + \Delta t\,\varphi_2 (N_a - N_u)$.

    Here $\varphi_1 = (e^z-1)/z$ and $\varphi_2 = (e^z-1-z)/z^2$.

    Args:
        pde: The law; its `stiff` part has constant coefficients.
        operators: Spectral derivatives.

    Raises:
        UnsupportedOperator: If the operators are not Spectral, or the stiff part breaks its rules.
    """

    def __init__(self, pde: PDE, operators: Operators) -> None:
        super().__init__(pde, operators, ("full", "phi1", "phi2"))
        self.order, self.error_order = 2, 1

    def _stages(self, state: Fields, weights: Weights, times: Times) -> tuple[dict[str, Tensor], list[Waves]]:
        form, w, (t, _, last) = self._form, weights, times
        n_u = form.slopes(state, t)
        end = {k: w[k]["full"] * v for k, v in state.items()}
        a = {k: v.addcmul_(w[k]["phi1"], n_u[k]) for k, v in form.kept(end).items()}
        n_a = form.from_text({k: v.clone() for k, v in a.items()}, last)
        for k, v in a.items():
            v.addcmul_(w[k]["phi2"], n_a[k] - n_u[k])
        return form.tidy(end), [n_u, n_a]

    def _differences(self, weights: Weights, stages: list[Waves], new: Waves) -> tuple[Waves, Waves, Waves]:
        n_u, n_a = stages
        late = {k: weights[k]["phi2"] * (n_a[k] - n) for k, n in n_u.items()}
        return late, late, {k: torch.zeros_like(v) for k, v in late.items()}


def _late_differences(w: Weights, stages: list[Waves], new: Waves) -> tuple[Waves, Waves, Waves]:
    """For both methods of fourth order, which end alike."""
    n_u, n_a, n_b, n_c = stages
    late = {k: w[k]["f3"] * (n_c[k] - n) for k, n in new.items()}
    curved = {k: 2 * w[k]["f3"] * (n_a[k] + n_b[k] - n_u[k] - n) for k, n in new.items()}
    size = {k: 3 * w[k]["f3"] * (n_u[k].abs() + n.abs()) for k, n in new.items()}
    return size, late, curved


def etd_weights(symbol: Tensor, dt: float, kinds: Collection[str] | None = None) -> dict[str, Tensor]:
    r"""The functions of $z = \lambda\Delta t$ above, times $\Delta t$ where they multiply N.

    Args:
        symbol: Symbol of the stiff part, of any shape; taken to complex128.
        dt: Length of the step.
        kinds: Names of those wanted; all if None.

    Returns:
        `full` and `half` (exponentials), `q`, `f1`, `f2`, `f3`, `back` (ETDRK4: that of $N_u$ in c), `phi1`, `phi2` (ETDRK2), `bend`, `straight`
        and `ahead` (StrehmelWeiner: those of $N_a$ and $N_u$ in b, of $N_u$ in c); complex128, of the symbol's shape, differentiable in it.
    """
    z = symbol.to(torch.complex128) * dt
    # of w, e^w and e^(w/2)
    formulas: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "q": lambda w, e, h: (h - 1) / w,
        "back": lambda w, e, h: (h - 1) ** 2 / w,
        "bend": lambda w, e, h: (2 * h - 2 - w) / (w * w),
        "straight": lambda w, e, h: (h * (w - 2) + 2) / (w * w),
        "ahead": lambda w, e, h: (e * (w - 2) + w + 2) / (w * w),
        "f1": lambda w, e, h: (-4 - w + e * (4 - 3 * w + w * w)) / w**3,
        "f2": lambda w, e, h: (2 + w + e * (w - 2)) / w**3,
        "f3": lambda w, e, h: (-4 - 3 * w - w * w + e * (4 - w)) / w**3,
        "phi1": lambda w, e, h: (e - 1) / w,
        "phi2": lambda w, e, h: (e - 1 - w) / (w * w),
    }
    wanted = [name for name in formulas if kinds is None or name in kinds]
    # of a real symbol the lower half of the circle gives the conjugates of the upper
    mirrored = not z.requires_grad and not bool(z.imag.any())
    points = _POINTS // 2 if mirrored else _POINTS
    sums = {name: torch.zeros_like(z) for name in wanted}
    for j in range(points):
        w = z + cmath.exp(2j * math.pi * (j + 0.5) / _POINTS)
        e, h = torch.exp(w), torch.exp(w / 2)
        sums = {name: total + formulas[name](w, e, h) for name, total in sums.items()}
    means = {name: (total.real.to(z.dtype) if mirrored else total) * (dt / points) for name, total in sums.items()}
    return {"full": torch.exp(z), "half": torch.exp(z / 2), **means}
