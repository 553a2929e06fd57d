"""Intervals of mean scores hold the mean as often as they say, for dependent cases too; paired tests keep their level."""

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.evaluation import significance as module
from physdiff.evaluation.significance import block_length, combined_interval, paired_difference, score_interval


def series(n, rho, *, seed, entries=1):
    rng = np.random.default_rng(seed)
    e = rng.standard_normal((n, entries))
    x = [e[0]]
    for k in range(1, n):
        x.append(rho * x[-1] + np.sqrt(1 - rho**2) * e[k])
    return xr.Dataset({"crps": (("init_time", "lead_time"), np.array(x), {"units": "K"})}, coords={"init_time": np.arange(n)})


def held(rho, block, sets=150, n=150):
    return np.mean([bool(lo <= 0 <= hi) for lo, hi in (bounds(series(n, rho, seed=s), block) for s in range(sets))])


def bounds(table, block):
    found = score_interval(table, block=block, draws=300)["crps"]
    return found.sel(bound="lower").item(), found.sel(bound="upper").item()


def test_intervals_hold_the_mean():
    # 150 sets: standard error 0.018; three of them, and two per cent that blocks cut short of a correlation of 0.7 cost
    assert held(0.0, None) > 0.90 and held(0.7, None) > 0.87
    # what blocks are for: drawing dependent cases one by one holds 0.59 (exact: half width times sqrt((1-rho)/(1+rho)))
    assert held(0.7, 1) < 0.72


def test_the_bootstrap_law_is_the_exact_one_for_independent_cases():
    table = series(60, 0.0, seed=1)
    x = table["crps"].values[:, 0]
    found = score_interval(table, block=1, draws=4000)["crps"]
    half = 2.00 * x.std() / np.sqrt(59)                   # Student's t with 59 degrees of freedom
    assert found.sel(bound="mean").item() == pytest.approx(x.mean(), rel=1e-12)
    # 4000 draws tell a 2.5 % quantile to 4 % of its distance, the normal law itself is met to some per cent with 60 cases
    assert found.sel(bound="upper").item() - x.mean() == pytest.approx(half, rel=0.1)
    assert found.attrs["units"] == "K"


def test_a_paired_test_finds_what_single_intervals_hide():
    base = series(100, 0.5, seed=3)
    other = base.copy(deep=True)
    other["crps"] = base["crps"] + 0.1 + 0.05 * series(100, 0.0, seed=4)["crps"]
    found = paired_difference(other, base)["crps"].isel(lead_time=0)
    # the difference of a tenth has a standard error of 0.005, the scores themselves one of 0.17
    assert found.sel(bound="lower").item() > 0.08 and found.sel(bound="p_value").item() < 1e-6
    wide = score_interval(other)["crps"].isel(lead_time=0)
    assert wide.sel(bound="lower").item() < float(base["crps"].mean())


def test_a_paired_test_says_what_one_table_alone_has(caplog):
    table = series(30, 0.0, seed=1, entries=3).assign_coords(lead_time=[1, 2, 3])
    part = table.isel(init_time=slice(4, None), lead_time=[0, 1])
    found = paired_difference(table.isel(init_time=slice(0, 28)), part + 1.0, draws=100)
    assert found.attrs["cases"] == 24 and found.attrs["left_out_table"] == 4 and found.attrs["left_out_reference"] == 2
    assert "4 of 28 along init_time of the table and 2 of 26 of the reference" in caplog.text
    assert "1 of 3 along lead_time of the table and 0 of 2 of the reference" in caplog.text
    caplog.clear()
    found = paired_difference(table, table + 1.0, draws=100)
    assert found.attrs["cases"] == 30 and found.attrs["left_out_table"] == found.attrs["left_out_reference"] == 0
    assert not caplog.text


def test_an_entry_with_few_cases_has_no_interval_and_one_with_some_is_stretched_by_its_own():
    table = series(40, 0.0, seed=1, entries=3)
    table["crps"][4:, 0] = np.nan                             # four cases: a mean, and no more
    table["crps"][10:, 1] = np.nan
    found = score_interval(table, block=1)["crps"]
    assert found.sel(bound="mean").notnull().all() and found.isel(lead_time=0).sel(bound=["lower", "upper"]).isnull().all()
    alone = score_interval(table.isel(init_time=slice(0, 10), lead_time=[1]), block=1)["crps"].isel(lead_time=0)
    half = [float(v.sel(bound="upper") - v.sel(bound="lower")) for v in (found.isel(lead_time=1), alone)]
    # ten known cases in blocks of one are ten cases, whatever stands beside them: redrawn, 7 to 13 of them come, which widens a little
    assert 0.95 < half[0] / half[1] < 1.2
    p = paired_difference(table, table * 1.1, block=1)["crps"].sel(bound="p_value")
    assert np.isnan(p[0]) and p[1:].notnull().all()


