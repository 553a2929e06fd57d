"""Small training problems: a calendar-time field on the sphere, and samples of a periodic line."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import nn

from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.networks.unet import UNet

LATITUDE, LONGITUDE = (56.0, 54.0, 52.0, 50.0), (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)


def smooth(shape: tuple[int, ...], *, key: str, keep: float = 0.9) -> torch.Tensor:
    """Red noise along dimension 1 of (B, T, ...), variance one."""
    noise = Rng(11).child(key).normal(shape)
    steps = [noise[:, 0]]
    for k in range(1, shape[1]):
        steps.append(keep * steps[-1] + (1 - keep**2) ** 0.5 * noise[:, k])
    return torch.stack(steps, 1)


def calendar(frames: int = 60, *, key: str = "calendar") -> xr.Dataset:
    """Hourly temperature on (4, 6) points with a daily cycle."""
    grid = LatLonGrid(latitude=torch.tensor(LATITUDE, dtype=torch.float64), longitude=torch.tensor(LONGITUDE, dtype=torch.float64))
    spec = FieldSpec(("t2m",), ("K",), grid, 3600.0)
    hours = torch.arange(frames) % 24
    cycle = 4 * torch.cos(2 * torch.pi * hours / 24).reshape(1, -1, 1, 1)
    times = np.datetime64("2019-01-01T00", "ns") + np.arange(frames) * np.timedelta64(1, "h")
    return to_dataset(280 + cycle + smooth((1, frames, *grid.shape), key=key), spec, times)


def line(samples: int = 6, frames: int = 8, *, key: str = "line") -> xr.Dataset:
    """Samples of one field on 16 points of a circle."""
    grid = CartesianGrid((16,), extent=(1.0,), periodic=True)
    spec = FieldSpec(("u",), ("m s-1",), grid, 0.1, time_unit="1")
    values = smooth((samples, frames, 16), key=key)
    values = values + values.roll(1, -1) + values.roll(-1, -1)
    return to_dataset(values.unsqueeze(1), spec, batch="sample")


def tiny(in_channels: int, out_channels: int, *, ndim: int = 2, periodic: bool | tuple[bool, ...] = False, width: int = 4) -> nn.Module:
    """A network of a few thousand weights, with dropout."""
    return UNet(in_channels, out_channels, ndim=ndim, periodic=periodic, width=width, multipliers=(1, 2), dropout=0.1)
