"""Chains of jumps against their dense generators."""

import itertools
import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.solvers.jumps import exponential, steady_state

OFFSETS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (2, -1), (-2, 1)]
WIDE = torch.empty((), dtype=torch.float64)


def chain(shape, closed, *, batch=1):
    rates = {}
    for i, e in enumerate(OFFSETS):
        r = Rng(0).child(i).uniform((batch, *shape), like=WIDE)
        for axis in (0, 1):
            target = torch.arange(shape[axis]) + e[axis]
            inside = ((target >= 0) & (target < shape[axis])) | torch.tensor(closed[axis])
            r = r * (inside[:, None] if axis == 0 else inside)
        rates[e] = r
    return rates


def generator(rates, shape):
    n = math.prod(shape)
    q = torch.zeros(n, n, dtype=torch.float64)
    for (a, b), r in rates.items():
        for i, j in itertools.product(range(shape[0]), range(shape[1])):
            q[i * shape[1] + j, ((i + a) % shape[0]) * shape[1] + (j + b) % shape[1]] += r[0, i, j]
    return q - torch.diag(q.sum(1))


@pytest.mark.parametrize(("shape", "closed"), [((9, 5), (False, False)), ((5, 8), (False, True)), ((11, 6), (True, True)), ((8, 5), (True, False))])
def test_against_the_dense_generator(shape, closed):
    rates = chain(shape, closed)
    q = generator(rates, shape)
    p = steady_state(rates, shape=shape, closed=closed)
    assert float((p.reshape(1, -1) @ q).abs().max()) < 1e-16 and abs(float(p.sum()) - 1) < 1e-15 and float(p.min()) > 0
    x = Rng(1).uniform((1, *shape), like=WIDE)
    loss = 0.3 * Rng(2).uniform((1, *shape), like=WIDE)
    lossy = q - torch.diag(loss.reshape(-1))
    expected = x.reshape(1, -1) @ torch.linalg.matrix_exp(1.3 * lossy)
    found = exponential(x, rates, time=1.3, loss=loss)
    # rounding of sums of some dozens of terms of size one
    assert float((found.reshape(1, -1) - expected).abs().max()) < 1e-14
    source = Rng(3).uniform((1, *shape), like=WIDE)
    added = exponential(0 * x, rates, time=1.3, loss=loss, source=source)
    fed = source.reshape(1, -1) @ torch.linalg.solve(lossy, torch.linalg.matrix_exp(1.3 * lossy) - torch.eye(len(q), dtype=torch.float64))
    assert float((added.reshape(1, -1) - fed).abs().max()) < 1e-13


def test_long_times_keep_mass_and_sign_and_end_at_the_steady_state():
    rates = chain((6, 5), (False, False), batch=2)
    p = torch.zeros(2, 6, 5, dtype=torch.float64)
    p[:, 0, 0] = 1.0
    for dtype, room in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        end = exponential(p.to(dtype), rates, time=400.0, loss=torch.zeros(1, 6, 5, dtype=torch.float64))
        # a thousand products, each off by a rounding
        assert float((end.sum((1, 2)) - 1).abs().max()) < room and float(end.min()) >= 0
        assert float((end - steady_state(rates, shape=(6, 5), closed=(False, False))).abs().max()) < room


def test_tiny_probabilities_are_right_to_rounding():
    """A line down which it is e times likelier to go: 700 cells span 304 decades."""
    n = 700
    right, left = torch.ones(1, n, dtype=torch.float64), torch.full((1, n), math.e, dtype=torch.float64)
    right[:, -1], left[:, 0] = 0, 0
    p = steady_state({(1,): right, (-1,): left}, shape=(n,), closed=(False,))
    exact = torch.exp(-torch.arange(n, dtype=torch.float64))
    # a rounding for each cell on the way
    assert float((p[0] / (exact / exact.sum()) - 1).abs().max()) < 1e-12


def test_gradients_of_the_steady_state():
    rates = {e: (0.3 + r).detach()[:, :3, :3].contiguous().requires_grad_() for e, r in chain((4, 4), (True, True)).items()}
    names, values = list(rates), list(rates.values())
    assert torch.autograd.gradcheck(lambda *r: steady_state(dict(zip(names, r, strict=True)), shape=(3, 3), closed=(True, True)), values)


def test_cells_that_are_never_left_are_refused():
    rates = chain((4, 4), (False, False))
    stuck = {e: torch.zeros_like(r) for e, r in rates.items()}
    with pytest.raises(InputError, match="raise the diffusion"):
        steady_state(stuck, shape=(4, 4), closed=(False, False))
    with pytest.raises(InputError, match="expected a line or a plane"):
        steady_state({(1, 0, 0): torch.ones(1, 2, 2, 2)}, shape=(2, 2, 2), closed=(True, True, True))
