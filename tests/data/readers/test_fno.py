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


def plain(path, **arrays):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return path


def test_version_7_3_by_its_head_alone(tmp_path):
    """Arrays without attributes behind MATLAB's own first words."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "ns.mat", "w", userblock_size=512) as file:
        file["u"], file["t"] = U.T, ARRAYS["t"].T
    with open(tmp_path / "ns.mat", "r+b") as head:
        head.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM")
    assert np.array_equal(open_dataset(tmp_path / "ns.mat")["u"].values, U.transpose(0, 3, 2, 1))


def test_hdf5_without_marks_is_read_where_it_tells_its_order_and_else_refused(tmp_path):
    expected, times = U.transpose(0, 3, 2, 1), np.arange(5.0)
    both = np.random.default_rng(1).normal(size=(5, 8, 8, 5)).astype(np.float32)
    natural = open_dataset(plain(tmp_path / "n.mat", u=U, t=times))
    turned = open_dataset(plain(tmp_path / "t.mat", u=U.T, t=times[:, None], a=U[..., 0].T))
    assert np.array_equal(natural["u"].values, expected) and np.array_equal(turned["u"].values, expected)
    for k, more in enumerate(({"u": U.T}, {"u": U.T, "a": both[..., 0]}, {"u": both})):
        with pytest.raises(DataError, match=r"expected \(sample, x, y, time\), or marks of MATLAB, .* got u \(5, 8, 8, .*; give u the attribute"):
            open_dataset(plain(tmp_path / f"{k}.mat", t=times, **more))
    a = np.random.default_rng(2).normal(size=(4, 6, 5))
    told = open_dataset(plain(tmp_path / "a.mat", u=np.repeat(a[None], 5, axis=0), t=times, a=a))  # as many samples as times
    assert told["u"].dims == ("sample", "time", "y", "x") and np.array_equal(told["u"].values[:, 0], a.transpose(2, 0, 1).astype(np.float32))
    with pytest.raises(DataError, match=r"lengths tell their dimensions beside t \(5\), got v \(7, 4, 8, 3\); add coordinates x, y"):
        open_dataset(plain(tmp_path / "v.mat", v=np.zeros((7, 4, 8, 3)), t=times))
