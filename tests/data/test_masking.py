"""Lazily masked fields: the values of xarray's own `where`, whatever part is asked for, and no more read than that."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray as xr

from physdiff.data.masking import masked
from physdiff.data.open import open_dataset
from tests.data.files import earth, save


@pytest.fixture
def field(tmp_path) -> xr.DataArray:
    values = np.random.default_rng(0).standard_normal((7, 4, 6)).astype("float32")
    return open_dataset(save(earth(hours=np.arange(7), ny=4, nx=6, t2m=values), tmp_path / "a.nc"))["t2m"]


@pytest.mark.parametrize("turned", [False, True])
def test_any_part_is_that_of_the_whole(field, turned):
    there = xr.DataArray(np.random.default_rng(1).random((4, 6)) < 0.5, dims=("latitude", "longitude"))
    lazy, whole = masked(field, there.T if turned else there), field.where(there)
    parts = [{}, {"time": 3}, {"latitude": slice(3, None, -1)}, {"longitude": [4, 0, 4], "time": slice(2, 5)}, {"latitude": 1, "longitude": 2}]
    for part in parts:
        np.testing.assert_array_equal(lazy.isel(part).values, whole.isel(part).values)
    assert lazy.dtype == np.float32 and lazy.attrs == field.attrs
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(lazy)).values, whole.values)
    row = xr.DataArray(np.arange(4) > 0, dims="latitude")
    np.testing.assert_array_equal(masked(field, row).isel(time=[1, 5]).values, field.where(row).isel(time=[1, 5]).values)


def test_nothing_is_read_before_it_is_asked_for(field):

    frames: list[object] = []

    class Spy:
        dims, shape, dtype = field.dims, field.shape, field.dtype

        def __getitem__(self, key):
            frames.append(key[0])
            return field.variable[key]

    lazy = masked(field, xr.DataArray(np.ones((4, 6), bool), dims=("latitude", "longitude")))
    array = lazy.variable._data.array
    array.source = Spy()
    assert not frames
    lazy.isel(time=slice(2, 4)).values  # noqa: B018 - read now
    assert frames == [slice(2, 4, 1)]
