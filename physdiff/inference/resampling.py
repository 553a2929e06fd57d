r"""Resampling: which particles live on, and how often, so that particle i has $N W_i$ descendants on average.

    multinomial   N independent draws
    stratified    draw n is the inverse of the cumulative weight at (n + u_n)/N, each u_n uniform
    systematic    the same with one u for all: floor(N W) or ceil(N W) descendants
    residual      floor(N W) copies, the rest multinomial with weights N W - floor(N W)
    ssp           N W rounded at random two by two, their sum kept: floor or ceil, and negatively associated
    killing       particle i stays with probability W_i / max W, else a multinomial draw takes its place

All are functions (weights, rng) -> ancestors. `killing` leaves survivors in place, the others return sorted ancestors. References: Kitagawa, Monte
Carlo filter and smoother, 1996 (stratified, systematic); Liu and Chen, Sequential Monte Carlo methods for dynamic systems, 1998 (residual);
Gerber, Chopin and Whiteley, Negative association, ordering and convergence of resampling methods, 2019 (SSP); Del Moral, Feynman-Kac formulae,
2004 (killing).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import CollapsedWeights
from physdiff.base.rng import Rng

__all__ = ["SCHEMES", "killing", "multinomial", "residual", "ssp", "stratified", "systematic"]


def multinomial(weights: Tensor, rng: Rng) -> Tensor:
    """N independent draws with probabilities W.

    Args:
        weights: W (..., N), normalised over the last axis; every population is resampled on its own.
        rng: Randomness.

    Returns:
        Ancestors (..., N), int64: which particle takes each place.

    Raises:
        CollapsedWeights: If weights are negative, not finite, or do not sum to one.
    """
    c = _cumulative(weights)
    places = _sorted_uniforms(torch.full((*c.shape[:-1], 1), c.shape[-1]), rng, c)
    return _like(torch.searchsorted(c, places, right=True).clamp_max(c.shape[-1] - 1), weights)


def stratified(weights: Tensor, rng: Rng) -> Tensor:
    """One draw from each N-th part of the cumulative weight; see `multinomial` for arguments, result and errors."""
    c = _cumulative(weights)
    n = c.shape[-1]
    scaled = n * c
    whole = scaled.floor()
    u = rng.uniform(c.shape, like=c)
    # places (k + u_k)/N below c_i: all of the strata before its own, and its own if u_k is small enough
    own = torch.gather(u, -1, whole.long().clamp_max(n - 1))
    return _like(_from_ends(whole + (own < scaled - whole)), weights)


def systematic(weights: Tensor, rng: Rng) -> Tensor:
    """One uniform number for all draws; see `multinomial` for arguments, result and errors."""
    c = _cumulative(weights)
    u = rng.uniform((*c.shape[:-1], 1), like=c)
    return _like(_from_ends(c.mul_(c.shape[-1]).sub_(u).ceil_()), weights)


def residual(weights: Tensor, rng: Rng) -> Tensor:
    """The whole parts for sure, the rest multinomial; see `multinomial` for arguments, result and errors."""
    w = _checked(weights)
    n = w.shape[-1]
    counts, rest = _parts(w)
    missing = n - counts.sum(-1, keepdim=True)
    edges = torch.cumsum(rest, -1)
    places = _sorted_uniforms(missing.long(), rng, w)
    drawn = torch.searchsorted(edges, places * edges[..., -1:], right=True).clamp_max(n - 1)
    counts.scatter_add_(-1, drawn, (torch.arange(places.shape[-1]) < missing).to(counts))
    return _like(_from_ends(torch.cumsum(counts, -1)), weights)


def ssp(weights: Tensor, rng: Rng) -> Tensor:
    """Rounding in pairs; see `multinomial` for arguments, result and errors.

    Of a pair of fractions (a, b) one becomes 0 (if a + b < 1) or 1, the other keeps a + b or a + b - 1 and meets the next: a knock-out
    tournament of neighbours, so that log2 N vectorised rounds do it.
    """
    w = _checked(weights)
    n = w.shape[-1]
    counts, value = _parts(w)
    who = torch.arange(n).expand(w.shape)
    for level in range(n.bit_length()):
        if value.shape[-1] == 1:
            break
        even = value.shape[-1] // 2 * 2
        a, b = value[..., 0:even:2], value[..., 1:even:2]
        left, right = who[..., 0:even:2], who[..., 1:even:2]
        total = a + b
        up = total >= 1
        # probability that the first of the two is the one decided; 0/0 where both are 0 (or 1): either will do
        odds = torch.where(up, (1 - b) / (2 - total).clamp_min(1e-300), b / total.clamp_min(1e-300))
        first = rng.child(level).uniform(a.shape, like=a) < odds
        counts.scatter_add_(-1, torch.where(first, left, right), up.to(counts))
        value = torch.cat([total - up.to(total), value[..., even:]], -1)
        who = torch.cat([torch.where(first, right, left), who[..., even:]], -1)
    # what is left is 0 or 1 but for rounding: the number of draws decides
    counts.scatter_add_(-1, who, n - counts.sum(-1, keepdim=True))
    return _like(_from_ends(torch.cumsum(counts, -1)), weights)


def killing(weights: Tensor, rng: Rng) -> Tensor:
    """Survivors stay in place; see `multinomial` for arguments, result and errors."""
    w = _checked(weights)
    stays = rng.child("stay").uniform(w.shape, like=w) * w.amax(-1, keepdim=True) < w
    killed = ~stays
    order = killed.cumsum(-1)
    places = _sorted_uniforms(order[..., -1:], rng.child("draw"), w)
    draws = torch.searchsorted(_cumulative(w), places, right=True).clamp_max(w.shape[-1] - 1)
    taken = torch.gather(draws, -1, (order - 1).clamp_min(0))
    return _like(torch.where(stays, torch.arange(w.shape[-1]), taken), weights)


SCHEMES: dict[str, Callable[[Tensor, Rng], Tensor]] = {
    "multinomial": multinomial,
    "stratified": stratified,
    "systematic": systematic,
    "residual": residual,
    "ssp": ssp,
    "killing": killing,
}


def _checked(weights: Tensor) -> Tensor:
    """The weights in float64 on the CPU, where all draws are made, normalised to the last digit."""
    w = weights.detach().to("cpu", torch.float64)
    total = w.sum(-1, keepdim=True)
    _check(w, total)
    return w / total


def _check(w: Tensor, total: Tensor) -> None:
    # float32 weights of a million particles sum to one within 1e-4
    if not (bool(w.amin() >= 0) and bool(((total - 1).abs() < 1e-3).all())):
        off = float(total.flatten()[(total.flatten() - 1).abs().nan_to_num(torch.inf).argmax()])
        got = f"sum {off:g} and smallest {float(w.amin()):g}"
        raise CollapsedWeights(f"resampling: expected weights >= 0 that sum to one, got {got}; pass LogWeights.normalised")


def _parts(w: Tensor) -> tuple[Tensor, Tensor]:
    """Whole part and fraction of N W; a whole number that rounding left just below itself counts as whole."""
    scaled = w.shape[-1] * w
    whole = (scaled + 1e-12 * w.shape[-1]).floor()
    return whole, (scaled - whole).clamp_min(0)


def _sorted_uniforms(counts: Tensor, rng: Rng, like: Tensor) -> Tensor:
    """In each row the first K (*batch, 1) entries are K sorted uniform numbers, the others are 1; (*batch, largest K or 1).

    Partial sums of K + 1 exponentials over their total: no sort, and searches in order find their places in the cache.
    """
    width = max(int(counts.max()), 1)
    sums = torch.cumsum(-torch.log1p(-rng.uniform((*like.shape[:-1], width + 1), like=like)), -1)
    return (sums[..., :-1] / torch.gather(sums, -1, counts)).clamp_max(1)


def _cumulative(weights: Tensor) -> Tensor:
    """Cumulative weights; the last is one exactly, so that nothing is drawn behind the last particle with a weight."""
    w = weights.detach().to("cpu", torch.float64)
    c = torch.cumsum(w, -1)
    _check(w, c[..., -1:])
    return c.div_(c[..., -1:].clone())


def _from_ends(ends: Tensor) -> Tensor:
    """Ancestors from the number of descendants of particles 0 to i, (..., N): place k belongs to the first i with more than k.

    The number of ends at or below k is that i; one histogram and one sum instead of a search.
    """
    n = ends.shape[-1]
    rows = ends.reshape(-1, n).long()
    if len(rows) > 1:
        rows += torch.arange(len(rows))[:, None] * (n + 1)
    histogram = torch.bincount(rows.flatten(), minlength=len(rows) * (n + 1))
    return histogram.reshape(-1, n + 1)[:, :n].cumsum(1).reshape(ends.shape)


def _like(ancestors: Tensor, weights: Tensor) -> Tensor:
    return ancestors.to(weights.device)
