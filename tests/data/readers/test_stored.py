"""Arrays left in their files."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.data.readers.stored import need, stored


class Counted(np.ndarray):
    """An array that remembers what was asked of it."""

    asked: list[object]

    def __getitem__(self, key):
        self.asked.append(key)
        return np.asarray(super().__getitem__(key))


def counted(values: np.ndarray) -> Counted:
    found = values.view(Counted)
    found.asked = []
    return found


def test_only_what_is_asked_for_is_read():
    parts = [counted(np.arange(24.0).reshape(4, 3, 2) + 100 * k) for k in range(3)]
    ds = xr.Dataset({"v": stored(("sample", "time", "x"), parts, tail=(1,), stacked=True)})
    assert ds["v"].shape == (3, 4, 3) and not any(p.asked for p in parts)
    whole = np.stack([np.asarray(p)[..., 1] for p in parts])
    assert np.array_equal(ds["v"].isel(sample=1, time=slice(1, 3)).values, whole[1, 1:3])
    assert not parts[0].asked and not parts[2].asked
    assert np.array_equal(ds["v"].isel(sample=[2, 0], x=[0, 2], time=slice(None, None, -1)).values, whole[[2, 0]][:, ::-1][..., [0, 2]])
    assert np.array_equal(ds["v"].values, whole)


def test_a_package_that_is_missing_is_named():
    need("numpy", "a.mat", what="arrays", extra="formats")
    with pytest.raises(DataError, match=r"a.mat: expected the package no_such for its files, .*; pip install .physdiff\[formats\]"):
        need("no_such", "a.mat", what="its files", extra="formats")
