"""What a recipe is: a data set of the literature as a value that can be generated.

A recipe is a frozen dataclass whose fields are the numbers of the original (resolution, viscosity, times); its docstring tells the equation, the
original and every difference. Sample i depends on the source of randomness and on i alone, so that fewer samples are the first ones of more,
however they are cut into batches.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.data.generate import card_of
from physdiff.data.stream import Run, Tick, make
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec

__all__ = ["DataRecipe", "check_at_least", "check_divides"]


class DataRecipe(Saved, ABC):
    """Abstract recipe; subclasses are `dataclass(frozen=True)`.

    Attributes:
        names: Of the fields that are kept.
        precision: In which the solver computes.
    """

    names: ClassVar[tuple[str, ...]]
    precision: ClassVar[torch.dtype] = torch.float64

    @property
    @abstractmethod
    def grid(self) -> CartesianGrid:
        """Where values are kept."""

    @property
    @abstractmethod
    def times(self) -> Tensor:
        """Of the frames kept, (T,), float64."""

    @abstractmethod
    def batch(self, start: int, count: int, *, rng: Rng, tick: Tick) -> Mapping[str, Tensor]:
        """Fields (count, T, *S) of the samples start, ..., start + count - 1.

        Args:
            start: Index of the first sample.
            count: Number of samples.
            rng: Source of randomness of the data set.
            tick: To be called with the number of frames done since the last call.
        """

    def generate(
        self,
        samples: int,
        rng: Rng,
        out: str | os.PathLike[str] | None = None,
        *,
        batch_size: int = 8,
        dtype: torch.dtype = torch.float32,
    ) -> xr.Dataset:
        """Make the data set, in memory or streamed to a file; see `generate` for files, going on after a kill and what is raised.

        Args:
            samples: Number of trajectories.
            rng: Source of randomness.
            out: File to write (.nc, .h5, .zarr); everything in memory if None.
            batch_size: Trajectories solved at once.
            dtype: Of the values kept.

        Returns:
            Dims (sample, time, *space); units are ``"1"``.
        """
        times = self.times
        step = float(times[1] - times[0]) if times.numel() > 1 else 1.0
        spec = FieldSpec(self.names, ("1",) * len(self.names), self.grid, step, frames=times.numel(), time_unit="1")
        attrs = {"title": f"{type(self).__name__} data", "source": f"physdiff recipe, {card_of(self)}"}
        settings = {"recipe": card_of(self), "rng": card_of((rng.seed, rng.path)), "dtype": str(dtype)}

        def batch(start: int, count: int, tick: Tick) -> Mapping[str, Tensor]:
            return self.batch(start, count, rng=rng, tick=tick)

        return make(Run(spec, times, batch, settings, attrs, dtype), samples, batch_size, out=None if out is None else Path(out))

    @property
    def like(self) -> Tensor:
        """A tensor of the precision computed in."""
        return torch.empty((), dtype=self.precision)


def check_divides(kept: int, solved: int, what: str) -> int:
    """Return how many points solved there are per point kept, along an axis.

    Raises:
        InputError: If it is no whole number.
    """
    if kept < 1 or solved < kept or solved % kept:
        raise InputError(f"{what}: expected a resolution that divides the {solved} points solved on, got {kept}; take {solved} or a half of it")
    return solved // kept


def check_at_least(value: int, least: int, what: str) -> int:
    """Return a whole number that is not too small, else raise InputError."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{what}: expected a whole number of at least {least}, got {value!r}")
    return value
