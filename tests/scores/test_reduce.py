"""Weighted means, shapes, missing values and regions, against loops and published area weights."""

import functools
import math
import pickle

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.latlon import LatLonGrid
from physdiff.scores.conservation import integral_error
from physdiff.scores.coverage import coverage
from physdiff.scores.crps import biased_crps, crps
from physdiff.scores.energy_score import energy_score
from physdiff.scores.pointwise import acc, bias, ensemble_mae, ensemble_rmse, mae, rmse, squared_error
from physdiff.scores.rank_histogram import rank_histogram, ranks
from physdiff.scores.reduce import Averaged, region_weights, weighted_mean, within
from physdiff.scores.spectrum import fine_scale_power, log_spectral_distance
from physdiff.scores.spread_skill import spread, spread_skill

F64 = torch.float64
MAPS = [rmse, mae, bias, ensemble_rmse, ensemble_mae, crps, biased_crps, spread, ranks]
MAPS += [functools.partial(coverage, level=0.5), spread_skill]
FIELDS = [
    energy_score,
    rank_histogram,
    integral_error,
    functools.partial(acc, climatology=torch.zeros((), dtype=F64)),
]
SPECTRA = [log_spectral_distance, fine_scale_power]


def case(seed=0, members=5, batch=(3,), shape=(4, 6)):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(members, *batch, *shape, generator=g, dtype=F64)
    y = torch.randn(*batch, *shape, generator=g, dtype=F64)
    return x, y, torch.rand(shape, generator=g, dtype=F64)


def test_weighted_mean_is_the_loop_over_cells_with_a_value():
    _, y, w = case()
    y[0, 1, 2] = y[2, 0, 0] = float("nan")
    for b in range(3):
        top = sum(
            float(w[i, j] * y[b, i, j]) for i in range(4) for j in range(6) if not math.isnan(y[b, i, j])
        )
        low = sum(float(w[i, j]) for i in range(4) for j in range(6) if not math.isnan(y[b, i, j]))
        # rounding of 24 terms
        assert float(weighted_mean(y, w)[b]) == pytest.approx(top / low, rel=1e-13)


def test_weighted_mean_over_chosen_axes():
    _, y, w = case()
    expected = (y * w).sum(1) / w.sum(0)
    torch.testing.assert_close(weighted_mean(y, w, axes=(-2,)), expected, rtol=1e-13, atol=0)
    assert torch.equal(weighted_mean(y, torch.tensor(2.0, dtype=F64)), y)


def test_no_cell_left_is_nan_and_not_zero():
    _, y, w = case()
    y[1] = float("nan")
    mean = weighted_mean(y, w)
    assert mean.isnan().tolist() == [False, True, False]
    assert weighted_mean(y[0], torch.zeros_like(w)).isnan()


@pytest.mark.parametrize(
    ("latitude", "expected"),
    [
        ((-90, -45, 0, 45, 90), (0.190301, 1.352990, 1.913417, 1.352990, 0.190301)),
        ((-60, -20, 20, 60), (0.714425, 1.285575, 1.285575, 0.714425)),
    ],
)
def test_area_weights_of_weatherbench_reach_the_score(latitude, expected):
    # the card's convention: edges halfway between rows, the end rows reach to the poles
    rows = sorted(latitude)
    edges = [-90.0, *((a + b) / 2 for a, b in zip(rows[1:], rows[:-1], strict=True)), 90.0]
    bands = torch.tensor(edges, dtype=F64).deg2rad().sin().diff()
    w = bands[:, None].expand(-1, 4)
    for row, value in enumerate(expected):
        error = torch.zeros(w.shape, dtype=F64)
        error[row] = 1.0
        mean = mae(error[None], torch.zeros_like(error), w)
        # six printed digits
        assert float(mean) == pytest.approx(value / len(expected), abs=1e-6)


def test_weights_of_the_grid_give_the_area_of_a_cap():
    grid = LatLonGrid(latitude=torch.arange(90, -91, -2.5, dtype=F64), longitude=torch.arange(0, 360, 2.5))
    cap = torch.zeros(grid.shape, dtype=F64)
    cap[:13] = 1.0
    # rows from the pole to 60 degrees, cells to 58.75: (1 - sin) / 2 of the sphere
    expected = (1 - math.sin(math.radians(58.75))) / 2
    assert float(mae(cap[None], torch.zeros_like(cap), grid.weights())) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("score", MAPS + FIELDS + SPECTRA)
