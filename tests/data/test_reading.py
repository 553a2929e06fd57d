from __future__ import annotations

import netCDF4
import numpy as np
import pytest
import xarray as xr

from physdiff.data.open import open_dataset
from physdiff.data.reading import WindowReader
from physdiff.data.windows import _held
from tests.data.files import box, earth, packed, save, smooth

h5py = pytest.importorskip("h5py")


def check(ds: xr.Dataset, *, frames: int = 3, directly: bool = True) -> None:
    """Every window of every trajectory is what xarray reads; and no window goes through xarray if it is read directly."""
    names = [n for n in ds.data_vars if "time" in ds[n].dims]
    space = [d for d in ds[names[0]].dims if d not in ("sample", "member", "time")]
    rows = [d for d in ("sample", "member") if d in ds.dims]
    fields = {n: ds[n].variable.transpose(*[d for d in (*rows, "time", *space) if d in ds[n].dims]) for n in names}
    reader, expected = WindowReader(fields, space), {n: ds[n].values for n in names}
    if directly:
        reader._read_field = None  # type: ignore[method-assign]
    out = np.empty((len(names), frames, *(ds.sizes[d] for d in space)), np.float32)
    for place in np.ndindex(*(ds.sizes[d] for d in rows)):
        for start in range(ds.sizes["time"] - frames + 1):
            out[...] = -1
            reader.read(dict(zip(rows, place, strict=True)), start, out)
            for c, n in enumerate(names):
                own = {d: k for d, k in zip(rows, place, strict=True) if d in ds[n].dims}
                np.testing.assert_array_equal(out[c], ds[n].copy(data=expected[n]).isel(own).isel(time=slice(start, start + frames)).values)


def test_files_in_time_packed_with_holes_and_turned_axes(tmp_path):
    for k in range(2):
        with netCDF4.Dataset(tmp_path / f"{k}.nc", "w") as file:
            for name, values, units in (
                ("longitude", [355.0, 0.0, 5.0, 10.0, 350.0], "degrees_east"),
                ("time", np.arange(4) + 4 * k, "hours since 2000-01-01"),
                ("latitude", np.arange(6) * 2.0, "degrees_north"),
                ("level", [500.0, 850.0], "hPa"),
            ):
                file.createDimension(name, len(values))
                file.createVariable(name, "f8", (name,))[:] = values
                file[name].units = units
            made = file.createVariable("z", "i2", ("latitude", "time", "level", "longitude"), fill_value=-32767, zlib=k == 1, fletcher32=k == 1)
            made.set_auto_maskandscale(False)
            made.scale_factor, made.add_offset, made.units = 0.3 + k, 17.0, "m2 s-2"
            made[:] = np.random.default_rng(k).integers(-99, 99, (6, 4, 2, 5))
            made[2, 1, 0, 3] = -32767
    # the first meridian lies in the middle of the file: read whole and turned
    ds = open_dataset(str(tmp_path / "*.nc"))
    assert np.isnan(ds["z_500"].values).sum() == 2
    check(ds)
    check(ds.isel(time=slice(1, 7), latitude=slice(1, 4), longitude=slice(2, None)))
    check(ds.isel(time=slice(None, None, 2)), frames=2, directly=False)


def test_classic_files_and_arrays_in_memory_take_the_other_way(tmp_path):
    path = tmp_path / "a.nc"
    packed(path, 280 + smooth(6, 4, 5), step=0.01, offset=280.0, hole=(2, 1, 1))
    check(open_dataset(path), directly=False)
    check(earth(6).assign(other=earth(6).t2m + 1), directly=False)


@pytest.mark.parametrize("direct", [True, False])
def test_samples_of_several_files_and_components_of_a_vector(tmp_path, direct, monkeypatch):
    if not direct:
        monkeypatch.setattr("physdiff.data.lazy.stored_variable", lambda *_: None)
    for k in range(3):
        with h5py.File(tmp_path / f"part{k}.hdf5", "w") as f:
            f.attrs.update(grid_type="cartesian", n_spatial_dims=2, n_trajectories=2)
            group = f.create_group("dimensions")
            group.attrs["spatial_dims"] = ["x", "y"]
            for name, count in (("time", 5), ("x", 4), ("y", 3)):
                group[name] = np.linspace(0, 1, count)
            for rank, name in enumerate(("density", "velocity")):
                group = f.create_group(f"t{rank}_fields")
                group.attrs["field_names"] = [name]
                made = group.create_dataset(name, data=smooth(2, 5, 4, 3, *(2,) * rank, seed=3 * k + rank))
                made.attrs.update(dim_varying=[True, True], sample_varying=True, time_varying=True)
    ds = open_dataset(tmp_path)
    assert dict(ds.sizes) == {"sample": 6, "time": 5, "y": 3, "x": 4} and list(ds.data_vars) == ["density", "velocity_x", "velocity_y"]
    np.testing.assert_array_equal(ds["velocity_y"].values[5], smooth(2, 5, 4, 3, 2, seed=7)[1, ..., 1].transpose(0, 2, 1))
    np.testing.assert_array_equal(ds["density"].isel(sample=[4, 0, 1], time=2).values[0], smooth(2, 5, 4, 3, seed=6)[0, 2].T)
    check(ds, directly=direct)
    check(ds.isel(sample=slice(1, 5), time=slice(1, None), x=slice(None, 2)), directly=direct)


def test_groups_by_seed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        for k in range(3):
            group = f.create_group(f"{k:04d}")
            group["data"] = smooth(5, 4, 3, 2, seed=k)
            for name, count in (("t", 5), ("x", 4), ("y", 3)):
                group[f"grid/{name}"] = np.linspace(0, 1, count)
    check(open_dataset(tmp_path / "a.h5"))


def test_an_axis_that_falls_is_turned(tmp_path):
    ds = open_dataset(save(box(5, samples=2).isel(y=slice(None, None, -1)), tmp_path / "a.nc"))
    assert float(ds.y[0]) < float(ds.y[1])
    check(ds)


def test_many_files_do_not_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr("physdiff.data.lazy._MOST_RAW", 3)
    for k in range(8):
        save(earth(2, hours=np.arange(2) + 2 * k), tmp_path / f"{k}.nc", encoding={"t2m": {"chunksizes": (1, 4, 6)}})
    ds = open_dataset(str(tmp_path / "*.nc"))
    check(ds)
    held = ds["t2m"].variable._data.array.files
    assert len(held._raw) <= 3


def test_held_fields_are_arrays_where_they_are_small():
    assert all(isinstance(v._data, np.ndarray) for v in _held(earth(4), ("t2m",), ("time", "latitude", "longitude")).values())
