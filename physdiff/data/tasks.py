r"""Windows of whole trajectories of which some fields are known at some frames: what a joint model of state and forcing is asked.

A task says which frames of which fields are known, as in ``{"u": (0,), "force": "all"}`` (simulation: what does the state do under this force?) or
``{"u": (0, -1)}`` (control: which state and force lead from here to there?). A model that sees several tasks in training answers all of them. With a
`coarse` factor the condition also holds the block means of every field over so many cells along each axis in space, as straight lines in each
block that keep its mean (`reconstructed`): what a model that adds resolution is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from physdiff.base.errors import InputError, ShapeError
from physdiff.data.windows import TrajectoryWindows, condition, condition_spec
from physdiff.grids.blocks import coarsened, reconstructed
from physdiff.grids.field_spec import FieldSpec

__all__ = ["Task", "TaskWindows", "task_condition", "task_spec"]

Task = Mapping[str, tuple[int, ...] | str]


def task_spec(spec: FieldSpec, *, coarse: bool = False) -> FieldSpec:
    """What the channels of a task's condition are: fields, ``known_<name>`` of each, then ``coarse_<name>`` of each or ``place_<axis>``.

    Places are told where there is no coarse window: what adds resolution shall act alike everywhere.
    """
    if coarse:
        extra = {f"coarse_{name}": unit for name, unit in zip(spec.names, spec.units, strict=True)}
    else:
        extra = {f"place_{axis}": "1" for axis in ("time", *spec.grid.dims)}
    return condition_spec(spec, statics=extra, each=True)


def task_condition(spec: FieldSpec, known: Tensor, coarse: Tensor | None = None) -> Tensor:
    """The condition window of a task.

    Args:
        spec: The modelled fields.
        known: (B, C, T, *S) in physical units, NaN where unknown.
        coarse: The same fields on a grid coarser by a whole factor, (B, C, T, *S / factor), all known; None: none.

    Returns:
        (B, C'', T, *S), channels as in `task_spec`: unknown values lie on the line in time between the known ones, or hold the nearest; places run
        from -1 to 1.

    Raises:
        ShapeError: If `known` is no window of `spec` or `coarse` has no shape that divides it.
    """
    n = len(spec.names)
    cond = condition(spec, task_spec(spec).names[: 2 * n], known)
    cond[:, :n] = _between(known, cond[:, :n])
    if coarse is None:
        return torch.cat([cond, _places(known[:, :1])], 1)
    factor = known.shape[-1] // max(1, coarse.shape[-1])
    up = reconstructed(coarse, factor, spec.grid.periodic)
    if up.shape != known.shape:
        raise ShapeError(f"coarse: expected a window that a whole factor in space takes to {tuple(known.shape)}, got {tuple(coarse.shape)}")
    return torch.cat([cond, up.to(cond)], 1)


def _places(like: Tensor) -> Tensor:
    """Coordinates of a window (B, 1, T, *S) from -1 to 1 along each of its axes, (B, 1 + n, T, *S): without them no frame knows its time."""
    lines = [torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) if n > 1 else like.new_zeros(1) for n in like.shape[2:]]
    return torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(len(like), -1, *like.shape[2:])


def _between(known: Tensor, filled: Tensor) -> Tensor:
    """`filled` (B, C, T, *S), linear in time between the frames where `known` is finite; before the first the first, after the last as it is."""
    frames = known.shape[2]
    there = known.isfinite()
    at = torch.arange(frames, device=known.device).reshape(1, 1, frames, *[1] * (known.ndim - 3)).expand_as(known)
    last = torch.where(there, at, -1).cummax(2).values
    following = torch.where(there, at, frames).flip(2).cummin(2).values.flip(2)
    ahead = known.gather(2, following.clamp_max(frames - 1))
    share = ((at - last) / (following - last).clamp_min(1)).to(filled)
    inner = torch.where(last >= 0, filled + share * (ahead - filled), ahead)
    return torch.where((following < frames) & ~there, inner, filled)


class TaskWindows(Dataset[dict[str, Any]]):
    """Whole windows with the condition of each task in turn: item i is window i // K with task i % K of K.

    Args:
        windows: Windows without history.
        tasks: What is known; frames count from the end if negative.
        coarse: Factor of a coarse window in the condition; 1: none.

    Raises:
        InputError: If a task names a field or a frame that is not there, or the windows have a history.
    """

    def __init__(self, windows: TrajectoryWindows, tasks: Sequence[Task], *, coarse: int = 1) -> None:
        if windows.history or not tasks or coarse < 1:
            raise InputError(
                f"TaskWindows: expected windows without history, a task and coarse >= 1, got history = {windows.history}, {len(tasks)} tasks, "
                f"coarse = {coarse}; make the windows with history=0"
            )
        self.windows, self.tasks, self.coarse, self.spec = windows, tuple(tasks), coarse, windows.spec
        self.cond_spec = task_spec(self.spec, coarse=coarse > 1)
        for task in self.tasks:
            self.known(windows.fields_at(0)[None], task)

    def known(self, x: Tensor, task: Task) -> Tensor:
        """Windows (B, C, T, *S) with NaN where the task does not know them."""
        out = torch.full_like(x, torch.nan)
        for name, frames in task.items():
            c, n = self.spec.channel(name), x.shape[2]
            places = list(range(n)) if isinstance(frames, str) else [int(t) for t in frames]
            if (isinstance(frames, str) and frames != "all") or any(not -n <= t < n for t in places):
                raise InputError(f"task: expected 'all' or frames of {n} for {name}, got {frames!r}")
            out[:, c, places] = x[:, c, places]
        return out

    def __len__(self) -> int:
        """Windows times tasks."""
        return len(self.windows) * len(self.tasks)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """A window and its condition."""
        row, task = divmod(index, len(self.tasks))
        x = self.windows.fields_at(row)[None]
        coarse = coarsened(x, self.coarse) if self.coarse > 1 else None
        return {"x": x[0], "cond": task_condition(self.spec, self.known(x, self.tasks[task]), coarse)[0], "index": index}
