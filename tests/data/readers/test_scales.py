"""netCDF-4 by way of h5py is what netCDF's own library reads."""

from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.scales import has_scales, open_scales
from tests.data.files import earth, save

h5py = pytest.importorskip("h5py")


def same(path) -> xr.Dataset:
    expected = xr.open_dataset(path, engine="netcdf4", decode_times=False)
    expected = expected[[n for n, v in expected.variables.items() if v.dtype.kind in "fiu"]]
    with h5py.File(path) as file:
        assert has_scales(file)
        found = open_scales(file, str(path)).load()
    xr.testing.assert_identical(found, expected)
    for name, variable in expected.variables.items():
        assert found[name].dtype == variable.dtype and found[name].encoding.get("chunksizes") == variable.encoding.get("chunksizes"), name
    return found


def test_packed_numbers_missing_values_and_attributes(tmp_path):
    ds = earth(6)
    ds["t2m"][2, 1] = np.nan
    ds.attrs.update(title="a", numbers=[1.5, 2.5], one=np.int16(3))
    packing = {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32767, "zlib": True, "chunksizes": (2, 4, 6)}
    found = same(save(ds, tmp_path / "a.nc", encoding={"t2m": packing}))
    assert np.isnan(found["t2m"].values[2, 1]).all() and found.attrs["one"] == 3
    same(save(earth(3), tmp_path / "b.nc", unlimited_dims=["time"]))


def test_dimensions_without_variables_scalars_and_coordinates_of_two_dimensions(tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in (("time", 3), ("y", 2), ("x", 4), ("nv", 2)):
            file.createDimension(name, size)
        for name, dims in (("time", "time"), ("y", "y x"), ("lon", "y x"), ("u", "time y x"), ("bounds", "time nv"), ("c", "")):
            variable = file.createVariable(name, "f8", tuple(dims.split()))
            variable[...] = np.random.default_rng(len(name)).random(variable.shape)
        file["u"].coordinates = "lon"
        file.createVariable("text", str, ("time",))
        file.createVariable("square", "u1", ("x", "x"))[...] = np.arange(16).reshape(4, 4) % 7
    with h5py.File(tmp_path / "a.nc") as file:
        found = open_scales(file, "a.nc").load()
    with netCDF4.Dataset(tmp_path / "a.nc") as file:
        for name, variable in file.variables.items():
            if name != "text":
                assert found[name].dims == (("x", "x_1") if name == "square" else variable.dimensions), name
                assert np.array_equal(found[name].values, np.asarray(variable[...])), name
    assert "text" not in found and "lon" in found.coords


def test_an_axis_without_a_scale_gets_a_name_and_other_lengths_are_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"], file["u"], file["v"] = np.arange(4.0), np.zeros((3, 4)), np.zeros(5)
        file["x"].make_scale("x")
        file["u"].dims[1].attach_scale(file["x"])
        assert open_scales(file, "a.h5")["u"].dims == ("phony_dim_u_0", "x")
        file["v"].dims[0].attach_scale(file["x"])
        with pytest.raises(DataError, match="as long as their dimensions"):
            open_scales(file, "a.h5")
