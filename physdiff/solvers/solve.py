r"""Trajectories: advance initial fields through given times.

The step is set in one of three ways: a number of substeps between frames, a share of the stepper's stable limit (`cfl`, measured anew after
every few steps; steps that turn out too long for where they lead are taken again, shorter), or a tolerance. Steppers that estimate their error
hold the estimate of each step to it, so that the error of an interval between frames is proportional to it (see `control`). For the others the
error of an interval is held to it by comparing n steps with 2n: where a method has order p, the finer result is off by about
$|u_{2n} - u_n| / (2^p - 1)$ (Richardson).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.checks import check_finite, check_positive
from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.operators.seam import check_seam
from physdiff.operators.spectral import Spectral
from physdiff.solvers.control import controlled
from physdiff.solvers.march import march
from physdiff.solvers.stepper import EmbeddedStepper, Stepper

__all__ = ["solve"]

Progress = Callable[[int, int], None]
_MOST_SUBSTEPS = 1 << 14
_MEASURE_EVERY = (8, 64)  # steps between two measurements of the limit, at first and at most
_MARGIN = 1.2  # an unstable step may still do for a few steps of a state that calms down


def solve(
    stepper: Stepper,
    initial: Fields,
    times: Tensor,
    *,
    substeps: int | None = None,
    cfl: float | None = None,
    tol: float | None = None,
    checkpoint: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Advance a batch of initial fields through all times.

    Args:
        stepper: Advances the law.
        initial: Each of the law's fields (B, *S) at the first time; their dtype and device are used throughout.
        times: At least one, increasing, in the law's unit of time.
        substeps: Steps between neighbouring times.
        cfl: Share of the stepper's stable limit, above 0; 0.5 if none of the three is given.
        tol: Largest error, as a share of the root mean square of each field of each sample: see the module for what is held to it.
        checkpoint: Steps between the states that are kept for a backward pass, see `march`; None keeps everything. Not with `tol`.
        progress: Called with (frames done, frames in all) after each frame.

    Returns:
        Each field (B, T, *S); the first frame is the initial one.

    Raises:
        InputError: If a field is missing, not finite or (Spectral) jumps where the box closes, the times do not increase, two of the three are
            given, or steps are unstable from the start on (explicit steppers); the message says how many substeps would do.
        ShapeError: If the fields are not (B, *S) of the grid, or the law's parameters are for another number of samples.
        Diverged: If a field stops being finite; names the field and the time, and holds the last good fields (`last_good`, `last_time`).
    """
    u: Fields = _check_initial(stepper, initial)
    moments = _check_times(times)
    given = [name for name, value in (("substeps", substeps), ("cfl", cfl), ("tol", tol)) if value is not None]
    if len(given) > 1:
        raise InputError(f"solve: expected one of substeps, cfl and tol, got {' and '.join(given)}; leave the others out")
    for name, count in (("substeps", substeps), ("checkpoint", checkpoint)):
        if count is not None and (isinstance(count, bool) or not isinstance(count, int) or count < 1):
            raise InputError(f"solve {name}: expected a whole number above 0, got {count!r}")
    if checkpoint is not None and tol is not None:
        raise InputError("solve: expected checkpoint with substeps or cfl, got it with tol; leave one of both out")
    if substeps is not None:
        _check_stable(stepper, u, moments, substeps)
    share = check_positive(0.5 if cfl is None else cfl, "solve cfl")
    frames, guess, pace = [u], None, _Pace(stepper, share, checkpoint)
    for i, (t, end) in enumerate(zip(moments, moments[1:], strict=False)):
        try:
            if tol is not None:
                u, guess = _by_error(stepper, u, (t, end), tol=check_positive(tol, "solve tol"), guess=guess)
            else:
                u = pace.march(u, (t, end)) if substeps is None else march(stepper, u, (t, end), steps=substeps, checkpoint=checkpoint)
        except Diverged as error:
            error.keep({name: v.detach() for name, v in u.items()}, t)
            raise
        frames.append(u)
        if progress is not None:
            progress(i + 2, len(moments))
    return {name: torch.stack([frame[name] for frame in frames], dim=1) for name in stepper.pde.fields}


class _Pace:
    """Marches by a share of the stable limit, measured at the end of every few steps."""

    def __init__(self, stepper: Stepper, share: float, checkpoint: int | None) -> None:
        self._stepper, self._share, self._checkpoint = stepper, share, checkpoint
        self._longest: float | None = None

    def march(self, u: Fields, span: tuple[float, float]) -> Fields:
        """The fields at the end of the span."""
        t, end = span
        longest = self._measured(u, t) if self._longest is None else self._longest
        every, used = _MEASURE_EVERY[0], math.inf
        while True:
            # within a frame steps get shorter, not longer: a flow that does not change is marched in equal ones
            dt = min(used, (end - t) / self._steps(u, t, end, longest))
            left = max(1, round((end - t) / dt))
            count = min(left, every)
            stop = end if count == left else t + count * dt
            try:
                ahead = march(self._stepper, u, (t, stop), steps=count, checkpoint=self._checkpoint)
                reached = self._measured(ahead, stop)
            except Diverged:
                reached = 0.0
            if reached * _MARGIN < dt:
                # too long for where they led: again from where they began; `_steps` ends it
                longest, every, used = max(reached, dt / 4), _MEASURE_EVERY[0], math.inf
                continue
            every = min(2 * every, _MEASURE_EVERY[1]) if reached > 0.9 * longest else _MEASURE_EVERY[0]
            u, t, longest, used = ahead, stop, reached, dt
            if stop == end:
                self._longest = reached
                return u

    def _measured(self, u: Fields, t: float) -> float:
        with torch.no_grad():
            limit = self._share * self._stepper.limit(u, t)
        return 0.0 if math.isnan(limit) else limit

    def _steps(self, u: Fields, t: float, end: float, longest: float) -> int:
        steps = math.ceil((end - t) / longest * (1 - 1e-9)) if longest > 0 else _MOST_SUBSTEPS + 1
        if not steps <= _MOST_SUBSTEPS:
            needed = f"steps of {longest:.3g} to time {end:g} would be more than {_MOST_SUBSTEPS}"
            remedy = f"{needed}; ask for times in between, or give substeps yourself; where steps shrink on the way the law may be ill-posed"
            raise Diverged(next(iter(u)), t, remedy, event="is not carried on")
        return max(steps, 1)


