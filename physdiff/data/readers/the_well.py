"""HDF5 files of The Well (Ohana et al., 2024): scalars, vectors and tensors in groups, boundary conditions, parameters."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.stored import Group, stored

__all__ = ["is_the_well", "open_the_well"]

_GROUPS = ("t0_fields", "t1_fields", "t2_fields")
_SPHERE = {"theta": "latitude", "phi": "longitude"}


def is_the_well(file: Group) -> bool:
    """Whether an HDF5 file has the groups of The Well."""
    return "dimensions" in file and any(g in file for g in _GROUPS)


def open_the_well(file: Group, path: str) -> xr.Dataset:
    """The file as it stands: dims (sample, time, axes); a vector v is v_x, v_y, a tensor t_xx, t_xy, ....

    Colatitude `theta` and longitude `phi` of spherical grids are degrees north and east. An axis closes where a condition of type PERIODIC
    says so. Parameters and constant scalars become attributes.

    Raises:
        DataError: If times or axes differ from sample to sample, or a grid is neither Cartesian nor a sphere.
    """
    dimensions = file["dimensions"]
    axes = [_text(n) for n in np.atleast_1d(dimensions.attrs["spatial_dims"])]
    for name in ("time", *axes):
        if _yes(dimensions[name].attrs.get("sample_varying")) or _yes(dimensions[name].attrs.get("time_varying")):
            raise DataError(f"{path}: expected one {name} for all samples and times, got {name} that varies; regrid it, or split the file")
    spherical = _text(file.attrs.get("grid_type", "cartesian")).lower() != "cartesian"
    if spherical and set(axes) != set(_SPHERE):
        raise DataError(f"{path}: expected a Cartesian grid, or theta and phi on a sphere, got the axes {', '.join(axes)}; regrid it")
    houses = {n: _SPHERE[n] if spherical else n for n in axes}
    data: dict[str, xr.Variable] = {}
    for group in (file[g] for g in _GROUPS if g in file):
        for field in map(_text, np.atleast_1d(group.attrs.get("field_names", []))):
            data |= dict(_components(field, group[field], axes, houses))
    coords = {"time": xr.Variable(("time",), np.asarray(dimensions["time"], dtype=np.float64))}
    coords |= {h: _coordinate(file, n, h, spherical=spherical) for n, h in houses.items()}
    return xr.Dataset(data, coords=coords, attrs=_parameters(file))


def _components(name: str, values: Group, axes: list[str], houses: dict[str, str]) -> Iterator[tuple[str, xr.Variable]]:
    """A field, or the components of a vector or tensor; those that do not vary along an axis are repeated there by nobody and left out."""
    varying = [_yes(v) for v in np.atleast_1d(values.attrs.get("dim_varying", [True] * len(axes)))]
    if not all(varying):
        return
    leading = [d for d, key in (("sample", "sample_varying"), ("time", "time_varying")) if _yes(values.attrs.get(key, True))]
    rank = values.ndim - len(leading) - len(axes)
    dims = (*leading, *(houses[n] for n in axes))
    for tail in product(range(len(axes)), repeat=rank):
        label = "".join(axes[k] for k in tail) if all(len(n) == 1 for n in axes) else "_".join(axes[k] for k in tail)
        yield (f"{name}_{label}" if rank else name), stored(dims, [values], tail=tail)


def _coordinate(file: Group, name: str, house: str, *, spherical: bool) -> xr.Variable:
    values = np.asarray(file["dimensions"][name], dtype=np.float64)
    if spherical:
        degrees = np.degrees(values)
        north = name == "theta"
        attrs = {"units": "degrees_north" if north else "degrees_east", "standard_name": house}
        return xr.Variable((house,), 90 - degrees if north else degrees, attrs)
    conditions = [c for c in file.get("boundary_conditions", {}).values() if name in map(_text, np.atleast_1d(c.attrs.get("associated_dims", [])))]
    closes = any(_text(c.attrs.get("bc_type", "")).upper() == "PERIODIC" for c in conditions)
    return xr.Variable((house,), values, {"periodic": int(closes)})


def _parameters(file: Group) -> dict[str, Any]:
    """Name, parameters, and scalars that are the same always."""
    kept = {k: v for k, v in file.attrs.items() if np.ndim(v) == 0 and k not in ("grid_type", "n_spatial_dims", "n_trajectories")}
    for name, value in file.get("scalars", {}).items():
        if value.ndim == 0:
            kept.setdefault(name, value[()])
    return {str(k): _text(v) if isinstance(v, bytes) else v for k, v in kept.items()}


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _yes(value: object) -> bool:
    return bool(np.all(value)) if value is not None else False  # type: ignore[call-overload, no-any-return]