def test_batch_is_the_loop_over_its_cases_and_the_scale_of_weights_is_free(score):
    x, y, w = case()
    many = score(x, y, w)
    one = torch.stack([score(x[:, b], y[b], w) for b in range(3)])
    # rounding only: sums run in another order
    torch.testing.assert_close(many, one, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(score(x, y, 7.0 * w), many, rtol=1e-12, atol=1e-13)
    assert score(x[:, 0], y[0], w).shape == (() if score is not rank_histogram else (6,))


@pytest.mark.parametrize("score", MAPS)
def test_without_weights_a_score_is_its_map(score):
    x, y, w = case()
    assert score(x, y).shape == y.shape
    if not isinstance(score, Averaged):
        torch.testing.assert_close(weighted_mean(score(x, y), w), score(x, y, w), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("score", FIELDS + SPECTRA)
def test_without_weights_a_score_of_fields_counts_all_cells_alike(score):
    x, y, w = case(batch=())
    torch.testing.assert_close(score(x, y), score(x, y, torch.ones_like(w)), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("score", [*MAPS, *FIELDS])
@pytest.mark.parametrize("where", ["truth", "one member"])
def test_a_missing_cell_counts_as_if_its_weight_were_zero(score, where):
    x, y, w = case(batch=())
    without = w.clone()
    without[1, 2] = without[3, 5] = 0.0
    expected = score(x, y, without)
    holes = y if where == "truth" else x[2]
    holes[1, 2] = holes[3, 5] = float("nan")
    torch.testing.assert_close(score(x, y, w), expected, rtol=1e-12, atol=1e-13)
    assert expected.isfinite().all()
    if score in MAPS:
        assert score(x, y).isnan().nonzero().tolist() == [[1, 2], [3, 5]]


@pytest.mark.parametrize("score", [*MAPS, *FIELDS])
def test_low_precision_is_computed_in_float32_at_least(score):
    x, y, w = case()
    assert score(x.bfloat16(), y.bfloat16(), w).dtype in (torch.float32, F64)
    if score not in FIELDS:
        assert score(x.float(), y.float(), w).dtype == torch.float32


def test_averaged_takes_the_root_after_the_mean_over_cases():
    x, y, w = case()
    parts = [part(x, y, w).mean() for part in rmse.parts]
    together = rmse.combine(*parts)
    # of 3 cases times 24 weighted cells at once
    direct = ((x - y).square() * w).sum().div(w.sum() * 15).sqrt()
    torch.testing.assert_close(together, direct, rtol=1e-13, atol=0)
    assert abs(float(together - rmse(x, y, w).mean())) > 1e-4
    assert rmse.parts == (squared_error,)


@pytest.mark.parametrize("score", [rmse, ensemble_rmse, spread, spread_skill, fine_scale_power])
def test_averaged_scores_survive_pickling(score):
    assert pickle.loads(pickle.dumps(score)) == score


def test_regions_select_cells_and_cross_the_date_line():
    longitude = torch.arange(0, 360, 30.0)
    inside = within(longitude, 340, 40, period=360)
    assert longitude[inside].tolist() == [0, 30]
    assert torch.equal(inside, within(longitude, -20, 40, period=360))
    assert torch.equal(inside, within(longitude - 180, 340, 40, period=360).roll(6))
    assert within(longitude, -180, 180, period=360).all()
    assert longitude[within(longitude, 30, 60)].tolist() == [30, 60]
    x, y, w = case(batch=(), shape=(4, 12))
    north = torch.tensor([True, True, False, False])[:, None] & inside
    expected = mae(x[:, :2, :2], y[:2, :2], w[:2, :2])
    torch.testing.assert_close(mae(x, y, region_weights(w, north)), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda x, y, w: (x[:, :2], y, w), ShapeError, "expected members"),
        (lambda x, y, w: (x[0], y, w), ShapeError, "put the members first"),
        (lambda x, y, w: (x, y, w[:2]), ShapeError, "expected weights"),
        (lambda x, y, w: (x, y, w - 0.5), InputError, "weights >= 0"),
        (lambda x, y, w: (x, y, w * float("nan")), InputError, "without NaN"),
        (lambda x, y, w: (x.long(), y, w), InputError, "floating point"),
    ],
)
@pytest.mark.parametrize("score", [crps, rmse, energy_score, rank_histogram, coverage, acc])
def test_bad_arguments_are_refused_in_words(score, change, error, words):
    options = {"climatology": torch.zeros(4, 6)} if score is acc else {}
    with pytest.raises(error, match=words):
        score(*change(*case(members=19)), **options)


def test_bad_regions_and_dims_are_refused_in_words():
    x, y, w = case()
    with pytest.raises(InputError, match="give period"):
        within(w, 350, 10)
    with pytest.raises(InputError, match="got none"):
        region_weights(w, torch.zeros_like(w, dtype=torch.bool))
    with pytest.raises(ShapeError, match="region"):
        region_weights(w, torch.ones(3, dtype=torch.bool))
    with pytest.raises(InputError, match="expected 2"):
        energy_score(x, y, w, space=3)
    with pytest.raises(InputError, match="expected 0 to 3"):
        energy_score(x, y, space=4)
    assert energy_score(x, y, space=2).shape == (3,)
