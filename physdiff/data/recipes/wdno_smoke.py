r"""Smoke led through a tank, of the wavelet diffusion neural operator (Hu et al., 2025), in the setting of Wei et al. (DiffPhyCon, 2024).

A tank with seven openings and bars inside stands in the middle of 127 x 127 cells of side 1. Each unit of time the flow is

$$u^{n+1} = P\big[\,u^n \text{ inside},\; c^{n+1} \text{ in the frame around it}\,\big], \qquad d_t + u^{n+1}\cdot\nabla d = 0 ,$$

P the projection on flows without divergence that pass no wall: what is inside is held, the control c in the frame (outside the faces 16 to 111)
drives it. c is uniform up to a tenth where a new course is set (four times, along a path from the smoke to the middle opening at the top) and
otherwise what the flow has become there, plus noise of 0.1. Smoke begins as a block of 11 x 11 and counts as gone where it enters the mouth of an
opening.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.recipes.recipe import DataRecipe, check_at_least
from physdiff.data.stream import Tick
from physdiff.grids.boundary import Dirichlet, Outflow
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.solvers.staggered import StaggeredFlow

__all__ = ["WDNOSmoke"]

_CELLS, _FRAME, _BLOCK = 127, slice(16, 112), 11
# (height, width), (y, x) of the walls and bars
_WALLS = (
    ((1, 96), (16, 16)),
    *(((h, 1), (y, x)) for x in (16, 112) for h, y in ((8, 16), (16, 40), (40, 72))),
    *(((1, w), (112, x)) for w, x in ((8, 16), (16, 40), (16, 72), (8, 104))),
    *(((16, 1), (y, x)) for x in (48, 80) for y in (64, 96)),
    ((1, 48), (40, 40)),
)
# (y, x), (height, width) of the mouths: three at the top, two on either side; the second is where the smoke should go
_MOUTHS = (*(((112, x), (15, 20)) for x in (22, 54, 86)), *(((y, x), (20, w)) for x, w in ((0, 16), (112, 15)) for y in (22, 54)))
_TARGET = 1


@dataclass(frozen=True)
class WDNOSmoke(DataRecipe):
    """Smoke, flow and control; `target` is the share of the smoke that has left through the middle opening at the top, the same everywhere.

    Differences from the original: smoke is carried by fluxes with limited slopes (there semi-Lagrangian), so that it stays to rounding until it
    leaves the cells; the share counts all cells (there every second one along both axes); the second component of the velocity is kept (the
    original's script writes the first one twice). That the flow carries no momentum of its own from one time to the next is the original's. That
    the outer sides are open is from memory of the library it calls. Random numbers differ: the original seeds by process number and cannot be made
    again.

    Args:
        intervals: Between frames.
        every: Units of time from frame to frame.
        length: Units of time that the course is planned for.
        noise: Standard deviation of what is added to the control at each time.
        coarse: 1: the tank on 127 x 127 cells; 2: on 64 x 64 cells of side 2, walls two thick, smoke and noise the means of four: an eighth of
            the time.
        compiled: Whether transport goes through `torch.compile`: the same numbers in a quarter of the time, after some seconds of compiling for
            each size of batch; needs a C++ compiler.
    """

    intervals: int = 32
    every: int = 8
    length: int = 256
    noise: float = 0.1
    coarse: int = 1
    compiled: bool = False

    names: ClassVar[tuple[str, ...]] = ("smoke", "velocity_x", "velocity_y", "control_x", "control_y", "target")
    precision: ClassVar[torch.dtype] = torch.float32

    def __post_init__(self) -> None:
        check_at_least(self.intervals, 1, "WDNOSmoke intervals")
        check_at_least(self.every, 1, "WDNOSmoke every")
        check_at_least(self.length, 8, "WDNOSmoke length")
        check_positive(self.noise, "WDNOSmoke noise", zero=True)
        if self.coarse not in (1, 2):
            raise InputError(f"WDNOSmoke coarse: expected 1 or 2, got {self.coarse!r}")

    @property
    def grid(self) -> CartesianGrid:
        """Every second cell of 127, or all cells of a coarse tank."""
        return CartesianGrid((64, 64), 128.0, -0.5, periodic=False, length_unit="1")

    @property
    def times(self) -> Tensor:
        """From 0 on."""
        return float(self.every) * torch.arange(self.intervals + 1, dtype=torch.float64)

    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields of `names` (count, T, y, x)."""
        courses = [_Course(rng.child("sample", i).generator(), self.length) for i in range(start, start + count)]
        smoke = _means(torch.stack([torch.from_numpy(course.smoke()) for course in courses]).to(self.like), self.coarse)
        return self._led(smoke, lambda flow, n: self._control(courses, flow, n), tick=tick)

    def driven(self, smoke: Tensor, control: Tensor) -> Mapping[str, Tensor]:
        """What the tank makes of a control of one's own: fields of `names` (B, T, y, x).

        Args:
            smoke: At the beginning, (B, y, x) on `grid`.
            control: Velocities along x and y at `times`, (B, 2, T, y, x) on `grid`, taken for linear in time between; those inside, where the flow
                is held, do not count. No noise is added.

        Raises:
            ShapeError: If the shapes are others.
        """
        steps = self.intervals + 1
        if smoke.shape[1:] != self.grid.shape or control.shape != (len(smoke), 2, steps, *self.grid.shape):
            wanted = f"(B, {', '.join(map(str, self.grid.shape))}) and (B, 2, {steps}, {', '.join(map(str, self.grid.shape))})"
            raise ShapeError(f"driven: expected smoke and control of {wanted}, got {tuple(smoke.shape)} and {tuple(control.shape)}")
        smoke, control = smoke.to(self.like), control.to(self.like)

        def at(flow: tuple[Tensor, ...], n: int) -> list[Tensor]:
            k = min(n // self.every, self.intervals - 1)
            share = n / self.every - k
            now = (1 - share) * control[:, :, k] + share * control[:, :, k + 1]
            return [torch.where(_inside(f, self.coarse), 0.0, _on_faces(now[:, i], -1 - i, self.coarse)) for i, f in enumerate(flow)]

        return self._led(_on_cells(smoke, self.coarse), at, tick=lambda _: None)

    def _led(self, smoke: Tensor, control_at: Callable[[tuple[Tensor, ...], int], list[Tensor]], *, tick: Tick) -> Mapping[str, Tensor]:
        """The tank's times one after the other; `control_at` is asked with the flow on the faces and the number of the time."""
        stepper, count, cells, stride = _tank(self.coarse), len(smoke), _cells(self.coarse), 3 - self.coarse
        project, whole = stepper.pressure_solver.project, smoke.sum((1, 2))
        flow = tuple(torch.full((count, cells + (i == 1), cells + (i == 0)), v).to(self.like) for i, v in enumerate((0.0, 0.2)))
        kept, gone, left = smoke, torch.zeros(count).to(self.like), smoke
        frames: list[list[Tensor]] = []
        for n in range(self.intervals * self.every + 1):
            control = control_at(flow, n)
            inside = [_inside(f, self.coarse) for f in flow]
            held = tuple(torch.where(m, f, c) * w.to(f) for m, f, c, w in zip(inside, flow, control, stepper.pressure_solver.fluid, strict=True))
            flow = project(held)[0]
            both = _carried(stepper, tuple(f.repeat(2, 1, 1) for f in flow), torch.cat([kept, left]), compiled=self.compiled)
            kept, left = both[:count], both[count:]
            if n > 0:
                gone = gone + (left * _mouth(_TARGET, self.coarse).to(left)).sum((1, 2))
                left = left * ~_mouth(None, self.coarse)
            if n % self.every == 0:
                centres = [_centred(f, -1 - i) for pair in (flow, control) for i, f in enumerate(pair)]
                share = (gone / whole).reshape(-1, 1, 1).expand_as(kept)
                frames.append([f[:, ::stride, ::stride] for f in (kept, *centres, share)])
                tick(count)
        return {name: torch.stack([f[k] for f in frames], 1) for k, name in enumerate(self.names)}

    def _control(self, courses: list[_Course], flow: tuple[Tensor, ...], n: int) -> list[Tensor]:
        """The velocities in the frame, zero inside, on the faces of both components."""
        made = []
        for i, f in enumerate(flow):
            rows = []
            for course, now in zip(courses, f, strict=True):
                fresh = course.velocity(n)
                draw = torch.from_numpy(course.draws(tuple(now.shape))).to(now)
                draw = draw / self.coarse
                rows.append(now + self.noise * draw if fresh is None else fresh[i] * (1 + 0.1 * draw))
            made.append(torch.where(_inside(f, self.coarse), torch.zeros_like(f), torch.stack(rows)))
        return made


class _Course:
    """Where one sample's smoke begins, and the velocities that are set on its way."""

    def __init__(self, g: np.random.Generator, length: int) -> None:
        self._g = g
        margin = 5

        def between(low: int, high: int) -> int:
            return int(g.integers(low, high))

        x = [between(16 + 1 + margin, 112 - 10 - margin)]
        y = [between(16 + 1 + margin, 40 - 10 - margin), 40, 50, 64, 112]
        side = (16 + margin, 64 - 10) if x[0] < 64 - 10 else (64, 112 - 10 - margin)
        x += [between(*side), between(*side), between(50, 80 - 1 - 10), between(64 - 8, 64 + 8 - 10)]
        self._start = (y[0], x[0])
        legs = np.stack([np.diff(x), np.diff(y)]).astype(float)
        distance = np.hypot(*legs)
        speed = distance.sum() / length
        mean = np.array([[g.uniform(2, 5)], [5.0]]) * speed * legs / distance
        self._velocities = g.normal(mean, np.abs(mean) / 4)
        ends = np.cumsum((length * distance / distance.sum()).astype(int))[:3]
        self._turns = {0: 0, **{int(end): k + 1 for k, end in enumerate(ends)}}

    def smoke(self) -> np.ndarray:
        """The block of smoke."""
        y, x = self._start
        made = np.zeros((_CELLS, _CELLS))
        made[y : y + _BLOCK, x : x + _BLOCK] = 1.0
        return made

    def velocity(self, n: int) -> np.ndarray | None:
        """The velocity set at a time, x and y; None where the flow is left to itself."""
        return self._velocities[:, self._turns[n]] if n in self._turns else None

    def draws(self, shape: tuple[int, ...]) -> np.ndarray:
        """White noise."""
        return self._g.standard_normal(shape)


def _cells(coarse: int) -> int:
    return -(-_CELLS // coarse)


def _box(corner: tuple[int, int], size: tuple[int, int], coarse: int) -> tuple[slice, slice]:
    """Cells from a corner on, at least one along each axis."""
    (y, x), (h, w) = corner, (max(1, round(n / coarse)) for n in size)
    return slice(y // coarse, y // coarse + h), slice(x // coarse, x // coarse + w)


@functools.cache
def _tank(coarse: int = 1) -> StaggeredFlow:
    n = _cells(coarse)
    solid = torch.zeros(n, n, dtype=torch.bool)
    for size, corner in _WALLS:
        solid[_box(corner, size, coarse)] = True
    grid = CartesianGrid((n, n), float(coarse * n), periodic=False, length_unit="1")
    ends = {"velocity_x": Outflow(), "velocity_y": Outflow(), "buoyancy": Dirichlet(0.0)}
    return StaggeredFlow(BuoyantFlow(0.0, 0.0, lift=0.0), grid, ends, solid=solid)


@functools.cache
def _mouth(which: int | None, coarse: int = 1) -> Tensor:
    """Cells where smoke counts as gone through one opening, or through any."""
    made = torch.zeros(_cells(coarse), _cells(coarse), dtype=torch.bool)
    for k, (corner, size) in enumerate(_MOUTHS):
        if which is None or k == which:
            made[_box(corner, size, coarse)] = True
    return made


def _inside(f: Tensor, coarse: int) -> Tensor:
    made = torch.zeros(f.shape[-2:], dtype=torch.bool)
    frame = slice(_FRAME.start // coarse, _FRAME.stop // coarse)
    made[frame, frame] = True
    return made


def _centred(f: Tensor, axis: int) -> Tensor:
    n = f.shape[axis] - 1
    return (f.narrow(axis, 0, n) + f.narrow(axis, 1, n)) / 2


def _means(f: Tensor, coarse: int) -> Tensor:
    """Of 127 x 127 cells, and nothing beyond them, over blocks."""
    return f if coarse == 1 else avg_pool2d(pad(f, (0, 1, 0, 1)), coarse)


def _on_cells(f: Tensor, coarse: int) -> Tensor:
    """Every second cell to all 127 of each axis, by its nearest."""
    return f if coarse == 2 else f.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., :_CELLS, :_CELLS]


def _on_faces(f: Tensor, axis: int, coarse: int) -> Tensor:
    """Every second cell (B, y, x) to the faces across `axis`: the mean of the cells on both sides, at the ends that of the last cell."""
    cells = _on_cells(f, coarse)
    n = cells.shape[axis]
    first, last = cells.narrow(axis, 0, 1), cells.narrow(axis, n - 1, 1)
    wide = torch.cat([first, cells, last], axis)
    return (wide.narrow(axis, 0, n + 1) + wide.narrow(axis, 1, n + 1)) / 2


def _carried(stepper: StaggeredFlow, flow: tuple[Tensor, ...], smoke: Tensor, *, compiled: bool = False) -> Tensor:
    """One unit of time later: Heun's steps that cross at most half a cell, as many as each sample needs."""
    n, h = smoke.shape[-1], stepper.grid.spacing[-1]  # type: ignore[attr-defined]
    speed = sum(torch.maximum(f.narrow(-1 - i, 0, n).abs(), f.narrow(-1 - i, 1, n).abs()) for i, f in enumerate(flow))
    steps = (2 * speed.amax((1, 2)) / h).ceil().clamp_min(1.0)  # type: ignore[union-attr]
    step = _compiled() if compiled else _heun
    for k in range(int(steps.max())):
        smoke = step(stepper, flow, smoke, torch.where(k < steps, 1 / steps, 0.0).reshape(-1, 1, 1))
    return smoke


def _heun(stepper: StaggeredFlow, flow: tuple[Tensor, ...], smoke: Tensor, dt: Tensor) -> Tensor:
    names = stepper.pde.fields
    first = smoke + dt * stepper.rates.carried(dict(zip(names, (*flow, smoke), strict=True)), 0.0)
    second = first + dt * stepper.rates.carried(dict(zip(names, (*flow, first), strict=True)), 0.0)
    return (smoke + second) / 2


@functools.cache
def _compiled() -> Callable[[StaggeredFlow, tuple[Tensor, ...], Tensor, Tensor], Tensor]:
    return torch.compile(_heun, dynamic=False)
