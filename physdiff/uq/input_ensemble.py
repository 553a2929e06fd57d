r"""Ensembles of a model that gives one answer: the same model from other initial states.

Members come in pairs $x_0 \pm \tfrac{s}{\sqrt2}(x_a - x_b)$ with two random states of the training data of the same time of day: such a difference
has the covariance C of the data, and structures that the model knows, where independent noise at points would die in a step. Pairs keep the mean of
the inputs. For a linear model A the members have the covariance $s^2 A C A^\mathsf T$ around the forecast of the unperturbed state. The size s has to
be chosen (spread-skill on past forecasts, `post_process` afterwards). What the model itself does wrong is not in this spread. References: Magnusson,
Nycander and Kaellen (2009), "Flow-dependent versus flow-independent initial perturbations" (random field perturbations).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import DataError, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.leads import KnownFrames, forecast_of
from physdiff.grids.field_spec import FieldSpec

__all__ = ["input_ensemble", "state_differences"]


def input_ensemble(
    advance: Callable[[Tensor, int], Tensor],
    train: xr.Dataset,
    ds: xr.Dataset,
    *,
    lead: int,
    members: int,
    size: float,
    rng: Rng,
    history: int = 1,
) -> xr.Dataset:
    """Forecast from perturbed states with a deterministic model.

    Args:
        advance: Function of states (m, C, history, *S), physical units, and a number of steps that gives (m, C, steps, *S).
        train: Data whose states make the perturbations.
        ds: Data to start from, on the same grid: from each frame with `history` known ones.
        lead: Number of time steps.
        members: Number of members; with an odd one the first is unperturbed.
        size: s, the standard deviation of the perturbation as a share of the training data's.
        rng: Randomness; a start's members do not depend on the other starts.
        history: Number of frames that the model knows.

    Returns:
        (sample?, init_time, member, lead_time, *space), as `evaluate` takes it.

    Raises:
        DataError: If there is no start, or the training data have no two states of one time of day.
        GridMismatch: If the two parts are on different grids.
        ShapeError: If `advance` gives another shape.
        InputError: If size or another number makes no sense.
    """
    check_positive(size, "input_ensemble size", zero=True)
    known = KnownFrames(ds, history=history)
    past = KnownFrames(train, history=history, spec=known.spec)
    clock = _time_of_day(past)

    def make(trajectory: int, start: int) -> Tensor:
        key, state = known.rng(rng, trajectory, start), known.frames(trajectory, start)
        rows = [state] if members % 2 else []
        for pair in range(members // 2):
            d = size / math.sqrt(2) * _difference(past, clock, key.child("pair", pair))
            # a gap in the training data perturbs nothing
            d = d.masked_fill(d.isnan(), 0.0)
            rows += [state + d, state - d]
        states = torch.stack(rows)
        made = advance(states, lead)
        expected = (members, states.shape[1], lead, *states.shape[3:])
        if made.shape != expected:
            raise ShapeError(f"input_ensemble advance: expected {expected}, got {tuple(made.shape)}")
        return made.detach()

    return forecast_of(known, make, lead=lead, members=members, attrs={"title": "perturbed inputs"})


def state_differences(train: xr.Dataset, count: int, *, rng: Rng, history: int = 1, spec: FieldSpec | None = None) -> Tensor:
    """Differences of two random states of one time of day, for `InputPerturbed`.

    Args:
        train: Data, dims (sample?, time, *space).
        count: K.
        rng: Randomness.
        history: Number of frames of a state.
        spec: Fields, grid and time step the data must have; found from the data if None.

    Returns:
        (K, C, history, *S), physical units, NaN where one of the two has no value.

    Raises:
        InputError: If the count is below 1.
        DataError: If the data have no two states of one time of day.
        GridMismatch: If the data are on another grid than the spec's.
    """
    if count < 1:
        raise InputError(f"state_differences: expected a count of at least 1, got {count}")
    past = KnownFrames(train, history=history, spec=spec)
    clock = _time_of_day(past)
    return torch.stack([_difference(past, clock, rng.child("pair", k)) for k in range(count)])


def _time_of_day(past: KnownFrames) -> np.ndarray:
    times = past.init_times
    found = times - times.astype("datetime64[D]") if past.calendar else np.zeros(times.size)
    if past.trajectories == 1 and max(np.unique(found, return_counts=True)[1]) < 2:
        raise DataError("input_ensemble train: expected two states of one time of day, got none; give more days")
    return found


def _difference(past: KnownFrames, clock: np.ndarray, rng: Rng) -> Tensor:
    """Of two states that differ in time or trajectory, (C, history, *S)."""
    # times of day that have one state alone give no pair
    shared = np.flatnonzero(np.isin(clock, [v for v, n in zip(*np.unique(clock, return_counts=True), strict=True) if n * past.trajectories > 1]))
    a = int(rng.child("a").integers(0, shared.size * past.trajectories))
    row, first = a // shared.size, int(shared[a % shared.size])
    alike = np.flatnonzero(clock == clock[first])
    # any but the first: counted from it
    here = row * alike.size + int(np.flatnonzero(alike == first)[0])
    total = alike.size * past.trajectories
    b = (here + 1 + int(rng.child("b").integers(0, total - 1))) % total
    return past.frames(row, first) - past.frames(b // alike.size, int(alike[b % alike.size]))
