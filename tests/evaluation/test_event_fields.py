"""Events and return levels of a forecast: the numbers of the scores, on the dims of the forecast."""

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.evaluation.event_fields import event_fields, return_fields
from physdiff.scores.return_level import event_probability, return_level


def forecast(starts=4, members=12):
    values = np.random.default_rng(0).gumbel(280, 2, (starts, members, 3, 2, 2))
    values[0, 0, 0, 0, 0] = np.nan
    coords = {"init_time": np.arange(starts), "member": np.arange(members), "lead_time": [1, 2, 3], "y": [0.0, 1.0], "x": [0.0, 1.0]}
    return xr.Dataset({"t2m": (("init_time", "member", "lead_time", "y", "x"), values, {"units": "K"})}, coords)


@pytest.mark.parametrize("below", [False, True])
def test_probabilities_are_those_of_the_members_in_each_cell(below):
    fc = forecast()
    found = event_fields(fc, "t2m", 281.0, below=below)
    x = torch.from_numpy(fc["t2m"].values).movedim(1, 0)
    exact = event_probability(x < 281 if below else x > 281)
    for name, value in zip(("probability", "error", "lower", "upper"), exact, strict=True):
        assert found[name].dims == ("init_time", "lead_time", "y", "x")
        got, wanted = found[name].values, value.numpy().copy()
        wanted[0, 0, 0, 0] = np.nan
        np.testing.assert_allclose(got, wanted)
    assert found["probability"].attrs["event"] == f"t2m {'<' if below else '>'} 281 K"


def test_return_levels_are_those_of_the_maxima_of_all_members_and_starts():
    fc = forecast()
    found = return_fields(fc, "t2m", 20.0, rng=Rng(0))
    maxima = torch.from_numpy(fc["t2m"].values).movedim(1, 0).amax(2).reshape(48, 2, 2)
    exact = return_level(maxima, 20.0, rng=Rng(0))
    for name, value in zip(("return_level", "lower", "upper"), exact[:3], strict=True):
        np.testing.assert_allclose(found[name].transpose("y", "x").values, value.numpy())
    assert np.isnan(found["return_level"].values[0, 0]) and found["return_level"].attrs["blocks"] == 48
    # the maximum of three Gumbel values is Gumbel, moved by 2 log 3: its 19/20 quantile; 48 maxima leave some 8 % of the scale's multiple
    level = 280 + 2 * np.log(3) - 2 * np.log(-np.log(1 - 1 / 20))
    assert np.nanmax(np.abs(found["return_level"].values - level)) < 4 * 1.3


def test_refusals():
    with pytest.raises(DataError, match="a field u with members"):
        event_fields(forecast(), "u", 1.0)
    with pytest.raises(InputError, match="threshold: expected a finite number in the unit of t2m, got nan"):
        event_fields(forecast(), "t2m", float("nan"))
    with pytest.raises(DataError, match="10 forecasts of members or more, got 4"):
        return_fields(forecast(2, 2), "t2m", 20.0, rng=Rng(0))
