from __future__ import annotations

import multiprocessing
import os
import pickle

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

from physdiff.base.errors import DataError
from physdiff.data.lazy import Files, LazyField, Piece
from tests.data.files import save, smooth


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    """A field joined from two files stored in another order of axes, and the same in memory."""
    folder = tmp_path_factory.mktemp("lazy")
    data = smooth(9, 5, 7)
    for k, part in enumerate((data[:4], data[4:])):
        save(xr.Dataset({"u": (("x", "time", "y"), part[:, ::-1].transpose(2, 0, 1))}), folder / f"{k}.nc")
    order = {"y": np.arange(5)[::-1]}
    pieces = [Piece(str(folder / f"{k}.nc"), "u", ("x", "time", "y"), order, n) for k, n in enumerate((4, 5))]
    field = LazyField(Files(), pieces, ("time", "y", "x"), shape=(9, 5, 7), dtype=np.dtype("float32"))
    return xr.Variable(field.dims, xr.core.indexing.LazilyIndexedArray(field)), xr.Variable(field.dims, data)


keys = {
    n: st.one_of(
        st.integers(-n, n - 1),
        st.builds(slice, st.none() | st.integers(-n, n), st.none() | st.integers(-n, n), st.sampled_from([None, 1, 2, 3, -1])),
        st.lists(st.integers(0, n - 1), max_size=n).map(lambda v: np.array(v, dtype=int)),
    )
    for n in (9, 5, 7)
}


@settings(max_examples=100)
@given(keys[9], keys[5], keys[7])
def test_every_index_reads_what_numpy_reads(joined, time, y, x):
    lazy, memory = joined
    chosen = {"time": time, "y": y, "x": x}
    np.testing.assert_array_equal(lazy.isel(chosen).values, memory.isel(chosen).values)


@given(keys[9], keys[5])
def test_indexing_twice_and_transposing_stays_right(joined, first, second):
    lazy, memory = joined
    if isinstance(first, int):
        return
    once = {"time": first}
    twice = {"y": second}
    a, b = (v.isel(once).transpose("x", "y", "time").isel(twice) for v in (lazy, memory))
    np.testing.assert_array_equal(a.values, b.values)


def test_pickling_carries_no_open_file(joined):
    lazy, memory = joined
    assert lazy[0].values.shape == (5, 7)  # the file is open now
    copy = pickle.loads(pickle.dumps(lazy))
    assert len(pickle.dumps(lazy)) < 4000
    np.testing.assert_array_equal(copy.values, memory.values)


def _read(variable, queue):
    queue.put((os.getpid(), float(variable.values.sum())))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_process_opens_its_own_files(joined):
    lazy, memory = joined
    expected = float(memory.values.sum())
    assert float(lazy.values.sum()) == expected
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read, args=(lazy, queue))
    child.start()
    process, total = queue.get(timeout=30)
    child.join(30)
    assert child.exitcode == 0 and process != os.getpid() and total == expected
    assert float(lazy.values.sum()) == expected


def test_merging_takes_the_first_that_is_there(tmp_path):
    data = smooth(3, 2, 4)
    data[:, 0, 1] = np.nan
    data[2, 0] = np.nan
    path = save(xr.Dataset({"u": (("time", "expver", "x"), data)}), tmp_path / "e.nc")
    piece = Piece(str(path), "u", ("time", "expver", "x"), {}, 3)
    field = LazyField(Files(), [piece], ("time", "x"), shape=(3, 4), dtype=np.dtype("float32"))
    read = xr.Variable(field.dims, xr.core.indexing.LazilyIndexedArray(field)).values
    np.testing.assert_array_equal(read, np.where(np.isnan(data[:, 0]), data[:, 1], data[:, 0]))


def test_what_is_no_netcdf_is_refused(tmp_path):
    text = tmp_path / "a.nc"
    text.write_text("not a netCDF")
    (tmp_path / "store.zarr").mkdir()
    for path, message in ((text, "expected netCDF, Zarr"), (tmp_path / "none.nc", "found nothing there"), (tmp_path / "store.zarr", "got a folder")):
        with pytest.raises(DataError, match=message):
            Files().get(str(path))


def test_values_that_cannot_be_read_are_a_damaged_file(tmp_path):
    """The header is whole, so the file opens; its checksums tell that the values are not."""
    path = save(xr.Dataset({"u": (("time", "x"), smooth(400, 50))}), tmp_path / "a.nc", encoding={"u": {"fletcher32": True, "chunksizes": (100, 50)}})
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 1000] = bytes(1000)
    path.write_bytes(raw)
    with pytest.raises(DataError, match="a.nc: expected to read u, got an error .*; the file is damaged or cut off, fetch it again"):
        Piece(str(path), "u", ("time", "x"), {}, 400).read(Files(), {"time": np.arange(400), "x": np.arange(50)}, ("time", "x"))
