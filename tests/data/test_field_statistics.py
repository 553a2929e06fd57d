from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import physdiff.data.field_statistics as module
from physdiff.base.errors import DataError, InputError, UnitError
from physdiff.data.field_statistics import check_like, data_card, field_statistics
from physdiff.data.open import open_dataset
from tests.data.files import box, earth, save, smooth


@settings(max_examples=15)
@given(st.integers(1, 40), st.booleans())
def test_one_pass_is_numpys_two(block, points):
    """Blocks of any size, holes, large means: float64, so 1e-9 of a deviation of one beside a mean of 1e5 is rounding."""
    values = 1e5 + smooth(3, 8, 4, 6).astype(np.float64)
    values[smooth(3, 8, 4, 6, seed=1) > 1] = np.nan
    values[..., 0, 0] = np.nan
    ds = box().assign(u=box()["u"].copy(data=values))
    old, module._BLOCK = module._BLOCK, block * 24
    try:
        found = field_statistics(ds, ["u"], points=points)
    finally:
        module._BLOCK = old
    over = (0, 1) if points else None
    with np.errstate(all="ignore"):
        there = np.isfinite(values).sum(over)
        np.testing.assert_array_equal(found["u_count"].values, there)
        for what, of in (("mean", np.nanmean), ("std", np.nanstd), ("min", np.nanmin), ("max", np.nanmax)):
            got = found[f"u_{what}"].values
            assert got.shape == ((4, 6) if points else ())
            expected = of(values, axis=over) if not points else np.where(there > 0, of(np.where(there > 0, values, 0.0), axis=over), np.nan)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:All-NaN|Mean of empty:RuntimeWarning")
def test_groups_by_hour_month_and_day_of_the_year(tmp_path):
    hours = np.r_[np.arange(50), 8760 * 2 + np.arange(50)]  # two years later
    ds = open_dataset(save(earth(100, hours=hours), tmp_path / "a.nc"))
    values = ds["t2m"].values.astype(np.float64)
    hour = field_statistics(ds, by="hour", points=True)
    assert hour["t2m_mean"].dims == ("hour", "latitude", "longitude") and hour["t2m_mean"].attrs["units"] == "K"
    np.testing.assert_allclose(hour["t2m_mean"].sel(hour=1), values[(ds.time.dt.hour == 1).values].mean(0), atol=1e-9)
    day = field_statistics(ds, by="day")
    of = ds.time.dt.dayofyear.values
    for k in np.unique(of):
        assert float(day["t2m_std"].sel(day=k)) == pytest.approx(values[of == k].std(), abs=1e-9)
    assert np.isnan(day["t2m_mean"].sel(day=200)) and float(day["t2m_count"].sum()) == values.size
    month = field_statistics(ds, by="month")
    assert float(month["t2m_count"].sel(month=1)) == values[(ds.time.dt.month == 1).values].size
    assert day.attrs["fingerprint"] == month.attrs["fingerprint"]


def test_a_card_is_what_numpy_says_of_few_frames():
    card = data_card(earth(64))
    values = earth(64)["t2m"].values.astype(np.float64)
    assert card == {"fields": {"t2m": {"unit": "K", "mean": pytest.approx(values.mean()), "std": pytest.approx(values.std())}}}


def test_data_of_another_unit_or_normalised_are_refused_with_a_remedy():
    ds = earth(60)
    ds["t2m"] = ds["t2m"].copy(data=280 + 5 * smooth(60, 4, 6))
    card = data_card(ds)
    check_like(ds, card)
    check_like(ds.isel(time=slice(2)), card)
    check_like(ds.assign(t2m=(ds.t2m + 20).assign_attrs(units="K")), card)  # another season
    for change, message in (
        (lambda t: (t - 280) / 5, r"t2m like the training data, 2[78].* \+- .* K, got .*they look normalised; give them as they were measured"),
        (lambda t: t - 273.15 + 1, "convert them, or mend the unit in the file"),
        (lambda t: 280 + 100 * (t - 280), "convert them"),
    ):
        with pytest.raises(DataError, match=message):
            check_like(ds.assign(t2m=change(ds.t2m).assign_attrs(units="K")), card)
    with pytest.raises(UnitError):
        check_like(ds.assign(t2m=ds.t2m.assign_attrs(units="degC")), card)
    # what the card does not know, and constants, are not compared
    check_like(earth(4, other=smooth(4, 4, 6)), card)
    check_like(ds, {"fields": {"t2m": {"unit": "K", "mean": 0.0, "std": 0.0}}})
    check_like(ds, {})


def test_what_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="by"):
        field_statistics(earth(4), by="moon")
    with pytest.raises(DataError, match="calendar times"):
        field_statistics(box(), by="hour")
