"""Matrix-free solvers against dense ones, sample by sample."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.linalg import cg, gmres
from physdiff.base.rng import Rng

LIKE = torch.zeros((), dtype=torch.float64)
SHAPE = (2, 3, 2)
N = 12


def normal(*shape: int, key: str) -> Tensor:
    return Rng(1).child(key).normal(shape, like=LIKE)


def spd(batch: int, spread: float = 10.0) -> Tensor:
    """Symmetric positive definite matrices with eigenvalues from 1 to `spread`."""
    q = torch.linalg.qr(normal(batch, N, N, key="q")).Q
    return q @ torch.diag_embed(torch.logspace(0, torch.tensor(spread).log10(), N, dtype=torch.float64).expand(batch, N)) @ q.mT


def general(batch: int) -> Tensor:
    return torch.eye(N, dtype=torch.float64) * 3 + normal(batch, N, N, key="g") / N**0.5


def matvec(a: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: torch.einsum("bij,bj->bi", a.to(x), x.flatten(1)).reshape(x.shape)


def dense(a: Tensor, b: Tensor) -> Tensor:
    return torch.linalg.solve(a, b.flatten(1)).reshape(b.shape)


SOLVERS = [(cg, spd), (gmres, spd), (gmres, general)]


@pytest.mark.parametrize(("solver", "matrix"), SOLVERS)
@pytest.mark.parametrize("guess", [False, True])
def test_equals_the_dense_solution_of_every_sample(solver, matrix, guess: bool) -> None:
    a, b = matrix(4), normal(4, *SHAPE, key="b") * torch.tensor([1.0, 1e-6, 1e6, 1.0]).double().reshape(4, 1, 1, 1)
    # a guess far larger than the solution would cost its digits
    x0 = normal(4, *SHAPE, key="x0") * b.abs() if guess else None
    x = solver(matvec(a), b, x0=x0, rtol=1e-12)
    # residual 1e-12 times a condition number of 10
    error = (x - dense(a, b)).flatten(1).norm(dim=1) / dense(a, b).flatten(1).norm(dim=1)
    assert float(error.max()) < 1e-10


@pytest.mark.parametrize(("solver", "matrix"), SOLVERS)
def test_the_batch_does_not_mix(solver, matrix) -> None:
    a, b = matrix(3), normal(3, *SHAPE, key="b")
    together = solver(matvec(a), b, rtol=1e-13)
    for i in range(3):
        torch.testing.assert_close(solver(matvec(a[i : i + 1]), b[i : i + 1], rtol=1e-13)[0], together[i], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("solver", "matrix"), SOLVERS)
def test_a_zero_right_hand_side_beside_another_one(solver, matrix) -> None:
    a, b = matrix(2), normal(2, *SHAPE, key="b")
    b[0] = 0
    x = solver(matvec(a), b, rtol=1e-12)
    assert torch.equal(x[0], torch.zeros(SHAPE).double())
    torch.testing.assert_close(x[1], dense(a, b)[1], rtol=1e-10, atol=1e-12)
    far = solver(matvec(a), b, x0=torch.ones_like(b), rtol=1e-12)
    torch.testing.assert_close(far, dense(a, b), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("solver", "matrix"), SOLVERS)
def test_an_exact_guess_and_converged_samples_stay(solver, matrix) -> None:
    a, b = matrix(2), normal(2, *SHAPE, key="b")
    solved = dense(a, b)
    assert torch.equal(solver(matvec(a), b, x0=solved, rtol=1e-8), solved)
    x0 = solved.clone()
    x0[1] = 0
    torch.testing.assert_close(solver(matvec(a), b, x0=x0, rtol=1e-12), solved, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("solver", "matrix"), SOLVERS)
def test_the_iterations_stop_with_the_degree_of_the_minimal_polynomial(solver, matrix) -> None:
    """A map with two eigenvalues needs two steps, whatever its size."""
    q = torch.linalg.qr(normal(1, N, N, key="q")).Q
    a = q @ torch.diag_embed(torch.tensor([[1.0] * 5 + [4.0] * 7]).double()) @ q.mT
    calls = []

    def counted(x: Tensor) -> Tensor:
        calls.append(1)
        return matvec(a)(x)

    b = normal(1, *SHAPE, key="b")
    torch.testing.assert_close(solver(counted, b, rtol=1e-10), dense(a, b), rtol=1e-9, atol=1e-10)
    assert len(calls) == 2


@pytest.mark.parametrize(("solver", "matrix"), SOLVERS)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_small_and_large_float32_numbers(solver, matrix, scale: float) -> None:
    a, b = matrix(2), normal(2, *SHAPE, key="b")
    x = solver(matvec(a), (scale * b).float(), rtol=1e-5)
    assert x.dtype == torch.float32
    # residual 1e-5, condition 10, and rounding of float32
    assert float((x.double() / scale - dense(a, b)).abs().max()) < 1e-3 * float(dense(a, b).abs().max())


@pytest.mark.parametrize("solver", [cg, gmres])
def test_a_batch_of_numbers(solver) -> None:
    factors = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    torch.testing.assert_close(solver(lambda x: factors * x, torch.ones(3).double()), 1 / factors)


def test_gmres_error_never_grows_with_the_krylov_space() -> None:
    a, b = general(2), normal(2, *SHAPE, key="b")
    residual = [(b - matvec(a)(gmres(matvec(a), b, rtol=0.0, max_iter=k))).flatten(1).norm(dim=1) for k in range(N + 1)]
    assert all(bool((after <= before * (1 + 1e-12)).all()) for before, after in zip(residual[:-1], residual[1:], strict=True))
    assert float(residual[-1].max()) < 1e-12 * float(residual[0].max())
    # brute force: the least squares problem on the Krylov space of dimension 3
    basis = torch.stack([torch.matrix_power(a, j) @ b.flatten(1)[..., None] for j in range(3)], dim=-1)[:, :, 0]
    best = torch.linalg.lstsq(a @ basis, b.flatten(1)[..., None]).solution
    expected = (b.flatten(1)[..., None] - a @ basis @ best).norm(dim=(1, 2))
    torch.testing.assert_close(residual[3], expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("flip", [-1.0, 0.0])
def test_cg_refuses_a_map_that_is_not_positive(flip: float) -> None:
    a = spd(2)
    a[1] *= flip
    with pytest.raises(InputError, match="positive definite"):
        cg(matvec(a), normal(2, *SHAPE, key="b"))


def test_cg_refuses_an_indefinite_map() -> None:
    a = torch.diag_embed(torch.tensor([[1.0, -2.0] * 6]).double())
    with pytest.raises(InputError, match="use gmres"):
        cg(matvec(a), torch.ones(1, *SHAPE).double())


def test_gradients_flow_through_the_iterations() -> None:
    a = spd(1)
    b = normal(1, *SHAPE, key="b").requires_grad_()
    (gradient,) = torch.autograd.grad(cg(matvec(a), b, rtol=1e-13).sum(), b)
    torch.testing.assert_close(gradient, dense(a, torch.ones_like(b)), rtol=1e-6, atol=1e-6)
