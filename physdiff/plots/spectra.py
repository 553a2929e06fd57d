r"""Power spectra of forecasts against the truth, and their ratio.

Spectra are those of `scores/spectrum.py`: per shell of wavenumber on uniform Cartesian axes, per zonal wavenumber on a latitude-longitude
grid; that of an ensemble is the mean of its members' spectra (the spectrum of their mean is too smooth). The band shows the members.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from physdiff.base.errors import InputError
from physdiff.data.axes import PLANE, SPHERE
from physdiff.data.convert import grid_of
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.plots.colours import TRUTH, line_style
from physdiff.plots.style import SMALL, one_axes, plain, pretty_unit, tidy
from physdiff.scores.spectrum import isotropic_spectrum, zonal_spectrum

__all__ = ["power_spectrum", "spectral_ratio_plot", "spectrum_plot"]


def power_spectrum(field: xr.DataArray, *, periodic: bool | tuple[bool, ...] | None = None) -> tuple[np.ndarray, np.ndarray, str]:
    """Energy per wavenumber of a field.

    Args:
        field: (..., *space) with coordinates, as `open_dataset` returns it.
        periodic: Whether the axes close; None: as the coordinates' attributes say (longitude finds out itself).

    Returns:
        Wavenumbers (K,) without zero, energies (..., K) in squared units, and the name of the wavenumber with its unit.

    Raises:
        InputError: If the axes are not uniform, or there is no row (no field) without missing values.
    """
    space = [d for d in (*PLANE, *SPHERE) if d in field.dims]
    grid = grid_of(field.to_dataset(name="field"), periodic=periodic)
    values = torch.from_numpy(np.array(field.transpose(..., *space).values, dtype=np.float64))
    if isinstance(grid, LatLonGrid):
        step = float(torch.deg2rad(grid.longitude).diff().mean())
        wavenumber, energy = zonal_spectrum(values, grid.weights(), spacing=step, periodic=grid.periodic[1])
        label = "zonal wavenumber"
    elif isinstance(grid, CartesianGrid) and grid.uniform:
        wavenumber, energy = isotropic_spectrum(values, space=grid.ndim, spacing=grid.spacing, periodic=grid.periodic)
        unit = pretty_unit(f"{grid.length_unit}-1") if grid.length_unit not in ("1", "") else ""
        label = f"wavenumber (rad {unit})" if unit else "wavenumber (rad per unit length)"
    else:
        raise InputError(f"power_spectrum: expected uniform axes, got {grid.summary()}; interpolate to a uniform grid first")
    if bool(energy.isnan().all()):
        raise InputError("power_spectrum: expected values in every cell, got missing ones; a field with holes has no spectrum")
    return wavenumber[1:].numpy(), energy[..., 1:].numpy(), label


def spectrum_plot(
    forecasts: Mapping[str, xr.DataArray],
    truth: xr.DataArray,
    axes: Axes | None = None,
    *,
    periodic: bool | tuple[bool, ...] | None = None,
) -> Axes:
    """Power spectra of forecasts and truth on logarithmic axes.

    Args:
        forecasts: Name -> ([member, ...] *space); all leading dims are averaged, the range over members is the band.
        truth: (..., *space).
        axes: Where to draw; a new figure if None.
        periodic: As in `power_spectrum`.

    Returns:
        The axes; the first line is the truth.

    Raises:
        InputError: As `power_spectrum`.
    """
    axes = one_axes(axes)
    wavenumber, energy, label = power_spectrum(truth, periodic=periodic)
    axes.loglog(wavenumber, _mean(energy), color=TRUTH, linewidth=2.0, label="truth")
    for k, (name, field) in enumerate(forecasts.items()):
        style = {**line_style(k), "marker": ""}
        per_member = _per_member(field, periodic)
        if len(per_member) > 1:
            axes.fill_between(wavenumber, per_member.min(0), per_member.max(0), color=style["color"], alpha=0.18, linewidth=0)
        axes.loglog(wavenumber, per_member.mean(0), linewidth=1.5, label=plain(name), **style)
    unit = pretty_unit(str(truth.attrs.get("units", "1")))
    squared = f"(({unit})²)" if " " in unit else f"({unit}²)" if unit else ""
    axes.legend(frameon=False, fontsize=SMALL)
    _log_ticks(axes, wavenumber)
    return tidy(axes, x=label, y=f"energy per wavenumber {squared}".strip())


def spectral_ratio_plot(
    forecasts: Mapping[str, xr.DataArray],
    truth: xr.DataArray,
    axes: Axes | None = None,
    *,
    periodic: bool | tuple[bool, ...] | None = None,
    band: tuple[float, float] = (0.5, 2.0),
) -> Axes:
    """Energy of forecasts over that of the truth: one is right, below one too smooth, above one too noisy.

    Args:
        forecasts: As in `spectrum_plot`.
        truth: As in `spectrum_plot`.
        axes: Where to draw; a new figure if None.
        periodic: As in `power_spectrum`.
        band: Shaded range.

    Returns:
        The axes; the lines are the forecasts in their order, then the line at one.
    """
    axes = one_axes(axes)
    wavenumber, energy, label = power_spectrum(truth, periodic=periodic)
    for k, (name, field) in enumerate(forecasts.items()):
        ratio = _per_member(field, periodic).mean(0) / _mean(energy)
        axes.loglog(wavenumber, ratio, linewidth=1.5, label=plain(name), **{**line_style(k), "marker": ""})
    axes.axhline(1.0, color=TRUTH, linewidth=1.0)
    axes.axhspan(*band, color="#000000", alpha=0.06, linewidth=0)
    low, high = axes.get_ylim()
    axes.set_ylim(max(min(low, band[0] / 2), 1e-3), min(max(high, band[1] * 2), 1e3))
    axes.legend(frameon=False, fontsize=SMALL)
    _log_ticks(axes, wavenumber)
    low, high = axes.get_ylim()
    if high / low < 100:
        axes.yaxis.set_major_locator(LogLocator(base=2))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    return tidy(axes, x=label, y="energy over the truth's")


def _log_ticks(axes: Axes, wavenumber: np.ndarray) -> None:
    """Ticks at 1, 2, 5 where the axis holds less than two decades: powers of ten alone would be one or two."""
    axes.xaxis.set_minor_formatter(NullFormatter())
    if wavenumber[-1] / wavenumber[0] < 100:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))


def _mean(energy: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.nanmean(energy.reshape(-1, energy.shape[-1]), axis=0)
    return mean


def _per_member(field: xr.DataArray, periodic: bool | tuple[bool, ...] | None) -> np.ndarray:
    """(members, K), averaged over the other leading dims; one row without members."""
    lead = [d for d in field.dims if d not in (*PLANE, *SPHERE, "member")]
    ordered = field.transpose(*(["member"] if "member" in field.dims else []), *lead, ...)
    energy = power_spectrum(ordered, periodic=periodic)[1]
    if "member" not in field.dims:
        return _mean(energy)[None]
    return np.stack([_mean(e) for e in energy])
