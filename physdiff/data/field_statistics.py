r"""Statistics of fields in one pass over files of any size, and whether other data are of the same kind.

Blocks of frames are read once; counts, means and sums of squares of two parts merge as $Q = Q_a + Q_b + (m_b - m_a)^2 n_a n_b/n$ (Chan, Golub
and LeVeque, 1979), in float64. Missing values are left out.

What a prior was trained on goes into its file as units, means and standard deviations (`data_card`). Data that are to be used with it are
compared with these (`check_like`): the units word by word, and the numbers, for a field in kelvins that somebody has normalised, or given in
degrees under the name of kelvins, lies many standard deviations away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError
from physdiff.data.convert import field_names, one_grid
from physdiff.data.fingerprint import fingerprint
from physdiff.data.timeline import as_times, is_calendar
from physdiff.data.units import check_unit, normal_unit

__all__ = ["check_like", "data_card", "field_statistics"]

_BLOCK = 2**23  # values read at once: 64 MiB of float64
_LOOKED_AT = 64  # frames of a card
_FAR, _RATIO = 10.0, 30.0
_GROUPS = ("all", "hour", "month", "day")


def field_statistics(ds: xr.Dataset, names: Sequence[str] | None = None, *, by: str = "all", points: bool = False) -> xr.Dataset:
    """Count, mean, standard deviation (population form), least and largest value of each field.

    Args:
        ds: In house conventions; levels are fields of their own. A block of frames is in memory at a time.
        names: Which fields; all in time if not given.
        by: ``"all"`` times together, or by ``"hour"`` of the day, ``"month"``, or ``"day"`` of the year (1 to 366).
        points: Whether each point of the grid has statistics of its own.

    Returns:
        ``<name>_count``, ``_mean``, ``_std``, ``_min``, ``_max`` on (hour, month or day?, *space?), NaN where there is no value, in the units
        of the fields; the attribute `fingerprint` says of which data.

    Raises:
        InputError: If `by` is none of these.
        DataError: If the times are plain numbers and groups are asked for, or fields live on two grids.
    """
    check_one_of(by, _GROUPS, "field_statistics by")
    names = field_names(ds) if names is None else tuple(names)
    space = one_grid(ds, names)
    labels, slots = _slots(ds, by)
    size = tuple(ds.sizes[d] for d in space) if points else ()
    dims = (*(() if by == "all" else (by,)), *(space if points else ()))
    out: dict[str, xr.Variable] = {}
    for name in names:
        moments = _pass(ds[name], space, slots, groups=labels.size, size=size)
        unit = {"units": str(ds[name].attrs.get("units", "1"))}
        for what, values in moments.items():
            attrs = {"units": "1"} if what == "count" else unit
            out[f"{name}_{what}"] = xr.Variable(dims, values if by != "all" else values[0], attrs)
    coords = {d: ds[d].variable for d in space if points and d in ds.coords} | ({} if by == "all" else {by: xr.Variable((by,), labels)})
    return xr.Dataset(out, coords=coords, attrs={"fingerprint": fingerprint(ds[list(names)])})


def _slots(ds: xr.Dataset, by: str) -> tuple[np.ndarray, np.ndarray]:
    """Labels of the groups and the group of each frame."""
    frames = ds.sizes["time"]
    if by == "all":
        return np.zeros(1, dtype=np.int64), np.zeros(frames, dtype=np.int64)
    times = as_times(ds["time"].values)
    if not is_calendar(times):
        raise DataError(f"field_statistics by {by}: expected calendar times, got plain numbers; take by='all'")
    if by == "hour":
        return np.arange(24), (times.astype("datetime64[h]") - times.astype("datetime64[D]")).astype(np.int64)
    if by == "month":
        return np.arange(1, 13), times.astype("datetime64[M]").astype(np.int64) % 12
    return np.arange(1, 367), (times.astype("datetime64[D]") - times.astype("datetime64[Y]").astype("datetime64[D]")).astype(np.int64)


def _pass(field: xr.DataArray, space: Sequence[str], slots: np.ndarray, *, groups: int, size: tuple[int, ...]) -> dict[str, np.ndarray]:
    """One pass over the frames of a field."""
    shape = (groups, *size)
    count, mean, square = (np.zeros(shape) for _ in range(3))
    low, high = np.full(shape, np.inf), np.full(shape, -np.inf)
    rows = [d for d in field.dims if d not in space and d != "time"]
    each = max(1, _BLOCK * field.sizes["time"] // max(field.size, 1))
    for start in range(0, slots.size, each):
        block = np.asarray(field.isel(time=slice(start, start + each)).transpose("time", *rows, *space).values, dtype=np.float64)
        own = slots[start : start + each]
        for slot in np.unique(own):
            values = block[own == slot]
            values = values.reshape(-1, *size) if size else values.reshape(-1)
            known = np.isfinite(values)
            n = known.sum(0)
            m = np.where(known, values, 0.0).sum(0) / np.maximum(n, 1)
            q = (np.where(known, values - m, 0.0) ** 2).sum(0)
            total, delta = count[slot] + n, m - mean[slot]
            square[slot] += q + delta**2 * count[slot] * n / np.maximum(total, 1)
            mean[slot] += delta * n / np.maximum(total, 1)
            count[slot] = total
            low[slot] = np.minimum(low[slot], np.where(known, values, np.inf).min(0))
            high[slot] = np.maximum(high[slot], np.where(known, values, -np.inf).max(0))
    there = count > 0
    std = np.sqrt(square / np.maximum(count, 1))
    found = {"mean": mean, "std": std, "min": low, "max": high}
    return {"count": count, **{k: np.where(there, v, np.nan) for k, v in found.items()}}


def data_card(ds: xr.Dataset, names: Sequence[str] | None = None) -> dict[str, Any]:
    """What is to be known of data later, as JSON.

    For each field its unit, mean and standard deviation, of at most 64 frames, evenly spaced; what `check_like` compares with.
    """
    names = field_names(ds) if names is None else tuple(names)
    few = ds.isel(time=np.unique(np.linspace(0, ds.sizes["time"] - 1, _LOOKED_AT).round().astype(np.int64)))
    fields = {}
    for name in names:
        values = np.asarray(few[name].values, dtype=np.float32)
        good = values[np.isfinite(values)].astype(np.float64)
        mean, std = (float(good.mean()), float(good.std())) if good.size else (0.0, 0.0)
        fields[name] = {"unit": normal_unit(str(ds[name].attrs.get("units", "1"))), "mean": mean, "std": std}
    return {"fields": fields}


def check_like(ds: xr.Dataset, card: Mapping[str, Any], what: str = "data") -> None:
    """Refuse data that cannot be of the kind that a card describes.

    A mean more than ten standard deviations of the card away, or deviations 30 times larger or smaller, are no weather: they are another unit, or
    a normalisation that was applied to one of the two. Constant fields are not compared.

    Args:
        ds: In house conventions, with the fields of the card.
        card: Of `data_card`; fields that it does not name are passed over.
        what: Name for messages.

    Raises:
        UnitError: If a unit differs.
        DataError: If the numbers do, with how to mend it.
    """
    told = {n: v for n, v in card.get("fields", {}).items() if n in ds.data_vars}
    for name, was in told.items():
        check_unit(str(ds[name].attrs.get("units", "1")), was["unit"], name)
    if not told:
        return
    for name, now in data_card(ds, tuple(told))["fields"].items():
        mean, std = told[name]["mean"], told[name]["std"]
        if std <= 1e-6 * abs(mean) or std == 0.0:
            continue
        far, wide = abs(now["mean"] - mean) > _FAR * std, now["std"] > _RATIO * std
        flat = 0.0 < now["std"] < std / _RATIO and abs(now["mean"] - mean) > std
        if far or wide or flat:
            unit = told[name]["unit"]
            looks = "they look normalised; give them as they were measured" if abs(now["mean"]) < 3 and 0.2 < now["std"] < 5 else "convert them"
            got = f"{now['mean']:.4g} +- {now['std']:.3g}"
            raise DataError(
                f"{what}: expected {name} like the training data, {mean:.4g} +- {std:.3g} {unit}, got {got}; {looks}, "
                f"or mend the unit in the file (or train again on data like these)"
            )
