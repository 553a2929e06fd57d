"""The taper by held-out likelihood: near the best there is, longer with more samples and longer fields, and the likelihood that of torch."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion import taper_choice
from physdiff.diffusion.sample_covariance import pairwise_distance, tapered
from physdiff.diffusion.taper_choice import Taper, choose_inflation, choose_taper
from physdiff.grids.cartesian import CartesianGrid

GRID = CartesianGrid(60, extent=60.0, periodic=False)
DISTANCE = pairwise_distance(GRID)
LIKE = torch.zeros((), dtype=torch.float64)


def field(count: int, length: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Samples (count, 1, 1, 60) of a known covariance, and it."""
    true = torch.exp(-((DISTANCE / length) ** 2) / 2) + 1e-4 * torch.eye(60, dtype=torch.float64)
    return (Rng(seed).normal((count, 60), like=LIKE) @ torch.linalg.cholesky(true).T)[:, None, None], true


def divergence(samples: Tensor, true: Tensor, taper: Taper) -> float:
    """Kullback and Leibler's, of the truth from the estimate, both with the noise under which the choice is made."""
    flat = samples.flatten(1)
    decay = taper.length if math.isfinite(taper.length) else 59.0
    c = tapered(torch.cov(flat.T), DISTANCE, taper.shrink, length=taper.length, decay=decay) + 0.01 * torch.eye(60, dtype=torch.float64)
    noisy = true + 0.01 * torch.eye(60, dtype=torch.float64)
    return 0.5 * float(torch.linalg.solve(c, noisy).trace() - 60 + torch.logdet(c) - torch.logdet(noisy))


@pytest.mark.parametrize("count", [12, 40, 400])
def test_it_is_near_the_best_of_the_grid(count) -> None:
    """Judged by what it cannot know: the divergence from the true law."""
    samples, true = field(count, 4.0)
    grid = [Taper(length, s) for length in taper_choice._lengths(DISTANCE) for s in taper_choice._SHRINKS]
    found = {taper: divergence(samples, true, taper) for taper in grid}
    chosen = found[choose_taper(samples, DISTANCE)]
    # measured 1.00, 1.28, 1.29: a step of the grid costs 5 to 15 %, and so does a choice made with four fifths of the samples
    assert chosen < 1.4 * min(found.values())
    # the rule it replaced, a quarter of the box and a tenth: 1.7, 1.7 and 11 times as far
    assert chosen < 0.7 * divergence(samples, true, Taper(60 / 4, 0.1))


def test_more_samples_and_wider_fields_ask_for_longer_tapers() -> None:
    by_count = [choose_taper(field(n, 4.0)[0], DISTANCE).length for n in (8, 40, 400)]
    assert by_count == sorted(by_count) and by_count[-1] > 2 * by_count[0]
    by_field = [choose_taper(field(40, length)[0], DISTANCE).length for length in (1.5, 4.0, 10.0)]
    assert by_field == sorted(by_field) and by_field[-1] > 2 * by_field[0]
    # what few patterns make is correlated everywhere: no taper, whatever the distance
    waves = Rng(1).normal((500, 2), like=LIKE) @ torch.stack([torch.sin(DISTANCE[0] / 3), torch.cos(DISTANCE[0] / 3)])
    assert choose_taper(waves[:, None, None], DISTANCE).length == math.inf


def test_the_likelihood_is_that_of_held_out_samples() -> None:
    """One fold and one pair of the grid by torch's own normal law, fields of two kinds at each point."""
    x = torch.cat([field(20, 4.0)[0], 300 * field(20, 2.0, seed=1)[0]], 1)[..., ::6]
    distance, flat = DISTANCE[::6, ::6], x.flatten(1)
    total = taper_choice._likelihoods(flat, distance, [8.0], reach=54.0)
    expected = 0.0
    for k in range(5):
        kept = torch.cat([flat[: 4 * k], flat[4 * k + 4 :]])
        c = tapered(torch.cov(kept.T), distance, 0.1, length=8.0, decay=8.0) + 0.01 * torch.diag(flat.var(0))
        law = torch.distributions.MultivariateNormal(kept.mean(0), c)
        expected += float(law.log_prob(flat[4 * k : 4 * k + 4]).sum()) + 4 * 10 * math.log(2 * math.pi)
    assert float(total[:, 0].sum(0)[taper_choice._SHRINKS.index(0.1)]) == pytest.approx(expected, rel=1e-10)
    # units do not matter
    assert choose_taper(x, distance) == choose_taper(x * torch.tensor([1.0, 1 / 300]).double()[:, None, None], distance)


