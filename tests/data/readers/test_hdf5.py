"""HDF5 that is not netCDF."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset
from physdiff.data.readers.hdf5 import is_netcdf4, open_hdf5

h5py = pytest.importorskip("h5py")


def test_named_arrays_and_what_is_netcdf(tmp_path, shared_data):
    path = shared_data / "pde" / "burgers_operator_16x17_train.h5"
    assert not is_netcdf4(str(path)) and is_netcdf4(str(shared_data / "pde" / "burgers_shock.nc"))
    ds = open_dataset(path)
    with h5py.File(path) as file:
        assert np.array_equal(ds["u"].values, np.asarray(file["u"]).astype(np.float32)) and ds["u"].dims == ("sample", "time", "x")


def test_other_layouts_and_damage(tmp_path, shared_data):
    for name, message in (
        ("pde/darcy_16.h5", "expected coordinates"),
        ("pde/advection_operator_training.h5", "expected times"),
        ("cfd/lid_driven_re100_lidprofile_a2_a4_a8_a16.h5", "expected coordinates"),
        ("cfd/cylinder_re100_nek_pod_modes_256x128.h5", "got no time dimension"),
    ):
        with pytest.raises(DataError, match=message):
            open_dataset(shared_data / name)
    raw = (shared_data / "pde" / "burgers_operator_16x17_train.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(raw[: len(raw) // 3])
    with pytest.raises(DataError, match=r"cut.h5: expected .*(damaged|fetch it again)"):
        open_dataset(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["x"] = np.arange(3.0)
    with pytest.raises(DataError, match="expected times"):
        open_hdf5(str(tmp_path / "none.h5"))
