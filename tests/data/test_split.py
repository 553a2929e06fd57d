from __future__ import annotations

import datetime

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.open import open_dataset
from physdiff.data.split import split_samples, split_time
from tests.data.files import HOUR, START, box, earth, save


@pytest.mark.parametrize("at", [0.75, "2020-01-01T15", np.datetime64("2020-01-01T15"), "2020-01-01T14:30"])
def test_parts_meet_at_the_place(at):
    ds = earth(20)
    train, test = split_time(ds, at=at)
    assert train.sizes["time"] == 15 and test.time.values[0] == START + 15 * HOUR
    xr.testing.assert_identical(xr.concat([train, test], "time", data_vars="minimal"), ds)


@pytest.mark.parametrize("gap", [3, "3h", "180 min", np.timedelta64(3, "h"), datetime.timedelta(hours=3)])
def test_the_gap_is_taken_from_the_end_of_the_first_part(gap):
    train, test = split_time(earth(20), at=0.75, gap=gap)
    assert train.sizes["time"] == 12 and test.sizes["time"] == 5


def test_a_split_reads_nothing(tmp_path):
    train, test = split_time(open_dataset(save(earth(20), tmp_path / "a.nc")), at=0.5)
    assert not train.t2m.variable._in_memory and not test.t2m.variable._in_memory


def test_places_that_make_no_parts():
    for at, gap, kind, message in (
        ("2019-01-01", 0, DataError, "got 0 before"),
        ("2021-01-01", 0, DataError, "and 0 after"),
        (0.5, 10, DataError, "got 0 before"),
        (1.5, 0, InputError, "share between 0 and 1"),
        ("soon", 0, InputError, "expected a date"),
        (0.5, -1, InputError, "0 or more frames"),
        (0.5, "3 moons", InputError, "as in '12h'"),
    ):
        with pytest.raises(kind, match=message):
            split_time(earth(20), at=at, gap=gap)
    with pytest.raises(InputError, match="plain numbers"):
        split_time(box(), at="2020-01-01")
    with pytest.raises(InputError, match="plain numbers"):
        split_time(box(), at=0.5, gap="1h")


def test_samples():
    first, rest = split_samples(box(samples=5), at=0.8)
    assert first.sizes["sample"] == 4 and rest.sizes["sample"] == 1
    assert split_samples(box(samples=5), at=2)[1].sizes["sample"] == 3
    with pytest.raises(DataError, match="split_time splits along time"):
        split_samples(earth(5), at=0.5)
    with pytest.raises(DataError, match="in both parts"):
        split_samples(box(samples=5), at=5)
