"""What variables are called: short ERA5 names, long WeatherBench names, CF standard names, and names with a level (``z_500``).

A data set keeps the names of its file. A request may use any name of the same quantity; what was asked for is then what it is called.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from physdiff.base.errors import DataError
from physdiff.data.units import normal_unit

__all__ = ["cf_attributes", "find_name", "level_name", "quantity", "unknown_variable"]

# short name: (CF standard name or "", long name, other names)
_QUANTITIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "t2m": ("air_temperature", "2 metre temperature", ("2t", "2m_temperature", "tas")),
    "d2m": ("dew_point_temperature", "2 metre dewpoint temperature", ("2d", "2m_dewpoint_temperature")),
    "u10": ("eastward_wind", "10 metre U wind component", ("10u", "10m_u_component_of_wind", "uas")),
    "v10": ("northward_wind", "10 metre V wind component", ("10v", "10m_v_component_of_wind", "vas")),
    "msl": ("air_pressure_at_mean_sea_level", "mean sea level pressure", ("mean_sea_level_pressure", "psl")),
    "sp": ("surface_air_pressure", "surface pressure", ("surface_pressure", "ps")),
    "tp": ("", "total precipitation", ("total_precipitation",)),
    "sst": ("sea_surface_temperature", "sea surface temperature", ("sea_surface_temperature",)),
    "lsm": ("land_binary_mask", "land-sea mask", ("land_sea_mask",)),
    "tcw": ("", "total column water", ("total_column_water",)),
    "z": ("geopotential", "geopotential", ("geopotential",)),
    "t": ("air_temperature", "temperature", ("temperature", "air_temperature", "ta")),
    "u": ("eastward_wind", "U component of wind", ("u_component_of_wind", "eastward_wind", "ua")),
    "v": ("northward_wind", "V component of wind", ("v_component_of_wind", "northward_wind", "va")),
    "w": ("lagrangian_tendency_of_air_pressure", "vertical velocity", ("vertical_velocity", "lagrangian_tendency_of_air_pressure", "wap")),
    "q": ("specific_humidity", "specific humidity", ("specific_humidity", "hus")),
    "r": ("relative_humidity", "relative humidity", ("relative_humidity", "hur")),
    "vo": ("atmosphere_relative_vorticity", "relative vorticity", ("vorticity", "atmosphere_relative_vorticity")),
    "d": ("divergence_of_wind", "divergence", ("divergence", "divergence_of_wind")),
}
# what a quantity may be measured in; a field of another unit only bears its name (the u of a law, without unit, is no wind)
_UNITS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("t2m", "d2m", "sst", "t"), ("K", "degC")),
    **dict.fromkeys(("u10", "v10", "u", "v"), ("m s-1",)),
    **dict.fromkeys(("msl", "sp"), ("Pa", "hPa")),
    **dict.fromkeys(("vo", "d"), ("s-1",)),
    "tp": ("m", "mm", "kg m-2"),
    "lsm": ("1",),
    "tcw": ("kg m-2",),
    "z": ("m2 s-2",),
    "w": ("Pa s-1",),
    "q": ("1", "g kg-1"),
    "r": ("%", "1"),
}
_SHORT = {other: short for short, (_, _, others) in _QUANTITIES.items() for other in (short, *others)}
_LEVEL = re.compile(r"(?P<base>.+)_(?P<level>(ml)?\d+(\.\d+)?)$")
_PRESSURE = {"hPa": 1.0, "Pa": 0.01}


def level_name(base: str, value: float, *, units: str | None, model: bool = False) -> str:
    """Name of a variable on one level: ``z_500`` for 500 hPa, ``t_ml137`` for a model level.

    Args:
        base: Name of the variable.
        value: Value of the level's coordinate.
        units: Unit of that coordinate; Pa are written as hPa, everything else as it is.
        model: Whether it is the number of a model level.
    """
    if model:
        return f"{base}_ml{value:g}"
    return f"{base}_{value * _PRESSURE.get(normal_unit(units or '1'), 1.0):g}"


def find_name(asked: str, available: Iterable[str]) -> str | None:
    """The one of `available` that names the quantity `asked`, or None.

    Example:
        ``find_name("z_500", ["geopotential_500"]) == "geopotential_500"``.
    """
    names = list(available)
    if asked in names:
        return asked
    wanted = quantity(asked)
    return next((name for name in names if quantity(name) == wanted), None)


def quantity(name: str) -> tuple[str, str]:
    """Short name and level: ``("z", "500")`` of ``geopotential_500``; the name itself and an empty text for what is not known."""
    short = _SHORT.get(name)
    parts = _LEVEL.match(name)
    if short is None and parts:
        return _SHORT.get(parts["base"], parts["base"]), parts["level"]
    return short or name, ""


def cf_attributes(name: str, *, unit: str, on_sphere: bool) -> dict[str, str]:
    """CF attributes `standard_name` and `long_name` of a known quantity of the atmosphere, with its level; empty if unknown.

    Empty too for a field that has the name alone: of another unit, or not on latitudes and longitudes.
    """
    short, level = quantity(name)
    if short not in _QUANTITIES or not on_sphere or normal_unit(unit) not in map(normal_unit, _UNITS[short]):
        return {}
    standard, long, _ = _QUANTITIES[short]
    where = f" on model level {level[2:]}" if level.startswith("ml") else f" at {level} hPa"
    found = {"long_name": long + (where if level else "")}
    return {"standard_name": standard, **found} if standard else found


def unknown_variable(asked: str, available: Iterable[str], where: str) -> DataError:
    """The error for a variable that is not there, which names those that are."""
    names = sorted(available)
    near = difflib.get_close_matches(asked, names, n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else "; choose among these"
    return DataError(f"{where}: expected a variable {asked!r}, got only {', '.join(names) or 'none'}{hint}")
