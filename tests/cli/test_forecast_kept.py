"""``physdiff forecast --keep``: means and divergence that stay, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import xarray as xr

from physdiff.data.convert import spec_of
from physdiff.inference.solenoidal import Solenoidal
from tests.cli.command import TINY, refuses, untouched, works


def test_means_of_kept_fields_stay(tmp_path, era, era_prior):
    words = "--lead 5 --members 2 --select.every 12 --prior"
    works("forecast --keep t2m", words, era_prior, "--initial", era, "--out", tmp_path / "kept.nc")
    with xr.open_dataset(tmp_path / "kept.nc", decode_timedelta=False) as fc, xr.open_dataset(era) as data:
        share = np.cos(np.deg2rad(fc["latitude"]))
        start = data["t2m"].sel(time=fc["init_time"].values).rename(time="init_time")
        means = [x.weighted(share).mean(["latitude", "longitude"]) for x in (fc["t2m"], start)]
        off = means[0] - means[1]
        assert float(abs(off).max()) < 2e-2  # cosines are the bands' areas up to the ends
        assert float(fc["t2m"].std("member").min()) > 0


def test_nonsense_is_refused(tmp_path, era, era_prior):
    with untouched(tmp_path):
        rest = ("--lead 2 --prior", era_prior, "--initial", era, "--out", tmp_path / "b.nc")
        assert "expected one of the fields t2m; got 'rain'" in refuses("forecast", "--keep rain", *rest)


def test_a_flow_past_a_block_keeps_its_divergence(tmp_path):
    y, x, t = np.arange(8) * 0.5, np.arange(10) * 0.5, np.arange(20.0)
    eddies = np.random.default_rng(0).standard_normal((20, 8, 10)).cumsum(0)
    fields = {"u": np.gradient(eddies, 0.5, axis=1, edge_order=2), "v": -np.gradient(eddies, 0.5, axis=2, edge_order=2)}
    for values in fields.values():
        values[:, 3:5, 3:5] = np.nan
    ds = xr.Dataset({k: (("time", "y", "x"), v.astype("float32"), {"units": "m s-1"}) for k, v in fields.items()}, {"time": t, "y": y, "x": x})
    ds["time"].attrs["units"] = "s"
    ds.to_netcdf(tmp_path / "flow.nc")
    works("fit --recipe.horizon 2", *TINY, "--data", tmp_path / "flow.nc", "--out", tmp_path / "flow.prior")
    words = ("--lead 3 --members 2 --select.every 9 --prior", tmp_path / "flow.prior", "--initial", tmp_path / "flow.nc")
    works("forecast --keep", Path("divergence(u v)"), *words, "--out", tmp_path / "kept.nc")
    works("forecast --keep u", *words, "--out", tmp_path / "free.nc")
    spec = spec_of(xr.open_dataset(tmp_path / "flow.nc"), gaps=True, mask=True)
    made, off = Solenoidal(spec), []
    for name in ("kept.nc", "free.nc"):
        with xr.open_dataset(tmp_path / name, decode_timedelta=False) as fc:
            windows = torch.from_numpy(np.stack([fc[n].values for n in spec.names], 3))  # (start, member, lead, field, y, x)
            starts = torch.from_numpy(np.stack([ds[n].sel(time=fc["init_time"].values).values for n in spec.names], 1))
            known = starts[:, None, None].expand_as(windows)
            both = [made.divergence(w.flatten(0, 2)[:, :, None]) for w in (windows, known)]
            off.append(float((both[0] - both[1]).abs().max()))
    assert off[0] < 1e-4 < 0.1 < off[1]  # float32 of velocities of size 5 over half a metre
    with untouched(tmp_path):
        assert "expected 2 components" in refuses("forecast", "--keep", Path("divergence(u)"), *words, "--out", tmp_path / "b.nc")
