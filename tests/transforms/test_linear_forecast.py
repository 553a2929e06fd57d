"""The linear first guess: it finds the propagator of a linear system, and its cross-validated residuals are honest."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe, read, write
from physdiff.transforms.linear_forecast import RANKS, LinearForecast, fit_linear_forecast

LIKE = torch.zeros((), dtype=torch.float64)
SPACE = (2, 2)


def propagator(size: int, key: str) -> Tensor:
    """A stable, non-normal matrix of spectral radius 0.9."""
    a = Rng(0).child(key).normal((size, size), like=LIKE)
    return 0.9 * a / torch.linalg.eigvals(a).abs().max()


def trajectory(lags: list[Tensor], steps: int, seed: int) -> Tensor:
    """x_t = sum_k A_k x_{t-k} + noise, (steps, size)."""
    size = lags[0].shape[0]
    noise = Rng(seed).normal((steps + 100, size), like=LIKE)
    states = [noise[0], noise[1]]
    for e in noise[2:]:
        states.append(sum(a @ states[-1 - k] for k, a in enumerate(lags)) + e)
    return torch.stack(states[100:])


def windows(series: Tensor, frames: int, space: tuple[int, ...] = SPACE) -> Tensor:
    """All windows of a trajectory, (n, C, T, *S)."""
    return series.unfold(0, frames, 1).movedim(2, 1).unflatten(2, (-1, *space)).movedim(2, 1)


def test_the_propagator_of_a_linear_system() -> None:
    """On new data the error of every lead is at most 1.05 times that of A^l x, the best of all forecasts."""
    a, horizon = propagator(8, "a"), 4
    fit = fit_linear_forecast(windows(trajectory([a], 3000, 1), 1 + horizon), 1)
    fresh = windows(trajectory([a], 2000, 2), 1 + horizon)
    guess = fit.full(fresh[:, :, :1])
    for lead in range(horizon):
        best = fresh[:, :, 0].flatten(1) @ torch.matrix_power(a, lead + 1).T
        truth = fresh[:, :, 1 + lead].flatten(1)
        ratio = float((guess[:, :, lead].flatten(1) - truth).square().mean() / (best - truth).square().mean())
        # 8 coefficients from 3000 windows cost 8/3000, a penalty of 1e-3 less
        assert 0.99 < ratio < 1.02
        found = fit.full.patterns.flatten(1).T @ fit.full.regression[lead] @ fit.full.projection.flatten(1)
        # standard error of an entry: sqrt(1/3000), times the spread of the inverse covariance
        assert float((found.double() - torch.matrix_power(a, lead + 1)).abs().max()) < 0.1


def test_two_known_frames_where_the_law_needs_two() -> None:
    first, second = 0.5 * propagator(4, "a"), torch.diag(torch.tensor([0.4, -0.3, 0.35, 0.2]).double())
    train, fresh = (windows(trajectory([first, second], 3000, seed), 3) for seed in (1, 2))
    expected = fresh[:, :, 1].flatten(1) @ first.T + fresh[:, :, 0].flatten(1) @ second.T
    error = {}
    for history in (1, 2):
        fit = fit_linear_forecast(train[:, :, 2 - history :], history, rank=4)
        assert fit.full.history == history
        error[history] = float((fit.full(fresh[:, :, :2])[:, :, 0].flatten(1) - fresh[:, :, 2].flatten(1)).square().mean())
    best = float((expected - fresh[:, :, 2].flatten(1)).square().mean())
    assert error[2] < 1.02 * best
    assert error[1] > 1.05 * best


def test_what_the_patterns_do_not_hold_persists_damped() -> None:
    """One strong pattern and forty weak ones with memory 0.8: the remainder is forecast as 0.8 of itself."""
    noise = Rng(3).normal((2000, 41), like=LIKE)
    states = [noise[0]]
    for e in noise[1:]:
        states.append(0.8 * states[-1] + e)
    strong = torch.stack(states)[:, :1] * torch.ones(40).double()
    x = windows(10 * strong + torch.stack(states)[:, 1:], 3, (40,))
    fit = fit_linear_forecast(x, 1, rank=1)
    torch.testing.assert_close(fit.full.damping, torch.tensor([0.8, 0.64]), rtol=0, atol=0.02)
    remainder = x[:, :, :1] - (x[:, 0, :1].float() @ fit.full.projection[:, 0].T @ fit.full.patterns[:, 0])[:, None]
    expected = fit.full.regression[1, 0, 0] * (x[:, :, :1] - remainder) + fit.full.damping[1] * remainder
    torch.testing.assert_close(fit.full(x[:, :, :1])[:, :, 1:], expected.to(x), rtol=0, atol=1e-4)


# -------------------------------------------------------------------------------------------------- cross-validation


@pytest.mark.parametrize("history", [1, 2])
def test_residuals_of_pure_noise_have_the_variance_of_the_noise(history: int) -> None:
    """There is nothing to forecast; in-sample residuals would be too small by the share of fitted numbers, here above 5 %."""
    n, size, rank = 500, 60, 30
    x = windows(Rng(7).normal((n + history, size), like=LIKE), history + 1, (60,))
    fit = fit_linear_forecast(x, history, rank=rank)
    variance = float(fit.residuals.double().square().mean())
    inside = float((x[:, :, history:] - fit.full(x[:, :, :history])).double().square().mean())
    # standard error of a variance of 30000 numbers: 0.8 %; 30 patterns of 60 carry half the variance
    share = history * rank / n
    assert inside < 1 - 0.35 * share
    assert 1 - 0.01 < variance < 1 + 3 * share


@pytest.mark.parametrize(("history", "horizon"), [(1, 1), (2, 4)])
def test_a_fold_has_not_seen_a_single_frame_of_its_windows(history: int, horizon: int) -> None:
    """Brute force: other numbers in every frame that the windows of fold k touch leave its forecast as it is, bit for bit."""
    frames, n, folds = history + horizon, 120, 4
    series = trajectory([propagator(8, "a")], n + frames - 1, 5)
    fit = fit_linear_forecast(windows(series, frames), history, rank=6, folds=folds)
    assert fit.fold_of.tolist() == sorted(fit.fold_of.tolist())
    assert torch.bincount(fit.fold_of).tolist() == [30] * 4
    for k in range(folds):
        inside = (fit.fold_of == k).nonzero()[:, 0]
        changed = series.clone()
        changed[int(inside[0]) : int(inside[-1]) + frames] = 1e3
        again = fit_linear_forecast(windows(changed, frames), history, rank=6, folds=folds)
        for name, tensor in fit.folds[k].named_buffers():
            assert torch.equal(tensor, again.folds[k].get_buffer(name))
        assert not torch.equal(fit.full.regression, again.full.regression)


def test_residuals_are_those_of_the_folds() -> None:
    x = windows(trajectory([propagator(8, "a")], 203, 5), 4)
    fit = fit_linear_forecast(x, 2, rank=6)
    for i in (0, 57, 199):
        expected = x[i : i + 1, :, 2:] - fit.folds[int(fit.fold_of[i])](x[i : i + 1, :, :2])
        torch.testing.assert_close(fit.residuals[i : i + 1], expected)


# -------------------------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize("unit", [(1e-4, 1e5), (1e5, 1e-4)])
def test_the_unit_of_a_channel_does_not_matter(unit: tuple[float, float]) -> None:
    """Neither for the patterns nor for the choice of their number: one channel turns in twenty dimensions, the other is noise."""
    a = torch.zeros(40, 40).double()
    a[:20, :20] = 0.97 * torch.linalg.qr(Rng(9).normal((20, 20), like=LIKE)).Q
    x, scale = windows(trajectory([a], 400, 5), 3, (20,)), torch.tensor(unit).double().reshape(2, 1, 1)
    plain, scaled = fit_linear_forecast(x, 1), fit_linear_forecast(scale * x, 1)
    assert plain.full.patterns.shape[0] == scaled.full.patterns.shape[0] == 30
    # forecasts are kept in float32
    torch.testing.assert_close(scaled.residuals / scale, plain.residuals, rtol=0, atol=1e-3)


def test_the_rank_is_the_one_with_the_smallest_honest_error() -> None:
    """Ten patterns that last and fifty that are noise."""
    a = torch.zeros(60, 60).double()
    a[:10, :10] = 0.95 * torch.eye(10)
    x = windows(trajectory([a], 300, 5), 2, (60,))
    error = {r: float(fit_linear_forecast(x, 1, rank=r).residuals.square().mean()) for r in RANKS}
    best = min(error, key=error.get)
    assert 10 <= best < 30
    chosen = fit_linear_forecast(x, 1)
    assert chosen.full.patterns.shape[0] == best
    assert float(chosen.residuals.square().mean()) == error[best]


def test_patterns_are_orthonormal_in_the_weights() -> None:
    weights = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).double()
    x = windows(trajectory([propagator(8, "a")], 300, 5), 2)
    full = fit_linear_forecast(x, 1, rank=5, weights=weights).full
    torch.testing.assert_close(full.projection.flatten(1) @ full.patterns.flatten(1).T, torch.eye(5), rtol=0, atol=1e-5)
    # projection = weights over variance, times the pattern
    std = x.square().mean((0, 2, 3, 4)).sqrt().reshape(2, 1, 1)
    torch.testing.assert_close(full.projection.double(), full.patterns.double() * weights / weights.mean() / std**2, rtol=1e-3, atol=1e-5)


def test_anomalies_that_are_all_zero_are_forecast_as_zero() -> None:
    fit = fit_linear_forecast(torch.zeros(60, 1, 3, 4), 1)
    assert float(fit.residuals.abs().max()) == 0
    assert float(fit.full(torch.zeros(1, 1, 1, 4)).abs().max()) == 0


def test_only_the_last_known_frames_count_and_saving_keeps_all(tmp_path) -> None:
    x = windows(trajectory([propagator(8, "a")], 100, 5), 5)
    full = fit_linear_forecast(x, 2, rank=4).full
    assert (full.history, full.horizon) == (2, 3)
    more = torch.cat([torch.full_like(x[:, :, :1], 1e9), x[:, :, :2]], dim=2)
    assert torch.equal(full(more), full(x[:, :, :2]))
    assert full(x[:, :, :2]).dtype == torch.float64
    for again in (build(describe(full)), read(write(tmp_path / "guess", full))[0]):
        assert torch.equal(again(x[:, :, :2]), full(x[:, :, :2]))
    with pytest.raises(InputError, match="at least 2 known frames, got 1"):
        full(x[:, :, :1])


@pytest.mark.parametrize(("n", "frames", "history", "folds"), [(19, 2, 1, 5), (40, 3, 3, 5), (30, 12, 1, 5), (21, 10, 1, 5), (12, 4, 1, 2)])
def test_too_few_windows_are_refused(n: int, frames: int, history: int, folds: int) -> None:
    with pytest.raises(DataError, match=f"got {n} of {frames} frames; use more data or fewer folds"):
        fit_linear_forecast(torch.ones(n, 1, frames, 4), history, folds=folds)


def test_a_forecast_by_hand() -> None:
    """Two points, one pattern (their mean), two known frames."""
    pattern = torch.ones(1, 1, 2)
    forecast = LinearForecast(pattern, pattern / 2, regression=torch.tensor([[[0.5, 0.25]]]), damping=torch.tensor([0.1]))
    known = torch.tensor([[[[4.0, 0.0], [3.0, 5.0]]]])  # older, newer
    # means 2 and 4; remainder (-1, 1)
    assert forecast(known).flatten().tolist() == pytest.approx([0.5 * 4 + 0.25 * 2 - 0.1, 0.5 * 4 + 0.25 * 2 + 0.1])
