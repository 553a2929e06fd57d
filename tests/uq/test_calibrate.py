"""Conformal bands of forecasts: what they guarantee is what they do, over many sets of cases."""

import numpy as np
import pytest
import scipy.stats
import torch
import xarray as xr

from physdiff.base.errors import DataError, InputError, ShapeError
from physdiff.data.convert import to_dataset
from physdiff.evaluation.evaluate import evaluate
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.scores.band import band_coverage, band_holds, band_width
from physdiff.uq import calibrate as module
from physdiff.uq.calibrate import band_members, calibrate
from physdiff.uq.conformal import coverage_law

GRID = CartesianGrid((4, 5), extent=(1.0, 1.0), periodic=True)
LEADS = np.array([1.0, 2.0, 3.0])


def world(cases, *, members=9, seed=0, first=0, scale=1.0):
    """Forecasts with errors of a different, correlated size in every cell, two times too narrow; the truth of each sample."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    size = 1 + torch.arange(20, dtype=torch.float64).reshape(4, 5) / 10
    common = normal(cases, 3, 1, 1)
    truth = 280 + scale * size * (0.6 * common + 0.8 * normal(cases, 3, 4, 5))
    x = 280 + 0.5 * size * normal(members, cases, 3, 4, 5)
    spec = FieldSpec(("t2m",), ("K",), GRID, 1.0, time_unit="1")
    labels = {"sample": np.arange(first, first + cases)}
    # the truth has a frame before the first lead: forecasts start from it
    y = to_dataset(torch.cat([truth[:, :1], truth], 1)[:, None], spec, np.arange(4.0), batch="sample", coords=labels)
    dims = ("member", "sample", "init_time", "lead_time", "y", "x")
    coords = {**labels, "init_time": [0.0], "lead_time": LEADS, "y": y["y"], "x": y["x"]}
    fc = xr.Dataset({"t2m": (dims, x.numpy()[:, :, None], {"units": "K"})}, coords=coords, attrs=y.attrs)
    return fc.isel(init_time=0), y


def covered(band, truth, score=band_coverage, by=("lead_time",)):
    return evaluate(band_members(band), truth, {"s": score}, by=by)["s"].values


@pytest.mark.parametrize("scale", ["spread", "none", "quantile", "errors"])
def test_points_are_covered_at_the_level(scale):
    fc, y = world(200, first=1000, seed=5)
    # every second case gives the sizes of errors, the others are ranked
    cases = 398 if scale == "errors" else 199
    band = calibrate(fc, with_pairs=world(cases, seed=3), scale=scale)
    found = covered(band, y)
    # 199 cases: standard deviation 0.021 by the Beta law in each of 20 cells, partly independent; tested on 200 cases
    assert np.abs(found - 0.9).max() < 0.04
    assert band["t2m_lower"].attrs["units"] == "K" and band.attrs["cases"] == 199
    assert band.attrs["coverage_mean"] == pytest.approx(0.9) and "each variable" in band.attrs["guarantee"]


BANDS = {
    "pointwise": ("points", 1.0, "spread"),
    "pointwise widths, all cells at once": ("field", 1.0, "errors"),
    "supremum": ("field", 1.0, "none"),
    "functional, as wide as the spread": ("field", 1.0, "spread"),
    "functional, quantiles": ("field", 1.0, "quantile"),
    "share of the area": ("field", 0.8, "spread"),
    "whole trajectory": ("trajectory", 1.0, "spread"),
    "whole trajectory, pointwise widths": ("trajectory", 1.0, "errors"),
    "share of the trajectory's area": ("trajectory", 0.8, "spread"),
}


def with_land(pair):
    """Two cells never have values, one misses them in every third case."""
    fc, y = pair
    x = y["t2m"].values
    x[..., 0, :2] = np.nan
    x[::3, ..., 2, 2] = np.nan
    return fc, y


@pytest.mark.slow
@pytest.mark.parametrize("land", [False, True])
@pytest.mark.parametrize("name", BANDS)
def test_coverage_over_two_hundred_sets_follows_the_beta_law(name, land):
    together, share, scale = BANDS[name]
    n, new, sets, held = 39, 100, 200, []
    area = np.ones((4, 5))
    for k in range(sets):
        fc, y = world(new, first=1000, seed=10_000 + k)
        pairs = world(2 * n if scale == "errors" else n, seed=k)
        if land:
            (fc, y), pairs = with_land((fc, y)), with_land(pairs)
        fc = fc.isel(lead_time=[1]) if together != "trajectory" else fc
        band = calibrate(fc, with_pairs=pairs, together=together, share=share, scale=scale)
        # the cell that misses every third case has 26 of 39
        assert band.attrs["cases_most"] == n and band.attrs["cases"] == (26 if land and together == "points" else n)
        leads = [2] if together != "trajectory" else [1, 2, 3]
        truth = y["t2m"].values[:, leads]
        lower, upper = (band[f"t2m_{end}"].transpose("sample", "lead_time", "y", "x").values for end in ("lower", "upper"))
        known = np.isfinite(truth)
        inside = (lower <= truth) & (truth <= upper) & known
        if together == "points":
            # one cell that always has values is a series of its own
            held.append(inside[:, 0, 1, 1].mean())
            continue
        # a cell without a value is of no area
        kept = (inside * area).sum((1, 2, 3)) / (known * area).sum((1, 2, 3))
        held.append((kept >= share - 1e-9).mean())
    law = coverage_law(n, 0.9)
    # of a set 100 new cases are seen: the law of their number is Beta-binomial
    exact = scipy.stats.betabinom(new, law.a, law.b)
    # a share of cells comes in steps, so that scores have ties and coverage is a little above; four standard errors of the mean over sets
    error = 4 * exact.std() / new / np.sqrt(sets)
    print(f"{name}, {'with' if land else 'without'} land: mean coverage {np.mean(held):.4f}, exact {law.mean:.4f} +- {error / 4:.4f}")
    assert law.mean - error < np.mean(held) < law.mean + error + (0.03 if share < 1 else 0)
    low, high = exact.ppf(0.005) / new, exact.ppf(0.995) / new
    # each set lies in its 99 % band but for a binomial number of them: more than 8 of 200 has probability 0.0002
    assert sum(not low <= h <= high for h in held) <= 8


@pytest.mark.parametrize("together", ["points", "field"])
def test_missing_cases_are_not_counted(together):
    fc, (past, z) = world(5, first=1000, seed=5)[0], world(30, seed=3)
    z["t2m"].values[:4] = np.nan                          # four cases without any truth
    z["t2m"].values[4:9, :, 1, 1] = np.nan                # and five that one cell misses
    band = calibrate(fc, with_pairs=(past, z), together=together)
    fewest = 21 if together == "points" else 26
    law = coverage_law(fewest, 0.9)
    assert (band.attrs["cases"], band.attrs["cases_most"]) == (fewest, 26)
    assert band.attrs["coverage_mean"] == law.mean and band.attrs["coverage_std"] == law.std
    said = "the 21 to 26 (values are missing from some)" if together == "points" else "the 26"
    assert f"{said} calibration cases" in band.attrs["guarantee"]
    # too few everywhere is refused, not given infinite bounds
    z["t2m"].values[8:] = np.nan
    with pytest.raises(ShapeError, match="at least 9 calibration cases for a level of 0.9, got 4"):
        calibrate(fc, with_pairs=(past, z), together=together)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pointwise widths, all cells at once", "supremum", "functional, as wide as the spread", "whole trajectory"])
def test_no_field_band_holds_under_drift(name):
    together, share, scale = BANDS[name]
    fc, y = world(200, first=1000, seed=2, scale=2.0)
    band = calibrate(fc, with_pairs=world(99, seed=1), together=together, share=share, scale=scale)
    truth = y["t2m"].values[:, 1:]
    lower, upper = (band[f"t2m_{end}"].transpose("sample", "lead_time", "y", "x").values for end in ("lower", "upper"))
    inside = (lower <= truth) & (truth <= upper)
    held = inside.all((2, 3)) if together == "field" else inside.all((1, 2, 3))
    # errors doubled: nowhere near the level
    assert held.mean() < 0.5


def test_field_and_trajectory_bands_are_wider_and_hold_as_a_whole():
    pairs = world(99, seed=1)
    fc, y = world(150, first=1000, seed=2)
    width, whole = {}, {}
    for name in ("points", "field", "trajectory"):
        band = calibrate(fc, with_pairs=pairs, together=name)
        width[name] = covered(band, y, band_width).mean()
        whole[name] = evaluate(band_members(band), y, {"s": band_holds}, by=("sample", "lead_time"))["s"].values[0]
    assert width["points"] < width["field"] < width["trajectory"]
    # four standard errors of the Beta law (0.030) and of 150 cases (0.024) together
    assert abs(whole["field"].mean() - 0.9) < 0.16 and abs(whole["trajectory"].min(-1).mean() - 0.9) < 0.16
    assert whole["points"].mean() < 0.6


def test_the_share_of_the_area_is_what_is_held():
    fc, y = world(150, first=1000, seed=2)
    band = band_members(calibrate(fc, with_pairs=world(99, seed=1), together="field", share=0.8))
    held = evaluate(band, y, {"s": lambda m, t, w: band_holds(m, t, w, share=0.8)})["s"].values
    assert np.abs(held - 0.9).max() < 0.16


def test_the_share_is_of_the_area_and_not_of_cells():
    g = torch.Generator().manual_seed(3)
    area, score = torch.rand(4, 5, generator=g, dtype=torch.float64) + 0.1, torch.randn(3, 4, 5, generator=g, dtype=torch.float64)
    score[:, 0, 0] = float("nan")
    rule = module._Rule(0.9, "field", 0.8, "spread", area)
    for frame, found in zip(score, module._joined(score, rule), strict=True):
        seen = frame.isfinite()
        # the least bound below which there is that share of the area that has values
        enough = [float(b) for b in frame[seen] if float(area[seen & (frame <= b)].sum()) >= 0.8 * float(area[seen].sum()) - 1e-12]
        assert float(found) == min(enough)


def test_a_drift_is_not_covered():
    fc, y = world(200, first=1000, seed=2, scale=2.0)
    band = calibrate(fc, with_pairs=world(99, seed=1))
    # errors doubled: a Gaussian covers 0.59 between the old bounds; the guarantee was for exchangeable cases
    assert covered(band, y).max() < 0.7


def test_masked_cells_stay_missing_and_rare_ones_are_unbounded():
    fc, truth = world(30, seed=1)
    x = truth["t2m"].values
    x[:, :, 0, 0] = np.nan
    x[:25, :, 1, 1] = np.nan
    band = calibrate(fc, with_pairs=(fc, truth))
    upper = band["t2m_upper"].values
    assert np.isnan(upper[..., 0, 0]).all() and np.isinf(upper[..., 1, 1]).all() and np.isfinite(upper[..., 2, 2]).all()
    assert np.isfinite(calibrate(fc, with_pairs=(fc, truth), together="field")["t2m_upper"].values).all()


def test_leads_of_the_forecast_are_met_by_value():
    pairs = world(40, seed=1)
    fc, _ = world(3, first=1000, seed=2)
    whole, part = (calibrate(f, with_pairs=pairs) for f in (fc, fc.isel(lead_time=[2, 0])))
    xr.testing.assert_allclose(whole.isel(lead_time=[2, 0]), part)


def test_dims_in_any_order_give_the_same_band():
    pairs = world(40, seed=1)
    fc, _ = world(3, first=1000, seed=2)
    turned = fc.transpose("y", "lead_time", "sample", "x", "member")
    a, b = calibrate(fc, with_pairs=pairs), calibrate(turned, with_pairs=pairs)
    xr.testing.assert_allclose(a.transpose(*b["t2m_lower"].dims), b)


def test_overlapping_starts_are_said():
    fc, y = world(1, seed=1)
    starts = xr.concat([fc.assign_coords(init_time=float(k)) for k in range(12)], "init_time").isel(sample=0, drop=True)
    truth = xr.concat([y.isel(time=[1]).assign_coords(time=[float(k)]) for k in range(15)], "time").isel(sample=0, drop=True).assign_attrs(y.attrs)
    band = calibrate(starts, with_pairs=(starts, truth))
    assert band.attrs["overlapping_cases"] == 1 and "not exchangeable" in band.attrs["guarantee"]


def test_refusals():
    pairs = world(40, seed=1)
    fc, _ = world(3, first=1000, seed=2)
    with pytest.raises(ShapeError, match="at least 9 calibration cases"):
        calibrate(fc, with_pairs=world(5, seed=1))
    with pytest.raises(InputError, match="as many members as in the pairs, 9, got 4"):
        calibrate(fc.isel(member=slice(4)), with_pairs=pairs)
    with pytest.raises(InputError, match="use scale='none'"):
        calibrate(fc.isel(member=[0]), with_pairs=(pairs[0].isel(member=[0]), pairs[1]))
    alone = calibrate(fc.isel(member=[0]), with_pairs=(pairs[0].isel(member=[0]), pairs[1]), scale="errors")
    assert np.isfinite(alone["t2m_upper"].values).all()
    with pytest.raises(InputError, match="together"):
        calibrate(fc, with_pairs=pairs, together="all")
    with pytest.raises(InputError, match="share"):
        calibrate(fc, with_pairs=pairs, share=0.9)
    with pytest.raises(DataError, match="lead_time that the pairs have, got 7"):
        calibrate(fc.assign_coords(lead_time=[1.0, 2.0, 7.0]), with_pairs=pairs)
    with pytest.raises(DataError, match="_lower and <name>_upper"):
        band_members(fc)
