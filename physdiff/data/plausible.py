"""Whether values can be what they are called: ranges of the quantities of the atmosphere, in the unit that a file says."""

from __future__ import annotations

from physdiff.data.names import quantity
from physdiff.data.units import normal_unit

__all__ = ["implausible"]

# wider than records at the surface of the earth and in the stratosphere; packed humidity and rain go a little below zero
_RANGES: dict[tuple[str, str], tuple[float, float]] = {
    **dict.fromkeys((("t2m", "K"), ("t", "K")), (150.0, 345.0)),
    **dict.fromkeys((("t2m", "degC"), ("t", "degC")), (-123.0, 72.0)),
    ("d2m", "K"): (140.0, 315.0),
    ("sst", "K"): (265.0, 315.0),
    ("msl", "Pa"): (85e3, 110e3),
    ("msl", "hPa"): (850.0, 1100.0),
    ("sp", "Pa"): (40e3, 112e3),
    ("sp", "hPa"): (400.0, 1120.0),
    **dict.fromkeys((("u10", "m s-1"), ("v10", "m s-1")), (-120.0, 120.0)),
    **dict.fromkeys((("u", "m s-1"), ("v", "m s-1")), (-220.0, 220.0)),
    ("r", "%"): (-20.0, 200.0),
    ("q", "1"): (-1e-3, 0.05),
    ("q", "g kg-1"): (-1.0, 50.0),
    ("tp", "m"): (-1e-4, 2.0),
    ("lsm", "1"): (0.0, 1.0),
}


def implausible(name: str, unit: str | None, *, low: float, high: float) -> str:
    """What is odd about a field's least and largest value, or an empty text.

    Args:
        name: Of the field; other names of a quantity count, and so do levels.
        unit: As in the file.
        low: Least value.
        high: Largest value.
    """
    short, _ = quantity(name)
    bounds = _RANGES.get((short, normal_unit(unit or "")))
    if bounds is None or (bounds[0] <= low and high <= bounds[1]):
        return ""
    expected = f"expected {bounds[0]:g} to {bounds[1]:g}; is the unit right, or a fill value not named?"
    return f"{name} has values from {low:.5g} to {high:.5g} {unit}, {expected}"
