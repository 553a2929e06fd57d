"""Twins: Lorenz's ring at published errors through `assimilate`; scores by hand; synthetic readings."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.forecast.analysis import KalmanAnalysis
from physdiff.forecast.forecast_models import SolverModel, StepModel
from physdiff.forecast.twin import assimilation_scores, synthetic_readings, twin_experiment
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.lattice import Lattice
from physdiff.pdes.lorenz import Lorenz96
from physdiff.solvers.runge_kutta import RungeKutta

LIKE = torch.zeros((), dtype=torch.float64)


def ring(cycles: int, members: int, analysis: KalmanAnalysis, seed: int = 0) -> xr.Dataset:
    """Forty sites, all read every 0.05 with noise 1; members start around the truth."""
    model = SolverModel(RungeKutta(Lorenz96(8.0), Lattice(CartesianGrid(40, extent=40.0))), 0.05, substeps=1)
    start = 8 + Rng(seed).child("start").normal((1, 1, 1, 40), like=LIKE)
    truth = model.forecast(start, 0.0, steps=100, rng=Rng(0))[0, :, -1:]
    first = truth + Rng(seed).child("first").normal((members, 1, 1, 40), like=LIKE)
    return twin_experiment(model, truth, first, analysis=analysis, std=1.0, rng=Rng(seed), sensors=(None, 1, cycles))


RINGS = {
    "enkf": (KalmanAnalysis("enkf", inflation=1.06), 40, 0.22),
    "etkf": (KalmanAnalysis("etkf", inflation=1.013), 24, 0.18),
    "letkf": (KalmanAnalysis("letkf", inflation=1.04, radius=4 * 1.82), 7, 0.22),
}


def test_a_short_twin_follows_the_truth() -> None:
    """A fifth of the readings' noise; 80 cycles are too few for the published digits. The record says that spread and noise are right."""
    analysis, members, published = RINGS["etkf"]
    found = ring(80, members, analysis).isel(time=slice(40, None), cycle=slice(40, None))
    assert float(found["rmse_state"].mean()) < 1.6 * published < float(found["rmse_state_forecast"].mean()) * 1.6
    assert float(found["rmse_state"].mean()) < float(found["rmse_state_forecast"].mean())
    assert 0.9 < math.sqrt(float((found["innovation"] ** 2).mean())) < 1.15 and float(found["readings"].min()) == 40
    assert 0.7 < float(found["spread_state"].mean()) / float(found["rmse_state"].mean()) < 1.6
    # CRPS of a Gaussian of the right spread: 0.56 of its standard deviation
    assert 0.4 < float(found["crps_state"].mean()) / float(found["rmse_state"].mean()) < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("name", RINGS)
def test_twins_reach_the_published_errors(name) -> None:
    """DAPPER's tuned settings; 10 % of the published number, and the error of a mean over 3000 cycles, about 2 %."""
    analysis, members, published = RINGS[name]
    error = float(ring(3400, members, analysis)["rmse_state"].isel(time=slice(400, None)).mean())
    print(f"{name}: {error:.4f}")
    assert error < 1.1 * published


@pytest.mark.slow
def test_adaptive_inflation_beside_wrong_ones() -> None:
    """LETKF of 7 members over 500 cycles: without inflation it loses the truth, with too much it follows the readings' noise, adaptive does neither.

    The tuned factor, 1.04, is better still (0.21): the readings of one cycle tell the factor roughly, and it is kept from 1 up.
    """
    error, ratio = {}, {}
    for inflation in (1.0, 1.3, "adaptive"):
        found = ring(500, 7, KalmanAnalysis("letkf", inflation=inflation, radius=4 * 1.82)).isel(time=slice(200, None), cycle=slice(200, None))
        error[inflation] = float(found["rmse_state"].mean())
        ratio[inflation] = math.sqrt(float((found["innovation"] ** 2).mean()))
    print(error, ratio)
    assert error["adaptive"] < 0.4 and error["adaptive"] < 0.95 * error[1.3] and error[1.0] > 1.5, error
    assert 0.95 < ratio["adaptive"] < 1.05 < 2 < ratio[1.0], ratio


