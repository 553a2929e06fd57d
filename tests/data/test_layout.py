"""Chunks of files, and what they cost."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.data import inspect as inspect_module
from physdiff.data.inspect import inspect_file
from physdiff.data.layout import chunks_in_file, window_cost
from physdiff.data.open import open_dataset
from tests.data.files import box, earth, save


def test_chunks_have_the_names_of_the_house(tmp_path):
    ds = box().rename(sample="trajectory").transpose("x", "trajectory", "time", "y")
    found = open_dataset(save(ds, tmp_path / "a.nc", encoding={"u": {"chunksizes": (2, 3, 5, 4)}}))
    assert chunks_in_file(found["u"]) == {"x": 2, "sample": 3, "time": 5, "y": 4} and chunks_in_file(found["v"]) is None
    assert chunks_in_file(ds["u"]) is None, "in memory"


@pytest.mark.parametrize("frames", [1, 3, 4])
@pytest.mark.parametrize("chunk", [1, 2, 5, 40])
def test_the_cost_is_what_random_windows_read(frames, chunk):
    """Counted over all places of a window in a long series, where whole chunks are read; a series no longer than a chunk is read once."""
    field = earth(4000)["t2m"]
    starts = np.arange(200 * chunk)
    read = ((starts + frames - 1) // chunk - starts // chunk + 1) * chunk
    assert window_cost(field, {"time": chunk}, frames) == pytest.approx(read.mean() / frames)
    assert window_cost(box()["u"], {"time": 1, "sample": 3}, 1) == 3


def test_inspect_warns_of_large_files_only_and_says_what_helps(tmp_path, monkeypatch):
    path = save(earth(100), tmp_path / "a.nc", encoding={"t2m": {"chunksizes": (100, 4, 6), "zlib": True}})
    assert "stored  chunks of 100 time x 4 latitude x 6 longitude: t2m" in inspect_file(path) and "physdiff convert" not in inspect_file(path)
    monkeypatch.setattr(inspect_module, "_SMALL", 0)
    assert "a window of 4 frames of t2m reads 26 times its size" in inspect_file(path) and "`physdiff convert --frames 4`" in inspect_file(path)
