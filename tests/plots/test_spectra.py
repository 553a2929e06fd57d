"""Spectra on closed forms: a wave has its energy at its wavenumber."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.spectra import power_spectrum, spectral_ratio_plot, spectrum_plot
from tests.plots.fields import lat_lon_field


def wave(k: int, amplitude: float = 1.0, ny: int = 12, nx: int = 16) -> xr.DataArray:
    """cos(k x) on a periodic box of 2 pi by 3 pi / 2, square cells."""
    h = 2 * np.pi / nx
    x, y = np.arange(nx) * h, np.arange(ny) * h
    values = amplitude * np.cos(k * x)[None, :] + 0 * y[:, None]
    attrs = {"periodic": "true", "units": "m"}
    coords = {"y": ("y", y, attrs), "x": ("x", x, attrs)}
    return xr.DataArray(values, dims=("y", "x"), coords=coords, attrs={"units": "m s-1"}, name="u")


def test_a_wave_has_its_energy_at_its_wavenumber():
    wavenumber, energy, label = power_spectrum(wave(4, 3.0))
    assert label == "wavenumber (rad m⁻¹)"
    # energy of a cos: a^2 / 4; the transform is exact to rounding
    assert energy.sum() == pytest.approx(9 / 4, rel=1e-12)
    assert abs(wavenumber[energy.argmax()] - 4) <= (wavenumber[1] - wavenumber[0]) / 2


def test_zonal_wavenumbers_on_the_globe():
    longitude = np.arange(0, 360, 15.0)
    values = np.cos(np.deg2rad(3 * longitude))[None, :] * np.ones((5, 1))
    field = xr.DataArray(values, dims=("latitude", "longitude"), coords={"latitude": np.linspace(-60, 60, 5), "longitude": longitude})
    wavenumber, energy, label = power_spectrum(field)
    assert label == "zonal wavenumber"
    np.testing.assert_allclose(wavenumber, np.arange(1, 13), rtol=1e-9)
    np.testing.assert_allclose(energy[2], 0.25, rtol=1e-12)


def test_the_plot_draws_the_mean_of_the_members_spectra_not_the_spectrum_of_their_mean():
    truth = wave(4)
    members = xr.concat([wave(4, 1.0), wave(4, -3.0)], "member")
    axes = spectrum_plot({"model": members}, truth)
    lines = axes.lines
    assert [line.get_label() for line in lines] == ["truth", "model"]
    k = int(np.argmax(lines[0].get_ydata()))
    assert lines[0].get_ydata()[k] == pytest.approx(0.25, rel=1e-9)
    assert lines[1].get_ydata()[k] == pytest.approx((1 + 9) / 2 / 4, rel=1e-9)
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert axes.get_ylabel() == "energy per wavenumber ((m s⁻¹)²)"
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(9 / 4, rel=1e-9)


def test_the_ratio_is_the_ratio():
    field = lat_lon_field(members=3)
    axes = spectral_ratio_plot({"same": field.isel(member=0), "twice": 2 * field.isel(member=0)}, field.isel(member=0))
    np.testing.assert_allclose(axes.lines[0].get_ydata(), 1.0, rtol=1e-12)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), 4.0, rtol=1e-12)


def test_holes_and_uneven_axes_are_refused():
    field = wave(2)
    with pytest.raises(InputError, match="no spectrum"):
        power_spectrum(field.where(field["x"] > 1))
    uneven = field.assign_coords(x=np.cumsum(np.linspace(1, 2, 16)))
    with pytest.raises(InputError, match="uniform"):
        power_spectrum(uneven)
