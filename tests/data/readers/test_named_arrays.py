"""Arrays whose coordinates, lengths or words say what their dimensions are."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.readers.named_arrays import from_arrays

X, Y, T = np.arange(6.0), np.arange(5.0), np.arange(4.0)
U = np.random.default_rng(0).normal(size=(3, 4, 5, 6))


def test_lengths_tell():
    ds = from_arrays({"x": X, "y": Y[None], "t": T, "u": U, "v": U[0, 0], "w": U[:, 0], "label": np.array(["a"]), "other": U[0, 0, :2]}, "a.npz")
    assert ds["u"].dims == ("sample", "t", "y", "x") and ds["v"].dims == ("y", "x") and ds["w"].dims == ("sample", "y", "x") and len(ds) == 4
    assert ds["other"].dims == ("samples_of_other", "x")  # read beside the others it is refused
    assert np.array_equal(ds["u"].values, U) and np.array_equal(ds["y"].values, Y)


def test_words_tell_where_lengths_do_not():
    square = {"x": X, "y": X, "t": T, "u": np.zeros((4, 6, 6))}
    with pytest.raises(DataError, match="expected lengths that tell the dimensions of u .4, 6, 6., got x, y all of length 6; add .* u_dims"):
        from_arrays(square, "a.npz")
    for told in ({"u_dims": np.array("t,y,x")}, {"u_dims": np.array(["t", "y", "x"])}, {"dims": np.array("t,y,x")}):
        assert from_arrays(square | told, "a.npz")["u"].dims == ("t", "y", "x")
    assert from_arrays(square, "a.h5", attrs={"dims": "t,x,y", "nu": 0.1})["u"].dims == ("t", "x", "y")
    with pytest.raises(DataError, match="expected 4 entries of u along t, got 6; repair `dims`"):
        from_arrays(square | {"u": np.zeros((6, 6, 4))}, "a.npz", attrs={"dims": "t,y,x"})
    with pytest.raises(DataError, match="expected 3 dimensions in u_dims, got t, x; repair it"):
        from_arrays(square | {"u_dims": np.array("t,x")}, "a.npz")
    # the samples have the length of an axis, too
    with pytest.raises(DataError, match="expected lengths that tell"):
        from_arrays({"x": X, "t": T, "u": np.zeros((6, 4, 6))}, "a.npz")


def test_coordinates_may_be_attributes():
    ds = from_arrays({"u": U[:, :, 0]}, "a.h5", attrs={"x": X, "t": T, "nu": 0.1})
    assert ds["u"].dims == ("sample", "t", "x") and ds.attrs == {"nu": 0.1}


def test_without_coordinates_or_times_it_is_no_trajectory():
    with pytest.raises(DataError, match="expected coordinates .*, got u .3, 4, 5, 6."):
        from_arrays({"u": U}, "a.npz")
    with pytest.raises(DataError, match="expected times .an array called t or time., got the coordinates x only; pairs of inputs and outputs"):
        from_arrays({"x": X, "u": U[:, 0, 0]}, "a.npz")
