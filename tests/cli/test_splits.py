"""Regions and events as typed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.cli.splits import Event, events_of, regions_of
from physdiff.scores.events import brier_score

DIMS = ("latitude", "longitude")
DS = xr.Dataset(coords={"latitude": np.arange(50.0, 59.0), "longitude": np.arange(0.0, 360.0, 30.0)})


def test_boxes_and_the_seam():
    found = regions_of(["north: latitude 54 to 58", "box: longitude 330 to 30, latitude 50 to 50.5"], DS, DIMS)
    assert list(found) == ["north", "box"] and found["north"].dims == DIMS
    assert found["north"].sum() == 5 * 12 and bool(found["north"][4:].all())
    assert [tuple(p) for p in np.argwhere(found["box"].values)] == [(0, 0), (0, 1), (0, 11)]
    assert regions_of(None, DS, DIMS) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("north", "expected a name and ranges"),
        ("north: latitude 54", "expected a name and ranges"),
        (": latitude 54 to 58", "expected a name and ranges"),
        ("n: altitude 1 to 2", "axes among latitude, longitude, got 'altitude'"),
        ("n: latitude 58 to 54", "lower <= upper"),
        ("n: latitude 60 to 70", "latitude 50 to 58, longitude 0 to 330"),
    ],
)
def test_a_region_that_is_none_is_refused(text, said):
    with pytest.raises(InputError, match=said):
        regions_of(text, DS, DIMS)
    with pytest.raises(InputError, match="each name once"):
        regions_of(["a: latitude 50 to 51", "a: latitude 52 to 53"], DS, DIMS)


def test_events_and_those_below():
    assert events_of("t2m > 283.15", {"t2m": "K"}) == [Event("t2m", 283.15)]
    below = events_of(["t2m<-1e2"], {"t2m": "K"})[0]
    assert below == Event("t2m", -100.0, True) and str(below) == "t2m < -100"
    rng = torch.Generator().manual_seed(0)
    members, truth = torch.randn(9, 4, 5, generator=rng), torch.randn(4, 5, generator=rng)
    above = Event("t", 0.3).scores
    weights = torch.ones(5)
    assert torch.equal(above["brier"](members, truth, weights), brier_score(members, truth, weights, threshold=0.3))
    # without ties the event below is the opposite event: the same Brier score, and counts the other way round
    low = Event("t", 0.3, True).scores
    torch.testing.assert_close(low["brier"](members, truth, weights), above["brier"](members, truth, weights))
    torch.testing.assert_close(low["hits"](members, truth, weights), above["others"](members, truth, weights).flip(-1))
    for text, said in (("t2m 3", "expected a field, > or <"), ("q > 1", "one of the fields t2m, got 'q'"), ("t2m > x", "expected a field")):
        with pytest.raises(InputError, match=said):
            events_of(text, {"t2m": "K"})
