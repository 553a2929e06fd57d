r"""How far sample correlations can be trusted, asked of fields that the covariance has not seen.

Too short a taper cuts off what is really correlated, too long a one keeps the noise of few samples; which is which depends on the field and on the
number of samples, so no fixed length will do. The training samples are cut into contiguous folds (days or trajectories that lie together); from the
others the covariance C is estimated with every length and share of shrinkage of a grid, and judged by the Gaussian log likelihood of the fold's
values b at points drawn at random,

$$ \ell = -\tfrac12 \sum_b \left[ b^\top (C_{pp} + \nu)^{-1} b + \log\det(C_{pp} + \nu) \right], $$

the sum, by the chain rule, of how well each point is foretold by those before it: by none, by few, by many, as with sensors. $\nu$ is one hundredth
of the variances, the noise of a fair instrument, so that the smallest scales do not decide alone. Only covariances between the points are needed, so
it costs less than a second.

`choose_inflation` then asks the same folds by how much the covariance itself falls short: days that depend on each other look alike, and the days to
come are farther from their mean than they were.

References: Dawid, Statistical theory: the prequential approach, 1984 (judging by prediction); Hamill, Whitaker and Snyder, 2001 (tapers and samples);
Breiman and others, Classification and regression trees, 1984 (the rule of one standard error: days to come differ more than neighbouring ones).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from physdiff.base.checks import check_finite
from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.sample_covariance import tapered

__all__ = ["Taper", "choose_inflation", "choose_taper"]

_FOLDS = 5
_SETS = 4
_ENTRIES = 64  # of a set of points, all fields and frames counted
_SHRINKS = (0.01, 0.03, 0.1)
_NOISE = 0.01  # share of the variances
_MOST_INFLATION = 4.0
_INFLATIONS = 57  # factors tried, 2.5 % apart


class Taper(NamedTuple):
    """Length of the taper (in the unit of the distances; infinite: none) and share of the stationary form, as `tapered_covariance` takes them."""

    length: float
    shrink: float


def choose_taper(samples: Tensor, grid_distance: Tensor) -> Taper:
    """The length and the shrinkage under which held-out samples are most likely; of those within one standard error of it, the largest shrinkage.

    Lengths are the largest distance over powers of the square root of two, down to the smallest distance, and infinity; shares are 0.01, 0.03 and
    0.1. Fewer than three samples, or samples that never differ, tell nothing: a quarter of the largest distance and 0.1.

    Args:
        samples: Anomalies (N, C, T, *S), in an order in which samples that depend on each other lie together (as windows of trajectories do).
        grid_distance: Distance between the P points of S, (P, P).

    Raises:
        InputError: If values are missing.
        ShapeError: If distances and samples do not fit.
    """
    points, flat = len(grid_distance), check_finite(samples, "choose_taper", "fill missing values first").flatten(1)
    if grid_distance.shape != (points, points) or samples.shape[3:].numel() != points:
        shapes = f"{tuple(samples.shape)} and {tuple(grid_distance.shape)}"
        raise ShapeError(f"choose_taper: expected samples (N, C, T, *S) and a distance for each pair of S, got {shapes}")
    blocks, reach = flat.shape[1] // points, float(grid_distance.max())
    fallback = Taper(reach / 4 if reach else 1.0, 0.1)
    if len(flat) < 3 or not reach:
        return fallback
    lengths = _lengths(grid_distance)
    total = torch.zeros(min(_FOLDS, len(flat)), len(lengths), len(_SHRINKS), dtype=torch.float64)
    for chosen, entries in _sets(points, blocks, flat.device):
        total += _likelihoods(flat[:, entries].double(), grid_distance[chosen][:, chosen].double(), lengths, reach=reach).cpu()
    if not bool(total.any()):
        return fallback
    return _cautious(total, lengths)


def choose_inflation(samples: Tensor, grid_distance: Tensor, taper: Taper) -> float:
    r"""The factor $g \in [1, 4]$ by which held-out samples ask for more than the covariance of the others: most likely under $g C_{pp} + \nu$.

    Near $(1 + 1/n)/(1 - 1/n)$ for n independent samples, more where neighbouring samples depend on each other, for they know their own mean too
    well; never below 1, since samples hold no evidence that days to come differ less. Samples that never differ, or fewer than three: 1.

    Args:
        samples: As in `choose_taper`.
        grid_distance: Likewise.
        taper: Length and shrinkage of the covariance.

    Raises:
        InputError: If values are missing.
    """
    flat, points = check_finite(samples, "choose_inflation", "fill missing values first").flatten(1), len(grid_distance)
    reach = float(grid_distance.max())
    if len(flat) < 3 or not reach or not bool(flat.var(0).any()):
        return 1.0
    factors = torch.logspace(0, math.log10(_MOST_INFLATION), _INFLATIONS, dtype=torch.float64, device=flat.device)
    total = torch.zeros_like(factors)
    decay = taper.length if math.isfinite(taper.length) else reach
    for chosen, entries in _sets(points, flat.shape[1] // points, flat.device):
        x, distance = flat[:, entries].double(), grid_distance[chosen][:, chosen].double()
        for sample, unseen, noise in _folds(x):
            c = tapered(sample, distance, taper.shrink, length=taper.length, decay=decay)
            values, vectors = torch.linalg.eigh(c / noise.sqrt() / noise.sqrt()[:, None])
            spread = factors[:, None] * values.clamp_min(0) + 1
            second = ((unseen / noise.sqrt()) @ vectors).square().sum(0)
            total -= 0.5 * (second / spread + len(unseen) * spread.log()).sum(1)
    return float(factors[total.argmax()])


def _sets(points: int, blocks: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Random sets of points, and their entries in a flattened sample."""
    count = min(points, max(4, _ENTRIES // blocks))
    for k in range(1 if count == points else _SETS):
        chosen = Rng(0).child(k).permutation(points)[:count].to(device)
        yield chosen, (points * torch.arange(blocks, device=device)[:, None] + chosen).flatten()


def _folds(x: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """For every fold of values (N, n): covariance of the others (n, n), the fold about their mean (m, n), and the noise's variances (n,)."""
    varied = x.var(0)
    noise = torch.where(varied > 0, _NOISE * varied, 1.0)  # an entry that never varies tells nothing, and must not be singular
    count, folds = len(x), min(_FOLDS, len(x))
    for k in range(folds):
        held = torch.zeros(count, dtype=torch.bool, device=x.device)
        held[k * count // folds : (k + 1) * count // folds] = True
        mean = x[~held].mean(0)
        known = x[~held] - mean
        yield known.T @ known / (len(known) - 1), x[held] - mean, noise


def _cautious(total: Tensor, lengths: list[float]) -> Taper:
    """Of the pairs not worse than the best by more than one standard error over folds (folds, lengths, shares), the best with the largest share."""
    mean = total.mean(0)
    best = int(mean.argmax())
    behind = total.flatten(1)[:, best, None] - total.flatten(1)
    error = behind.std(0) / math.sqrt(len(total))
    near = (behind.mean(0) <= error).reshape(mean.shape)  # never true where a fold gave -inf
    share = int(near.any(0).nonzero()[-1])
    return Taper(lengths[int(torch.where(near[:, share], mean[:, share], -torch.inf).argmax())], _SHRINKS[share])


def _lengths(distance: Tensor) -> list[float]:
    reach, least = float(distance.max()), float(distance[distance > 0].min())
    halvings = range(int(2 * math.log2(reach / least)) + 1)
    return [math.inf, *(reach * 2 ** (-k / 2) for k in halvings)]


def _likelihoods(x: Tensor, distance: Tensor, lengths: list[float], *, reach: float) -> Tensor:
    """Log likelihood of every fold given the others, for values (N, blocks of points), (folds, lengths, shares)."""
    shares = torch.tensor(_SHRINKS, dtype=x.dtype, device=x.device)[:, None, None]
    total = x.new_zeros(min(_FOLDS, len(x)), len(lengths), len(_SHRINKS))
    if not bool(x.var(0).any()):
        return total
    for k, (sample, unseen, noise) in enumerate(_folds(x)):
        second = unseen.T @ unseen
        for i, length in enumerate(lengths):
            c = tapered(sample, distance, shares, length=length, decay=length if math.isfinite(length) else reach)
            root, failed = torch.linalg.cholesky_ex(c + noise.diag())
            root = torch.where(failed[:, None, None] > 0, torch.eye(len(c[0])).to(c), root)
            logdet = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
            value = -0.5 * ((torch.cholesky_inverse(root) * second).sum((1, 2)) + len(unseen) * logdet)
            total[k, i] = torch.where(failed > 0, -torch.inf, value)  # on a ring a taper that meets itself is no correlation
    return total
