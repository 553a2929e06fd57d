"""The residual of a law on windows of gridded data, and the scale it is judged by.

A residual has the units of the field per time; it says something only beside a scale. `residual_scale` is the root mean square of the
largest single part of the law (time derivative, linear part, rest), never of the residual itself, so that 0 is perfect and 1 is useless.
The time derivative is taken from the frames: where a flow crosses more than about one cell between frames it means nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE

__all__ = ["residual_scale", "window_residual"]


def window_residual(pde: PDE, u: Fields, operators: Operators, *, times: Tensor | None = None) -> Fields:
    """The residual dt u - rhs of a law on windows.

    Args:
        pde: The law.
        u: Its fields (B, T, *S) in physical units; with its diagnostics if their constraints are wanted too.
        operators: Derivatives on the grid of the fields, built with the time between frames (`dt=`).
        times: Time of each frame (T,), for laws with functions of time; the frames are those of `operators`' time step.

    Returns:
        One residual (B, T, *S) per field, and one per diagnostic given.

    Raises:
        InputError: If a field is missing, or the law depends on time and no times are given.
        ShapeError: If the fields have no time axis or the times another length than it.
    """
    out = pde.residual(u, operators, _clock(pde, u, operators, times))
    if times is None and all(bool(v.isfinite().all()) for v in u.values()) and any(bool(v.isnan().any()) for v in out.values()):
        raise InputError(f"{type(pde).__name__} has a coefficient that depends on time: expected `times`, one per frame; got none")
    return out


def residual_scale(pde: PDE, u: Fields, operators: Operators, *, times: Tensor | None = None) -> dict[str, Tensor]:
    """Root mean square over batch, time and space of the largest part of the law, a number for each field.

    Args:
        pde: The law.
        u: Its fields (B, T, *S) in physical units.
        operators: As in `window_residual`.
        times: As in `window_residual`.
    """
    t = _clock(pde, u, operators, times)
    first = u[pde.fields[0]]
    law = pde.bound(first.ndim - 1, like=first)
    parts = {name: operators.dt(u[name]) for name in pde.fields}, law.stiff(u, operators.of(u, t)), law.explicit(u, operators, t)
    return {name: torch.stack([part[name].square().mean().sqrt() for part in parts]).amax() for name in pde.fields}


def _clock(pde: PDE, u: Fields, operators: Operators, times: Tensor | None) -> float | Tensor:
    """The times, ready to broadcast; without them not-a-number, so that a law which needs them cannot go on unseen."""
    missing = [name for name in pde.fields if name not in u]
    if missing:
        raise InputError(f"residual of {type(pde).__name__}: expected the fields {', '.join(pde.fields)}; missing {', '.join(missing)}")
    first = u[pde.fields[0]]
    if first.ndim < operators.ndim + 2:
        raise ShapeError(f"residual of {type(pde).__name__}: expected windows (batch, time, *space), got {tuple(first.shape)}")
    if times is None:
        return float("nan")
    frames = first.shape[-operators.ndim - 1]
    if times.ndim != 1 or times.numel() != frames:
        raise ShapeError(f"residual of {type(pde).__name__}: expected {frames} times, one per frame, got {tuple(times.shape)}")
    return times.to(first).reshape(-1, *([1] * operators.ndim))
