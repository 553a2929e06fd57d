"""The baselines on hourly 2 m temperature over the British Isles, trained on the first 15 days, started at all hours of the last 5."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_tensor
from physdiff.data.open import open_dataset
from physdiff.data.split import split_time
from physdiff.evaluation.climatology import climatology
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.kriging import kriging
from physdiff.evaluation.linear_inverse import linear_inverse
from physdiff.evaluation.optimal_interpolation import field_covariance, optimal_interpolation
from physdiff.evaluation.persistence import dressed_persistence, persistence
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import crps
from physdiff.scores.pointwise import ensemble_rmse, mae
from physdiff.scores.spread_skill import spread_skill

LEADS = [0, 2, 5, 11]  # 1, 3, 6, 12 h


@pytest.fixture(scope="module")
def parts(shared_data):
    return split_time(open_dataset(shared_data / "reanalysis" / "era5_t2m_uk_hourly_2019-03-01_20.nc"), at=0.75)


@pytest.mark.slow
def test_forecasts(parts):
    train, test = parts
    fast = linear_inverse(train, test, lead=12, members=16, rng=Rng(0), rank=20)
    scores = {"crps": crps, "ssr": spread_skill}
    table = evaluate(fast, test, scores).sel(variable="t2m").isel(lead_time=LEADS)
    # published with another rank and ridge: 0.165, 0.387, 0.592, 0.824 and 1.07, 1.01, 0.99, 0.97
    assert (table["crps"].values <= [0.165, 0.387, 0.592, 0.824]).all()
    np.testing.assert_allclose(table["ssr"], [1.07, 1.01, 0.99, 0.97], atol=0.1)
    starts = test["time"].values
    error = evaluate(persistence(test, starts, 12), test, {"mae": mae})["mae"].values[0, LEADS]
    np.testing.assert_allclose(error, [0.274, 0.737, 1.30, 1.89], rtol=0.005)  # given to three digits
    climate = evaluate(climatology(train, test, starts, lead=12), test, {"crps": crps})["crps"].values[0, LEADS]
    np.testing.assert_allclose(climate, [1.14, 1.15, 1.15, 1.13], rtol=0.01)
    dressed = evaluate(dressed_persistence(train, test, starts, lead=12, members=20, rng=Rng(0)), test, {"crps": crps})["crps"].values[0, LEADS]
    assert (table["crps"].values < dressed).all() and (dressed < error).all() and (dressed < climate).all()


@pytest.mark.slow
def test_inference_from_sensors(parts):
    train, test = parts
    spec, law = spec_of(test), field_covariance(train)
    fields = to_tensor(test, spec)[0, 0]
    longitude, latitude = (torch.rad2deg(c).flatten() for c in spec.grid.coordinates())
    weights, rows = spec.grid.weights(), {optimal_interpolation: [], kriging: []}
    for k in range(0, 120, 4):
        some = Rng(7).child(k).permutation(fields[k].numel())[:81]
        points = torch.stack([longitude[some], latitude[some]], dim=1)
        readings = fields[k].flatten()[some].double() + 0.3 * Rng(7).child(k, "noise").normal((81,), like=points)
        for method, found in rows.items():
            made = method(law, points, readings, std=0.3, time=test["time"].values[k], members=20, rng=Rng(1).child(k))
            members = torch.from_numpy(made.members["t2m"].values[:, 0])
            found.append([float(part(members, fields[k].double(), weights)) for part in (*ensemble_rmse.parts, crps, coverage)])
    table = {method.__name__: np.mean(found, axis=0) for method, found in rows.items()}
    rmse, score, covered = np.sqrt(table["optimal_interpolation"][0]), *table["optimal_interpolation"][1:]
    # practice: 0.409 and 0.207 with other frames and sensors (their choice moves both by some 5 %), coverage 0.92
    assert rmse < 1.05 * 0.409 and score < 1.05 * 0.207 and 0.88 < covered < 0.96
    rmse, score, _ = np.sqrt(table["kriging"][0]), *table["kriging"][1:]
    # practice: 0.542 and 0.278
    assert rmse < 1.1 * 0.542 and score < 1.1 * 0.278 and score > table["optimal_interpolation"][1]
