r"""What moves an ensemble from one analysis to the next: a solver, the roll-out of a prior, or any function.

A model takes the last known frames of every member and gives the frames to come, $x_{t+1}, \dots, x_{t+s}$ given $x_{t-h+1}, \dots, x_t$.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.leads import after
from physdiff.data.timeline import as_times
from physdiff.data.windows import condition
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.keyed_rows import KeyedRows
from physdiff.forecast.rollout import history_of, static_names
from physdiff.grids.field_spec import FieldSpec
from physdiff.solvers.march import march
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper

__all__ = ["ForecastModel", "PriorModel", "SolverModel", "StepModel"]


class ForecastModel(ABC):
    """Abstract forecast model.

    Attributes:
        spec: Fields, grid and time step; frames is 1.
        history: Number of known frames it needs.
    """

    spec: FieldSpec
    history: int = 1

    @abstractmethod
    def forecast(self, known: Tensor, time: Any, *, steps: int, rng: Rng) -> Tensor:  # noqa: ANN401 - a numpy scalar of either kind
        """The frames to come of every member.

        Args:
            known: Last known frames (N, C, history, *S), physical units.
            time: Time of the last of them.
            steps: Number of frames to come.
            rng: Randomness, where the model is not deterministic.

        Returns:
            (N, C, steps, *S).
        """


class SolverModel(ForecastModel):
    """A law advanced by its solver.

    Args:
        stepper: The solver, built from the law and the operators of a grid.
        dt: Time between frames, in the law's unit.
        substeps: Solver steps between frames.
        cfl: Share of the stable limit; see `solve`. Half the limit if neither this nor the others are given.
        tol: Tolerance between frames.
        noise: Standard deviation of independent normal noise added to every frame, the model's error; 0: none.
        spec: Names and units of the fields, where they shall not be ``"1"``; frames 1.

    Raises:
        InputError: If dt or noise makes no sense, or the spec has other fields than the law.
    """

    def __init__(
        self,
        stepper: Stepper,
        dt: float,
        *,
        substeps: int | None = None,
        cfl: float | None = None,
        tol: float | None = None,
        noise: float = 0.0,
        spec: FieldSpec | None = None,
    ) -> None:
        check_positive(dt, "SolverModel dt")
        self.noise = check_positive(noise, "SolverModel noise", zero=True)
        fields, grid = stepper.pde.fields, stepper.operators.grid  # type: ignore[attr-defined]
        if spec is not None and (spec.names != fields or spec.frames != 1):
            raise InputError(f"SolverModel: expected a spec of one frame of {', '.join(fields)}, got {spec.frames} of {', '.join(spec.names)}")
        self.stepper = stepper
        self._options: dict[str, Any] = {"substeps": substeps, "cfl": cfl, "tol": tol}
        self._tried = False
        self.spec = spec or FieldSpec(fields, ("1",) * len(fields), grid, dt, time_unit="1")

    def forecast(self, known: Tensor, time: Any, *, steps: int, rng: Rng) -> Tensor:  # noqa: ANN401
        """See ForecastModel; times that are calendar times count from 0, for the law knows no calendar."""
        begin = 0.0 if isinstance(time, np.datetime64) else float(time)
        u = dict(zip(self.spec.names, known[:, :, -1].unbind(1), strict=True))
        frames = []
        for k in range(steps):
            span = torch.tensor([begin + k * self.spec.dt, begin + (k + 1) * self.spec.dt], dtype=torch.float64)
            u = self._advanced(u, span)
            if self.noise:
                key = rng.child("model", k)
                u = {name: v + self.noise * key.child(name).normal(v.shape, like=v) for name, v in u.items()}
            frames.append(torch.stack([u[name] for name in self.spec.names], 1))
        return torch.stack(frames, 2)

    def _advanced(self, u: dict[str, Tensor], span: Tensor) -> dict[str, Tensor]:
        substeps = self._options["substeps"]
        if substeps is not None and self._tried:
            # `solve` measures the stable step anew in every call, which costs more than a step of a small law
            return dict(march(self.stepper, u, (float(span[0]), float(span[1])), steps=int(substeps)))
        try:
            solved = solve(self.stepper, u, span, **self._options)
        except InputError as error:
            # what an analysis has left of the fields may be nothing that a law can start from
            raise InputError(f"forecast from {float(span[0]):g}: {error}") from error
        self._tried = True
        return {name: v[:, -1] for name, v in solved.items()}


class StepModel(ForecastModel):
    """Any function of one step.

    Args:
        step: From states (N, C, *S) to those one time step later; with two arguments if it takes an `Rng`, too.
        spec: Fields, grid and time step.
        random: Whether `step` takes an `Rng` as its second argument.
    """

    def __init__(self, step: Callable[..., Tensor], spec: FieldSpec, *, random: bool = False) -> None:
        self.step, self.spec, self.random = step, spec.with_frames(1), random

    def forecast(self, known: Tensor, time: Any, *, steps: int, rng: Rng) -> Tensor:  # noqa: ANN401
        """See ForecastModel."""
        x, frames = known[:, :, -1], []
        for k in range(steps):
            new = self.step(x, rng.child("model", k)) if self.random else self.step(x)
            if new.shape != x.shape:
                raise ShapeError(f"StepModel: expected states of shape {tuple(x.shape)}, got {tuple(new.shape)}")
            x = new
            frames.append(x)
        return torch.stack(frames, 2)


class PriorModel(ForecastModel):
    """The roll-out of a prior given known frames; every member draws its own future.

    Args:
        prior: Prior given known frames; extras of the time of day are filled in.
        max_batch: Number of windows that go through the network at once.
        statics: The static fields (*S) that the prior is told, by name, as `TrajectoryWindows.static_fields`.

    Raises:
        InputError: If the prior is not conditioned on known frames, or a static field is missing.
    """

    def __init__(self, prior: WindowPrior, max_batch: int = 64, *, statics: Mapping[str, Tensor] | None = None) -> None:
        self.history = history_of(prior)
        assert prior.cond_spec is not None
        self.statics = dict(statics or {})
        missing = [n for n in static_names(prior) if n not in self.statics]
        if missing:
            raise InputError(f"PriorModel: expected the static fields that the prior is told, got none of {', '.join(missing)}; pass statics")
        self.prior, self.max_batch = prior.eval(), max_batch
        self.spec = prior.spec.with_frames(1)

    @property
    def horizon(self) -> int:
        """Number of frames drawn at once."""
        return self.prior.spec.frames - self.history

    def conditions(self, known: Tensor, time: Any) -> Tensor:  # noqa: ANN401
        """Condition windows (N, C', history + horizon, *S) of the members."""
        prior = self.prior
        assert prior.cond_spec is not None and prior.cond_transform is not None
        unknown = known.new_full((*known.shape[:2], self.horizon, *known.shape[3:]), torch.nan)
        times = after(as_times(time)[()], np.arange(1 - self.history, self.horizon + 1), self.spec.dt)
        window, fill = torch.cat([known, unknown], 2), prior.cond_transform.fill
        return condition(prior.spec, prior.cond_spec.names, window, times=times, statics=self.statics, fill=fill)

    def forecast(self, known: Tensor, time: Any, *, steps: int, rng: Rng) -> Tensor:  # noqa: ANN401
        """See ForecastModel; noise is keyed by member and block."""
        drawn: list[Tensor] = []
        frames = known.float()
        for block in range(-(-steps // self.horizon)):
            cond = self.conditions(frames, after(as_times(time)[()], block * self.horizon, self.spec.dt))
            rows = KeyedRows.of(rng.child("member", m, "block", block) for m in range(len(known)))
            # members have states of their own here: none is perturbed
            numbers, prior, new = range(len(known)), self.prior.onward, []
            for part in torch.arange(len(cond)).split(self.max_batch):
                which = [numbers[int(i)] for i in part]
                new.append(prior.sample(len(part), cond=cond[part], rng=rows.only(which), max_batch=len(part), numbers=which))
            drawn.append(torch.cat(new).cpu()[:, :, self.history :])
            bad = ~drawn[-1].isfinite() if self.spec.mask is None else ~drawn[-1].isfinite() & self.spec.mask
            if bool(bad.any()):
                raise Diverged(self.spec.names[0], float(block), "the prior drew a number that is not finite; train longer or take more steps")
            frames = torch.cat([frames, drawn[-1]], 2)[:, :, -self.history :]
        return torch.cat(drawn, 2)[:, :, :steps].to(known.dtype)
