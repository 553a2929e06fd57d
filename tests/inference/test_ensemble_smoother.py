"""The ensemble smoother: the Kalman smoother of AR(1) to rounding, on an ensemble whose moments are exact."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble_kalman import etkf
from physdiff.inference.ensemble_smoother import enks
from physdiff.inference.exact import ar1_target
from physdiff.inference.state_space import LinearGaussian, kalman

LIKE = torch.zeros((), dtype=torch.float64)


def exact_anomalies(n: int, columns: int, against: list[Tensor], rng: Rng) -> Tensor:
    """Columns of mean 0 and sample covariance I that are uncorrelated with earlier ones in the sample itself, (n, columns)."""
    basis = torch.cat([torch.ones(n, 1, dtype=torch.float64), *against, rng.normal((n, columns), like=LIKE)], 1)
    return torch.linalg.qr(basis)[0][:, -columns:] * math.sqrt(n - 1)


def smoothed(y: dict[int, float], *, length: int = 4, n: int = 12, **options) -> list[Tensor]:
    """AR(1) of correlation 0.9 and unit variance, forecast member by member and smoothed at every reading of variance 0.25."""
    rng, used, history = Rng(0), [], []
    for t in range(length):
        noise = exact_anomalies(n, 1, used, rng.child(t))
        used.append(noise)
        history.append(noise if t == 0 else 0.9 * history[-1] + math.sqrt(1 - 0.81) * noise)
        if t in y:
            history = enks(history, history[-1], torch.tensor([y[t]]), std=0.5, **options)
    return history


def test_the_smoother_of_a_trajectory_read_at_both_ends() -> None:
    """T4 to the six published decimals: readings 1 and -1 at its ends. The update keeps what the sample says of anomalies and noise to come exact."""
    history = smoothed({0: 1.0, 3: -1.0})
    target = ar1_target(4, 0.9, seen=(0, 3), y=torch.tensor([1.0, -1.0]), std=0.5)
    mean, var = (torch.stack([f(h) for h in history]) for f in (lambda h: h.mean(), lambda h: h.var()))
    torch.testing.assert_close(mean, torch.tensor([0.520154, 0.172745, -0.172745, -0.520154], dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(var, torch.tensor([0.174228, 0.253444, 0.253444, 0.174228], dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(mean, target.posterior_mean, rtol=0, atol=1e-12)


def test_many_readings_against_the_kalman_smoother() -> None:
    """Eight times, five readings; 1e-10: some hundred operations in float64."""
    y = {0: 1.0, 2: 0.3, 3: -0.8, 5: 0.1, 7: 2.0}
    one = torch.ones(1, 1, dtype=torch.float64)
    model = LinearGaussian(0.9 * one, (1 - 0.81) * one, one, 0.25 * one, 0 * one[0], one)
    exact = kalman(model, torch.tensor([[y.get(t, math.nan)] for t in range(8)]))
    history = smoothed(y, length=8, n=20)
    torch.testing.assert_close(torch.stack([h.mean() for h in history]), exact.smooth_means[:, 0], rtol=0, atol=1e-10)
    torch.testing.assert_close(torch.stack([h.var() for h in history]), exact.smooth_covariances[:, 0, 0], rtol=0, atol=1e-10)


def test_noise_on_the_readings_and_turns() -> None:
    """Perturbed: the mean is exact here too, for one reading (its noise is centred); turned: mean and variance are."""
    target = ar1_target(4, 0.9, seen=(3,), y=torch.tensor([-1.0]), std=0.5)
    for options in ({"perturbed": True, "rng": Rng(1)}, {"rng": Rng(1)}):
        history = smoothed({3: -1.0}, **options)
        torch.testing.assert_close(torch.stack([h.mean() for h in history]), target.posterior_mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.stack([h.var() for h in history]), target.posterior_covariance.diagonal(), rtol=0, atol=1e-12)


def test_the_last_ensemble_is_the_analysis_and_shapes_stay() -> None:
    x = Rng(2).normal((6, 2, 3), like=LIKE)
    y, std = torch.tensor([0.4, 0.1]), 0.3
    before, now = enks([x[:, :1].float(), x], x[:, 0, :2], y, std=std)
    torch.testing.assert_close(now, etkf(x, x[:, 0, :2], y, std=std), rtol=1e-12, atol=1e-12)
    assert before.shape == (6, 1, 3) and before.dtype == torch.float32


def test_bad_input() -> None:
    x = torch.zeros(4, 2)
    with pytest.raises(InputError, match="one ensemble or more, got none"):
        enks([], x, torch.zeros(2), std=1.0)
    with pytest.raises(ShapeError, match=r"the same members at all times, got \[3, 4\]"):
        enks([x[:3], x], x, torch.zeros(2), std=1.0)
    with pytest.raises(InputError, match="rng= for noise"):
        enks([x], x, torch.zeros(2), std=1.0, perturbed=True)
