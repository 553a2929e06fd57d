"""Analyses on one cycle: the same numbers as the updates they are made of, particles, posterior draws, worded errors."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from physdiff.base.errors import CollapsedWeights, InputError
from physdiff.base.rng import Rng
from physdiff.forecast.analysis import Cycle, KalmanAnalysis, ParticleAnalysis, PosteriorAnalysis
from physdiff.forecast.forecast_models import PriorModel, StepModel
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.ensemble_kalman import enkf, etkf, inflated
from physdiff.inference.guided import Guided
from tests.forecast.test_forecast_models import ar1_window

LIKE = torch.zeros((), dtype=torch.float64)
SPEC = FieldSpec(("u",), ("1",), CartesianGrid(6, extent=6.0, periodic=False), 1.0, time_unit="1")


def cycle(n: int = 8, y: float = 0.5, std: float = 0.3) -> Cycle:
    """One known frame, two to come; the last one read at two grid points."""
    x = Rng(0).normal((n, 1, 3, 6), like=LIKE).cumsum(2).cumsum(3)
    readings = torch.full((1, 3, 2), torch.nan, dtype=torch.float64)
    readings[0, 2] = y
    points = torch.tensor([[1.5], [4.5]])
    return Cycle(StepModel(lambda x: x, SPEC), x[:, :, :1], x[:, :, 1:], 0.0, points, readings, torch.tensor([std], dtype=torch.float64))


def test_kalman_moves_the_whole_window_as_the_updates_do() -> None:
    c = cycle()
    read = c.forecast[:, 0, 1, [1, 4]]
    y = torch.full((2,), 0.5)
    moved, _ = KalmanAnalysis("etkf", inflation=1.1, turned=False)(c, rng=Rng(1))
    torch.testing.assert_close(moved, inflated(etkf(c.window, read, y, std=0.3), 1.1), rtol=1e-12, atol=1e-12)
    moved, _ = KalmanAnalysis("enkf")(c, rng=Rng(1))
    torch.testing.assert_close(moved, enkf(c.window, read, y, std=0.3, rng=Rng(1).child("update")), rtol=1e-12, atol=1e-12)
    far, _ = KalmanAnalysis("letkf", radius=1e6, turned=False)(c, rng=Rng(1))
    torch.testing.assert_close(far, etkf(c.window, read, y, std=0.3), rtol=1e-9, atol=1e-9)
    near, _ = KalmanAnalysis("letkf", radius=0.4, turned=False)(c, rng=Rng(1))
    torch.testing.assert_close(near[..., [0, 2, 3, 5]], c.window[..., [0, 2, 3, 5]], rtol=1e-12, atol=1e-12)
    tempered, _ = KalmanAnalysis("eki", turned=False)(c, rng=Rng(1))
    torch.testing.assert_close(tempered, etkf(c.window, read, y, std=0.3), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("y", "expected"), [(0.5, None), (8.0, 2.0), (None, 1.0)])
def test_adaptive_inflation_is_what_the_misfits_ask_for(y, expected) -> None:
    """lambda v / s^2 + 1 = mean d^2 / s^2, between 1 (misfits that spread and noise explain) and 2 (a gross reading)."""
    c = cycle(y=0.5 if y is None else y)
    read = c.forecast[:, 0, 1, [1, 4]]
    if y is None:  # readings on the mean of the forecast
        c = replace(c, y=torch.where(c.y.isnan(), c.y, 0.0) + torch.stack([torch.zeros(2), torch.zeros(2), read.mean(0)])[None].double())
    value = c.y[0, 2]
    misfit, spread = ((value - read.mean(0)) ** 2).mean() / 0.09, read.var(0).mean() / 0.09
    factor = float(((misfit - 1) / spread).clamp_min(0).sqrt().clamp(1, 2)) if expected is None else expected
    moved, report = KalmanAnalysis("etkf", inflation="adaptive", turned=False)(c, rng=Rng(1))
    assert report["inflation"] == pytest.approx(factor, rel=1e-9)
    wide = inflated(c.window, factor)
    torch.testing.assert_close(moved, etkf(wide, wide[:, 0, 2, [1, 4]], value, std=0.3), rtol=1e-9, atol=1e-9)


def test_adaptive_inflation_finds_a_spread_that_is_too_small() -> None:
    """A forecast of half the spread it should have, 500 readings: a factor of two; of the right spread: none worth speaking of."""
    grid = CartesianGrid(500, extent=500.0, periodic=False)
    spec = FieldSpec(("u",), ("1",), grid, 1.0, time_unit="1")
    found = {}
    for share in (0.6, 1.0):
        x = share * Rng(0).normal((400, 1, 2, 500), like=LIKE)
        y = torch.full((1, 2, 500), torch.nan, dtype=torch.float64)
        y[0, 1] = Rng(1).normal((500,), like=LIKE) + 0.3 * Rng(2).normal((500,), like=LIKE)
        points = torch.arange(500.0)[:, None] + 0.5
        one = Cycle(StepModel(lambda x: x, spec), x[:, :, :1], x[:, :, 1:], 0.0, points, y, torch.tensor([0.3]).double())
        found[share] = KalmanAnalysis("etkf", inflation="adaptive", turned=False)(one, rng=Rng(1))[1]["inflation"]
    # the mean of 500 squares has a relative standard error of sqrt(2 / 500) = 0.063, its root half of that
    assert abs(found[0.6] * 0.6 - 1) < 4 * 0.032 and abs(found[1.0] - 1) < 4 * 0.032


def test_particles_are_drawn_by_their_likelihood() -> None:
    c = cycle(200, std=2.0)
    moved, report = ParticleAnalysis()(c, rng=Rng(2))
    weights = torch.softmax(-0.5 * ((c.forecast[:, 0, 1, [1, 4]] - 0.5) / 2.0).square().sum(1), 0)
    assert report["ess"] == pytest.approx(float(1 / weights.square().sum()), rel=1e-9)
    copies = (moved[:, None] == c.window[None]).flatten(2).all(2).sum(0)
    # systematic: N w rounded up or down
    assert bool(((copies - 200 * weights).abs() < 1).all()) and int((copies > 0).sum()) == report["survivors"]
    shaken, _ = ParticleAnalysis(jitter=0.1)(c, rng=Rng(2))
    ratio = (shaken - moved).std(0) / moved.std(0)
    assert float(ratio.mean()) == pytest.approx(0.1, rel=0.1)


def test_posterior_draws_given_every_members_own_past() -> None:
    """AR(1) with known frames 2 and -2, next frame read as 0.5 with noise 0.5: Kalman by hand; 4 standard errors of 16 members, and Heun's 2 %."""
    model, n = PriorModel(ar1_window()), 16
    known = torch.tensor([2.0, -2.0]).repeat_interleave(n // 2).reshape(n, 1, 1, 1)
    y = torch.full((1, 2, 1), torch.nan, dtype=torch.float64)
    y[0, 1] = 0.5
    c = Cycle(model, known, torch.zeros(n, 1, 1, 1), 0.0, torch.tensor([[0.5]]), y, torch.tensor([0.5]).double())
    analysis = PosteriorAnalysis(Guided(steps=24))
    analysis.check(model, 2)
    moved, report = analysis(c, rng=Rng(3))
    gain = 0.19 / (0.19 + 0.25)
    assert moved.shape == (n, 1, 2, 1) and torch.equal(moved[:, :, :1], known) and report["nfe"] > 0
    for half, before in ((moved[: n // 2], 1.8), (moved[n // 2 :], -1.8)):
        var = (1 - gain) * 0.19
        assert float(half[:, 0, 1].mean()) == pytest.approx(before + gain * (0.5 - before), abs=4 * (var / (n / 2)) ** 0.5 + 0.02)


def test_bad_input() -> None:
    for words, said in (({"method": "ekf"}, "got 'ekf'"), ({"method": "letkf"}, "radius with 'letkf'"), ({"radius": 1.0}, "radius with 'letkf'")):
        with pytest.raises(InputError, match=said):
            KalmanAnalysis(**words)
    with pytest.raises(InputError, match="KalmanAnalysis inflation"):
        KalmanAnalysis(inflation=0.0)
    with pytest.raises(CollapsedWeights, match="two or more particles that explain the readings after 0, got 1 of 8"):
        ParticleAnalysis()(cycle(std=1e-3), rng=Rng(0))
    with pytest.raises(InputError, match="expected a PriorModel of a DiffusionPrior"):
        PosteriorAnalysis(Guided()).check(StepModel(lambda x: x, SPEC), 1)
    with pytest.raises(InputError, match="at most 2 frames between analyses, got 3; give every=2"):
        PosteriorAnalysis(Guided()).check(PriorModel(ar1_window()), 3)
