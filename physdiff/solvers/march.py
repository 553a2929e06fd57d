r"""Equal steps from one time to the next: watched, and with bounded memory where gradients are wanted.

A gradient through n steps keeps the intermediate results of all of them. With `checkpoint` = k only every k-th state is kept, and the k steps
after it are computed again in the backward pass: memory for n/k states and the insides of k steps, least near $k = \sqrt n$, at the price of a
second forward pass. The gradients are the same numbers. Reference: Griewank, Achieving logarithmic growth of temporal and spatial complexity in
reverse automatic differentiation, 1992.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from physdiff.base.errors import Diverged
from physdiff.grids.field_spec import Fields
from physdiff.solvers.stepper import Stepper

__all__ = ["march"]

_CHECK_EVERY = 5
_REMEDY = "take shorter steps (more substeps, or a smaller cfl), a finer grid or more viscosity"


def march(stepper: Stepper, u: Fields, span: tuple[float, float], *, steps: int, checkpoint: int | None = None) -> Fields:
    """Equal steps from one time to the other; looks for infinities every few of them.

    Args:
        stepper: Advances the law.
        u: Fields (B, *S) at the first time.
        span: The two times.
        steps: Number of steps.
        checkpoint: Steps between the states that are kept for a backward pass; None keeps everything.

    Raises:
        Diverged: If a field stops being finite; holds the last fields that were.
    """
    dt = (span[1] - span[0]) / steps
    state = stepper.enter(u)
    every = steps if checkpoint is None else checkpoint
    for first in range(0, steps, every):
        segment = _Segment(stepper, range(first, min(first + every, steps)), start=span[0], dt=dt)
        if checkpoint is not None and torch.is_grad_enabled():
            state = recomputed(segment, state, use_reentrant=False, preserve_rng_state=False)
        else:
            state = segment(state)
    return stepper.leave(state)


class _Segment:
    """Some steps of a march, as a function of the state."""

    def __init__(self, stepper: Stepper, steps: range, *, start: float, dt: float) -> None:
        self._stepper, self._start, self._dt, self._steps = stepper, start, dt, steps

    def __call__(self, state: Fields) -> Fields:
        good, when = state, self._start + self._steps.start * self._dt
        for i in self._steps:
            try:
                state = self._stepper.advance(state, self._start + i * self._dt, self._dt)
            except Diverged as error:
                raise self._told(error, good, when) from None
            if (i + 1) % _CHECK_EVERY == 0 or i + 1 == self._steps.stop:
                now = self._start + (i + 1) * self._dt
                bad = _broken(state)
                if bad is not None:
                    raise self._told(Diverged(bad, now, _REMEDY), good, when)
                good, when = state, now
        return state

    def _told(self, error: Diverged, good: Fields, when: float) -> Diverged:
        with torch.no_grad():
            return error.keep({n: v.detach() for n, v in self._stepper.leave(good).items()}, when)


def _broken(u: Fields) -> str | None:
    """Name of the first field with an entry that is not finite. A sum is read first: it is not finite if an entry is not."""
    for name, v in u.items():
        if not bool(v.detach().sum().isfinite()) and not _finite(v):
            return name
    return None


def _finite(v: Tensor) -> bool:
    return bool(v.detach().isfinite().all())
