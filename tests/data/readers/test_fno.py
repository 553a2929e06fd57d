"""The MATLAB files of the Fourier neural operator."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.convert import spec_of
from physdiff.data.open import open_dataset

U = np.random.default_rng(0).normal(size=(3, 8, 8, 5)).astype(np.float32)
ARRAYS = {"u": U, "a": U[..., 0], "t": np.arange(1.0, 6.0)[None]}


def test_version_5(tmp_path):
    io = pytest.importorskip("scipy.io")
    io.savemat(tmp_path / "ns_V1e-3.mat", ARRAYS)
    ds = open_dataset(tmp_path / "ns_V1e-3.mat")
    assert ds["u"].dims == ("sample", "time", "y", "x") and np.array_equal(ds["u"].values, U.transpose(0, 3, 2, 1))
    assert ds["time"].values.tolist() == [1, 2, 3, 4, 5] and spec_of(ds[["u"]]).grid.periodic == (True, True) and "a" in ds
    io.savemat(tmp_path / "b.mat", ARRAYS | {"a": U[:, :4, :, 0]})
    with pytest.raises(DataError, match=r"expected inputs a \(3, 8, 8\) beside u, got \(3, 4, 8\)"):
        open_dataset(tmp_path / "b.mat")


def test_version_7_3(tmp_path):
    """HDF5 behind a block of its own, axes turned round."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "ns.mat", "w", userblock_size=512) as file:
        for name, values in ARRAYS.items():
            file[name] = values.T
            file[name].attrs["MATLAB_class"] = np.bytes_("single")
    assert np.array_equal(open_dataset(tmp_path / "ns.mat")["u"].values, U.transpose(0, 3, 2, 1))
