"""Maps of a forecast on its page: one start, its lead times on a slider, and one place through time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import xarray as xr

from physdiff.data.cases import Cases
from physdiff.data.timeline import show_time
from physdiff.grids.points import PointGrid
from physdiff.plots.maps import ensemble_frames, ensemble_maps
from physdiff.plots.style import even_choice, pretty_unit, quantity, show_number, step_label
from physdiff.plots.trajectories import band_plot, fan_plot
from physdiff.report.html import Picture, Section, Slides, to_picture

__all__ = ["band_picture", "map_section", "points_as_picture"]

_BYTES = 3_000_000  # of the frames of one slider; a page of four variables stays below 4 x 3 MB x 4/3
_DPI = 110
_PIXELS = 96  # along the longer side of scattered points


def map_section(name: str, cases: Cases, *, heading: str, most: int = 24) -> Section:
    """Truth, mean, two members and spread of the middle start, its lead times on a slider.

    One dimension of space has a space-time picture, and lines on the slider.

    Args:
        name: Variable.
        cases: What `matched` returned; two members at least.
        heading: Of the section.
        most: Most frames of the slider, evenly chosen; fewer where they would be large.
    """
    members, truth, began = _pair(name, cases)
    step = cases.inner
    level = "; the middle level in z" if cases.grid.ndim == 3 else ""
    figures: list[Picture | Slides] = []
    if members.ndim > 3:
        figures.append(_slides(members, truth, step, most=most, about=f"{name}, {began}{level}"))
    else:
        alt = f"Space-time pictures of {_told(name, members, truth, slice(None))}"
        caption = f"{name}, {began}: all lead times (upwards). Values share one colour scale; grey cells are missing."
        figures.append(to_picture(ensemble_maps(members, truth), caption=caption, alt=alt))
        if members.sizes[step] > 1:
            figures.append(_lines(members, truth, step, most=most, about=f"{name}, {began}"))
    place = _central(truth)
    if members.sizes[step] > 2 and place:
        where = ", ".join(quantity(f"{d} {float(truth[d][k]):.4g}", "1") for d, k in place.items())
        line = truth.isel(place)
        panel = fan_plot(members.isel(place), line)
        ends = f"{show_number(float(line[0]))} to {show_number(float(line[-1]))}"
        alt = f"Line plot of {name} at {where} against lead time with intervals; the truth goes from {ends}."
        figures.append(to_picture(panel, caption=f"{name} at {where}, {began}: ensemble and truth.", alt=alt, vector=True))
    return Section(heading, figures=tuple(figures), level=3)


def band_picture(name: str, cases: Cases) -> Picture | None:
    """Bounds and truth of the middle start at the central cell; None where there is no such cell.

    Args:
        name: Variable.
        cases: Of bands as two members, what `matched` returned.
    """
    bounds, truth, began = _pair(name, cases)
    place = _central(truth)
    if not place:
        return None
    where = ", ".join(f"{d} {float(truth[d][k]):.4g}" for d, k in place.items())
    lower, upper, line = (v.isel(place) for v in (bounds.isel(member=0), bounds.isel(member=1), truth))
    inside = int(((lower <= line) & (line <= upper)).sum())
    said = f"the truth lies inside at {inside} of {line.size} lead times"
    alt = f"Band of {name} at {where} against lead time, {show_number(float((upper - lower)[-1]))} wide at the end; {said}."
    return to_picture(band_plot(lower, upper, line), caption=f"{name} at {where}, {began}: band and truth; {said}.", alt=alt, vector=True)


def _lines(members: xr.DataArray, truth: xr.DataArray, step: str, *, most: int, about: str) -> Slides:
    """Fans over the one dimension of space, all with one range of values."""
    ends = [float(f(v)) for v in (members, truth) for f in (np.nanmin, np.nanmax) if bool(v.notnull().any())]
    room = 0.04 * (max(ends) - min(ends)) or 1.0
    frames = []
    for k in even_choice(members.sizes[step], most):
        axes = fan_plot(members.isel({step: k}, drop=True), truth.isel({step: k}, drop=True))
        axes.set_ylim(min(ends) - room, max(ends) + room)
        at = step_label(members[step], k)
        alt = f"Line plot of {_told(f'{truth.name} at {at}', members, truth, k, panels='')}"
        frames.append((at, to_picture(axes, caption="", alt=alt, vector=True)))
    caption = f"{about}: ensemble and truth along {truth.dims[1]}. One range of values holds for all lead times."
    return Slides(caption, _label(step), tuple(frames))


def _label(step: str) -> str:
    return "Lead time" if step == "lead_time" else "Time"


def _slides(members: xr.DataArray, truth: xr.DataArray, step: str, *, most: int, about: str) -> Slides:
    chosen = list(even_choice(members.sizes[step], most))
    pictures = _pictures(members.isel({step: chosen}), truth.isel({step: chosen}))
    first = next(pictures)
    allowed = max(3, _BYTES // len(first.data))
    if allowed < len(chosen):
        chosen = [chosen[k] for k in even_choice(len(chosen), allowed)]
        pictures = _pictures(members.isel({step: chosen}), truth.isel({step: chosen}))
        first = next(pictures)
    names = [step_label(members[step], k) for k in chosen]
    caption = f"{about}. One colour scale holds for all values and lead times, another for the standard deviations; grey cells are missing."
    return Slides(caption, _label(step), tuple(zip(names, [first, *pictures], strict=True)))


def _pictures(members: xr.DataArray, truth: xr.DataArray) -> Iterator[Picture]:
    """One picture after another, each drawn when it is asked for."""
    step = str(truth.dims[0])
    for k, axes in enumerate(ensemble_frames(members, truth)):
        at = step_label(truth[step], k)
        yield to_picture(axes, caption="", alt=f"Maps of {_told(f'{truth.name} at {at}', members, truth, k)}", dpi=_DPI)


_PANELS = " Panels: truth, mean, two members, standard deviation."


def _told(what: str, members: xr.DataArray, truth: xr.DataArray, frames: int | slice, *, panels: str = _PANELS) -> str:
    """What a map shows, in numbers."""
    step = str(truth.dims[0])
    real, drawn = truth.isel({step: frames}), members.isel({step: frames})
    unit = pretty_unit(str(members.attrs.get("units", "1")))
    off = float(np.sqrt(((drawn.mean("member") - real) ** 2).mean()))
    spread = float(np.sqrt(drawn.var("member", ddof=1).mean()))
    low, high, off_shown, spread_shown = (show_number(float(v)) for v in (real.min(), real.max(), off, spread))
    text = f"{what}: truth {low} to {high} {unit}".rstrip()
    errors = f"the ensemble mean is off by {off_shown} rms, the members spread by {spread_shown}"
    return f"{text}; {errors}.{panels}"


def _pair(name: str, cases: Cases) -> tuple[xr.DataArray, xr.DataArray, str]:
    """Members and truth of the middle start whose frames the truth holds, (member, lead, *space) and (lead, *space); and a name for it."""
    where = np.atleast_2d(cases.where)
    full = np.flatnonzero((where >= 0).sum(1) == (where >= 0).sum(1).max())
    start = int(full[full.size // 2])
    place = {d: (start if d == "init_time" else cases.sizes[d] // 2) for d in cases.outer}
    frames = np.flatnonzero(where[start] >= 0)
    members = cases.forecast[name].isel({**place, cases.inner: frames})
    key = {"time": where[start][frames]} | ({"sample": int(cases.rows[place["sample"]])} if cases.rows.size else {})
    truth = cases.truth[name].isel(key).drop_vars("time", errors="ignore").rename(time=cases.inner)
    truth = truth.assign_coords({cases.inner: members[cases.inner]})
    began = f"start {show_time(cases.forecast['init_time'].values.reshape(-1)[start])}" if "init_time" in cases.forecast.coords else "one case"
    if "sample" in place:
        labels = cases.coordinates["sample"].values if "sample" in cases.coordinates else np.arange(cases.sizes["sample"])
        began += f", sample {labels[place['sample']]}"
    members = members.reset_coords(drop=True).compute().transpose("member", cases.inner, *cases.grid.dims)
    truth = truth.reset_coords(drop=True).compute()
    if isinstance(cases.grid, PointGrid):
        members, truth = (points_as_picture(field, cases.grid) for field in (members, truth))
        began += f", each pixel the nearest of {cases.grid.shape[0]} points"
    return _slab(members), _slab(truth), began


def points_as_picture(field: xr.DataArray, grid: PointGrid) -> xr.DataArray:
    """Values at scattered points as a picture of their box: at each pixel that of the nearest point; in space at the middle of z."""
    low, high = grid.points.amin(0), grid.points.amax(0)
    size = (high - low)[:2]
    axes = [torch.linspace(float(a), float(b), max(2, round(float(_PIXELS * s / size.max())))) for a, b, s in zip(low, high, size, strict=False)]
    cells = torch.stack(torch.meshgrid(*axes[::-1], indexing="ij")[::-1], -1).double()
    if len(low) > 2:
        cells = torch.cat([cells, ((low + high)[2] / 2).expand(*cells.shape[:-1], 1)], -1)
    flat = cells.flatten(0, -2).split(2048)
    index = torch.cat([torch.cdist(part, grid.points).argmin(1) for part in flat]).reshape(cells.shape[:-1]).numpy()
    dims = ("y", "x")[-len(axes) :]
    shown = field.isel(point=xr.DataArray(index, dims=dims)).transpose(*field.dims[:-1], *dims)
    return shown.assign_coords({d: (d, a.numpy(), {"units": grid.length_unit}) for d, a in zip(dims, axes[::-1], strict=True)})


def _slab(field: xr.DataArray) -> xr.DataArray:
    """The middle level of a field of three dimensions of space."""
    return field.isel(z=field.sizes["z"] // 2) if "z" in field.dims else field


def _central(truth: xr.DataArray) -> dict[str, int]:
    """The cell nearest to the middle that always has a value; empty if there is none."""
    space = [str(d) for d in truth.dims[1:]]
    full = np.argwhere(np.isfinite(truth.values).all(0))
    if not full.size:
        return {}
    middle = np.array([truth.sizes[d] // 2 for d in space])
    nearest = full[np.abs(full - middle).sum(1).argmin()]
    return dict(zip(space, map(int, nearest), strict=True))
