r"""Score forecasts against what happened.

Every forecast frame is compared with the truth at its own time, `init_time + lead_time` (or `time`). A score gives one number per frame and
field, weighted by area; numbers are averaged over all cases that fall into one entry of `by`. A root or ratio is taken after that average
(`Averaged`), not before.

Files larger than memory are scored as they are: open them lazily (`open_forecast`, or chunks). Read at a time are frames of one variable and one
start, as many as 256 MiB hold in float64 (one frame of all members at least), so that memory does not grow with the number of starts, leads or
variables; the truth is kept whole only up to 256 MiB. Chunks that hold several starts are read again for each.

A frame that the truth does not hold, or holds without any value, is no case. Cells that are missing in the truth or in a member are left out of a
frame's score; a frame whose forecast is missing everywhere gives NaN and is not passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.data.cases import Cases, matched
from physdiff.scores.reduce import Averaged, Score, region_weights

__all__ = ["evaluate"]


def evaluate(
    forecast: xr.Dataset,
    truth: xr.Dataset,
    scores: Mapping[str, Score],
    *,
    by: tuple[str, ...] = ("lead_time",),
    regions: Mapping[str, Tensor | xr.DataArray] | None = None,
) -> xr.Dataset:
    """Score a forecast.

    Args:
        forecast: Dims (sample?, init_time?, member?, lead_time, *space) or (sample?, member?, time, *space), any order.
        truth: Dims (sample?, time, *space) on the same grid and in the same units; further variables are not looked at.
        scores: By name; ``score(members (m, L, *S), truth (L, *S), weights (*S))`` gives (L,) or, for histograms, (L, bins).
        by: What the results are resolved by, some of sample, init_time, lead_time, time, region; averaged over the others.
        regions: Boolean fields (*S) by name, for ``by=(..., "region")``.

    Returns:
        One variable per score, dims (variable, *by), bins last. The coordinate `cases` counts the frames behind each entry (of the variable
        that has the fewest); entries without any are NaN.

    Raises:
        InputError: If the arguments are no Datasets, the members carry weights, or `by` asks for what is not there.
        DataError: If times, samples or variables do not match.
        GridMismatch: If the grids differ.
        UnitError: If the units differ.
        ShapeError: If a score does not give one value per frame.
    """
    cases = matched(forecast, truth)
    weights = _weights(cases, by, regions)
    allowed = (*cases.outer, cases.inner, *(("region",) if regions else ()))
    bad = [d for d in by if d not in allowed]
    if bad or len(set(by)) != len(by):
        raise InputError(f"evaluate by: expected some of {', '.join(allowed)}, each once; got {', '.join(by)}")
    if not scores:
        raise InputError("evaluate: expected at least one score, got none")
    table = _Table(cases, tuple(by), tuple(weights))
    for case in cases.pieces():
        for region, share in weights.items():
            for name, score in scores.items():
                parts = score.parts if isinstance(score, Averaged) else (score,)
                for k, part in enumerate(parts):
                    values = part(case.members, case.truth, share).detach()
                    if values.ndim < 1 or values.shape[0] != case.truth.shape[0]:
                        want = case.truth.shape[0]
                        got = tuple(values.shape)
                        raise ShapeError(f"score {name!r}: expected a value for each of {want} frames, got shape {got}; see scores/reduce.py")
                    table.add((name, k), values.double().cpu().numpy(), variable=case.variable, place=case.place, frames=case.frames, region=region)
    return _assembled(cases, table, scores)


def _weights(cases: Cases, by: tuple[str, ...], regions: Mapping[str, Tensor | xr.DataArray] | None) -> dict[str, Tensor]:
    area = cases.grid.weights()
    if ("region" in by) != bool(regions):
        raise InputError("evaluate: expected `regions` exactly if `by` has 'region'; pass regions={name: boolean field} and by=(..., 'region')")
    if not regions:
        return {"": area}
    found = {}
    for name, region in regions.items():
        if isinstance(region, xr.DataArray):
            region = torch.from_numpy(np.array(region.transpose(*cases.grid.dims).values))
        found[name] = region_weights(area, region)
    return found


@dataclass
class _Table:
    """Running sums and counts of every part of every score."""

    cases: Cases
    by: tuple[str, ...]
    regions: tuple[str, ...]
    sums: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    counts: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, ...]:
        sizes = {**self.cases.sizes, "region": len(self.regions)}
        return (len(self.cases.names), *(sizes[d] for d in self.by))

    def add(self, key: tuple[str, int], values: np.ndarray, *, variable: int, place: Mapping[str, int], frames: np.ndarray, region: str) -> None:
        if key not in self.sums:
            self.sums[key] = np.zeros((*self.shape, *values.shape[1:]))
            self.counts[key] = np.zeros(self.shape, dtype=np.int64)
        index: list[int | np.ndarray] = [variable]
        for dim in self.by:
            index.append(frames if dim == self.cases.inner else self.regions.index(region) if dim == "region" else place[dim])
        if self.cases.inner in self.by:
            self.sums[key][tuple(index)] += values
            self.counts[key][tuple(index)] += 1
        else:
            self.sums[key][tuple(index)] += values.sum(0)
            self.counts[key][tuple(index)] += values.shape[0]

    def mean(self, key: tuple[str, int]) -> Tensor:
        total, count = self.sums[key], self.counts[key].astype(np.float64)
        count = count.reshape(*count.shape, *[1] * (total.ndim - count.ndim))
        return torch.from_numpy(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def _assembled(cases: Cases, table: _Table, scores: Mapping[str, Score]) -> xr.Dataset:
    data, dims = {}, ("variable", *table.by)
    for name, score in scores.items():
        if isinstance(score, Averaged):
            values = score.combine(*(table.mean((name, k)) for k in range(len(score.parts))))
        else:
            values = table.mean((name, 0))
        extra = tuple(_extra(name, tuple(values.shape[len(dims) :]), cases))
        data[name] = ((*dims, *extra), values.numpy())
    counts = next(iter(table.counts.values()))
    coords: dict[str, object] = {"variable": list(cases.names), **{d: cases.coordinates[d] for d in table.by if d in cases.coordinates}}
    if "region" in table.by:
        coords["region"] = list(table.regions)
    coords["cases"] = (table.by, counts.min(0), {"long_name": "number of forecast frames scored", "units": "1"})
    return xr.Dataset(data, coords=coords, attrs={"members": cases.members})


def _extra(name: str, shape: tuple[int, ...], cases: Cases) -> Iterator[str]:
    """Names of the dims a score keeps: those of space if it gives maps, else its own."""
    if shape == cases.grid.shape:
        yield from cases.grid.dims
        return
    for k in range(len(shape)):
        yield f"{name}_bin" if len(shape) == 1 else f"{name}_bin{k}"
