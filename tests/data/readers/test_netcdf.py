"""netCDF through its own library; addresses are in test_address.py."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.readers.netcdf import open_netcdf
from tests.data.files import earth, save


@pytest.mark.parametrize("version", ["NETCDF3_CLASSIC", "NETCDF3_64BIT", "NETCDF4_CLASSIC", "NETCDF4"])
def test_every_version_unpacked_with_times_as_numbers(tmp_path, version):
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -9}
    ds = earth(3)
    ds["t2m"][1, 2] = np.nan
    found = open_netcdf(str(save(ds, tmp_path / "a.nc", format=version, encoding={"t2m": packing})))
    assert np.allclose(found["t2m"].values, ds["t2m"].values, atol=0.006, equal_nan=True)  # half a step of the packing and rounding
    assert found["time"].values.tolist() == [0, 1, 2] and " since " in found["time"].attrs["units"]


def test_a_damaged_file_and_nobody_there_are_said(tmp_path):
    (tmp_path / "a.nc").write_bytes(save(earth(3), tmp_path / "whole.nc").read_bytes()[:600])
    with pytest.raises(DataError, match="expected a netCDF file .*, got a damaged one .*; fetch it again"):
        open_netcdf(str(tmp_path / "a.nc"))
    with pytest.raises(DataError, match="expected a netCDF file .*, got one that cannot be read .*; check the network"):
        open_netcdf("http://127.0.0.1:9/a")
