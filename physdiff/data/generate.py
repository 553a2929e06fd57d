"""Training data from a law: many trajectories of one solver as a CF data set."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from tqdm import tqdm

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, SavedError
from physdiff.base.rng import Rng
from physdiff.base.saved import describe
from physdiff.data.convert import to_dataset
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.grid import Grid
from physdiff.pdes.pde import PDE
from physdiff.solvers.initial import RandomField, initial_fields
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper

__all__ = ["generate"]


def generate(
    stepper: Stepper,
    initial: RandomField | Mapping[str, RandomField],
    times: Tensor | Sequence[float],
    *,
    samples: int,
    rng: Rng,
    spin_up: float = 0.0,
    substeps: int | None = None,
    batch_size: int = 16,
) -> xr.Dataset:
    """Solve a law from random initial fields.

    Sample i depends on `rng` and i alone; so does its trajectory if `substeps` is given (else the step follows the stable limit of the batch).

    Args:
        stepper: The solver, built from the law and the operators of a grid.
        initial: One random field for all fields of the law, or one per name.
        times: At least two uniform times in the law's unit; a float64 tensor computes in float64, anything else in float32.
        samples: Number of trajectories.
        rng: Source of randomness.
        spin_up: Time solved and thrown away before the first frame.
        substeps: Solver steps between frames; if None by half the stepper's stable limit.
        batch_size: Trajectories solved at once.

    Returns:
        Dims (sample, time, *space); the law and its parameters are attributes. Units are ``"1"``.

    Raises:
        InputError: If samples or times make no sense.
        Diverged: If a field stops being finite.
    """
    wide = isinstance(times, Tensor) and times.dtype == torch.float64
    moments = _moments(times)
    if samples < 1 or batch_size < 1:
        raise InputError(f"generate: expected samples and batch_size of at least 1, got {samples} and {batch_size}")
    check_positive(spin_up, "generate spin_up", zero=True)
    grid = _grid(stepper)
    like = torch.empty((), dtype=torch.float64 if wide else torch.float32, device=times.device if isinstance(times, Tensor) else None)
    names = stepper.pde.fields
    # a law with one parameter per sample is solved for all samples together
    size = samples if stepper.pde.batch > 1 else min(batch_size, samples)
    out = {n: np.empty((samples, moments.numel(), *grid.shape), dtype=np.float64 if wide else np.float32) for n in names}
    with tqdm(total=samples * moments.numel(), desc="generate", unit="frame", disable=None) as bar:
        for start in range(0, samples, size):
            count = min(size, samples - start)
            fields: Mapping[str, Tensor] = initial_fields(initial, names, grid, n=count, rng=rng, start=start, like=like)
            if spin_up > 0:
                fields = _spun_up(stepper, fields, moments, spin_up=spin_up, substeps=substeps)
            solved = solve(stepper, fields, moments, substeps=substeps, progress=lambda *_, count=count: bar.update(count))
            for name in names:
                out[name][start : start + count] = solved[name].detach().cpu().numpy()
            bar.update(count)
    spec = FieldSpec(names, ("1",) * len(names), grid, float(moments[1] - moments[0]), frames=moments.numel(), time_unit="1")
    attrs = {"title": f"{type(stepper.pde).__name__} trajectories", "source": f"physdiff generate, {_card(stepper.pde)}"}
    return to_dataset({n: torch.from_numpy(v) for n, v in out.items()}, spec, moments, batch="sample", attrs=attrs)


def _moments(times: Tensor | Sequence[float]) -> Tensor:
    """Uniform times in float64; those of a float32 linspace lose their rounding."""
    moments = torch.as_tensor(times, dtype=torch.float64).detach().cpu()
    if moments.ndim != 1 or moments.numel() < 2:
        raise InputError(f"generate times: expected a row of at least two times, got {tuple(moments.shape)}")
    even = torch.linspace(float(moments[0]), float(moments[-1]), moments.numel(), dtype=torch.float64)
    step = float(even[1] - even[0])
    if step <= 0 or float((even - moments).abs().max()) > 1e-3 * step:
        raise InputError(f"generate times: expected increasing times with one step, got {moments[:4].tolist()}...; use torch.linspace")
    return even


def _grid(stepper: Stepper) -> Grid:
    grid = getattr(stepper.operators, "grid", None)
    if not isinstance(grid, Grid):
        raise InputError(f"generate: expected operators on a grid, got {type(stepper.operators).__name__}; use Spectral or FiniteDifference")
    return grid


def _spun_up(stepper: Stepper, fields: Mapping[str, Tensor], moments: Tensor, *, spin_up: float, substeps: int | None) -> dict[str, Tensor]:
    """The fields after `spin_up`, in intervals of a frame so that `substeps` means the same as afterwards."""
    step = float(moments[1] - moments[0])
    intervals = max(1, round(spin_up / step))
    current = dict(fields)
    start = float(moments[0]) - spin_up
    for k in range(intervals):
        span = torch.tensor([start + spin_up * k / intervals, start + spin_up * (k + 1) / intervals], dtype=torch.float64)
        current = {name: v[:, -1] for name, v in solve(stepper, current, span, substeps=substeps).items()}
    return current


def _card(pde: PDE) -> str:
    """The law and its parameters as JSON; its name alone if a parameter is a function."""
    try:
        return json.dumps(describe(pde))
    except SavedError:
        return type(pde).__name__
