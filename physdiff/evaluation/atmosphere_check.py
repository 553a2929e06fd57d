r"""Is a file of the atmosphere what it says it is? Relations that must hold, and what is likely wrong where they do not.

Each relation of `atmosphere` is judged by its share, the size of the residual over that of the largest term. Then the usual mistakes are
undone one at a time (a reversed row order, a sign, a unit): a mistake is named where undoing it brings a share within its limit that was
beyond, or at least to two thirds of what it was. So a wrong unit or a flipped latitude is told in words and not averaged away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError
from physdiff.data.convert import to_dataset
from physdiff.data.timeline import as_times
from physdiff.evaluation.atmosphere import GRAVITY, Air, Balance, air_of, balances
from physdiff.grids.field_spec import FieldSpec

__all__ = ["atmosphere_check", "check_lines"]

Repair = Callable[[str, Tensor], Tensor]
_CLEARLY = 2.0 / 3.0


def _scaled(names: str, factor: float) -> Repair:
    return lambda name, f: f * factor if name in names else f


def _reversed(names: str) -> Repair:
    return lambda name, f: f.flip(-2) if name in names or not names else f


_MISTAKES: dict[str, Repair] = {
    "u has the opposite sign": _scaled("u", -1.0),
    "v has the opposite sign (it must be positive northward)": _scaled("v", -1.0),
    "the latitude of all fields is in the opposite order of their rows": _reversed(""),
    "the rows of u and v are in the opposite order of the latitude": _reversed("uv"),
    "the rows of v are in the opposite order of the latitude": _reversed("v"),
    "the rows of z are in the opposite order of the latitude": _reversed("z"),
    "w has the opposite sign (it must be positive downward)": _scaled("w", -1.0),
    "w is in hPa/s and not in Pa/s": _scaled("w", 100.0),
    "t is in degrees Celsius and not in kelvin": lambda name, f: f + 273.15 if name == "t" else f,
    "z is a height in metres and not a geopotential in m2 s-2": _scaled("z", GRAVITY),
    "z is a height in decametres and not a geopotential in m2 s-2": _scaled("z", 10 * GRAVITY),
    "q is in g/kg and not in kg/kg": _scaled("q", 1e-3),
    "the wind is in knots and not in m/s": _scaled("uv", 0.514444),
    "the wind is in km/h and not in m/s": _scaled("uv", 1 / 3.6),
}


def atmosphere_check(ds: xr.Dataset) -> xr.Dataset:
    """Residuals of all relations that the fields allow, each with its share and a verdict.

    Args:
        ds: As `open_dataset` gives it: one trajectory with some of z, t, u, v, w, q on pressure levels (and sp, e, tp at the surface) in
            SI units.

    Returns:
        One variable per relation and level on (time, latitude, longitude), NaN where it is not defined. Attributes: `units`,
        `residual_rms`, `scale` (of the largest term), `share`, `limit`, `holds` (1 or 0) and `verdict`. The data set's attribute
        `verdict` is the whole in one sentence.

    Raises:
        UnitError: If a field says that it has another unit than the SI one.
        DataError: If no relation can be formed, or the data are no single trajectory on levels.
    """
    air = air_of(ds)
    found = list(balances(air))
    if not found:
        raise DataError(
            "physics of the atmosphere: expected fields that are related (z and t on neighbouring levels; z, u, v; u, v, w; q, u, v), got only "
            + ", ".join(sorted({f"{n}_{p:g}" for n, p in air.fields}))
        )
    mended = {words: {b.name: b.share for b in balances(_with(air, repair))} for words, repair in _MISTAKES.items()}
    out = xr.Dataset()
    frames = len(next(iter(air.fields.values())))
    for b in found:
        causes = _causes(b, mended)
        holds = b.share <= b.limit and not causes
        verdict = "holds" if holds else f"does not hold; {' or '.join(causes) if causes else 'none of the usual mistakes explains it'}"
        spec = FieldSpec((b.name,), (b.unit,), air.grid, air.dt)
        whole = torch.full((frames, *air.grid.shape), float("nan"), dtype=torch.float64)
        whole[b.first : b.first + len(b.residual)] = b.residual
        made = to_dataset(whole[None], spec, as_times(ds["time"].values))[b.name]
        rms = b.share * b.scale
        facts = {"residual_rms": rms, "scale": b.scale, "share": b.share, "limit": b.limit, "holds": int(holds), "verdict": verdict}
        made.attrs.update(facts, long_name=f"residual of {b.name.replace('_', ' ')}")
        out[b.name] = made
    out.attrs["verdict"] = _together(out)
    return out


def check_lines(check: xr.Dataset) -> str:
    """The result of `atmosphere_check` as a table."""
    lines = [f"{'relation':26} {'residual':>10} {'of':>10} {'unit':12} {'share':>7} {'limit':>6}  verdict"]
    for name, field in check.data_vars.items():
        a = field.attrs
        lines.append(
            f"{name!s:26} {a['residual_rms']:10.3g} {a['scale']:10.3g} {a['units']:12} {a['share']:7.3f} {a['limit']:6.2f}  {a['verdict']}"
        )
    return "\n".join([*lines, str(check.attrs["verdict"])])


def _with(air: Air, repair: Repair) -> Air:
    return replace(air, fields={(name, p): repair(name, f) for (name, p), f in air.fields.items()})


def _causes(b: Balance, mended: dict[str, dict[str, float]]) -> list[str]:
    """The mistakes that explain a relation: the best one, and those about as good."""
    shares = {words: table[b.name] for words, table in mended.items() if b.name in table and np.isfinite(table[b.name])}
    best = min(shares.values(), default=np.inf)
    if best > b.limit or not (best < _CLEARLY * b.share):
        return []
    return [words for words, share in shares.items() if share <= 1.15 * best]


def _together(out: xr.Dataset) -> str:
    failed = [str(n) for n, v in out.data_vars.items() if not v.attrs["holds"]]
    if not failed:
        return f"all {len(out.data_vars)} relations hold"
    named: dict[str, int] = {}
    for n in failed:
        for words in _MISTAKES:
            if words in out[n].attrs["verdict"]:
                named[words] = named.get(words, 0) + 1
    most = max(named.values(), default=0)
    causes = [words for words, count in named.items() if count == most]
    likely = f"; most likely {' or '.join(causes)}" if causes else ""
    return f"{len(failed)} of {len(out.data_vars)} relations do not hold ({', '.join(failed)}){likely}"
