from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.data.encoding import chunks_of, netcdf_encoding, zarr_encoding
from tests.data.files import earth


def test_fields_have_checksums_and_chunks_of_whole_frames():
    ds = earth(30, ny=40, nx=50)
    field = netcdf_encoding(ds["t2m"].variable, 4)
    assert field["fletcher32"] and field["zlib"] and field["chunksizes"] == (4, 40, 50) == chunks_of(ds["t2m"].variable, 4)
    assert chunks_of(ds["t2m"].variable) == (30, 40, 50)  # 240 kB
    wide = xr.Variable(("sample", "time", "y", "x"), np.zeros((2, 9, 1000, 400), dtype="float32"))
    assert chunks_of(wide) == (1, 2, 1000, 400)  # two frames of 1.6 MB are below 4 MiB, three are not


def test_times_are_whole_numbers_of_seconds_or_nanoseconds():
    whole = xr.Variable(("time",), np.array(["2020-01-01T00", "2020-01-01T01"], dtype="datetime64[ns]"))
    assert netcdf_encoding(whole)["units"] == "seconds since 1970-01-01" and netcdf_encoding(whole)["dtype"] == "int64"
    assert netcdf_encoding(whole + np.timedelta64(1, "ns"))["units"].startswith("nanoseconds")


def test_stores_have_checksums_and_missing_chunks_are_missing():
    pytest.importorskip("zarr")
    found = zarr_encoding(earth(5), {"t2m": (2, 4, 6)})
    assert found["t2m"]["chunks"] == (2, 4, 6) and np.isnan(found["t2m"]["fill_value"]) and np.isnan(found["latitude"]["fill_value"])
    assert all("crc32c" in str(v["compressors"][-1]).lower() for v in found.values())
    assert found["time"]["units"] == "seconds since 1970-01-01" and "fill_value" not in found["time"]