def test_readings_are_the_truth_and_noise_at_their_times() -> None:
    spec = FieldSpec(("u", "v"), ("1", "1"), CartesianGrid(50, extent=50.0), 0.5, time_unit="1")
    model = StepModel(lambda x: x, spec)
    truth = Rng(0).normal((2, 40, 50), like=LIKE)
    read = synthetic_readings(truth, model, None, std=(0.1, 2.0), every=4, start=np.float64(1.0), rng=Rng(1))
    assert read.moments().tolist() == pytest.approx([1 + 2.0 * k for k in range(1, 11)])
    now = read.at(read.moments()[1])
    off = now.values - truth[:, 7]
    assert off.shape == (2, 50)
    every = torch.cat([read.at(m).values - truth[:, 4 * k + 3] for k, m in enumerate(read.moments())], 1)
    # 500 numbers: 4 standard errors of a standard deviation
    assert float(every[0].std()) == pytest.approx(0.1, rel=4 / math.sqrt(1000)) and float(every[1].std()) == pytest.approx(2, rel=4 / math.sqrt(1000))


def test_scores_are_area_weighted_and_by_time() -> None:
    grid = LatLonGrid(torch.tensor([60.0, 0.0]), torch.arange(4.0) * 90)
    spec = FieldSpec(("t",), ("K",), grid, 1.0, time_unit="1")
    model = StepModel(lambda x: x, spec)
    members = torch.stack([torch.full((1, 1, 2, 4), v, dtype=torch.float64) for v in (1.0, 3.0)])
    found = twin_experiment(model, members[0], members, analysis=KalmanAnalysis(turned=False), std=1e6, rng=Rng(0), sensors=(None, 2, 1))
    other = found["t_truth"].copy(data=found["t_truth"].values)
    other.values[:, 0] = 4.0
    assert np.allclose(found["rmse_t"], 1) and np.allclose(found["spread_t"], math.sqrt(2)) and found["rmse_t"].attrs["units"] == "K"
    weights = grid.weights().double()
    share = float(weights[0].sum() / weights.sum())
    scores = assimilation_scores(found[["t", "t_forecast"]].isel(time=[1]), other.to_dataset(name="t"))
    assert float(scores["rmse_t"][0]) == pytest.approx(math.sqrt(share * 4 + (1 - share)), rel=1e-5)
    # fair CRPS of members 1 and 3: mean distance less half of the distance between them, 1 - 1 = 0 at truth 1, 2 - 1 at truth 4
    assert float(scores["crps_t"][0]) == pytest.approx(share, rel=1e-5) and "coverage_t" not in scores


def test_bad_input() -> None:
    spec = FieldSpec(("u",), ("1",), CartesianGrid(4), 1.0)
    model = StepModel(lambda x: x, spec)
    x = torch.zeros(1, 1, 4)
    with pytest.raises(ShapeError, match=r"expected members \(N, 1, 1, 4\)"):
        twin_experiment(model, x, torch.zeros(3, 1, 1, 5), analysis=KalmanAnalysis(), std=1.0, rng=Rng(0))
    with pytest.raises(InputError, match="got every 0 and 40 times"):
        twin_experiment(model, x, torch.zeros(3, 1, 1, 4), analysis=KalmanAnalysis(), std=1.0, rng=Rng(0), sensors=(None, 0, 40))
    with pytest.raises(InputError, match="readings std"):
        twin_experiment(model, x, torch.rand(3, 1, 1, 4), analysis=KalmanAnalysis(), std=0.0, rng=Rng(0))
    with pytest.raises(InputError, match="every from 1 to 3 frames, got 4"):
        synthetic_readings(torch.zeros(1, 3, 4), model, None, std=1.0, every=4, start=np.float64(0), rng=Rng(0))
