"""Training data from a law: many trajectories of one solver as a CF data set, in memory or streamed to a file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypedDict, Unpack

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError, SavedError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved, describe
from physdiff.data.stream import Run, Tick, make
from physdiff.data.varied_law import VariedLaw
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.pdes.pde import PDE
from physdiff.solvers.initial import InitialField, initial_fields
from physdiff.solvers.random_state import RandomState
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper

__all__ = ["MarchOptions", "card_of", "generate", "marched", "uniform_times"]


class MarchOptions(TypedDict, total=False):
    """How `generate` marches.

    Attributes:
        spin_up: Time solved and thrown away before the first frame; 0 if not given.
        substeps: Solver steps between frames.
        cfl: Share of the stepper's stable limit.
        tol: Tolerance of each interval between frames. At most one of the three; half the stable limit if none is given.
        batch_size: Trajectories solved at once; 16 if not given.
    """

    spin_up: float
    substeps: int | None
    cfl: float | None
    tol: float | None
    batch_size: int


def generate(
    stepper: Stepper | VariedLaw,
    initial: InitialField | Mapping[str, InitialField] | RandomState,
    times: Tensor | Sequence[float],
    *,
    samples: int,
    rng: Rng,
    out: str | os.PathLike[str] | None = None,
    **options: Unpack[MarchOptions],
) -> xr.Dataset:
    """Solve a law from random initial fields.

    Sample i depends on `rng` and i alone; so does its trajectory if `substeps` is given (else the step follows the batch).

    Args:
        stepper: The solver, built from the law and the operators of a grid; or a law with parameters of its own for each trajectory, which are
            written as fields, constant in space and time.
        initial: One random field for all fields of the law, or one per name; or a `RandomState`, which any law makes its fields of.
        times: At least two uniform times in the law's unit; a float64 tensor computes in float64, anything else in float32.
        samples: Number of trajectories.
        rng: Source of randomness.
        out: File to write batch by batch, so that memory holds one of them: netCDF-4, which is HDF5 (.nc, .h5), or Zarr (.zarr). The same
            call goes on with what a killed one left, to the same bits, and opens what is finished. Everything in memory if None.
        **options: How to march: `spin_up`, `substeps`, `cfl`, `tol`, `batch_size`; see `MarchOptions`.

    Returns:
        Dims (sample, time, *space), opened lazily from `out` if given; the law and its parameters are attributes. Units are ``"1"``.

    Raises:
        InputError: If samples, times, options or the ending of `out` make no sense.
        DataError: If `out` cannot be written, or holds or has begun another run.
        Diverged: If a field stops being finite; with `out`, the batches done are kept, and the last good state is in ``<out>.diverged.nc``.
    """
    if not isinstance(rng, Rng):
        raise InputError(f"generate rng: expected a source of randomness, as in rng=Rng(0), got {rng!r}")
    for name in options:
        check_one_of(name, MarchOptions.__annotations__, "generate options")
    wide = isinstance(times, Tensor) and times.dtype == torch.float64
    like = torch.empty((), dtype=torch.float64 if wide else torch.float32, device=times.device if isinstance(times, Tensor) else None)
    varied = stepper if isinstance(stepper, VariedLaw) else None
    usual = stepper.stepper_of({}) if isinstance(stepper, VariedLaw) else stepper
    moments, pde, grid = uniform_times(times), usual.pde, _grid(usual)
    check_positive(options.get("spin_up", 0.0), "generate spin_up", zero=True)

    def batch(start: int, count: int, tick: Tick) -> Mapping[str, Tensor]:
        indices = range(start, start + count)
        values = {} if varied is None else varied.values(indices, rng, like=like)
        solver = usual if varied is None else varied.stepper_of(values)
        fields = marched(solver, _drawn(solver, initial, indices, rng, like=like), moments, tick=tick, **options)
        return {**fields, **{n: v.reshape(-1, *[1] * (1 + grid.ndim)).expand(count, spec.frames, *grid.shape) for n, v in values.items()}}

    names = (*pde.fields, *(() if varied is None else varied.between))
    spec = FieldSpec(names, ("1",) * len(names), grid, float(moments[1] - moments[0]), frames=moments.numel(), time_unit="1")
    attrs = {"title": f"{type(pde).__name__} trajectories", "source": f"physdiff generate, {_law(pde)}"}
    settings = _settings(usual, initial, moments, rng, dtype=like.dtype, options=options)
    settings |= {} if varied is None else {"varied": json.dumps(dict(varied.between))}
    # a law with one parameter per sample is solved for all samples together
    size = max(samples, 1) if pde.batch > 1 else options.get("batch_size", 16)
    return make(Run(spec, moments, batch, settings, attrs, like.dtype), samples, min(size, max(samples, 1)), out=None if out is None else Path(out))


def _drawn(
    stepper: Stepper, initial: InitialField | Mapping[str, InitialField] | RandomState, indices: range, rng: Rng, *, like: Tensor
) -> dict[str, Tensor]:
    """The law's fields to begin with, of the samples with these indices."""
    law, grid = stepper.pde, _grid(stepper)
    if isinstance(initial, RandomState):
        return initial.sample(law, stepper.operators, grid=grid, indices=indices, rng=rng, like=like)
    return initial_fields(initial, law.fields, grid, n=len(indices), rng=rng, start=indices.start, like=like)


