"""The Well's layout, as its format document has it."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.convert import spec_of
from physdiff.data.open import open_dataset

h5py = pytest.importorskip("h5py")
VALUES = np.random.default_rng(1).normal(size=(2, 4, 6, 5)).astype(np.float32)


def write(path, *, grid="cartesian", axes=("x", "y"), varying=False):
    with h5py.File(path, "w") as file:
        file.attrs.update({"dataset_name": "toy", "grid_type": grid, "n_spatial_dims": 2, "n_trajectories": 2})
        file.attrs.update({"simulation_parameters": ["Re"], "Re": 100.0})
        dims = file.create_group("dimensions")
        dims.attrs["spatial_dims"] = list(axes)
        dims["time"] = np.arange(4, dtype=np.float32)
        dims["time"].attrs["sample_varying"] = varying
        theta = np.linspace(0.2, 3.0, 6) if grid == "spherical" else np.arange(6.0)
        for name, values in zip(axes, (theta, np.arange(5) * (2 * np.pi / 5 if grid == "spherical" else 1.0)), strict=True):
            dims[name] = values.astype(np.float32)
            dims[name].attrs.update({"sample_varying": False, "time_varying": False})
        wall = file.create_group("boundary_conditions").create_group("y_periodic")
        wall.attrs.update({"associated_dims": [axes[1]], "associated_fields": [], "bc_type": np.bytes_("PERIODIC")})
        scalars = file.create_group("scalars")
        scalars.attrs["field_names"] = ["Pr"]
        scalars["Pr"] = 0.7
        scalars = {"pressure": (VALUES, True, True), "mask": (VALUES[0, 0], False, False), "profile": (VALUES[..., 0], True, True)}
        _fields(file.create_group("t0_fields"), scalars)
        _fields(file.create_group("t1_fields"), {"velocity": (np.stack([VALUES, -VALUES], -1), True, True)})
        tensor = np.stack([np.stack([VALUES, VALUES + 1], -1), np.stack([VALUES + 2, VALUES + 3], -1)], -2)
        _fields(file.create_group("t2_fields"), {"stress": (tensor, True, True)})
        file["t0_fields/profile"].attrs["dim_varying"] = [True, False]
    return path


def _fields(group, fields):
    group.attrs["field_names"] = list(fields)
    for name, (values, samples, times) in fields.items():
        group[name] = values
        group[name].attrs.update({"dim_varying": [True, True], "sample_varying": samples, "time_varying": times})


def test_scalars_vectors_tensors_walls_and_parameters(tmp_path):
    ds = open_dataset(write(tmp_path / "a.hdf5"))
    turned = VALUES.transpose(0, 1, 3, 2)
    assert sorted(ds) == ["mask", "pressure", "stress_xx", "stress_xy", "stress_yx", "stress_yy", "velocity_x", "velocity_y"]
    assert ds["pressure"].dims == ("sample", "time", "y", "x") and np.array_equal(ds["pressure"].values, turned)
    assert np.array_equal(ds["velocity_y"].values, -turned) and np.array_equal(ds["stress_xy"].values, turned + 1)
    assert np.array_equal(ds["stress_yx"].values, turned + 2) and np.array_equal(ds["mask"].values, turned[0, 0])
    assert spec_of(ds[["pressure"]]).grid.periodic == (True, False)  # y, x
    assert ds.attrs["Re"] == 100 and ds.attrs["Pr"] == pytest.approx(0.7) and ds.attrs["dataset_name"] == "toy"


def test_a_sphere(tmp_path):
    ds = open_dataset(write(tmp_path / "a.hdf5", grid="spherical", axes=("theta", "phi")), variables=["pressure"])
    assert ds["pressure"].dims == ("sample", "time", "latitude", "longitude")
    assert float(ds["latitude"][0]) == pytest.approx(90 - np.degrees(0.2), abs=1e-4) and spec_of(ds).grid.periodic == (False, True)


def test_what_varies_or_is_no_plane_is_refused(tmp_path):
    with pytest.raises(DataError, match="expected one time for all samples and times, got time that varies"):
        open_dataset(write(tmp_path / "a.hdf5", varying=True))
    with pytest.raises(DataError, match="expected a Cartesian grid, or theta and phi on a sphere, got the axes log_r, theta"):
        open_dataset(write(tmp_path / "b.hdf5", grid="spherical", axes=("log_r", "theta")))


def test_real_values(shared_data):
    well = open_dataset(shared_data / "format_samples" / "cylinder_thewell_layout.hdf5")
    flat = open_dataset(shared_data / "format_samples" / "cylinder_pdebench_cfd_layout.hdf5")
    assert np.array_equal(well["velocity_x"].values, flat["Vx"].values) and well["mask_fluid"].dims == ("y", "x")
