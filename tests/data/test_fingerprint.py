"""Equal data have equal marks, and what tells data apart changes the mark."""

from __future__ import annotations

import numpy as np
import xarray as xr

from physdiff.data.fingerprint import fingerprint
from physdiff.data.open import open_dataset
from tests.data.files import earth, save


def test_the_same_wherever_it_lies(tmp_path) -> None:
    ds = open_dataset(save(earth(12), tmp_path / "a.nc"))
    again = open_dataset(save(earth(12), tmp_path / "b.nc"))
    mark = fingerprint(ds)
    assert len(mark) == 64 and mark == fingerprint(again) == fingerprint(ds.load()) == fingerprint(ds.chunk(time=5))


def test_what_changes_it() -> None:
    values = np.arange(40.0).reshape(10, 4)
    ds = xr.Dataset({"u": (("time", "x"), values, {"units": "m"})}, {"time": np.arange(10.0), "x": np.arange(4.0)})
    changed = [ds.rename(u="v"), ds.isel(time=slice(9)), ds.assign_coords(x=ds.x + 1), ds * 2, ds.astype("float32")]
    other = ds.copy(deep=True)
    other["u"].attrs["units"] = "km"
    last = ds.copy(deep=True)
    last["u"][9, 3] = 0
    marks = [fingerprint(d) for d in (ds, *changed, other, last)]
    assert len(set(marks)) == len(marks)


def test_few_frames_are_read() -> None:
    """Five of each field; values between them are not seen."""
    ds = xr.Dataset({"u": (("time",), np.zeros(1001))})
    between = ds.copy(deep=True)
    between["u"][1:250] = 1
    assert fingerprint(ds) == fingerprint(between)
    between["u"][250] = 1
    assert fingerprint(ds) != fingerprint(between)