def marched(stepper: Stepper, fields: Mapping[str, Tensor], moments: Tensor, *, tick: Tick, **options: Unpack[MarchOptions]) -> dict[str, Tensor]:
    """The law's fields (B, T, *S) at the moments, after a spin-up if one is asked for; options as for `generate`."""
    count = next(iter(fields.values())).shape[0]
    substeps, cfl, tol = options.get("substeps"), options.get("cfl"), options.get("tol")
    spin_up, current, step = options.get("spin_up", 0.0), dict(fields), float(moments[1] - moments[0])
    # in intervals of a frame, so that `substeps` means the same as afterwards
    intervals = max(1, round(spin_up / step)) if spin_up else 0
    begin = float(moments[0]) - spin_up
    for k in range(intervals):
        span = torch.tensor([begin + spin_up * k / intervals, begin + spin_up * (k + 1) / intervals], dtype=torch.float64)
        current = {name: v[:, -1] for name, v in solve(stepper, current, span, substeps=substeps, cfl=cfl, tol=tol).items()}

    def progress(done: int, total: int) -> None:
        tick(count)

    solved = solve(stepper, current, moments, substeps=substeps, cfl=cfl, tol=tol, progress=progress)
    tick(count)
    return {name: v.detach() for name, v in solved.items()}


def uniform_times(times: Tensor | Sequence[float]) -> Tensor:
    """Uniform times in float64; those of a float32 linspace lose their rounding.

    Raises:
        InputError: If there are not two or they do not increase by one step.
    """
    moments = torch.as_tensor(times, dtype=torch.float64).detach().cpu()
    if moments.ndim != 1 or moments.numel() < 2:
        raise InputError(f"generate times: expected a row of at least two times, got {tuple(moments.shape)}")
    even = torch.linspace(float(moments[0]), float(moments[-1]), moments.numel(), dtype=torch.float64)
    step = float(even[1] - even[0])
    if step <= 0 or float((even - moments).abs().max()) > 1e-3 * step:
        raise InputError(f"generate times: expected increasing times with one step, got {moments[:4].tolist()}...; use torch.linspace")
    return even


def card_of(obj: object) -> str:
    """What decides an object's values, as JSON; what cannot be described (functions) stands by its name, long texts by their hash."""
    try:
        text = json.dumps(describe(obj))
    except SavedError:
        if isinstance(obj, Saved):
            arguments: Mapping[str, object] = obj._saved_arguments  # type: ignore[attr-defined]
            text = json.dumps({"class": type(obj).__name__, "args": {k: card_of(v) for k, v in arguments.items()}})
        elif isinstance(obj, Mapping):
            text = json.dumps({str(k): card_of(v) for k, v in obj.items()})
        else:
            named = obj if isinstance(obj, type) or callable(obj) and hasattr(obj, "__qualname__") else type(obj)
            text = f"{named.__module__}.{named.__qualname__}"  # type: ignore[union-attr]
    return text if len(text) <= 2000 else f"{text[:100]} ... sha256 {hashlib.sha256(text.encode()).hexdigest()}"


def _settings(
    stepper: Stepper,
    initial: InitialField | Mapping[str, InitialField] | RandomState,
    moments: Tensor,
    rng: Rng,
    *,
    dtype: torch.dtype,
    options: Mapping[str, object],
) -> dict[str, str]:
    """Everything that decides the values, see `Run`."""
    return {
        "law": card_of(stepper.pde),
        "solver": _solver(stepper),
        "grid": card_of(_grid(stepper)),
        "initial": card_of(dict(initial) if isinstance(initial, Mapping) else initial),
        "times": f"{moments.numel()} from {float(moments[0])!r} to {float(moments[-1])!r}",
        "rng": card_of((rng.seed, rng.path)),
        "options": json.dumps({k: v for k, v in sorted(options.items()) if k != "batch_size"}),
        "dtype": str(dtype),
    }


def _law(pde: PDE) -> str:
    """The law and its parameters as JSON; its name alone if a parameter is a function."""
    try:
        return json.dumps(describe(pde))
    except SavedError:
        return type(pde).__name__


def _solver(stepper: Stepper) -> str:
    """The stepper and its operators with their plain settings."""
    shown = []
    for part in (stepper, stepper.operators):
        plain = {k: _plain(v) for k, v in sorted(vars(part).items()) if k[0] != "_" and k not in ("pde", "grid")}
        shown.append(f"{type(part).__name__}({', '.join(f'{k}={v}' for k, v in plain.items() if v)})")
    return " on ".join(shown)


def _plain(value: object) -> str:
    """A setting as text; empty for what holds none."""
    if isinstance(value, str | int | float | bool | Saved):
        return card_of(value)
    return repr(value) if dataclasses.is_dataclass(value) else ""


def _grid(stepper: Stepper) -> Grid:
    grid = getattr(stepper.operators, "grid", None)
    if not isinstance(grid, Grid):
        raise InputError(f"generate: expected operators on a grid, got {type(stepper.operators).__name__}; use Spectral or FiniteDifference")
    return grid
