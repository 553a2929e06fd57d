r"""What holds in any analysis of the atmosphere, as residuals in physical units.

- hypsometric: $\Phi(p_1) - \Phi(p_2) = R_d \overline{T_v} \ln(p_2/p_1)$ with $T_v = T(1 + 0.608\,q)$, between neighbouring levels;
- continuity: $\nabla_p\cdot(u, v) + \partial\omega/\partial p = 0$, between neighbouring levels;
- geostrophic: $f u = -\partial_y\Phi$, $f v = \partial_x\Phi$ poleward of 20 degrees, up to about a third of the wind;
- advection: humidity follows the air on a level, $q(x, t + \Delta t) = q(x_d, t)$ (see `trajectory_residual`);
- moisture budget: $\partial_t S + \nabla\cdot F = E - P$ with $S = \int q\,dp/g$, $F = \int q\,(u, v)\,dp/g$ from the top level to the ground.

None is exact in data: levels are coarse and analyses draw to observations. What counts is the share, the root mean square of the residual
over that of the largest term. References: Holton and Hakim, An Introduction to Dynamic Meteorology, 2012; Hersbach et al., ERA5, 2020.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, GridMismatch
from physdiff.data.convert import ROWS, spec_of, to_tensor
from physdiff.data.names import find_name
from physdiff.data.units import check_unit
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.operators import Vector
from physdiff.operators.sphere import Sphere
from physdiff.pdes.along_trajectories import trajectory_residual

__all__ = ["GRAVITY", "Air", "Balance", "air_of", "balances", "water_columns"]

GRAVITY = 9.80665
_DRY_AIR, _ROTATION, _WATER = 287.05, 7.292e-5, 1000.0
_UNITS = {"z": "m2 s-2", "t": "K", "u": "m s-1", "v": "m s-1", "w": "Pa s-1", "q": "kg kg-1"}
_SURFACE = {"sp": "Pa", "e": "m", "tp": "m"}
_LEVEL = re.compile(r".+_(\d+(?:\.\d+)?)$")
# below these pressures (hPa) friction and the ground do not spoil balance and advection
_FREE, _LOWEST = 600.0, 850.0
_THICKEST = 2.0


@dataclass(frozen=True)
class Air:
    """Fields of an analysis.

    Args:
        grid: Where they are.
        dt: Seconds between frames.
        levels: Pressures in hPa, increasing (downwards).
        fields: (time, latitude, longitude), float64, by short name and level; surface fields under level 0.
    """

    grid: LatLonGrid
    dt: float
    levels: tuple[float, ...]
    fields: dict[tuple[str, float], Tensor]

    def has(self, names: str, level: float = 0.0) -> bool:
        """Whether all these one-letter names are there on a level."""
        return all((n, level) in self.fields for n in names)


@dataclass(frozen=True)
class Balance:
    """One relation on one level or layer.

    Args:
        name: Such as ``"hypsometric_500_600"``.
        unit: Of the residual.
        residual: (frames, latitude, longitude), NaN where it is not defined; of a vector its length.
        scale: Root mean square of the largest term.
        limit: Share above which the relation does not hold.
        first: Index of the frame of the first residual.
    """

    name: str
    unit: str
    residual: Tensor
    scale: float
    limit: float
    first: int = 0

    @property
    def share(self) -> float:
        """Root mean square of the residual over the scale."""
        return _rms(self.residual) / self.scale if self.scale > 0 else math.inf


def air_of(ds: xr.Dataset) -> Air:
    """The fields of a data set on pressure levels, by what they are called and in the units they must have.

    Args:
        ds: As `open_dataset` gives it, one trajectory; names such as ``z_500`` or ``geopotential_500``; levels in hPa.

    Raises:
        DataError: If there are several samples or members, or no field on a level.
        UnitError: If a field has another unit than the SI one.
        GridMismatch: If the grid is not one of latitudes and longitudes.
    """
    rows = [d for d in ROWS if d in ds.dims]
    if rows:
        raise DataError(f"physics of the atmosphere: expected one trajectory, got a dimension {rows[0]}; select one entry of it")
    names = [str(n) for n in ds.data_vars]
    levels = sorted({float(m[1]) for m in map(_LEVEL.match, names) if m})
    asked = {(s, p): find_name(f"{s}_{p:g}", names) for s in _UNITS for p in levels}
    asked |= {(s, 0.0): find_name(s, names) for s in _SURFACE}
    found = {key: name for key, name in asked.items() if name is not None}
    if not any(p for _, p in found):
        raise DataError(
            f"physics of the atmosphere: expected z, t, u, v, w or q on pressure levels (names such as z_500), got {', '.join(names[:8])}"
        )
    for (short, _), name in found.items():
        check_unit(ds[name].attrs.get("units"), {**_UNITS, **_SURFACE}[short], name)
    spec = spec_of(ds, tuple(found.values()))
    if not isinstance(spec.grid, LatLonGrid):
        raise GridMismatch(f"physics of the atmosphere: expected latitudes and longitudes, got {spec.grid.summary()}")
    values = to_tensor(ds, spec, dtype=torch.float64)[0]
    return Air(spec.grid, spec.dt, tuple(p for p in levels if any(q == p for _, q in found)), dict(zip(found, values.unbind(0), strict=True)))


def balances(air: Air) -> Iterator[Balance]:
    """All relations that the fields allow, one after another."""
    for top, bottom in itertools.pairwise(air.levels):
        if bottom / top <= _THICKEST:
            yield from _hypsometric(air, top, bottom)
            yield from _continuity(air, top, bottom)
    for p in air.levels:
        yield from _geostrophic(air, p)
        yield from _advection(air, p)
    yield from _moisture(air)


def _hypsometric(air: Air, top: float, bottom: float) -> Iterator[Balance]:
    if not all(air.has("zt", p) for p in (top, bottom)):
        return
    virtual = [_virtual(air, p) for p in (top, bottom)]
    thickness = air.fields["z", top] - air.fields["z", bottom]
    left = thickness - _DRY_AIR * (virtual[0] + virtual[1]) / 2 * math.log(bottom / top)
    yield Balance(f"hypsometric_{top:g}_{bottom:g}", "m2 s-2", left, _rms(thickness), 0.02)


def _virtual(air: Air, p: float) -> Tensor:
    humidity = air.fields.get(("q", p))
    return air.fields["t", p] * (1.0 if humidity is None else 1 + 0.608 * humidity)


def _continuity(air: Air, top: float, bottom: float) -> Iterator[Balance]:
    if not all(air.has("uvw", p) for p in (top, bottom)):
        return
    sphere = Sphere(air.grid)
    spread = sum((sphere.div((air.fields["u", p], air.fields["v", p])) / 2 for p in (top, bottom)), torch.zeros(()))
    sinking = (air.fields["w", bottom] - air.fields["w", top]) / (100.0 * (bottom - top))
    inside = _inner(air.grid)
    yield Balance(f"continuity_{top:g}_{bottom:g}", "s-1", (spread + sinking) * inside, _rms(sinking * inside), 0.9)


def _geostrophic(air: Air, p: float) -> Iterator[Balance]:
    if p > _FREE or not air.has("zuv", p):
        return
    latitude = air.grid.coordinates()[1]
    far = torch.where(torch.rad2deg(latitude).abs() > 20, 1.0, float("nan")) * _inner(air.grid)
    if bool(far.isnan().all()):
        return
    east, north = Sphere(air.grid).grad(air.fields["z", p])
    f = 2 * _ROTATION * torch.sin(latitude)
    u, v = air.fields["u", p], air.fields["v", p]
    left = torch.hypot(u + north / f, v - east / f) * far
    yield Balance(f"geostrophic_{p:g}", "m s-1", left, _rms(torch.hypot(u, v) * far), 0.6)


def _advection(air: Air, p: float) -> Iterator[Balance]:
    if p > _LOWEST or not air.has("quv", p) or air.fields["q", p].shape[0] < 2:
        return
    q, u, v = (air.fields[n, p][None] for n in "quv")
    left = trajectory_residual(q, (u, v), air.grid, dt=air.dt, cubic=min(air.grid.shape) >= 8)[0]
    # motion across the level, which is not seen, can be as large as the change itself: the limit is wide, and signs are told by repairs
    change = torch.where(left.isnan(), left, (q[0, 1:] - q[0, :-1]) / air.dt)
    yield Balance(f"advection_q_{p:g}", "s-1", left, _rms(change), 1.25, first=1)


def water_columns(air: Air) -> tuple[Tensor, Vector]:
    """Water vapour above the ground (kg m-2) and its flux east and north (kg m-1 s-1), by the trapezoid rule over the levels.

    Levels below the ground do not count; the layer from the last level to the surface pressure takes that level's values, and so does the
    one from the top level to zero pressure.

    Args:
        air: With q, u, v on levels and the surface pressure.
    """
    levels = [p for p in air.levels if air.has("quv", p)]
    ground = air.fields["sp", 0.0]
    zero = torch.zeros_like(ground)
    total = [air.fields["q", levels[0]] * (w * levels[0] * 100.0) for w in (1.0, air.fields["u", levels[0]], air.fields["v", levels[0]])]
    for top, bottom in itertools.pairwise([*levels, math.inf]):
        low = top if math.isinf(bottom) else bottom
        depth = (torch.minimum(ground, zero + 100.0 * min(bottom, 1e4)) - 100.0 * top).clamp_min(0)
        # the share of the layer above the ground decides the value at its foot
        part = zero if math.isinf(bottom) else depth / (100.0 * (bottom - top))
        for k, wind in enumerate(("", "u", "v")):
            above, below = (air.fields["q", p] * (air.fields[wind, p] if wind else 1.0) for p in (top, low))
            total[k] = total[k] + depth * (above + (above + part * (below - above))) / 2
    storage, east, north = (c / GRAVITY for c in total)
    return storage, (east, north)


def _moisture(air: Air) -> Iterator[Balance]:
    levels = [p for p in air.levels if air.has("quv", p)]
    needed = [(n, 0.0) for n in _SURFACE]
    if len(levels) < 8 or any(key not in air.fields for key in needed):
        return
    storage, flux = water_columns(air)
    if len(storage) < 3:
        return
    change = (storage[2:] - storage[:-2]) / (2 * air.dt)
    spread = Sphere(air.grid).div(flux)[1:-1]
    # both are accumulated over the step that ends at the frame and counted downwards
    gained = -(air.fields["e", 0.0] + air.fields["tp", 0.0]) * _WATER / air.dt
    gained = (gained[1:-1] + gained[2:]) / 2
    left = (change + spread - gained) * _inner(air.grid)
    scale = max(_rms(change * _inner(air.grid)), _rms(spread * _inner(air.grid)))
    yield Balance("moisture_budget", "kg m-2 s-1", left, scale, 0.75, first=1)


def _inner(grid: LatLonGrid) -> Tensor:
    """One, and NaN on the edges of a region, where derivatives are one-sided."""
    inside = torch.ones(grid.shape, dtype=torch.float64)
    inside[0], inside[-1] = float("nan"), float("nan")
    if not grid.periodic[1]:
        inside[:, 0], inside[:, -1] = float("nan"), float("nan")
    return inside


def _rms(f: Tensor) -> float:
    return float(np.sqrt(np.nanmean(np.square(f.numpy())))) if bool(f.isfinite().any()) else math.nan
