from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError
from physdiff.data.inspect import inspect_file
from physdiff.data.open import open_dataset
from physdiff.data.readers.pairs import from_pairs, pair_of
from physdiff.data.windows import TrajectoryWindows
from tests.data.files import smooth

A, U = smooth(5, 8, 6), smooth(5, 8, 6, seed=1)


def check(path, *, first=A, second=U) -> None:
    ds = open_dataset(path)
    assert list(ds) == ["u"] and dict(ds.sizes) == {"sample": 5, "time": 2, "y": 6, "x": 8}
    for k, values in enumerate((first, second)):
        np.testing.assert_array_equal(ds["u"].values[:, k], values.transpose(0, 2, 1))


def test_files_of_every_kind(tmp_path):
    scipy = pytest.importorskip("scipy.io")
    h5py = pytest.importorskip("h5py")
    scipy.savemat(tmp_path / "darcy.mat", {"coeff": A, "sol": U, "Kcoeff": A})
    check(tmp_path / "darcy.mat")
    torch.save({"x": torch.from_numpy(A > 0), "y": torch.from_numpy(U)}, tmp_path / "darcy.pt")
    check(tmp_path / "darcy.pt", first=(A > 0).astype(np.float32))
    torch.save({"x": torch.from_numpy(A[:, None]), "y": torch.from_numpy(U[:, None])}, tmp_path / "channels.pt")
    check(tmp_path / "channels.pt")
    with h5py.File(tmp_path / "darcy.hdf5", "w") as f:
        f["nu"], f["tensor"], f.attrs["beta"] = A, U[:, None], 1.0
        f["x-coordinate"], f["y-coordinate"] = (np.arange(8) + 0.5) / 8, (np.arange(6) + 0.5) / 6
    check(tmp_path / "darcy.hdf5")
    assert float(open_dataset(tmp_path / "darcy.hdf5").x[0]) == pytest.approx(1 / 16)
    with h5py.File(tmp_path / "darcy73.mat", "w") as f:  # MATLAB 7.3 turns the axes round
        for name, values in (("a", A), ("u", U)):
            f[name] = values.T
            f[name].attrs["MATLAB_class"] = np.bytes_("double")
    check(tmp_path / "darcy73.mat")


def test_burgers_of_one_direction_and_windows_of_a_step(tmp_path):
    np.savez(tmp_path / "burgers.npz", a=A[..., 0], u=U[..., 0])
    ds = open_dataset(tmp_path / "burgers.npz")
    assert ds["u"].dims == ("sample", "time", "x") and ds.x.attrs["periodic"] == 1
    windows = TrajectoryWindows(ds, history=1, horizon=1)
    assert len(windows) == 5
    item = windows[3]
    np.testing.assert_array_equal(item["x"][0].numpy(), np.stack([A[3, :, 0], U[3, :, 0]]))
    np.testing.assert_array_equal(item["cond"][0, 1].numpy(), A[3, :, 0])  # the operator is told the input
    assert "2 frames" in inspect_file(tmp_path / "burgers.npz")


def test_others_are_no_pairs():
    assert pair_of({"a": A, "u": U[:, :-1]}) is None and pair_of({"x": A[0], "y": U[0]}) is None and pair_of({"u": U}) is None
    assert pair_of({"a": A[0, 0], "u": U[0, 0]}) is None
    with pytest.raises(DataError, match="rename them a and u"):
        from_pairs({"u": U}, "a.npz")
