"""Arrows show the flow's direction and size; in a Hovmoeller picture a wave is a slope."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.plots.flow import arrow_plot, hovmoeller_plot


def component(values: np.ndarray, unit: str = "m s-1") -> xr.DataArray:
    ny, nx = values.shape
    return xr.DataArray(values, dims=("y", "x"), coords={"y": np.arange(ny) * 1.0, "x": np.arange(nx) * 1.0}, attrs={"units": unit})


def test_arrows_are_means_of_blocks_in_the_direction_of_the_flow() -> None:
    y, x = np.meshgrid(np.arange(48.0), np.arange(96.0), indexing="ij")
    u, v = component(3 + 0 * x), component(-4 + 0 * x)
    axes = arrow_plot(u, v, arrows=24)
    (quiver,) = [c for c in axes.collections if hasattr(c, "U")]
    assert quiver.U.shape == (12 * 24,) or quiver.U.shape == (12, 24)
    np.testing.assert_allclose(quiver.U, 3)
    np.testing.assert_allclose(quiver.V, -4)
    assert quiver.scale == pytest.approx(5 / (1.1 * 4))  # an arrow of the largest speed is 1.1 blocks of four cells long
    np.testing.assert_allclose(axes.collections[0].get_array(), 5)


def test_arrows_refuse_what_does_not_fit() -> None:
    u = component(np.ones((8, 8)))
    with pytest.raises(InputError, match="same points"):
        arrow_plot(u, u.assign_coords(x=u["x"] + 0.5))
    with pytest.raises(InputError, match="one unit"):
        arrow_plot(u, component(np.ones((8, 8)), "km h-1"))
    with pytest.raises(InputError, match="finite"):
        arrow_plot(u * np.nan, u * np.nan)


def test_a_hovmoeller_picture_takes_area_means() -> None:
    latitude, longitude, time = np.array([60.0, 0.0]), np.arange(0.0, 360.0, 30.0), np.arange(5.0)
    wave = np.cos(np.deg2rad(longitude - 30 * time[:, None]))
    values = np.stack([wave, 3 * wave], 1)  # the equator has twice the weight of 60 degrees north
    field = xr.DataArray(values, dims=("time", "latitude", "longitude"), coords={"time": time, "latitude": latitude, "longitude": longitude})
    axes = hovmoeller_plot(field, along="longitude")
    shown = axes.collections[0].get_array()
    np.testing.assert_allclose(np.asarray(shown).reshape(5, 12), wave * (0.5 * 1 + 1.0 * 3) / 1.5, rtol=1e-12)
    with pytest.raises(InputError, match="expected dims x and time"):
        hovmoeller_plot(field, along="x")
