"""Six ways of resampling: N W_i descendants on average, by enumeration or within 4 standard errors; their variances; batches; degenerate weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import CollapsedWeights
from physdiff.base.rng import Rng
from physdiff.inference.resampling import SCHEMES, systematic

LIKE = torch.zeros((), dtype=torch.float64)
NAMES = sorted(SCHEMES)


def counts(ancestors: Tensor) -> Tensor:
    """Descendants of each particle, (..., N)."""
    return torch.zeros(ancestors.shape, dtype=torch.float64).scatter_add_(-1, ancestors, torch.ones(ancestors.shape, dtype=torch.float64))


def example(n: int = 7) -> Tensor:
    """Unequal weights, one zero and one above 1/N twice over."""
    w = Rng(5).uniform((n,), like=LIKE)
    w[2], w[4] = 0.0, 3.0
    return w / w.sum()


def test_systematic_by_enumeration() -> None:
    """The ancestors change at finitely many offsets u; their integral over u, by the midpoint rule between them, is N W_i to rounding."""
    w = example()

    class Fixed:
        def __init__(self, u: float) -> None:
            self.u = u

        def uniform(self, shape, *, like) -> Tensor:
            return like.new_full(tuple(shape), self.u)

    c = 7 * torch.cumsum(w, 0)
    cuts = torch.cat([LIKE[None], (c - c.floor()).sort().values, LIKE[None] + 1])
    expected = sum((counts(systematic(w, Fixed(float((a + b) / 2)))) * (b - a) for a, b in zip(cuts, cuts[1:], strict=False)), torch.zeros(7))
    torch.testing.assert_close(expected, 7 * w, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_unbiased(name) -> None:
    """40 000 populations at once: the mean number of descendants is N W_i within 4 of its own standard errors, their sum N, none where W = 0."""
    w, trials = example(), 40_000
    found = counts(SCHEMES[name](w.expand(trials, 7), Rng(1)))
    assert bool((found.sum(1) == 7).all()) and float(found[:, 2].max()) == 0
    error = found.std(0) / math.sqrt(trials)
    # a count that never varies must be exact: 1e-9 for the rounding of N W
    assert bool(((found.mean(0) - 7 * w).abs() <= 4 * error + 1e-9).all())


@pytest.mark.parametrize("name", ["systematic", "ssp"])
def test_rounds_up_or_down(name) -> None:
    w = torch.softmax(2 * Rng(2).normal((64, 33), like=LIKE), 1)
    off = counts(SCHEMES[name](w, Rng(3))) - 33 * w
    assert float(off.abs().max()) < 1


def test_variances_are_in_order() -> None:
    """Mean square error of the counts: multinomial above residual above stratified above systematic and SSP (peers: 1, 0.43, 0.27, 0.18, 0.18).

    One population of 10 000 gives each number within 2 %: a mean of 10 000 squares of standard deviation about 1.4.
    """
    w = torch.softmax(Rng(4).normal((10_000,), like=LIKE), 0)
    square = {name: float(((counts(SCHEMES[name](w, Rng(5))) - 10_000 * w) ** 2).mean()) for name in NAMES}
    assert square["multinomial"] == pytest.approx(1, abs=0.08)
    assert square["residual"] == pytest.approx(0.43, abs=0.05)
    assert square["stratified"] == pytest.approx(0.27, abs=0.03)
    assert square["systematic"] == pytest.approx(0.18, abs=0.03)
    assert square["ssp"] == pytest.approx(0.18, abs=0.03)


def test_ssp_counts_are_negatively_correlated() -> None:
    """Negative association makes the covariance of any two counts at most zero; 4 standard errors over 40 000 populations."""
    w = example(6)
    found = counts(SCHEMES["ssp"](w.expand(40_000, 6), Rng(6)))
    centred = found - found.mean(0)
    products = centred[:, :, None] * centred[:, None, :]
    mean, error = products.mean(0), products.std(0) / 200
    off = ~torch.eye(6, dtype=torch.bool)
    assert bool((mean <= 4 * error + 1e-9)[off].all())


@pytest.mark.parametrize("name", ["systematic", "ssp", "residual", "killing", "stratified"])
def test_equal_weights_change_nothing(name) -> None:
    """Also where 1/N and its sums are not exact."""
    for n in (64, 49, 1000):
        w = torch.full((3, n), 1 / n, dtype=torch.float64)
        assert bool((SCHEMES[name](w, Rng(7)) == torch.arange(n)).all())


@pytest.mark.parametrize("name", NAMES)
def test_one_particle_that_holds_all_takes_all(name) -> None:
    w = torch.zeros(2, 9, dtype=torch.float64)
    w[0, 0] = w[1, 8] = 1.0
    assert SCHEMES[name](w, Rng(8)).tolist() == [[0] * 9, [8] * 9]


@pytest.mark.parametrize("name", NAMES)
def test_a_permutation_of_the_particles_permutes_the_expectation(name) -> None:
    """Order matters to a draw but not to its mean: reversed weights give reversed mean counts within 4 standard errors of the difference."""
    w, trials = example(), 20_000
    forward = counts(SCHEMES[name](w.expand(trials, 7), Rng(9)))
    back = counts(SCHEMES[name](w.flip(0).expand(trials, 7), Rng(10))).flip(1)
    error = torch.sqrt((forward.var(0) + back.var(0)) / trials)
    assert bool(((forward.mean(0) - back.mean(0)).abs() <= 4 * error + 1e-9).all())


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_and_single_precision(name) -> None:
    """Any leading shape; float32 weights, whose sum is one to 1e-7, are taken; the ancestors are those of one population where one is given."""
    w = torch.softmax(torch.randn(2, 3, 50, generator=torch.Generator().manual_seed(0)), -1)
    found = SCHEMES[name](w, Rng(11))
    assert found.shape == w.shape and found.dtype == torch.int64 and bool((found >= 0).all()) and bool((found < 50).all())
    single = SCHEMES[name](w[0, 0], Rng(11))
    assert bool((single == SCHEMES[name](w[:1, 0], Rng(11))[0]).all())


@pytest.mark.parametrize("name", NAMES)
def test_one_particle(name) -> None:
    assert SCHEMES[name](torch.ones(1, dtype=torch.float64), Rng(0)).tolist() == [0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [[0.5, 0.4], [1.5, -0.5], [math.nan, 1.0], [0.0, 0.0]])
def test_weights_that_are_none_are_refused(name, weights) -> None:
    with pytest.raises(CollapsedWeights, match="expected weights >= 0 that sum to one"):
        SCHEMES[name](torch.tensor(weights), Rng(0))
