"""Variance by hand, and its power to tell draws between modes, made by a smoothed denoiser whose exact twin makes none."""

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.scores.trajectory_variance import restless, trajectory_variance

F64 = torch.float64
MODES, STD = torch.tensor([-4.0, 0.0, 4.0], dtype=F64), 0.1


def sampled(smooth, n=4000, steps=60):
    """Draws and estimates of the probability flow of three narrow modes; `smooth` widens the border between them, as a network does."""
    sigmas = torch.logspace(1.3, -1.7, steps + 1, dtype=F64)
    x, kept = sigmas[0] * Rng(0).normal((n,)).double(), []
    for now, then in zip(sigmas[:-1], sigmas[1:], strict=True):
        width = STD**2 + now**2
        w = torch.softmax(-((x[:, None] - MODES) ** 2) / (2 * (width + smooth**2)), 1)
        near = w @ MODES
        estimate = near + STD**2 / width * (x - near)
        kept.append(estimate)
        x = estimate + then / now * (x - estimate)
    return x, torch.stack(kept)


def test_it_tells_draws_between_modes_from_those_inside():
    x, estimates = sampled(smooth=1.2)
    between = (x[:, None] - MODES).abs().min(1).values > 6 * STD
    variance = trajectory_variance(estimates)
    assert 0.01 < float(between.double().mean()) < 0.3
    # probability that a draw between modes has the larger variance: ranks of one kind among all
    ranks = variance.argsort().argsort().double() + 1
    k, n = int(between.sum()), len(x)
    area = (float(ranks[between].sum()) - k * (k + 1) / 2) / (k * (n - k))
    left = between & ~restless(variance, share=2 * k / n)
    print(area, k, int(left.sum()))
    # 0.950 for these 4000 draws, whose standard error is 0.01
    assert area > 0.91
    # the exact denoiser makes none but for its steps
    assert float(((sampled(smooth=0.0)[0][:, None] - MODES).abs().min(1).values > 6 * STD).double().mean()) < 0.005
    # twice as many dropped as there are between modes: most of those are gone
    assert int(left.sum()) < 0.3 * k


def test_by_hand_and_what_is_refused():
    e = Rng(1).normal((12, 3, 2, 4)).double()
    expected = [sum(float(e[2:, n, i, j].var(correction=0)) for i in range(2) for j in range(4)) / 8 for n in range(3)]
    torch.testing.assert_close(trajectory_variance(e), torch.tensor(expected, dtype=F64), rtol=1e-13, atol=0)
    assert restless(torch.tensor([1.0, float("nan"), 3.0, 2.0]), share=0.5).tolist() == [False, True, True, False]
    assert not restless(torch.ones(3), share=0.0).any() and restless(torch.ones(3), share=0.34).sum() == 2
    with pytest.raises(ShapeError, match="10 steps"):
        trajectory_variance(e[:9])
    with pytest.raises(InputError, match="window"):
        trajectory_variance(e, window=1)
    with pytest.raises(InputError, match="share"):
        restless(torch.ones(3), share=1.5)
