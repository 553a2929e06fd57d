"""Groups of options that several verbs share."""

from __future__ import annotations

from dataclasses import dataclass

import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset

__all__ = ["Select", "Training", "opened"]


@dataclass(frozen=True)
class Select:
    """Which part of the data is used.

    Args:
        variables: Names of the fields; all if not given.
        start: First time used (a date, or a number where times are numbers).
        stop: Last time used.
    """

    variables: list[str] | None = None
    start: str | None = None
    stop: str | None = None


@dataclass(frozen=True)
class Training:
    """How long and how training goes.

    Args:
        seconds: Budget of wall-clock time; the number of steps follows from a few timed ones (at least `floor`).
        floor: Least number of steps under a budget of seconds.
        max_steps: Number of optimiser steps.
        lr: Peak learning rate.
        ema: Decay of the average of the weights.
        batch_size: Windows per batch.
        input_noise: Noise added to what the network is told, in standard deviations; forgives errors of roll-outs.
        roll: Periodic axes along which windows are shifted at random (only where the law does not depend on the place).
        save_every: Steps between checkpoints.
        seed: Seed of everything random.
    """

    seconds: float | None = None
    floor: int = 300
    max_steps: int | None = None
    lr: float = 1e-3
    ema: float = 0.99
    batch_size: int = 16
    input_noise: float = 0.05
    roll: list[str] | None = None
    save_every: int = 100
    seed: int = 0


def opened(path: str | list[str], select: Select) -> xr.Dataset:
    """Open files in house conventions and select."""
    ds = open_dataset(path, variables=select.variables)
    if select.start is None and select.stop is None:
        return ds
    calendar = str(ds["time"].dtype).startswith("datetime64")
    try:
        part = slice(*(v if v is None or calendar else float(v) for v in (select.start, select.stop)))
        chosen = ds.sel(time=part)
    except (ValueError, KeyError) as error:
        raise DataError(f"select: expected {'dates as 2019-03-15' if calendar else 'numbers'} for start and stop, got {select.start}, {select.stop}") from error
    if chosen.sizes["time"] == 0:
        first, last = (str(ds["time"].values[i]) for i in (0, -1))
        raise DataError(f"select: expected times within {first} to {last}, got none between {select.start} and {select.stop}")
    return chosen
