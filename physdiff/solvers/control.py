r"""The length of the step from the error of the step.

A stepper with an estimate $e$ of the error of one step takes a step if $r = e / \mathtt{tol} \le 1$; with e of order $\Delta t^{p+1}$ the
next one is longer by a proportional and an integral part (Gustafsson, 1991),

$$\Delta t^+ = 0.9\,\Delta t\; r^{-0.7/(p+1)}\, r_{\mathrm{old}}^{0.4/(p+1)}.$$

The estimate is that of the method of order p while the step is taken by the one of order p + 1, whose errors over a time T add up to
$T\,O(\Delta t^{p+1})$: the error of an interval is proportional to `tol` (Hairer, Norsett and Wanner, Solving ODEs I, section II.4).
Lengths are T/m with m of the form $2^j$ or $3\cdot 2^j$ and begin where a whole number of them ends: the interval is met exactly, and what a
stepper prepares for one length (the weights of exponential steppers) serves again.
"""

from __future__ import annotations

import math
from fractions import Fraction

from physdiff.base.errors import Diverged
from physdiff.grids.field_spec import Fields
from physdiff.solvers.stepper import EmbeddedStepper

__all__ = ["controlled"]

_PARTS = tuple(sorted([2**j for j in range(21)] + [3 * 2**j for j in range(20)]))
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 4.0


def controlled(stepper: EmbeddedStepper, u: Fields, span: tuple[float, float], *, tol: float, length: float | None) -> tuple[Fields, float]:
    """The fields at the end of the span, by steps whose estimated errors are less than a tolerance.

    Args:
        stepper: With an error estimate.
        u: Fields (B, *S) at the beginning.
        span: First and last time.
        tol: Largest error of a step, as a share of the root mean square of each field of each sample.
        length: Step to begin with; None asks the stepper.

    Returns:
        The fields (B, *S), and the length to begin the next span with.

    Raises:
        Diverged: If no step meets the tolerance.
    """
    start, whole = span[0], span[1] - span[0]
    state, order = stepper.enter(u), stepper.error_order + 1
    wanted = stepper.first_step(state, start, tol) if length is None else length
    place, before = Fraction(0), 1.0
    while place < 1:
        parts = _parts(place, wanted / whole)
        if parts is None:
            raise Diverged(next(iter(u)), start + float(place) * whole, f"no step met tol = {tol:g}; raise tol or refine the grid")
        dt, t = whole / parts, start + float(place) * whole
        end, error = stepper.advance_with_error(state, t, dt)
        ratio = float(error.max()) / tol
        if ratio <= 1:
            state, place = end, place + Fraction(1, parts)
            growth = _SAFETY * max(ratio, 1e-8) ** (-0.7 / order) * before ** (0.4 / order)
            wanted, before = dt * min(max(growth, _LEAST), _MOST), max(ratio, 1e-4)
        else:
            shrink = _SAFETY * ratio ** (-1 / order) if math.isfinite(ratio) else _LEAST
            wanted = dt * max(min(shrink, 0.8), _LEAST)
    return stepper.leave(state), wanted


def _parts(place: Fraction, share: float) -> int | None:
    """The least number m with steps of 1/m no longer than the share and starting at the place; None if the share is too small."""
    for m in _PARTS:
        # a hair of slack, so that a length that is a part of the span is not rounded down to the next one
        if m * share >= 1 - 1e-9 and m % place.denominator == 0:
            return m
    return None
