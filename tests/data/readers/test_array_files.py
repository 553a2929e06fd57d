"""npz, MATLAB and torch files; nothing in them is executed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset
from physdiff.data.readers.array_files import open_matlab, open_npz, open_torch

X, T = np.arange(6.0), np.arange(4.0)
U = np.random.default_rng(0).normal(size=(3, 4, 6))


class Harmful:
    """What a stranger's pickle would run."""

    def __reduce__(self):
        return (pytest.fail, ("code of a file was run",))


def test_npz(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, t=T, u=U)
    ds = open_dataset(tmp_path / "a.npz")
    assert ds["u"].dims == ("sample", "time", "x") and np.array_equal(ds["u"].values, U.astype(np.float32))
    np.savez(tmp_path / "b.npz", x=X, t=T, u=np.array([Harmful()], dtype=object))
    with pytest.raises(DataError, match="objects are not read, for they could run code"):
        open_npz(str(tmp_path / "b.npz"))
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "c.npz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match="c.npz: expected arrays of numbers and text"):
        open_npz(str(tmp_path / "c.npz"))


def test_matlab(tmp_path):
    io = pytest.importorskip("scipy.io")
    io.savemat(tmp_path / "a.mat", {"x": X, "t": T, "u": U})
    assert np.array_equal(open_dataset(tmp_path / "a.mat")["u"].values, U.astype(np.float32))
    raw = (tmp_path / "a.mat").read_bytes()
    (tmp_path / "b.mat").write_bytes(raw[:200])
    with pytest.raises(DataError, match="b.mat: expected a MATLAB file, got a damaged one"):
        open_matlab(str(tmp_path / "b.mat"))


def test_torch(tmp_path):
    torch.save({"x": torch.from_numpy(X), "t": torch.from_numpy(T), "u": torch.from_numpy(U)}, tmp_path / "a.pt")
    assert np.array_equal(open_dataset(tmp_path / "a.pt")["u"].values, U.astype(np.float32))
    torch.save(torch.zeros(3), tmp_path / "b.pt")
    with pytest.raises(DataError, match="expected a dictionary of tensors by name, got Tensor"):
        open_torch(str(tmp_path / "b.pt"))
    torch.save({"u": Harmful()}, tmp_path / "c.pt")
    with pytest.raises(DataError, match="objects are not read, for they could run code"):
        open_torch(str(tmp_path / "c.pt"))
    torch.save({"x": torch.zeros(5, 8, 8) > 0, "y": torch.zeros(5, 8, 9)}, tmp_path / "darcy_train.pt")
    with pytest.raises(DataError, match="expected coordinates"):
        open_dataset(tmp_path / "darcy_train.pt")
