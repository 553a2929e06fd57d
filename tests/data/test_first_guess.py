"""First guesses of training windows: each by a fit that has not seen the window, the same as at inference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import physdiff.data.first_guess as module
from physdiff.base.errors import DataError
from physdiff.data.first_guess import GuessedWindows, linear_first_guess
from physdiff.data.statistics import stream
from physdiff.data.windows import TrajectoryWindows
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.linear_forecast import fit_linear_forecast
from tests.data.files import box, earth

HISTORY, HORIZON = 2, 3


def windows(frames: int = 150, *, hole: bool = False) -> TrajectoryWindows:
    """Hourly temperatures: a daily cycle and a slow random walk that is pulled back."""
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((frames, 4, 6))
    walk = np.zeros_like(noise)
    for t in range(1, frames):
        walk[t] = 0.8 * walk[t - 1] + 0.3 * np.roll(walk[t - 1], 1, axis=1) * 0.5 + noise[t]
    hour = np.arange(frames)[:, None, None]
    values = 280 + 8 * np.sin(2 * np.pi * hour / 24) + walk
    if hole:
        values[60:70, 1, 2] = np.nan
    return TrajectoryWindows(earth(frames, t2m=values.astype(np.float32)), history=HISTORY, horizon=HORIZON, extras=("hour_sin", "hour_cos"))


def anomaly_of(source: TrajectoryWindows) -> Anomaly:
    return Anomaly("hour").fitted_from(lambda: stream(source), source.spec, source.cond_spec)


def test_batches_hold_all_windows_in_order() -> None:
    source = windows(20)
    parts = list(stream(source, batch_size=7))
    assert [len(p.x) for p in parts] == [7, 7, 2]
    x, cond = torch.cat([p.x for p in parts]), torch.cat([p.cond for p in parts])
    for i in range(16):
        assert torch.equal(x[i], source[i]["x"])
        assert torch.equal(cond[i], source[i]["cond"])
    assert next(stream(TrajectoryWindows(box(), history=0, horizon=2))).cond is None


def test_the_fit_is_that_of_the_anomalies_with_the_weights_of_the_grid() -> None:
    source = windows()
    anomaly = anomaly_of(source)
    sample = next(stream(source, batch_size=len(source)))
    expected = fit_linear_forecast(anomaly.encode(sample.x, sample.cond), HISTORY, rank=4, weights=source.spec.grid.weights())
    fit = linear_first_guess(source, anomaly, rank=4)
    torch.testing.assert_close(fit.residuals, expected.residuals)
    assert fit.residuals.shape == (len(source), 1, HORIZON, 4, 6)


def test_an_item_is_the_guess_of_the_fold_that_has_not_seen_it() -> None:
    source = windows()
    anomaly = anomaly_of(source)
    fit = linear_first_guess(source, anomaly, rank=4)
    guessed = GuessedWindows(source, anomaly, fit)
    assert len(guessed) == len(source)
    assert (guessed.spec, guessed.cond_spec, guessed.history, guessed.horizon) == (source.spec, source.cond_spec, HISTORY, HORIZON)
    for i in (0, 30, 77, len(source) - 1, -1):
        item, plain = guessed[i], source[i]
        at = item["index"]
        assert torch.equal(item["x"], plain["x"])
        assert torch.equal(item["cond"], plain["cond"])
        assert item["guess"].shape == item["x"].shape
        assert float(item["guess"][:, :HISTORY].abs().max()) == 0
        a = anomaly.encode(item["x"][None], item["cond"][None])
        expected = fit.folds[int(fit.fold_of[at])](a[:, :, :HISTORY])[0]
        # anomalies of 280 K in float32
        torch.testing.assert_close(item["guess"][:, HISTORY:], expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(a[0, :, HISTORY:] - item["guess"][:, HISTORY:], fit.residuals[at], rtol=0, atol=1e-4)


def test_training_and_inference_form_the_guess_alike() -> None:
    """With the same forecast, ConditionTransform.complete gives what the windows give, gaps in the known frames included."""
    source = windows(hole=True)
    anomaly = anomaly_of(source)
    fit = linear_first_guess(source, anomaly, rank=4)
    for i in (10, 58, 64):
        item = GuessedWindows(source, anomaly, fit)[i]
        fold = fit.folds[int(fit.fold_of[i])]
        completed = ConditionTransform(1, anomaly, guess=fold).complete(item["cond"][None])
        assert bool(item["guess"].isfinite().all())
        torch.testing.assert_close(completed[0, -1:], item["guess"])


def test_the_guess_is_better_than_none() -> None:
    source = windows()
    anomaly = anomaly_of(source)
    sample = next(stream(source, batch_size=len(source)))
    variance = anomaly.encode(sample.x, sample.cond)[:, :, HISTORY:].square().mean((0, 1, 3, 4))
    error = linear_first_guess(source, anomaly).residuals.square().mean((0, 1, 3, 4))
    assert bool((error < 0.9 * variance).all())
    assert bool((error.diff() > 0).all())


def test_without_an_anomaly_the_fields_themselves_are_guessed() -> None:
    source = TrajectoryWindows(box(frames=30), history=1, horizon=2)
    fit = linear_first_guess(source, None, rank=3, folds=4)
    item = GuessedWindows(source, None, fit)[5]
    expected = fit.folds[int(fit.fold_of[5])](item["x"][None, :, :1])[0]
    torch.testing.assert_close(item["guess"][:, 1:], expected)


def test_many_windows_are_thinned_and_still_guessed_by_a_fold_that_has_not_seen_them(monkeypatch: pytest.MonkeyPatch) -> None:
    source = windows()
    anomaly = anomaly_of(source)
    monkeypatch.setattr(module, "_ENTRIES", len(source) * source[0]["x"].numel() // 3)
    fit = linear_first_guess(source, anomaly, rank=2, folds=4)
    # more than a third of the entries: every third or fourth window is kept
    kept = len(fit.fold_of)
    every = -(-len(source) // kept)
    assert 3 <= every <= 4
    guessed = GuessedWindows(source, anomaly, fit)
    frames = source.spec.frames
    for i in range(len(source)):
        model = guessed._model(i)
        k = next(j for j, fold in enumerate(fit.folds) if fold is model)
        inside = (fit.fold_of == k).nonzero()[:, 0]
        seen = torch.tensor([j for j in range(kept) if j < inside[0] - frames or j > inside[-1] + frames]) * every
        assert int((seen - i).abs().min()) >= frames


def test_windows_without_a_past_are_refused() -> None:
    with pytest.raises(DataError, match="history = 0"):
        linear_first_guess(TrajectoryWindows(box(), history=0, horizon=2), None)
