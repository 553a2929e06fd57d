"""Does a forecast obey a law, as far as the truth on the same frames does? Residuals by lead time, for the page of a forecast."""

from __future__ import annotations

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.cases import Cases, matched
from physdiff.data.timeline import as_times
from physdiff.evaluation.physics import physics_residual
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE
from physdiff.plots.style import even_choice, new_axes, quantity, show_number
from physdiff.plots.trajectories import scores_plot
from physdiff.report.html import Cell, Section, Table, to_picture
from physdiff.report.score_tables import columns_of

__all__ = ["law_section"]

_STARTS = 8


def law_section(forecast: xr.Dataset, truth: xr.Dataset, pde: PDE, *, operators: Operators) -> Section:
    """Root mean square residual of a law, of the members and of the truth, over some starts.

    The residual of the truth is what frames this far apart and this grid allow: a forecast cannot be asked to be below it.

    Args:
        forecast: Dims (sample?, init_time, member?, lead_time, *space), three lead times or more.
        truth: (sample?, time, *space).
        pde: The law.
        operators: Derivatives on the grid of the data.

    Raises:
        DataError: If there are fewer than three lead times, or no start whose frames the truth holds all.
        PhysdiffError: As `physics_residual`.
    """
    cases = matched(forecast, truth)
    if cases.sizes[cases.inner] < 3:
        raise DataError(f"residuals: expected three lead times or more for a derivative in time, got {cases.sizes[cases.inner]}; forecast further")
    full = np.flatnonzero((np.atleast_2d(cases.where) >= 0).all(1))
    if not full.size:
        raise DataError("residuals: expected a start whose frames the truth holds all, got none; give a longer truth")
    squares: dict[str, list[np.ndarray]] = {"forecast": [], "truth": []}
    names: list[str] = []
    units: list[str] = []
    for start in (int(full[i]) for i in even_choice(full.size, _STARTS)):
        for who, ds in zip(squares, _frames(cases, start), strict=True):
            found = physics_residual(ds, pde, operators)
            names = [str(n) for n in found.data_vars]
            units = [str(found[n].attrs.get("units", "1")) for n in names]
            squares[who].append(np.stack([(found[n] ** 2).mean([d for d in found[n].dims if d != "time"]).values for n in names]))
    rms = {who: np.sqrt(np.mean(values, axis=0)) for who, values in squares.items()}
    lead = cases.forecast[cases.inner]
    pictures = []
    rows: list[tuple[Cell, ...]] = []
    chosen, headings = columns_of(lead)
    for k, (name, unit) in enumerate(zip(names, units, strict=True)):
        lines = {who: xr.DataArray(v[k], dims="lead_time", coords={"lead_time": lead.values}) for who, v in rms.items()}
        for line in lines.values():
            line["lead_time"].attrs.update(lead.attrs)
        label = quantity(f"residual of {name}", unit)
        last = " and ".join(f"{show_number(float(v[k][-1]))} ({who})" for who, v in rms.items())
        picture = to_picture(
            scores_plot(lines, new_axes()[0, 0], label=label),
            caption=f"Root mean square {label} of {type(pde).__name__}: of the members, and of the truth on the same frames.",
            alt=f"Line plot of the residual of {name} against lead time, at the last one {last}.",
            vector=True,
        )
        pictures.append(picture)
        rows += [(f"{name}, {who}", *map(float, v[k][chosen])) for who, v in rms.items()]
    table = Table(f"Root mean square residual of {type(pde).__name__} by lead time", ("Residual", *headings), tuple(rows))
    return Section(f"Physics: {type(pde).__name__}", figures=tuple(pictures), tables=(table,))


def _frames(cases: Cases, start: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Members and truth of a start along one time axis, (member?, time, *space) and (time, *space); the middle sample."""
    place = {d: start if d == "init_time" else cases.sizes[d] // 2 for d in cases.outer}
    key = {"time": np.atleast_2d(cases.where)[start]} | ({"sample": int(cases.rows[place["sample"]])} if cases.rows.size else {})
    real = cases.truth[list(cases.names)].isel(key).drop_vars("sample", errors="ignore").compute()
    drawn = cases.forecast[list(cases.names)].isel(place).drop_vars(["sample", "init_time"], errors="ignore")
    drawn = drawn.rename({cases.inner: "time"}) if cases.inner != "time" else drawn
    return drawn.assign_coords(time=as_times(real["time"].values)).assign_attrs(cases.forecast.attrs).compute(), real.assign_attrs(cases.truth.attrs)
