"""``physdiff forecast --keep``: means that stay, and what is refused."""

from __future__ import annotations

import numpy as np
import xarray as xr

from tests.cli.command import refuses, untouched, works


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
