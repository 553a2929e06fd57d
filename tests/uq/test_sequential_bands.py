"""Bands of successive forecasts: only what had been verified at a start is used."""

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.persistence import persistence
from physdiff.scores.band import band_coverage
from physdiff.uq.calibrate import band_members
from physdiff.uq.sequential_bands import sequential_bands
from tests.evaluation.processes import hourly, latlon_spec

SPEC = latlon_spec(2, 3)


def case(hours=260, leads=2):
    truth = hourly(hours, spec=SPEC, cycle=0.0)
    return persistence(truth, None, leads), truth


@pytest.mark.parametrize("method", ["adaptive", "quantiles", "regression"])
def test_the_level_is_kept_at_every_lead(method):
    fc, truth = case()
    band = sequential_bands(fc, truth, method=method, window=120, progress=False)
    settled = band_members(band).isel(init_time=slice(120, 250))
    found = evaluate(settled, truth, {"c": band_coverage})["c"].values
    # 130 starts in six independent cells; errors of lead 2 overlap, so that some 260 are independent: four standard errors
    assert np.abs(found - 0.9).max() < 0.075
    assert band["t2m_upper"].attrs["units"] == "K" and band.attrs["method"] == method


def test_a_start_is_bounded_by_what_was_verified_by_then():
    fc, truth = case(120)
    band = sequential_bands(fc, truth, method="quantiles", progress=False)
    cut = truth.isel(time=slice(0, 100))
    early = sequential_bands(fc, cut, method="quantiles", progress=False)
    # the start at frame 99 is the last before whose time all has been seen
    xr.testing.assert_allclose(band.isel(init_time=slice(0, 100)), early.isel(init_time=slice(0, 100)))


def test_the_mean_of_members_is_the_centre():
    fc, truth = case(60)
    both = xr.concat([fc.isel(member=0) - 1, fc.isel(member=0) + 1], "member") if "member" in fc.dims else xr.concat([fc - 1, fc + 1], "member")
    both = both.assign_attrs(fc.attrs)
    both["t2m"].attrs = fc["t2m"].attrs
    a, b = (sequential_bands(f, truth, method="adaptive", progress=False) for f in (fc, both))
    xr.testing.assert_allclose(a, b)


def test_cells_never_known_stay_missing_and_gaps_are_refused():
    fc, truth = case(60)
    truth = truth.load().copy(deep=True)
    truth["t2m"][:, 0, 0] = np.nan
    band = sequential_bands(fc, truth, method="quantiles", progress=False)
    assert np.isnan(band["t2m_lower"][:, :, 0, 0]).all() and np.isfinite(band["t2m_lower"][-1, :, 1, 1]).all()
    truth["t2m"][30, 1, 1] = np.nan
    with pytest.raises(DataError, match="a cell without at start"):
        sequential_bands(fc, truth, method="quantiles", progress=False)


def test_refusals():
    fc, truth = case(60)
    with pytest.raises(InputError, match="method"):
        sequential_bands(fc, truth, method="spci")
    with pytest.raises(DataError, match="equally spaced"):
        sequential_bands(fc.isel(init_time=[0, 1, 5]), truth)
