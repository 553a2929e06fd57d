r"""Are ranks uniform: exact tests for their discrete law, and bands that hold a whole distribution function.

Of a sampler that is right the rank of the truth among m exchangeable members is uniform on 0..m. With n independent cases the number of ranks below a
cut j is binomial with probability j/(m+1), and the numbers at successive cuts are a Markov chain with binomial steps, so that the probability of
leaving any bounds is a sum without approximation. The statistic is the smallest two-sided binomial tail over the cuts; its p value is the
probability that any cut has one as small. `rank_band` holds all counts at once with a given probability, by the same sum. References: Talts,
Betancourt, Simpson, Vehtari and Gelman, Validating Bayesian inference algorithms with simulation-based calibration, 2018; Saeilynoja, Buerkner and
Vehtari, Graphical test for discrete uniformity, 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError, ShapeError

__all__ = ["RankBand", "adjusted_p_values", "rank_band", "rank_chi2", "rank_p_value"]

_MOST_CUTS = 20
_HALVINGS = 30


class RankBand(NamedTuple):
    """Cuts of 0..m, and between which shares the ranks below each may lie.

    Args:
        cuts: (K,), each from 1 to m: ranks below it are counted.
        expected: Their expected share, cut/(m+1).
        lower: Smallest share inside.
        upper: Largest.
    """

    cuts: Tensor
    expected: Tensor
    lower: Tensor
    upper: Tensor


def rank_p_value(ranks: Tensor, members: int) -> float:
    """Probability, if ranks were uniform, of a distribution function as far off anywhere (at 20 cuts at most); exact.

    Args:
        ranks: Whole numbers 0..members, one for each independent case, (n,).
        members: Number m of members.

    Raises:
        ShapeError: If there is no case.
        InputError: If a rank is none.
    """
    values = _checked(ranks, members)
    cuts, share = _cuts(members)
    n = len(values)
    counts = (values[None, :] < cuts[:, None]).sum(1)
    tails = _tails(n, share)
    least = float(tails[torch.arange(len(cuts)), counts].min())
    # as small as the one seen, to rounding, counts as seen
    return max(0.0, 1 - _inside(n, share, tails > least * (1 + 1e-9)))


def rank_band(cases: int, members: int, *, level: float = 0.95) -> RankBand:
    """The band that holds the distribution function of uniform ranks at all cuts at once, with probability `level` at least.

    Args:
        cases: Number n of independent cases.
        members: Number m of members.
        level: Probability.

    Raises:
        InputError: If a number makes no sense.
    """
    if cases < 1 or members < 1 or not 0 < level < 1:
        raise InputError(f"rank_band: expected cases, members >= 1 and a level in (0, 1), got {cases}, {members} and {level}")
    cuts, share = _cuts(members)
    tails = _tails(cases, share)
    low, high = 0.0, 1 - level
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _inside(cases, share, tails > middle) >= level else (low, middle)
    allowed = tails > low
    counts = torch.arange(cases + 1, dtype=torch.float64) / cases
    lower = torch.where(allowed, counts, torch.inf).amin(1)
    upper = torch.where(allowed, counts, -torch.inf).amax(1)
    return RankBand(cuts, share, lower, upper)


def rank_chi2(ranks: Tensor, members: int) -> float:
    """P value of Pearson's chi squared over bins of neighbouring ranks, each with five cases expected at least; approximate.

    Args:
        ranks: As `rank_p_value`; at least ten.
        members: Number m of members.

    Raises:
        ShapeError: If there are less than ten cases.
        InputError: If a rank is none.
    """
    values = _checked(ranks, members)
    n = len(values)
    if n < 10:
        raise ShapeError(f"rank_chi2: expected at least ten cases, got {n}; use rank_p_value, which is exact")
    bins = min(members + 1, n // 5, _MOST_CUTS)
    # ranks k of bin floor(k bins/(m+1)); bins may differ by one rank
    which = torch.arange(members + 1) * bins // (members + 1)
    expected = n * torch.bincount(which, minlength=bins).double() / (members + 1)
    seen = torch.bincount(which[values], minlength=bins).double()
    statistic = ((seen - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((bins - 1) / 2, dtype=torch.float64), statistic / 2))


def adjusted_p_values(p_values: Mapping[str, float], *, control: str = "holm") -> dict[str, float]:
    r"""P values of several tests (leads, regions, variables), each raised so that it can be held against one level for all.

    ``"holm"``: with the k-th smallest of K, $\max_{j \le k} (K - j + 1)\, p_{(j)}$; the chance of any false alarm stays below the level, however
    the tests depend. ``"share"``: $\min_{j \ge k} K p_{(j)} / j$; the expected share of false alarms among alarms does, for independent or
    positively dependent tests.
    References: Holm (1979); Benjamini and Hochberg (1995).

    Args:
        p_values: By name, each in [0, 1].
        control: ``"holm"`` or ``"share"``.

    Returns:
        By name, in the order given, at most 1.

    Raises:
        InputError: If there is none, one is not in [0, 1], or the control is unknown.
    """
    check_one_of(control, ("holm", "share"), "adjusted_p_values control")
    bad = {name: p for name, p in p_values.items() if not 0 <= p <= 1}
    if bad or not p_values:
        raise InputError(f"adjusted_p_values: expected p values in [0, 1], one at least, got {bad or 'none'}")
    names = sorted(p_values, key=lambda name: p_values[name])
    p = torch.tensor([p_values[name] for name in names], dtype=torch.float64)
    place = torch.arange(1, len(p) + 1, dtype=torch.float64)
    raised = ((len(p) + 1 - place) * p).cummax(0).values if control == "holm" else (len(p) / place * p).flip(0).cummin(0).values.flip(0)
    found = dict(zip(names, raised.clamp_max(1.0).tolist(), strict=True))
    return {name: found[name] for name in p_values}


def _checked(ranks: Tensor, members: int) -> Tensor:
    values = torch.as_tensor(ranks).detach().cpu()
    if values.ndim != 1 or not len(values):
        raise ShapeError(f"ranks: expected (cases,), one at least, got {tuple(values.shape)}")
    whole = values.double().round().long()
    if members < 1 or bool((whole < 0).any()) or bool((whole > members).any()) or bool((whole.double() - values.double()).abs().max() > 0):
        got = f"{float(values.min()):g} to {float(values.max()):g}"
        raise InputError(f"ranks: expected whole numbers from 0 to {members}, got {got}; break ties first")
    return whole


def _cuts(members: int) -> tuple[Tensor, Tensor]:
    count = min(members, _MOST_CUTS)
    cuts = (torch.arange(1, count + 1, dtype=torch.float64) * (members + 1) / (count + 1)).round().long()  # at least one apart: all different
    return cuts, cuts.double() / (members + 1)


def _log_binomial(n: Tensor, k: Tensor, p: Tensor) -> Tensor:
    """Log probability of k of n; -inf outside 0..n."""
    inside = (k >= 0) & (k <= n)
    k = torch.where(inside, k, 0.0)
    value = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1) + torch.xlogy(k, p) + torch.special.xlog1py(n - k, -p)
    return torch.where(inside, value, -torch.inf)


def _tails(n: int, share: Tensor) -> Tensor:
    """Twice the smaller binomial tail, counts included, of every count at every cut, (K, n + 1)."""
    counts = torch.arange(n + 1, dtype=torch.float64)
    mass = _log_binomial(torch.tensor(float(n), dtype=torch.float64), counts[None], share[:, None]).exp()
    below = mass.cumsum(1)
    above = mass.flip(1).cumsum(1).flip(1)
    return (2 * torch.minimum(below, above)).clamp_max(1)


def _inside(n: int, share: Tensor, allowed: Tensor) -> float:
    """Probability that the counts at all cuts are allowed (K, n + 1)."""
    counts = torch.arange(n + 1, dtype=torch.float64)
    law = torch.zeros(n + 1, dtype=torch.float64)
    law[0] = 1.0
    before = torch.zeros((), dtype=torch.float64)
    for p, ok in zip(share, allowed, strict=True):
        # of those not below the last cut, each is below this one with the same probability
        step = _log_binomial(n - counts[:, None], counts[None] - counts[:, None], (p - before) / (1 - before)).exp()
        law = (law @ step) * ok
        before = p
    return float(law.sum())
