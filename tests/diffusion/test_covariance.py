"""Covariances against dense matrix functions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.diffusion.covariance import (
    Covariance,
    DiagonalCovariance,
    FourierCovariance,
    LowRankCovariance,
    dense_covariance,
    low_rank_covariance,
    spectral_covariance,
)

SHAPE = (2, 1, 3, 4)
SIZE = 24
LIKE = torch.zeros((), dtype=torch.float64)


def normal(*shape: int, key: str) -> Tensor:
    return Rng(3).child(key).normal(shape, like=LIKE)


def spectrum() -> Tensor:
    """Equal at k and -k, different in all other modes."""
    raw = normal(*SHAPE, key="spectrum").square() + 0.1
    return 0.5 * (raw + torch.roll(torch.flip(raw, (-2, -1)), (1, 1), (-2, -1)))


def covariances() -> dict[str, Covariance]:
    basis = torch.linalg.qr(normal(SIZE, SIZE, key="basis"))[0]
    values = normal(SIZE, key="values").square()
    return {
        "diagonal": DiagonalCovariance(normal(*SHAPE, key="diag").square()),
        "low rank": LowRankCovariance(basis[:7], values[:7], 0.3),
        "full rank": LowRankCovariance(basis, values),
        "dense": dense_covariance(basis.T @ torch.diag(values) @ basis),
        "fourier": FourierCovariance(spectrum(), 2),
    }


def matrix_of(f, covariance: Covariance) -> Tensor:
    """The matrix of a map, from its action on all unit vectors."""
    return covariance.apply_function(f, torch.eye(SIZE, dtype=torch.float64).reshape(SIZE, *SHAPE)).reshape(SIZE, SIZE).T


@pytest.mark.parametrize("name", covariances())
def test_functions_are_matrix_functions(name: str) -> None:
    covariance = covariances()[name]
    c = matrix_of(lambda e: e, covariance)
    assert torch.allclose(c, c.T, atol=1e-13)
    inverse = torch.linalg.inv(c + 0.5 * torch.eye(SIZE, dtype=torch.float64))
    assert torch.allclose(matrix_of(lambda e: 1 / (e + 0.5), covariance), inverse, atol=1e-12)
    root = matrix_of(torch.sqrt, covariance)
    assert torch.allclose(root @ root, c, atol=1e-12)
    assert torch.allclose(covariance.mean_function(torch.square), (c @ c).diagonal().mean()[None], rtol=1e-12)


@pytest.mark.parametrize("name", covariances())
def test_a_function_may_differ_between_samples(name: str) -> None:
    covariance = covariances()[name]
    v, scale = normal(3, *SHAPE, key="v"), torch.tensor([[0.5], [1.0], [2.0]], dtype=torch.float64)
    together = covariance.apply_function(lambda e: e / (e + scale), v)
    alone = [covariance.apply_function(lambda e, s=s: e / (e + s), v[i : i + 1]) for i, s in enumerate(scale)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-13)
    assert covariance.mean_function(lambda e: e / (e + scale)).shape == (3,)


@pytest.mark.parametrize("name", covariances())
def test_gram_matrices_of_functions(name: str) -> None:
    covariance, v = covariances()[name], normal(3, *SHAPE, key="v")
    gram = covariance.gram(v.float())  # float32 vectors too are multiplied in float64
    for f in (lambda e: e, lambda e: 1 / (1 + e)):
        rows = v.float().double().flatten(1)
        torch.testing.assert_close(gram(f), rows @ matrix_of(f, covariance) @ rows.T, rtol=0, atol=1e-10)
    with pytest.raises(ShapeError, match="expected vectors"):
        covariance.gram(torch.ones(2, 5))(lambda e: e)


@pytest.mark.parametrize("name", covariances())
def test_saved_and_built_again(name: str) -> None:
    covariance, v = covariances()[name], normal(2, *SHAPE, key="v")
    # the rebuilt tensors lie otherwise in memory, which changes the order of the sums
    assert torch.allclose(build(describe(covariance))(v), covariance(v), rtol=0, atol=1e-13)


def test_dense_covariance_is_the_matrix() -> None:
    a = normal(SIZE, SIZE, key="a")
    matrix = a @ a.T
    assert torch.allclose(matrix_of(lambda e: e, dense_covariance(matrix)), matrix, atol=1e-12)


def test_fourier_covariance_draws_have_its_spectrum_in_float32_too() -> None:
    field = FourierCovariance(spectrum().float(), 2)
    white = torch.zeros(1, *SHAPE)
    white[0, 0, 0, 0, 0] = 1.0
    # a point's variance is the mean over the modes
    variance = float(field.apply_function(torch.sqrt, white)[0, 0].square().sum())
    assert variance == pytest.approx(float(spectrum()[0].mean()), rel=1e-5)


def test_low_rank_fit_keeps_the_trace_and_the_leading_directions() -> None:
    samples = normal(40, *SHAPE, key="samples") * torch.linspace(3, 0.1, SIZE, dtype=torch.float64).reshape(SHAPE)
    mean, covariance = low_rank_covariance(samples, 5)
    sample_covariance = torch.cov(samples.flatten(1).T)
    assert torch.allclose(mean, samples.mean(0))
    assert float(covariance.mean_function(lambda e: e)) == pytest.approx(float(sample_covariance.diagonal().mean()), rel=1e-12)
    assert torch.allclose(covariance.eigenvalues, torch.linalg.eigvalsh(sample_covariance).flip(0)[:5], rtol=1e-10)
    with pytest.raises(InputError, match="rank"):
        low_rank_covariance(samples, 24)


def test_spectral_fit_finds_mean_and_spectrum() -> None:
    true = FourierCovariance(spectrum(), 2)
    n = 4000
    mean = normal(*SHAPE, key="mean")
    draws = mean + true.apply_function(torch.sqrt, normal(n, *SHAPE, key="draws"))
    found, covariance = spectral_covariance(draws, 2)
    # 4 standard errors; a mode that is its own mirror is one number (relative error sqrt(2/n)), others are two
    assert ((found - mean).abs() < 4 * (true.mean_function(lambda c: c).max() * 4 / n) ** 0.5).all()
    assert ((covariance.spectrum / true.spectrum - 1).abs() < 4 * (2 / n) ** 0.5).all()
    # of the samples themselves: the trace is the sum of their variances
    torch.testing.assert_close(covariance.spectrum.sum(), draws.var(0).sum(), rtol=1e-10, atol=0)
    with pytest.raises(InputError, match="two or more"):
        spectral_covariance(draws[:1], 2)


def test_autocast_does_not_touch_it() -> None:
    covariance, v = covariances()["low rank"], normal(2, *SHAPE, key="v").float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = covariance(v)
    assert torch.equal(inside, covariance(v))


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda: LowRankCovariance(2 * torch.eye(3), torch.ones(3)), InputError),
        (lambda: LowRankCovariance(torch.ones(2, 3) / 3**0.5, torch.ones(2)), InputError),
        (lambda: LowRankCovariance(torch.eye(3), torch.ones(2)), ShapeError),
        (lambda: LowRankCovariance(torch.eye(3), -torch.ones(3)), InputError),
        (lambda: DiagonalCovariance(-torch.ones(3)), InputError),
        (lambda: FourierCovariance(torch.arange(5.0), 1), InputError),
        (lambda: DiagonalCovariance(torch.ones(3))(torch.ones(2, 4)), ShapeError),
    ],
)
def test_what_is_no_covariance(wrong, error: type[Exception]) -> None:
    with pytest.raises(error, match="expected"):
        wrong()
