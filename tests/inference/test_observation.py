"""Observations: what is missing, what fits, what a likelihood of broken windows is; operators by a matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.inference.noise import GaussianNoise
from physdiff.inference.observation import MatrixOperator, Observation, Operator

LIKE = torch.zeros((), dtype=torch.float64)
SHAPE = (2, 3, 4)
MATRIX = Rng(1).normal((5, *SHAPE), like=LIKE)
X = Rng(2).normal((6, *SHAPE), like=LIKE)


class Square(Operator):
    """Readings (B, C, T, *S) of the square."""

    def __call__(self, x: Tensor) -> Tensor:
        return x**2


def test_matrix_operator_and_its_adjoint() -> None:
    operator = MatrixOperator(MATRIX)
    r = Rng(3).normal((6, 5), like=LIKE)
    torch.testing.assert_close(operator(X), torch.einsum("mctx,bctx->bm", MATRIX, X))
    torch.testing.assert_close((operator(X) * r).sum(), (X * operator.adjoint(r)).sum(), rtol=1e-12, atol=0)
    assert torch.equal(MatrixOperator(MATRIX.flatten(1), SHAPE)(X), operator(X))
    assert torch.equal(build(describe(operator))(X), operator(X))
    with pytest.raises(ShapeError, match="one weight for each entry"):
        MatrixOperator(MATRIX.flatten(1), (2, 3, 5))
    with pytest.raises(ShapeError, match="expected windows"):
        operator(X[:, :1])


def test_log_prob_is_the_sum_over_the_readings_there_are() -> None:
    y = torch.tensor([0.1, torch.nan, -0.3, torch.nan, 2.0], dtype=torch.float64)
    keep = y.isfinite()
    expected = torch.distributions.Normal(MatrixOperator(MATRIX)(X)[:, keep], LIKE + 0.7).log_prob(y[keep]).sum(1)
    torch.testing.assert_close(Observation(MatrixOperator(MATRIX), y, std=0.7).log_prob(X), expected, rtol=1e-13, atol=0)


def test_a_broken_window_has_no_likelihood_not_a_high_one() -> None:
    y = torch.tensor([0.1, torch.nan, -0.3, 0.0, 2.0], dtype=torch.float64)
    broken = X.clone()
    broken[1], broken[2, 0, 0, 0] = torch.nan, torch.inf
    value = Observation(MatrixOperator(MATRIX), y, std=0.7).log_prob(broken)
    assert value[1] == value[2] == -torch.inf
    assert bool(value[[0, 3, 4, 5]].isfinite().all())


def test_one_number_serves_all_readings() -> None:
    both = [Observation(Square(), y, std=0.5).log_prob(X) for y in (1.0, torch.ones(SHAPE, dtype=torch.float64))]
    assert torch.equal(*both)


def test_axes_of_length_one_may_be_left_out_and_nothing_else_is_broadcast() -> None:
    thin = X[:, :1]
    full = Observation(Square(), torch.ones(1, 3, 4), std=0.5).log_prob(thin)
    assert torch.equal(Observation(Square(), torch.ones(3, 4), std=0.5).log_prob(thin), full)
    with pytest.raises(ShapeError, match=r"Observation y: expected shape \(2, 3, 4\)"):
        Observation(Square(), torch.ones(4), std=0.5).residual(X)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"y": 0.0}, "exactly one of std and noise"),
        ({"y": 0.0, "std": 1.0, "noise": GaussianNoise(1.0)}, "exactly one of std and noise"),
        ({"y": torch.tensor([torch.nan, torch.nan]), "std": 1.0}, "at least one finite reading, got none"),
        ({"y": torch.tensor([1.0, torch.inf]), "std": 1.0}, "infinite"),
        ({"y": 0.0, "std": 0.0}, "positive finite standard deviations"),
    ],
)
def test_worded_errors(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        Observation(Square(), **arguments)
