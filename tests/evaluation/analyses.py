"""An analysis in which the relations are exact: hydrostatic, isothermal in the vertical, winds in geostrophic balance."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

ROTATION, RADIUS, GAS = 7.292e-5, 6.371e6, 287.05


def balanced(**changes):
    """Two levels on an unsymmetrical region, north first; `changes` maps a letter to a function of its values."""
    lat, lon = np.linspace(60, 35, 21), np.linspace(-20, 10, 25)
    phi, lam = (np.deg2rad(a) for a in np.meshgrid(lat, lon, indexing="ij"))
    t = 260 + 8 * np.sin(3 * lam + 1) * np.cos(2 * phi) + 10 * np.cos(2 * phi)
    slope_e = 24 * np.cos(3 * lam + 1) * np.cos(2 * phi)
    slope_n = -16 * np.sin(3 * lam + 1) * np.sin(2 * phi) - 20 * np.sin(2 * phi)
    f = 2 * ROTATION * np.sin(phi)
    data = {}
    for p in (500, 600):
        depth = GAS * math.log(1000 / p)
        fields = {
            "z": (depth * t, "m**2 s**-2"),
            "t": (t, "K"),
            "u": (-depth * slope_n / (RADIUS * f), "m s**-1"),
            "v": (depth * slope_e / (RADIUS * np.cos(phi) * f), "m s**-1"),
        }
        for name, (values, unit) in fields.items():
            values = changes[name](values) if name in changes else values
            values = changes["all"](values) if "all" in changes else values
            data[f"{name}_{p}"] = (("time", "latitude", "longitude"), np.stack([values, values]), {"units": unit})
    times = np.array(["2020-01-01T00", "2020-01-01T06"], dtype="datetime64[ns]")
    coords = {"time": times, "latitude": ("latitude", lat, {"units": "degrees_north"}), "longitude": ("longitude", lon, {"units": "degrees_east"})}
    return xr.Dataset(data, coords=coords)
