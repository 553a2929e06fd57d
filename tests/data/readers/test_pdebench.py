"""PDEBench's layouts, written as its generators write them, through the door by which users come."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.convert import spec_of
from physdiff.data.open import open_dataset

h5py = pytest.importorskip("h5py")
VALUES = np.random.default_rng(0).normal(size=(3, 5, 8, 6)).astype(np.float32)


def write(path, arrays, attrs=None):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=values, **({"compression": "lzf"} if np.ndim(values) > 2 else {}))
        file.attrs.update(attrs or {})
    return path


def axis(n: int) -> np.ndarray:
    return ((np.arange(n) + 0.5) / n).astype(np.float32)


@pytest.mark.parametrize("extra", [0, 1])
def test_one_field_in_one_direction(tmp_path, extra):
    """Published files have the end of the last interval among their times."""
    times = np.linspace(0, 0.5 + 0.125 * extra, 5 + extra).astype(np.float32)
    arrays = {"tensor": VALUES[..., 0], "x-coordinate": axis(8), "t-coordinate": times}
    ds = open_dataset(write(tmp_path / "1D_Burgers_periodic_Nu0.01.hdf5", arrays, {"Nu": 0.01}))
    assert ds["tensor"].dims == ("sample", "time", "x") and np.array_equal(ds["tensor"].values, VALUES[..., 0])
    assert ds["time"].values == pytest.approx([0, 0.125, 0.25, 0.375, 0.5]) and ds.attrs["Nu"] == 0.01
    spec = spec_of(ds)
    assert spec.grid.periodic == (True,) and spec.dt == pytest.approx(0.125)


def test_one_data_set_for_each_field(tmp_path):
    arrays = {"density": VALUES, "Vx": VALUES + 1, "Vy": VALUES + 2, "x-coordinate": axis(8), "y-coordinate": axis(6), "t-coordinate": np.arange(5.0)}
    ds = open_dataset(write(tmp_path / "2D_CFD_Rand.hdf5", arrays, {"eta": 0.1}))
    assert ds["Vx"].dims == ("sample", "time", "y", "x") and np.array_equal(ds["Vy"].values, (VALUES + 2).transpose(0, 1, 3, 2))
    assert np.array_equal(ds["density"].isel(sample=2, time=3).values, VALUES[2, 3].T)
    assert spec_of(ds).grid.periodic == (False, False)


def test_groups_by_seed(tmp_path):
    path = tmp_path / "2D_diff-react_NA_NA.h5"
    with h5py.File(path, "w") as file:
        for k in range(3):
            group = file.create_group(f"{k:04d}")
            group.create_dataset("data", data=np.stack([VALUES[k], -VALUES[k]], -1), compression="lzf")
            # runs that start at other times are counted from their starts
            group["grid/x"], group["grid/y"], group["grid/t"] = axis(8), axis(6), np.arange(5, dtype=np.float32) + k
            group.attrs["config"] = "sim: {}"
    ds = open_dataset(path)
    assert sorted(ds) == ["data_0", "data_1"] and np.array_equal(ds["data_1"].values, -VALUES.transpose(0, 1, 3, 2))
    assert ds["time"].values.tolist() == [0, 1, 2, 3, 4]
    other = tmp_path / "other.h5"
    shutil.copy(path, other)
    with h5py.File(other, "a") as file:
        del file["0001/grid/t"]
        file["0001/grid/t"] = np.arange(5, dtype=np.float32) * 2
    with pytest.raises(DataError, match="expected all groups with the shape and time steps of /0000, got others in /0001"):
        open_dataset(other)


def test_incompressible_flow(tmp_path):
    flow = np.stack([VALUES, VALUES + 1], -1)
    arrays = {"velocity": flow, "particles": VALUES[..., None], "force": flow[:, 0], "t": np.tile(np.arange(5.0), (3, 1))}
    path = write(tmp_path / "ns_incom.h5", arrays, {"latestIndex": 2})
    ds = open_dataset(path)
    assert sorted(ds) == ["particles", "velocity_x", "velocity_y"] and np.array_equal(ds["velocity_y"].values, (VALUES + 1).transpose(0, 1, 3, 2))
    # coordinates of its own are no unit square: such a file is not PDEBench's
    own = {"velocity": flow[0], "t": np.arange(5.0), "x": 2 * np.arange(8.0), "y": np.arange(6.0), "velocity_dims": "t,x,y,component"}
    with pytest.raises(DataError, match="dimension 'component'"):
        open_dataset(write(tmp_path / "own.h5", own))
    arrays["t"][1] += 1
    with pytest.raises(DataError, match="same times for all samples"):
        open_dataset(write(tmp_path / "other.h5", arrays))


def test_what_does_not_fit_is_refused(tmp_path):
    darcy = {"tensor": VALUES[:, :1], "nu": VALUES[:, 0], "x-coordinate": axis(8), "y-coordinate": axis(6)}
    with pytest.raises(DataError, match=r"expected times \(t-coordinate\), got none, as in Darcy flow"):
        open_dataset(write(tmp_path / "darcy.hdf5", {**darcy, "nu": VALUES[:1, 0]}))
    with pytest.raises(DataError, match=r"expected as many times as frames of tensor \(5\), or one more, got 9"):
        open_dataset(write(tmp_path / "a.hdf5", {"tensor": VALUES[..., 0], "x-coordinate": axis(8), "t-coordinate": np.arange(9.0)}))
    with pytest.raises(DataError, match=r"expected fields \(sample, time, x\), got"):
        open_dataset(write(tmp_path / "b.hdf5", {"tensor": VALUES, "x-coordinate": axis(8), "t-coordinate": np.arange(5.0)}))


def test_real_values_in_both_layouts(shared_data):
    """The wake of the shared data, written in PDEBench's layouts by others than us: the same numbers as in the netCDF file."""
    folder = shared_data / "format_samples"
    flat, seeds = (open_dataset(folder / f"cylinder_pdebench_{n}") for n in ("cfd_layout.hdf5", "seedgroup_layout.h5"))
    whole = open_dataset(shared_data / "cfd" / "cylinder_re100_traj_t60_140_128x64.nc")
    same = whole["u"].sel(time=flat["time"].values, method="nearest")
    np.testing.assert_allclose(flat["Vx"].values[0], same.values, atol=1e-3)
    assert seeds["data_0"].shape == (2, 21, 64, 128)
