from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, strategies as st

from physdiff.base.errors import DataError
from physdiff.data.direct import RawFile, Stored
from tests.data.files import smooth

h5py = pytest.importorskip("h5py")
VALUES = smooth(2, 11, 6, 5)
LAYOUTS = {
    "contiguous": {},
    "chunks": {"chunks": (1, 4, 6, 5)},
    "chunks of samples": {"chunks": (2, 3, 6, 5)},
    "parts of frames": {"chunks": (1, 4, 3, 5)},
    "compressed": {"chunks": (1, 4, 6, 5), "compression": "gzip", "shuffle": True, "fletcher32": True},
    "big endian": {"dtype": ">f4", "chunks": (1, 2, 6, 5)},
}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("direct") / "a.h5"
    with h5py.File(path, "w") as f:
        for name, options in LAYOUTS.items():
            f.create_dataset(name, data=VALUES, **options)
        f.create_dataset("empty", (2, 11, 6, 5), "f4", chunks=(1, 4, 6, 5), fillvalue=9.0)
    return RawFile(str(path))


def whole(stored, key, along):
    return np.concatenate([values for _, values in stored.parts(key, along)], axis=sum(isinstance(k, slice) for k in key[:along]))


@given(st.sampled_from(sorted(LAYOUTS)), st.integers(0, 1), st.integers(0, 10), st.integers(1, 11), st.booleans())
def test_every_layout_reads_what_numpy_reads(file, name, sample, first, frames, all_rows):
    stored = Stored(file, file.hdf5()[name])
    rows = slice(0, 6) if all_rows else slice(1, 4)
    key = (sample, slice(first, min(first + frames, 11)), rows, slice(0, 5))
    np.testing.assert_array_equal(whole(stored, key, 1), VALUES[key])
    assert [at for at, _ in stored.parts(key, 1)][0] == 0


def test_whole_frames_without_filters_are_read_at_their_place(file, monkeypatch):
    """Then h5py is not asked for a value."""
    for name in ("contiguous", "chunks", "chunks of samples", "big endian"):
        stored = Stored(file, file.hdf5()[name])
        key = (1, slice(2, 9), slice(0, 6), slice(0, 5))
        assert all(stored._place((1, slice(a, a + 1), *key[2:]), 1) is not None for a in range(2, 9))
    for name in ("compressed", "parts of frames"):
        stored = Stored(file, file.hdf5()[name])
        assert not stored._plain or stored._place(key, 1) is None


def test_what_was_never_written_is_its_fill_value(file):
    assert bool((whole(Stored(file, file.hdf5()["empty"]), (0, slice(0, 11), slice(0, 6), slice(0, 5)), 1) == 9).all())


def test_a_file_that_is_cut_off_is_said_to_be(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f["u"] = smooth(40, 20, 20)
    raw = RawFile(str(path))
    stored = Stored(raw, raw.hdf5()["u"])
    os.truncate(path, path.stat().st_size - 1600)
    with pytest.raises(DataError, match="a.h5: expected 16000 bytes at .*; the file is cut off, fetch it again"):
        whole(stored, (slice(30, 40), slice(0, 20), slice(0, 20)), 0)
