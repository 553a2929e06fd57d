"""Weights against closed forms by hand, and against torch's Adam."""

from __future__ import annotations

import math
from dataclasses import asdict

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.pinn.weighting import (
    AscendingWeights,
    CausalWeights,
    RelativeLossWeights,
    ResidualAttention,
    causal_weights,
    gradient_norm_weights,
    learning_rate_weights,
    smoothed_weights,
    tangent_kernel_weights,
    time_chunks,
)

F64 = torch.float64


def test_causal_weights_fall_with_earlier_losses_only():
    losses = torch.tensor([0.5, 0.25, 2.0, 7.0], dtype=F64, requires_grad=True)
    weights = causal_weights(losses, 2.0)
    torch.testing.assert_close(weights, torch.tensor([1.0, math.exp(-1.0), math.exp(-1.5), math.exp(-5.5)], dtype=F64))
    assert not weights.requires_grad


def test_chunks_are_means_over_points_and_equations():
    squares = torch.arange(12.0).reshape(6, 2)
    assert time_chunks(squares, 3).tolist() == [1.5, 5.5, 9.5]
    assert time_chunks(squares[:, 0], 2).tolist() == [2, 8]
    with pytest.raises(ShapeError, match="multiple of 4"):
        time_chunks(squares, 4)


def test_the_ladder_is_climbed_when_all_spans_count():
    w = CausalWeights((0.1, 10.0), chunks=2)
    solved, unsolved = torch.tensor([0.05, 3.0]), torch.tensor([0.2, 0.0])
    assert w.update(unsolved).rung == 0  # exp(-0.02) = 0.980
    up = w.update(solved)  # exp(-0.005) = 0.995
    assert up.epsilon == 10 and up.weights(solved).tolist() == pytest.approx([1, math.exp(-0.5)])
    assert up.update(torch.zeros(2)) is up
    assert CausalWeights(**asdict(up)) == up
    with pytest.raises(ShapeError, match="time_chunks"):
        w.weights(torch.zeros(3))


def test_gradient_weights_by_hand():
    g = torch.tensor([[3.0, 4.0], [0.0, 1.0]], dtype=F64)  # lengths 5 and 1, mean 3
    assert gradient_norm_weights(g).tolist() == pytest.approx([0.6, 3])
    assert learning_rate_weights(g).tolist() == pytest.approx([1, 8])  # 4/(1/2)
    assert learning_rate_weights(g, leading=1).tolist() == pytest.approx([1 / 3.5, 1])
    # traces per point 2 and 0.5, mean 1.25
    assert tangent_kernel_weights(torch.tensor([20.0, 2.0]), torch.tensor([10, 4])).tolist() == pytest.approx([0.625, 2.5])
    assert smoothed_weights(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.0])).tolist() == pytest.approx([1.2, 1.8])
    weighted = gradient_norm_weights(g).unsqueeze(1) * g
    torch.testing.assert_close(weighted.norm(dim=1), torch.full((2,), 3.0, dtype=F64))


def test_a_term_met_exactly_gets_a_finite_weight():
    weights = gradient_norm_weights(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    assert bool(weights.isfinite().all()) and weights[1] > 1e6
    with pytest.raises(InputError, match="NaN"):
        gradient_norm_weights(torch.tensor([[math.nan]]))


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_relative_loss_weights_by_hand(keep):
    w = RelativeLossWeights(temperature=0.5, memory=0.7, keep=keep)
    w = w.update(torch.tensor([4.0, 2.0], dtype=F64), Rng(0))
    assert w.weights.tolist() == [1, 1]
    w = RelativeLossWeights(**asdict(w)).update(torch.tensor([2.0, 2.0], dtype=F64), Rng(1))
    share = 2 / (1 + math.exp(1.0))  # ratios 1/2 and 1 over T = 1/2: 1 and 2
    one = 0.7 * (1 if keep else share) + 0.3 * share
    assert w.weights.tolist() == pytest.approx([one, 2 - one])
    w = w.update(torch.tensor([1.0, 2.0], dtype=F64), Rng(2))
    last, first = 2 / (1 + math.exp(1.0)), 2 / (1 + math.exp(1.5))
    expected = 0.7 * (one if keep else first) + 0.3 * last
    assert w.weights.tolist() == pytest.approx([expected, 2 - expected])


def test_ascending_weights_are_adams_ascent():
    torch.manual_seed(0)
    values = torch.rand(5, dtype=F64)
    theirs = values.clone().requires_grad_()
    optimizer = torch.optim.Adam([theirs], lr=0.05, maximize=True)
    ours = AscendingWeights(values, rate=0.05)
    for _ in range(4):
        r = torch.randn(5, 2, dtype=F64)
        optimizer.zero_grad()
        (theirs.square() * r.square().sum(1)).mean().backward()
        optimizer.step()
        ours = AscendingWeights(**asdict(ours)).update(r)
    torch.testing.assert_close(ours.values, theirs.detach())
    torch.testing.assert_close(ours.weights, theirs.detach() ** 2)
    assert bool((ours.values > values).all())
    with pytest.raises(ShapeError, match="stay the same"):
        ours.update(torch.zeros(4))


def test_residual_attention_by_hand_and_bounded():
    w = ResidualAttention(torch.tensor([0.5, 0.0]), decay=0.9, rate=0.2).update(torch.tensor([1.0, -4.0]))
    assert w.weights.tolist() == pytest.approx([0.5, 0.2])
    for _ in range(200):
        w = w.update(torch.tensor([1.0, -4.0]))
    assert w.weights.tolist() == pytest.approx([0.5, 2.0])  # rate/(1 - decay) times 1/4 and 1
    assert bool(w.update(torch.zeros(2)).weights.isfinite().all())


def test_refusals():
    with pytest.raises(InputError, match="ladder"):
        CausalWeights((), 4)
    with pytest.raises(InputError, match="epsilon"):
        causal_weights(torch.ones(2), -1)
    with pytest.raises(InputError, match="memory"):
        RelativeLossWeights(memory=2)
    with pytest.raises(InputError, match="traces >= 0"):
        tangent_kernel_weights(torch.tensor([-1.0]), torch.tensor([1]))
    with pytest.raises(InputError, match="decay"):
        ResidualAttention(torch.zeros(2), decay=1.0)