def test_a_ratio_of_means_is_redrawn_as_one():
    x = series(60, 0.0, seed=1)["crps"] ** 2 + 1
    y = 2 * x + 0.01 * series(60, 0.0, seed=2)["crps"]
    found = combined_interval([x, y], lambda a, b: np.sqrt(a / b), draws=1000).isel(lead_time=0)
    lower, mean, upper = (float(found.sel(bound=b)) for b in ("lower", "mean", "upper"))
    assert mean == pytest.approx(np.sqrt(float(x.mean() / y.mean())), rel=1e-12) and lower < mean < upper
    # the parts go together: the ratio is known far better than either; by the delta method, its deviation is that of x - y r^2
    r2 = float(x.mean() / y.mean())
    delta = float((x - r2 * y).std()) / np.sqrt(60) / float(y.mean()) / (2 * mean)
    assert upper - lower == pytest.approx(2 * 1.96 * delta, rel=0.3)
    assert upper - lower < 0.02 * float(x.std()) / np.sqrt(60)
    single = combined_interval([x], np.sqrt).isel(lead_time=0)
    own = score_interval(xr.Dataset({"s": x}))["s"].isel(lead_time=0)
    np.testing.assert_allclose(single, np.sqrt(own))
    with pytest.raises(DataError, match="at least five cases"):
        combined_interval([x[:4], y[:4]], np.divide)


@pytest.mark.parametrize(("cases", "rho"), [(5, 0.0), (7, 0.0), (28, 0.5), (111, 0.5)])
def test_small_p_values_are_as_rare_as_they_say(cases, rho):
    table = series(cases, rho, seed=7, entries=2000)
    p = paired_difference(table, 0 * table, draws=1000)["crps"].sel(bound="p_value").values
    # what Holm's rule of 25 tests asks for; 2000 pairs of equal models: 4, and four standard errors. Shares of redrawn means gave 16 to 41
    assert (p < 0.002).sum() <= 12 and (p < 0.01).mean() < 0.02


def test_p_values_are_those_of_students_law():
    size, freedom = np.array([0.0, 0.5, 2.0, 5.0, 12.0]), np.array([1.0, 2.5, 4.0, 30.0, 400.0])
    mean, error = np.meshgrid(size, np.ones(5))[0], np.ones((5, 5))
    found = module.student_p_value(mean, error, np.broadcast_to(freedom[:, None], (5, 5)))
    np.testing.assert_allclose(found, 2 * scipy.stats.t.sf(mean, freedom[:, None]), rtol=1e-8)
    assert module.student_p_value(np.array([0.0, 1.0]), np.zeros(2), np.full(2, 9.0)).tolist() == [1.0, 0.0]


def test_the_paired_test_keeps_its_level():
    pairs = [(series(100, 0.5, seed=2 * s), series(100, 0.5, seed=2 * s + 1)) for s in range(150)]
    p = np.array([paired_difference(a, b, draws=300)["crps"].sel(bound="p_value").item() for a, b in pairs])
    # nominal 0.05 of 150: 7.5 with standard deviation 2.7; three of them above
    assert (p < 0.05).sum() <= 16
    assert 0.4 < p.mean() < 0.6


def test_blocks():
    assert block_length(series(64, 0.0, seed=0)["crps"]) <= 6
    long = block_length(series(1000, 0.9, seed=0)["crps"])
    # n^(1/3) (19)^(2/3) = 71
    assert 55 <= long <= 90
    assert block_length(series(9, 0.99, seed=0)["crps"]) <= 3
    samples = series(30, 0.9, seed=0).rename(init_time="sample")
    assert block_length(samples["crps"], over="sample") == 1


def test_missing_cases_count_nowhere():
    table = series(40, 0.0, seed=1)
    holed = table.copy(deep=True)
    holed["crps"][5:8] = np.nan
    found = score_interval(holed, block=2)["crps"].isel(lead_time=0)
    assert found.sel(bound="mean").item() == pytest.approx(float(holed["crps"].mean())) and bool(found.notnull().all())


def test_the_same_seed_gives_the_same_interval():
    table = series(40, 0.3, seed=1)
    xr.testing.assert_identical(score_interval(table, rng=Rng(3)), score_interval(table, rng=Rng(3)))
    assert not score_interval(table, rng=Rng(3)).equals(score_interval(table, rng=Rng(4)))


def test_refusals():
    table = series(40, 0.0, seed=1)
    with pytest.raises(DataError, match="by=.'init_time'"):
        score_interval(table.mean("init_time"))
    with pytest.raises(DataError, match="five cases"):
        score_interval(table.isel(init_time=slice(3)))
    with pytest.raises(InputError, match="block: expected 1 to 40"):
        score_interval(table, block=90)
    endless = table.copy(deep=True)
    endless["crps"][3] = np.inf
    with pytest.raises(DataError, match="finite scores, got infinite ones of crps"):
        score_interval(endless)
    with pytest.raises(DataError, match="both tables have"):
        paired_difference(table, table.rename(crps="rmse"))
