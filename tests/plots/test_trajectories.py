"""Lines hold the numbers they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.plots.style import new_axes
from physdiff.plots.trajectories import band_plot, fan_plot, running_mean, scores_plot, training_curve
from physdiff.scores.coverage import central_interval
from tests.plots.fields import by_lead, lat_lon_field


def test_scores_in_order_the_first_thicker():
    given = new_axes()[0, 0]
    axes = scores_plot({"model": by_lead([1.0, 2.0, 3.0]), "persistence": by_lead([2.0, 4.0, 6.0])}, given, label="Fair CRPS (K)", reference=1.0)
    assert axes is given
    model, persistence, reference = axes.lines
    np.testing.assert_array_equal(model.get_xydata(), [[1, 1], [2, 2], [3, 3]])
    np.testing.assert_array_equal(persistence.get_ydata(), [2, 4, 6])
    assert model.get_linewidth() > persistence.get_linewidth()
    assert list(reference.get_ydata()) == [1.0, 1.0]
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["model", "persistence"]
    assert axes.get_ylabel() == "Fair CRPS (K)"
    with pytest.raises(InputError, match="at least one score"):
        scores_plot({})


def test_intervals_are_shaded_around_their_line():
    ends = by_lead([1.0, 2.0, 3.0]).expand_dims(bounds=2, axis=-1) + np.array([-0.5, 0.5])
    axes = scores_plot({"model": by_lead([1.0, 2.0, 3.0]), "other": by_lead([2.0, 4.0, 6.0])}, bounds={"model": ends})
    (band,) = axes.collections
    assert {tuple(p) for p in band.get_paths()[0].vertices} >= {(1.0, 0.5), (1.0, 1.5), (3.0, 2.5), (3.0, 3.5)}


def test_a_band_holds_its_ends_and_the_truth():
    axes = band_plot(by_lead([0.0, 1.0]), by_lead([2.0, 4.0]), by_lead([1.0, 5.0]))
    assert {tuple(p) for p in axes.collections[0].get_paths()[0].vertices} >= {(1.0, 0.0), (1.0, 2.0), (2.0, 1.0), (2.0, 4.0)}
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 5.0])
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ["band", "truth"]


def test_a_fan_holds_mean_intervals_and_truth():
    place = {"latitude": 2, "longitude": 3}
    members, truth = lat_lon_field(4, members=20).isel(place), lat_lon_field(4, seed=1).isel(place)
    axes = fan_plot(members.transpose("lead_time", "member"), truth)
    mean, real = axes.lines
    np.testing.assert_allclose(mean.get_ydata(), members.mean("member").values)
    np.testing.assert_allclose(real.get_ydata(), truth.values)
    low, high = central_interval(torch.from_numpy(members.values), level=0.9)
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(float(low.min())) and band.max() == pytest.approx(float(high.max()))
    assert len(axes.collections) == 2


def test_a_small_ensemble_has_no_90_percent_interval():
    members = lat_lon_field(4, members=5).isel(latitude=0, longitude=0)
    axes = fan_plot(members)
    assert [c.get_label() for c in axes.collections] == ["50 % interval"]
    with pytest.raises(InputError, match="select one place"):
        fan_plot(lat_lon_field(4, members=5))


def test_running_mean_against_brute_force():
    values = np.random.default_rng(0).normal(size=13)
    expected = [values[max(0, i - 2) : i + 3].mean() for i in range(13)]
    np.testing.assert_allclose(running_mean(values, width=2), expected, rtol=1e-12)


def test_training_curve_leaves_gaps_out():
    loss = np.array([1.0, np.nan, 0.5, 0.25])
    axes = training_curve(np.arange(4), loss, validation=(np.array([3]), np.array([0.3])))
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), [[0, 1], [2, 0.5], [3, 0.25]])
    assert axes.get_yscale() == "log" and list(axes.lines[2].get_ydata()) == [0.3]
    with pytest.raises(InputError, match="finite loss"):
        training_curve(np.arange(2), np.full(2, np.nan))
