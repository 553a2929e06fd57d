"""Assimilation: the Kalman filter on AR(1), readings at points and on grids, windows, going on after an interruption, worded errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import CollapsedWeights, DataError, GridMismatch, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.forecast import assimilate as module
from physdiff.forecast.analysis import KalmanAnalysis, ParticleAnalysis
from physdiff.forecast.assimilate import assimilate, ensemble_of, gridded_readings
from physdiff.forecast.forecast_models import StepModel
from physdiff.forecast.readings import Readings
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.state_space import LinearGaussian, kalman

LIKE = torch.zeros((), dtype=torch.float64)
SPEC = FieldSpec(("u",), ("m",), CartesianGrid(1), 1.0, time_unit="1")
SOME = {1: 1.0, 2: 0.3, 4: -0.8, 5: 0.4}


def autoregression(correlation: float = 0.9) -> StepModel:
    """AR(1) of unit variance on a grid of one point."""

    def step(x: torch.Tensor, rng: Rng) -> torch.Tensor:
        return correlation * x + math.sqrt(1 - correlation**2) * rng.normal(x.shape, like=x)

    return StepModel(step, SPEC, random=True)


def read(values: dict[float, float]) -> Readings:
    return Readings(torch.full((len(values), 1), 0.5), torch.tensor([list(values.values())]), np.array(list(values), dtype=float))


def run(analysis, n: int = 4000, values=SOME, **options) -> xr.Dataset:
    start = Rng(3).normal((n, 1, 1, 1), like=LIKE)
    return assimilate(autoregression(), (start, 0.0), read(values), analysis=analysis, std=0.5, rng=Rng(0), **options)


def exact(values=SOME, length: int = 5):
    one = torch.ones(1, 1, dtype=torch.float64)
    y = torch.tensor([[values.get(t, math.nan)] for t in range(1, length + 1)])
    return kalman(LinearGaussian(0.9 * one, (1 - 0.81) * one, one, 0.25 * one, 0 * one[0], one), y)


@pytest.mark.parametrize(
    "analysis", [KalmanAnalysis("enkf"), KalmanAnalysis("etkf", turned=False), ParticleAnalysis()], ids=["enkf", "etkf", "particles"]
)
def test_the_kalman_filter_on_an_autoregression(analysis) -> None:
    """Means and variances at the times that were read, 1500 members. Errors of the past are forgotten at the rate of the filter, so that
    each is that of about two independent samples; particles have an effective half of them: 4 standard errors of a quarter of the members.
    """
    n = 1500
    found, kf = run(analysis, n), exact()
    # time 3 was not read: there the window up to time 4 is smoothed
    at = [0, 1, 3, 4]
    x = torch.from_numpy(found["u"].values[..., 0]).double()[:, at]
    var = kf.covariances[at, 0, 0]
    assert bool(((x.mean(0) - kf.means[at, 0]).abs() < 4 * (var / (n / 4)).sqrt()).all())
    assert bool(((x.var(0) / var - 1).abs() < 4 * math.sqrt(2 / (n / 4))).all())
    ahead = torch.from_numpy(found["u_forecast"].values[..., 0]).double()
    assert float(ahead[:, 4].var()) == pytest.approx(0.81 * float(var[2]) + 0.19, rel=0.25)
    assert found["u"].attrs["units"] == "m" and found["u"].dims == ("member", "time", "x") and found["cycle_time"].values.tolist() == [1, 2, 4, 5]


def test_the_record_of_a_cycle_by_hand() -> None:
    found = run(KalmanAnalysis("etkf", turned=False), 50)
    x = found["u_forecast"].values[:, 0, 0].astype(float)
    v = x.var(ddof=1)
    assert float(found["innovation"][0]) == pytest.approx(abs(1 - x.mean()) / math.sqrt(v + 0.25), rel=1e-5)
    assert float(found["innovation_bias"][0]) == pytest.approx((1 - x.mean()) / math.sqrt(v + 0.25), rel=1e-5)
    assert float(found["spread_forecast"][0]) == pytest.approx(math.sqrt(v / 0.25), rel=1e-5)
    after = found["u"].values[:, 0, 0].astype(float)
    assert float(found["spread_analysis"][0]) == pytest.approx(after.std(ddof=1) / 0.5, rel=1e-5)
    assert float(found["misfit_analysis"][0]) == pytest.approx(abs(1 - after.mean()) / 0.5, rel=1e-4)
    assert found["readings"].values.tolist() == [1, 1, 1, 1] and "expected standard deviation" in found["innovation"].attrs["long_name"]


def test_windows_take_all_their_readings_and_empty_ones_are_forecasts(caplog) -> None:
    """With two steps to a window the first one is moved by the readings of both: a smoother within it."""
    with caplog.at_level("WARNING"):
        found = run(KalmanAnalysis("etkf", turned=False), 1500, {1: 1.0, 2: 0.3, 5: -1.0, 6: 0.0}, every=2)
    assert "1 of 3 cycles have no reading" in caplog.text and found["readings"].values.tolist() == [2, 0, 2]
    kf = exact({1: 1.0, 2: 0.3}, 2)
    x = found["u"].values[:, :2, 0].mean(0)
    assert x == pytest.approx(kf.smooth_means[:, 0].numpy(), abs=4 * 0.4 / math.sqrt(1500 / 4))
    assert np.array_equal(found["u"].values[:, 2:4], found["u_forecast"].values[:, 2:4]) and math.isnan(float(found["innovation"][1]))


def test_readings_on_the_grid_are_readings_at_its_points() -> None:
    grid = LatLonGrid(torch.tensor([60.0, 50.0]), torch.tensor([0.0, 10.0, 20.0]))
    spec = FieldSpec(("t2m",), ("K",), grid, 3600.0)
    times = np.datetime64("2020-01-01T00", "ns") + np.arange(3) * np.timedelta64(1, "h")
    x = torch.full((1, 3, 2, 3), torch.nan)
    x[0, 1, 1, 2], x[0, 2, 0, 0], x[0, 2, 1, 1] = 281.0, 282.0, 283.0
    found = gridded_readings(to_dataset(x, spec.with_frames(3), times), spec)
    assert found.points.tolist() == [pytest.approx([20, 50]), pytest.approx([0, 60]), pytest.approx([10, 50])]
    assert found.values.tolist() == [[281, 282, 283]] and found.times is not None and found.times.tolist() == times[[1, 2, 2]].tolist()
    start = 280 + Rng(0).normal((6, 1, 1, 2, 3), like=LIKE)
    before = to_dataset(start.float(), spec, times[:1])
    done = assimilate(StepModel(lambda x: x, spec), before, to_dataset(x, spec.with_frames(3), times), analysis=KalmanAnalysis(), std=0.1, rng=Rng(0))
    assert done["time"].values.tolist() == times[1:].tolist() and done["t2m"].attrs["standard_name"] == "air_temperature"
    # the prior of unit variance leaves 1 % of the misfit on average, six members some more
    assert abs(float(done["t2m"].isel(time=0, latitude=1, longitude=2).mean()) - 281) < 0.2


def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch) -> None:
    whole = run(KalmanAnalysis("enkf"), 20)
    monkeypatch.setattr(module, "_SAVE_EVERY", -1.0)
    calls = []

    class Stops(KalmanAnalysis):
        def __call__(self, cycle, *, rng):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return super().__call__(cycle, rng=rng)

    out = tmp_path / "a.nc"
    with pytest.raises(KeyboardInterrupt):
        run(Stops("enkf"), 20, out=out)
    assert (tmp_path / "a.nc.part").is_file() and not out.exists()
    done = run(Stops("enkf"), 20, out=out)
    assert len(calls) == 3 + 2 and np.array_equal(done["u"].values, whole["u"].values) and np.array_equal(done["innovation"], whole["innovation"])
    with xr.open_dataset(out) as written:
        assert np.array_equal(written["u"].values, whole["u"].values) and not (tmp_path / "a.nc.part").exists()


def test_what_another_run_has_left_is_not_taken(tmp_path, monkeypatch, caplog) -> None:
    monkeypatch.setattr(module, "_SAVE_EVERY", -1.0)
    out = tmp_path / "a.nc"
    with pytest.raises(CollapsedWeights):
        run(ParticleAnalysis(), 20, {1: 0.0, 2: 500.0}, out=out)
    with caplog.at_level("WARNING"):
        done = run(ParticleAnalysis(), 20, {1: 0.0, 2: 0.5}, out=out)
    assert "computed anew" in caplog.text and np.array_equal(done["u"].values, run(ParticleAnalysis(), 20, {1: 0.0, 2: 0.5})["u"].values)


def test_a_filter_that_lost_the_truth_says_so(caplog) -> None:
    with caplog.at_level("WARNING"):
        run(KalmanAnalysis(), 20, {1: 30.0})
    assert "expected standard deviations off: the ensemble has lost the truth" in caplog.text


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({0.0: 1.0, 1.0: 0.0}, "expected times after the start at 0, got 0"),
        ({-3.0: 1.0}, "expected times after the start at 0, got -3"),
        ({1.4: 1.0, 3.0: 1.0}, "expected times at whole steps of 1 1 after 0, got 1.4"),
    ],
)
def test_times_that_do_not_fit(values, said) -> None:
    with pytest.raises(DataError, match=said):
        run(KalmanAnalysis(), 5, values)


def test_bad_input() -> None:
    model, start = autoregression(), torch.rand(4, 1, 1, 1)
    good = read({1: 1.0})
    with pytest.raises(DataError, match="expected readings with times, got none"):
        assimilate(model, (start, 0.0), Readings(good.points, good.values), analysis=KalmanAnalysis(), std=1.0, rng=Rng(0))
    with pytest.raises(DataError, match="expected times of one kind"):
        assimilate(model, (start, np.datetime64("2020-01-01")), good, analysis=KalmanAnalysis(), std=1.0, rng=Rng(0))
    with pytest.raises(ShapeError, match=r"two members or more of \(1, 1, 1\), got \(4, 1, 2, 1\)"):
        assimilate(model, (torch.rand(4, 1, 2, 1), 0.0), good, analysis=KalmanAnalysis(), std=1.0, rng=Rng(0))
    with pytest.raises(InputError, match="assimilate every: expected a whole number of time steps"):
        run(KalmanAnalysis(), 4, every=0)
    with pytest.raises(InputError, match="expected 0 to 1|within|outside|got"):
        assimilate(model, (start, 0.0), Readings(torch.tensor([[7.0]]), good.values, good.times), analysis=KalmanAnalysis(), std=1.0, rng=Rng(0))
    with pytest.raises(CollapsedWeights, match="expected members that differ, got 4 that read the same"):
        assimilate(StepModel(lambda x: 0 * x, SPEC), (start, 0.0), good, analysis=KalmanAnalysis(), std=1.0, rng=Rng(0))
    spec = FieldSpec(("u",), ("m",), CartesianGrid(2), 1.0, time_unit="1")
    other = to_dataset(torch.rand(3, 1, 1, 2), spec, np.array([0.0]))
    with pytest.raises(GridMismatch):
        ensemble_of(other, model)
    with pytest.raises(DataError, match="expected two members or more and 1 frames"):
        ensemble_of(to_dataset(torch.rand(1, 1, 1), SPEC, np.array([0.0])), model)
    with pytest.raises(DataError, match="expected frames 1 1 apart, got 2"):
        ensemble_of(to_dataset(torch.rand(3, 1, 2, 1), SPEC.with_frames(2), np.array([0.0, 2.0])), model)