def _check_stable(stepper: Stepper, u: Fields, moments: list[float], substeps: int) -> None:
    """Refuse steps that are unstable at the initial fields already; what is measured there errs on the side of longer steps."""
    longest = max((b - a for a, b in zip(moments, moments[1:], strict=False)), default=0.0)
    with torch.no_grad():
        bound = stepper.unstable_beyond(u, moments[0])
        if longest <= _MARGIN * bound * substeps:
            return
        enough = math.ceil(longest / (0.8 * stepper.limit(u, moments[0])))
    raise InputError(
        f"solve substeps: expected steps of at most {bound:.3g} for {type(stepper).__name__} to be stable from the initial fields on, "
        f"got {longest / substeps:.3g}; take substeps={enough}, or cfl=0.5"
    )


def _by_error(stepper: Stepper, u: Fields, span: tuple[float, float], *, tol: float, guess: float | None) -> tuple[Fields, float]:
    """The fields at the end of the span within the tolerance, and what to begin the next span with: a length or a number of steps."""
    if isinstance(stepper, EmbeddedStepper):
        return controlled(stepper, u, span, tol=tol, length=guess)
    return _within(stepper, u, span, tol=tol, guess=1 if guess is None else int(guess))


def _within(stepper: Stepper, u: Fields, span: tuple[float, float], *, tol: float, guess: int) -> tuple[Fields, int]:
    """The fields at the end of the span by 2n steps, with n doubled until they agree with n steps; and the n to begin with next."""
    n = guess
    coarse = _try(stepper, u, span, n)
    while n <= _MOST_SUBSTEPS:
        fine = _try(stepper, u, span, 2 * n)
        if coarse is not None and fine is not None:
            error = max(_difference(coarse[name], fine[name]) for name in fine) / (2**stepper.order - 1)
            if error <= tol:
                return fine, max(1, n // 2) if error < tol / 2 ** (stepper.order + 1) else n
        coarse, n = fine, 2 * n
    raise Diverged(next(iter(u)), span[0], f"no step met tol = {tol:g} on the way to {span[1]:g}; raise tol or refine the grid")


def _try(stepper: Stepper, u: Fields, span: tuple[float, float], steps: int) -> Fields | None:
    try:
        return march(stepper, u, span, steps=steps)
    except Diverged:
        return None


def _difference(a: Tensor, b: Tensor) -> float:
    """Largest over the batch of the root mean square of a - b over that of b."""
    axes = tuple(range(1, a.ndim))
    change, size = (a - b).detach().square().mean(axes).sqrt(), b.detach().square().mean(axes).sqrt()
    return float((change / size.clamp_min(torch.finfo(b.dtype).tiny)).max())


def _check_initial(stepper: Stepper, initial: Fields) -> dict[str, Tensor]:
    pde, shape = stepper.pde, tuple(stepper.operators.coordinates[0].shape)
    missing = [name for name in pde.fields if name not in initial]
    if missing:
        raise InputError(f"solve: expected the initial fields {', '.join(pde.fields)} of {type(pde).__name__}; missing {', '.join(missing)}")
    u = {name: initial[name] for name in pde.fields}
    batch = u[pde.fields[0]].shape[:1]
    for name, v in u.items():
        if tuple(v.shape) != (*batch, *shape) or v.ndim != len(shape) + 1:
            wanted = ", ".join(map(str, shape))
            raise ShapeError(f"solve: expected initial {name} of shape (batch, {wanted}), one batch for all fields, got {tuple(v.shape)}")
        check_finite(v.detach(), f"solve: initial {name}")
        if isinstance(stepper.operators, Spectral):
            check_seam(v, stepper.operators.grid, f"solve: initial {name}")
    if pde.batch not in (1, *batch):
        law = type(pde).__name__
        raise ShapeError(f"solve: {law} has parameters for {pde.batch} samples, expected {batch[0]} as in the initial fields; repeat them")
    return u


def _check_times(times: Tensor) -> list[float]:
    moments = torch.as_tensor(times, dtype=torch.float64).detach().cpu()
    if moments.ndim != 1 or moments.numel() < 1 or not bool(moments.isfinite().all()):
        raise InputError(f"solve times: expected a row of finite times, got {times!r}")
    if not bool((moments.diff() > 0).all()):
        bad = int((moments.diff() <= 0).nonzero()[0])
        raise InputError(f"solve times: expected increasing times, got {float(moments[bad]):g} before {float(moments[bad + 1]):g}; sort them")
    return [float(t) for t in moments]
