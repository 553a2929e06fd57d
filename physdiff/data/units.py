r"""Units as text, compared by meaning of the spelling: ``m s**-1``, ``m s-1``, ``m/s`` and ``s-1 m`` are one unit.

A unit is a product of symbols with integer exponents. `normal_unit` writes it the CF way, positive exponents first, each group in
alphabetical order. Nothing is converted: a file in hPa where Pa is expected is refused, not scaled.
"""

from __future__ import annotations

import re

from physdiff.base.errors import UnitError

__all__ = ["check_unit", "normal_unit", "same_unit"]

_SYMBOLS = {
    "K": ("kelvin", "degk", "deg_k", "degree_kelvin", "degrees_kelvin", "degree_k", "degrees_k"),
    "degC": ("celsius", "degc", "deg_c", "degree_celsius", "degrees_celsius", "degree_c", "degrees_c"),
    "Pa": ("pascal", "pascals"),
    "hPa": ("hpa", "mb", "mbar", "millibar", "millibars", "hectopascal", "hectopascals"),
    "m": ("metre", "metres", "meter", "meters"),
    "s": ("sec", "second", "seconds"),
    "h": ("hr", "hour", "hours"),
    "d": ("day", "days"),
    "kg": ("kilogram", "kilograms"),
    "%": ("percent",),
}
_ALIASES = {word: symbol for symbol, words in _SYMBOLS.items() for word in words}
_DIMENSIONLESS = {"", "1", "-", "none", "dimensionless", "nondim", "fraction", "proportion", "(0 - 1)", "(0-1)", "0-1", "~"}
_WHOLE = {"m of water equivalent": "m", "m of water": "m"}
_FACTOR = re.compile(r"([^\W\d]+|%|°[CK]?)(?:\s*(?:\*\*|\^)\s*)?([+-]?\d+)?")


def normal_unit(text: str) -> str:
    """Return the CF spelling of a unit; a text that is no product of symbols comes back as it is.

    Example:
        ``normal_unit("m**2 s**-2") == "m2 s-2"``, ``normal_unit("kg kg**-1") == "1"``.
    """
    stripped = " ".join(str(text).split())
    if stripped.lower() in _DIMENSIONLESS:
        return "1"
    if stripped.lower() in _WHOLE:
        return _WHOLE[stripped.lower()]
    powers = _powers(stripped)
    if powers is None:
        return stripped
    kept = {symbol: power for symbol, power in powers.items() if power}
    order = sorted(kept, key=lambda symbol: (kept[symbol] < 0, symbol.lower(), symbol))
    return " ".join(symbol if kept[symbol] == 1 else f"{symbol}{kept[symbol]}" for symbol in order) or "1"


def _powers(text: str) -> dict[str, int] | None:
    """Exponent of each symbol, or None if the text is no product of symbols."""
    powers: dict[str, int] = {}
    text = re.sub(r"[{}]", "", text)
    place, sign = 0, 1
    while place < len(text):
        gap = re.compile(r"\s*([./·]|\*(?!\*))?\s*").match(text, place)
        assert gap is not None
        sign = -1 if gap.group(1) == "/" else 1
        place = gap.end()
        if text.startswith("1", place) and re.match(r"1(?![\d.])", text[place:]):
            place += 1
            continue
        factor = _FACTOR.match(text, place)
        if factor is None:
            return None
        symbol = _ALIASES.get(factor.group(1).lower(), factor.group(1))
        powers[symbol] = powers.get(symbol, 0) + sign * int(factor.group(2) or 1)
        place = factor.end()
    return powers


def same_unit(one: str, other: str) -> bool:
    """Whether two spellings name one unit."""
    return normal_unit(one) == normal_unit(other)


def check_unit(got: str | None, expected: str, what: str) -> None:
    """Raise UnitError unless `got` names the unit `expected`.

    Args:
        got: Unit of the data as text; None where the data name none.
        expected: The unit that is needed.
        what: Name for the message, as in ``"t2m in era5.nc"``.
    """
    if got is None:
        raise UnitError(f"{what}: expected the unit {expected!r}, got no unit at all; write the attribute `units` into the file")
    if not same_unit(got, expected):
        raise UnitError(f"{what}: expected the unit {expected!r}, got {got!r}; convert the file, physdiff converts no units")
