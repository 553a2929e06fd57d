"""Exchange between cells: the dense system's solution, exactly positive, conserving, right to rounding however stiff."""

from fractions import Fraction

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.solvers.tridiagonal import Exchange


def rates(n, *, batch=2):
    """Rates spread over twelve orders of magnitude."""
    rng, like = Rng(3), torch.empty((), dtype=torch.float64)
    keep = 0.5 + rng.child("keep").uniform((batch, n), like=like)
    right, left = (10 ** (12 * rng.child(name).uniform((batch, n), like=like) - 6) for name in ("right", "left"))
    return keep, right, left


def dense(keep, right, left, *, closed):
    n = keep.shape[-1]
    matrix = torch.diag_embed(keep + right + left)
    for i in range(n):
        if i + 1 < n or closed:
            matrix[..., (i + 1) % n, i] -= right[..., i]
        if i > 0 or closed:
            matrix[..., i - 1, i] -= left[..., i]
    return matrix


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("n", [3, 4, 17, 32])
def test_solves_the_dense_system(n, closed):
    keep, right, left = rates(n)
    b = Rng(1).uniform((2, n), like=keep)
    x = Exchange(keep, right, left, closed=closed).solve(b)
    # rounding of the matrix product, whose terms are as large as x times the rates
    size = (dense(keep, right, left, closed=closed).abs() @ x[..., None])[..., 0]
    error = (dense(keep, right, left, closed=closed) @ x[..., None])[..., 0] - b
    assert float((error / size).abs().max()) < 1e-14


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positive_and_conserving_whatever_the_rates(closed, dtype):
    _, right, left = (v.to(dtype) for v in rates(50))
    if not closed:
        right[:, -1], left[:, 0] = 0.0, 0.0
    keep = torch.ones_like(right)
    b = torch.zeros_like(right)
    b[0, 7], b[1, 49] = 1.0, 2.0
    x = Exchange(keep, right, left, closed=closed).solve(b)
    assert bool((x >= 0).all())  # no tolerance
    # a few roundings for each of the six levels of the scans
    torch.testing.assert_close(x.sum(-1), b.sum(-1), rtol=50 * torch.finfo(dtype).eps, atol=0)


def test_every_entry_is_right_to_rounding():
    # rates of 1e15 around a barrier: 1 + rates rounds the 1 away, and the smallest entries are 1e-6 of the largest
    n = 12
    right = 1e15 * torch.linspace(0.2, 5.0, n, dtype=torch.float64)
    left = torch.full((n,), 1e15, dtype=torch.float64)
    right[-1], left[0] = 0.0, 0.0
    b = torch.zeros(n, dtype=torch.float64)
    b[3] = 1.0
    keep = torch.ones(n, dtype=torch.float64)
    exact = torch.tensor(rational_solution(*([Fraction(float(v)) for v in row] for row in (keep, right, left, b))), dtype=torch.float64)
    torch.testing.assert_close(Exchange(keep, right, left).solve(b), exact, rtol=1e-14, atol=0)
    # solving the same numbers by elimination with differences loses most digits
    assert float((torch.linalg.solve(dense(keep, right, left, closed=False), b) / exact - 1).abs().max()) > 1e-3


def rational_solution(keep, right, left, b):
    """The system solved in exact arithmetic by plain elimination."""
    n = len(b)
    diagonal, b = [k + r + l for k, r, l in zip(keep, right, left, strict=True)], list(b)  # noqa: E741 - l as in the formula
    for i in range(1, n):
        share = right[i - 1] / diagonal[i - 1]
        diagonal[i] -= share * left[i]
        b[i] += share * b[i - 1]
    x = [b[-1] / diagonal[-1]]
    for i in range(n - 2, -1, -1):
        x.append((b[i] + left[i + 1] * x[-1]) / diagonal[i])
    return [float(v) for v in reversed(x)]


def test_gradients_pass():
    keep, right, left = (v[:1, :5].clamp(max=10.0).requires_grad_() for v in rates(6))
    assert torch.autograd.gradcheck(lambda *v: Exchange(*v, closed=True).solve(torch.ones(1, 5, dtype=torch.float64)), (keep, right, left))
