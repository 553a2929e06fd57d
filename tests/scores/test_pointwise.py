"""Errors cell by cell and anomaly correlation, against loops and closed forms."""

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.scores.pointwise import (
    acc,
    bias,
    correlation,
    ensemble_mae,
    ensemble_rmse,
    mae,
    rmse,
    squared_error,
    squared_error_of_mean,
    vrmse,
)

F64 = torch.float64


F64 = torch.float64


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def case(seed=0, members=4, shape=(3, 5)):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(members, *shape, generator=g, dtype=F64)
    return x, torch.randn(shape, generator=g, dtype=F64), torch.rand(shape, generator=g, dtype=F64)


@pytest.mark.parametrize(
    ("score", "of_cell", "end"),
    [
        (rmse, lambda x, y: sum((v - y) ** 2 for v in x) / len(x), math.sqrt),
        (ensemble_rmse, lambda x, y: (sum(x) / len(x) - y) ** 2, math.sqrt),
        (mae, lambda x, y: sum(abs(v - y) for v in x) / len(x), float),
        (ensemble_mae, lambda x, y: abs(sum(x) / len(x) - y), float),
        (bias, lambda x, y: sum(x) / len(x) - y, float),
    ],
)
def test_each_is_its_loop(score, of_cell, end):
    x, y, w = case()
    cells = [(i, j) for i in range(3) for j in range(5)]
    total = sum(float(w[c]) * of_cell([float(v) for v in x[(slice(None), *c)]], float(y[c])) for c in cells)
    # rounding of 60 terms
    assert float(score(x, y, w)) == pytest.approx(end(total / float(w.sum())), rel=1e-12)
    assert float(score(x, y)[1, 2]) == pytest.approx(
        end(of_cell(x[:, 1, 2].tolist(), float(y[1, 2]))), rel=1e-12
    )


def test_a_member_and_the_mean_differ_by_the_biased_variance():
    x, y, w = case(members=7)
    spread = (x.var(0, correction=0) * w).sum() / w.sum()
    difference = squared_error(x, y, w) - squared_error_of_mean(x, y, w)
    # (a - y)^2 averaged = variance + (mean - y)^2, to rounding
    torch.testing.assert_close(difference, spread, rtol=1e-12, atol=0)


def test_acc_is_one_minus_one_and_zero_where_it_must_be():
    _, y, w = case()
    normal = torch.full_like(y, 280.0)
    one = {"weights": w, "climatology": normal}
    # anomalies of order 1 around 280 lose 280 eps = 6e-14
    assert float(acc((normal + 3 * y)[None], normal + y, **one)) == pytest.approx(1.0, abs=1e-12)
    assert float(acc((normal - y)[None], normal + y, **one)) == pytest.approx(-1.0, abs=1e-12)
    wave = torch.arange(8, dtype=F64) * math.pi / 4
    assert float(acc(wave.sin()[None], wave.cos(), climatology=torch.zeros(8))) == pytest.approx(0, abs=1e-15)
    assert acc(normal[None], normal + y, **one).isnan()


def test_acc_is_the_weighted_correlation_coefficient():
    x, y, w = case(members=3)
    normal = torch.linspace(-1, 1, 5, dtype=F64)
    f, o = x.mean(0) - normal, y - normal
    p = w / w.sum()
    plain = (p * f * o).sum() / ((p * f * f).sum() * (p * o * o).sum()).sqrt()
    f, o = f - (p * f).sum(), o - (p * o).sum()
    centred = (p * f * o).sum() / ((p * f * f).sum() * (p * o * o).sum()).sqrt()
    # rounding of 15 terms
    torch.testing.assert_close(acc(x, y, w, climatology=normal), plain, rtol=1e-13, atol=0)
    torch.testing.assert_close(acc(x, y, w, climatology=normal, centred=True), centred, rtol=1e-12, atol=0)


def test_acc_wants_a_climatology():
    x, y, _ = case()
    with pytest.raises(TypeError, match="climatology"):
        acc(x, y)
    with pytest.raises(ShapeError, match="climatology"):
        acc(x, y, climatology=torch.zeros(4))


def test_correlation_is_that_of_numpy_and_leaves_out_missing_cells():
    x, y, w = draws(3, 2, 4, 5), draws(2, 4, 5, seed=1), draws(4, 5, seed=2).abs()
    x[1, 0, 2, 2] = y[1, 0, 0] = float("nan")
    expected = []
    for b in range(2):
        each = []
        for member in x[:, b]:
            known = ~(member.isnan() | y[b].isnan())
            c = np.cov(member[known].numpy(), y[b][known].numpy(), aweights=w[known].numpy())
            each.append(c[0, 1] / math.sqrt(c[0, 0] * c[1, 1]))
        expected.append(np.mean(each))
    torch.testing.assert_close(correlation(x, y, w), torch.tensor(expected, dtype=F64), rtol=1e-12, atol=0)
    # invariant to shift and scale of the forecast
    torch.testing.assert_close(correlation(3 * x + 7, y, w), correlation(x, y, w), rtol=1e-12, atol=0)


def test_vrmse_of_the_mean_is_one_and_of_the_truth_nothing():
    y, w = draws(3, 4, 5), draws(4, 5, seed=2).abs()
    mean = ((w * y).sum((1, 2)) / w.sum())[:, None, None].expand(3, 4, 5)
    # the added variance of 1e-7 is seen at 1e-7
    torch.testing.assert_close(vrmse(mean[None], y, w), torch.ones(3, dtype=F64), rtol=1e-6, atol=0)
    assert float(vrmse(y[None], y, w).max()) == 0.0
    x = draws(2, 3, 4, 5, seed=4)
    plain = [math.sqrt(float((x[:, b] - y[b]).square().mean() / (y[b].var(correction=0) + 1e-7))) for b in range(3)]
    torch.testing.assert_close(vrmse(x, y, torch.ones(4, 5)), torch.tensor(plain, dtype=F64), rtol=1e-12, atol=0)