def test_a_taper_that_meets_itself_round_a_ring_is_never_taken() -> None:
    """Gaspari and Cohn's function of the shorter way round is no correlation once its support exceeds half a ring."""
    ring = pairwise_distance(CartesianGrid(16, extent=1.0))
    x = Rng(3).normal((8, 16), like=LIKE).cumsum(1)[:, None, None]
    found = taper_choice._likelihoods(x.flatten(1), ring, [0.3535, 0.0625], reach=0.5)
    assert bool(found[:, 1].isfinite().all()) and not bool(found[:, 0].isfinite().all())
    chosen = choose_taper(x, ring)
    matrix = tapered(torch.cov(x.flatten(1).T), ring, chosen.shrink, length=chosen.length, decay=min(chosen.length, 0.5))
    assert float(torch.linalg.eigvalsh(matrix).min()) > -0.01 * float(matrix.diagonal().mean())


def test_samples_that_tell_nothing_get_the_usual() -> None:
    few, _ = field(2, 4.0)
    assert choose_taper(few, DISTANCE) == Taper(59 / 4, 0.1)
    assert choose_taper(torch.ones(10, 1, 1, 60), DISTANCE) == Taper(59 / 4, 0.1)
    assert choose_taper(torch.randn(10, 1, 1, 1), torch.zeros(1, 1)) == Taper(1.0, 0.1)
    some = field(20, 4.0)[0]
    some[..., :30] = 0.0  # half a field that never varies
    assert math.isfinite(choose_taper(some, DISTANCE).shrink)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ShapeError, match="a distance for each pair of S"):
        choose_taper(torch.zeros(5, 1, 1, 3), torch.zeros(4, 4))
    with pytest.raises(InputError, match="fill missing values first"):
        choose_taper(torch.full((5, 1, 1, 60), torch.nan), DISTANCE)


def test_the_inflation_is_the_most_likely_factor() -> None:
    """Against torch's own normal law, on all points at once."""
    x = field(20, 4.0)[0][..., ::6] * torch.linspace(1, 3, 10)
    x[15:] *= 1.7  # a fold that differs
    flat, distance, taper = x.flatten(1), DISTANCE[::6, ::6], Taper(8.0, 0.1)
    found = choose_inflation(x, distance, taper)
    noise = 0.01 * torch.diag(flat.var(0))

    def likelihood(factor: float) -> float:
        total = 0.0
        for k in range(5):
            kept = torch.cat([flat[: 4 * k], flat[4 * k + 4 :]])
            c = tapered(torch.cov(kept.T), distance, 0.1, length=8.0, decay=8.0)
            law = torch.distributions.MultivariateNormal(kept.mean(0), factor * c + noise)
            total += float(law.log_prob(flat[4 * k : 4 * k + 4]).sum())
        return total

    step = 4 ** (1 / 56)
    best = max((step**k for k in range(57)), key=likelihood)
    assert 1.1 < best < 3 and found == pytest.approx(best, rel=1e-9)
    assert choose_inflation(1e3 * x, distance, taper) == pytest.approx(found, rel=1e-9)  # units do not matter


def test_days_that_look_alike_ask_for_more_than_their_covariance() -> None:
    """Five stretches with a mean of their own, of the variance within them: four hold 1 + 3/4, the fifth is 1 + 1 + 1/4 from their mean."""
    rng, like = Rng(4), torch.zeros((), dtype=torch.float64)
    means, within = rng.child("means").normal((5, 1, 400), like=like), rng.child("within").normal((5, 200, 400), like=like)
    spread, even = (means + within).flatten(0, 1)[:, None, None], within.flatten(0, 1)[:, None, None]
    far = 1.0 - torch.eye(400, dtype=torch.float64)
    taper = Taper(0.1, 0.01)  # independent points
    # 4 sets of 64 points in 5 folds: some 1000 means of variance 1, known to 4 %, and 5/9 of the sum; the noise of a hundredth has no say
    assert choose_inflation(spread, far, taper) == pytest.approx(2.25 / 1.75, rel=0.08)
    assert choose_inflation(even, far, taper) == pytest.approx(1.0, abs=0.03)  # a step of the grid


def test_nothing_to_ask_is_no_inflation() -> None:
    x, taper = field(30, 4.0)[0], Taper(8.0, 0.1)
    assert choose_inflation(x[:2], DISTANCE, taper) == 1.0
    assert choose_inflation(0 * x, DISTANCE, taper) == 1.0
    steady = x.clone()
    steady[20:] *= 0.1  # milder days to come are no reason for narrower draws
    assert choose_inflation(steady, DISTANCE, taper) >= 1.0
    with pytest.raises(InputError, match="missing"):
        choose_inflation(torch.full((4, 1, 1, 60), torch.nan), DISTANCE, taper)
