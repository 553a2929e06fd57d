"""Waves that travel and decay are found as they are, rows help each other where data are few, and residuals are honest."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.transforms.zonal_forecast import ZonalForecast, fit_zonal_forecast

LIKE = torch.zeros((), dtype=torch.float64)


def waves(frames: int, seed: int, factors: Tensor, n: int) -> Tensor:
    """An AR(1) of every wave with complex factors (rows, K), as fields (1, frames, rows, n)."""
    rows, k = factors.shape
    drive = torch.fft.rfft(Rng(seed).normal((frames + 60, rows, n), like=LIKE), dim=-1)
    states = [drive[0]]
    for e in drive[1:]:
        states.append(factors * states[-1] + e)
    assert k == n // 2 + 1
    return torch.fft.irfft(torch.stack(states[60:]), n=n, dim=-1)[None]


def windows(series: Tensor, frames: int) -> Tensor:
    """(C, T, *S) -> (n, C, frames, *S), float32."""
    return series.unfold(1, frames, 1).movedim(1, 0).movedim(-1, 2).float()


def factors(rows: int, n: int) -> Tensor:
    """Damping and phase that depend on row and wavenumber; real where a real field asks for it."""
    k, y = torch.arange(n // 2 + 1, dtype=torch.float64), torch.linspace(0.0, 1.0, rows, dtype=torch.float64)[:, None]
    found = torch.polar(0.9 - 0.3 * y - 0.02 * k, 0.4 * k * (1 - y))
    found[:, 0], found[:, -1] = found[:, 0].abs(), found[:, -1].abs()
    return found.to(torch.complex128)


@pytest.mark.parametrize("n", [8, 9])
def test_waves_that_travel_and_decay(n: int) -> None:
    """On new data every lead is at most 2 % worse than b^l, the best of all forecasts, and b is found."""
    b, horizon = factors(3, n), 3
    if n % 2:
        b[:, -1] = torch.polar(b[:, -1].real, torch.full((3,), 0.3, dtype=torch.float64))
    fit = fit_zonal_forecast(windows(waves(3000, 1, b, n), 1 + horizon), 1)
    fresh = windows(waves(1500, 2, b, n), 1 + horizon)
    guess = fit.full(fresh[:, :, :1])
    for lead in range(horizon):
        best = torch.fft.irfft(torch.fft.rfft(fresh[:, 0, 0].double(), dim=-1) * b ** (lead + 1), n=n, dim=-1)
        truth = fresh[:, 0, 1 + lead]
        ratio = float((guess[:, 0, lead] - truth).square().mean() / (best - truth).square().mean())
        assert 0.99 < ratio < 1.02  # two real numbers per wave from 3000 windows cost 2/3000, penalty 0.01 pulls towards the mean of three rows
    found = torch.view_as_complex(fit.full.factors)[0, 0, 0]
    # std of an AR(1) factor from 3000 frames: sqrt((1 - 0.9^2) / 3000) < 0.02, two numbers; the pull moves by 1 % of at most 0.5
    assert (found - b).abs().max() < 0.08


def test_it_commutes_with_shifts_and_keeps_a_mean() -> None:
    fit = fit_zonal_forecast(windows(waves(200, 3, factors(2, 10), 10), 5), 2)
    x = windows(waves(40, 4, factors(2, 10), 10), 5)[:, :, :2]
    torch.testing.assert_close(fit.full(x).roll(3, -1), fit.full(x.roll(3, -1)), atol=1e-5, rtol=1e-5)
    flat = torch.ones(1, 1, 2, 2, 10)
    assert (fit.full(flat) - fit.full(flat)[..., :1]).abs().max() < 1e-5  # a mean of a circle stays one


def test_a_standing_oscillation_needs_two_frames() -> None:
    t = torch.arange(300, dtype=torch.float64)
    x = torch.cos(0.7 * t)[:, None] * torch.cos(2 * math.pi * torch.arange(8, dtype=torch.float64) / 8)
    x = x[None, :, None, :] + 0.01 * Rng(0).normal((1, 300, 1, 8), like=LIKE)  # a_{t+1} = 2 cos(0.7) a_t - a_{t-1}
    one, two = (float(fit_zonal_forecast(windows(x, h + 1), h).residuals.square().mean().sqrt()) for h in (1, 2))
    # noise of 0.01 enters (1 + 4 cos^2 + 1)^(1/2) = 2.1 times; one frame leaves about sin(0.7) of the wave
    assert two < 0.03 < 0.2 < one


def test_residuals_are_those_of_unseen_windows() -> None:
    """White noise: what is left is at least the noise, while the fit itself overfits."""
    noise = windows(Rng(5).normal((1, 60, 4, 8), like=LIKE), 4)
    fit = fit_zonal_forecast(noise, 2)
    assert float(fit.residuals.var()) > 0.99 * float(noise.var())
    for k, fold in enumerate(fit.folds):
        inside = noise[fit.fold_of == k]
        assert torch.equal(fit.residuals[fit.fold_of == k], inside[:, :, 2:] - fold(inside[:, :, :2]))


def test_it_can_be_saved_and_says_what_it_expects() -> None:
    fit = fit_zonal_forecast(windows(waves(60, 3, factors(2, 6), 6), 4), 1).full
    assert (fit.history, fit.horizon) == (1, 3)
    tensors: dict[str, Tensor] = {}
    again = build(describe(fit, tensors), tensors=tensors)
    assert isinstance(again, ZonalForecast) and torch.equal(again.factors, fit.factors)
    with pytest.raises(InputError, match="expected 1 known frames"):
        fit(torch.zeros(1, 1, 1, 2, 8))
    with pytest.raises(DataError, match="20 or more"):
        fit_zonal_forecast(torch.zeros(10, 1, 4, 2, 6), 1)


def test_fields_that_never_vary_have_a_forecast() -> None:
    fit = fit_zonal_forecast(torch.zeros(40, 1, 4, 2, 6), 1)
    assert bool((fit.full(torch.zeros(1, 1, 1, 2, 6)) == 0).all())
