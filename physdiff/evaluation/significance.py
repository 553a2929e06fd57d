r"""Error bars and paired tests for tables of scores: is the difference of two models more than chance?

Scores of neighbouring starts are dependent, so that the plain standard error is too small. Blocks of successive cases are drawn with
replacement, and the same blocks for both models (circular block bootstrap). The interval is the percentile one of the redrawn means, stretched
about the mean by $\sqrt{n/(n-b)}\; t_{n/b-1} / z$: n/b blocks of length b tell a variance like so many cases, and their own mean was taken away.
Without it an interval at 95 % of 100 cases with correlation 0.5 holds 0.85. Over separate trajectories, which are independent, the block is one.
References: Kuensch (1989); Politis and Romano (1992); Wilks (2019), "Statistical methods in the atmospheric sciences", 5.3.5. The default block,
$n^{1/3}$ stretched by the dependence of the scores, follows the order of Hall, Horowitz and Jing (1995).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Sequence
from statistics import NormalDist

import numpy as np
import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng

__all__ = ["block_length", "combined_interval", "paired_difference", "score_interval", "student_p_value"]

log = logging.getLogger(__name__)

_FEWEST = 5  # cases for an error bar
_CHUNK = 1000  # redrawings at once
_NODES, _MOST_FREEDOM = 200, 1000  # of a quadrature; beyond it Student's law is the normal one


def score_interval(
    table: xr.Dataset, *, over: str = "init_time", level: float = 0.95, block: int | None = None, draws: int = 2000, rng: Rng = Rng(0)  # noqa: B008 - a value
) -> xr.Dataset:
    """Mean scores with confidence intervals.

    Args:
        table: From `evaluate` with `over` among its `by`: one value per case.
        over: The dimension of the cases.
        level: Confidence level.
        block: Number of successive cases that are drawn together; None takes `block_length` of each score.
        draws: Number of redrawings.
        rng: Randomness.

    Returns:
        The means with a new dimension ``bound`` (mean, lower, upper). Attribute `block`: the lengths used, by score. A case that is missing counts
        nowhere, and an entry with fewer than five cases has no interval (NaN).

    Raises:
        InputError: If level, block or draws make no sense.
        DataError: If `over` is not there or has fewer than five cases, or a score is infinite.
    """
    values = {str(n): _values(table, str(n), over) for n in table.data_vars if over in table[n].dims}
    _check(values, over, level, draws)
    blocks, found = {}, {}
    for name, v in values.items():
        blocks[name] = block_length(v, over=over) if block is None else _checked_block(block, v.sizes[over])
        means = _redrawn(v, over, blocks[name], draws=draws, rng=rng, level=level)
        found[name] = _bounded(v.mean(over), np.maximum(means, _least(v)), level).assign_attrs(table[name].attrs)
    return xr.Dataset(found, attrs={**table.attrs, "level": level, "block": [f"{n}: {b}" for n, b in blocks.items()]})


def combined_interval(
    parts: Sequence[xr.DataArray],
    combine: Callable[..., np.ndarray],
    *,
    over: str = "init_time",
    level: float = 0.95,
    draws: int = 2000,
    rng: Rng = Rng(0),  # noqa: B008 - a value
) -> xr.DataArray:
    """A number made of several means, such as a ratio, with its interval: the same blocks are redrawn for all of them.

    Args:
        parts: One value per case each, of the same shape.
        combine: From one array of means per part to the number, elementwise.
        over: The dimension of the cases.
        level: Confidence level.
        draws: Number of redrawings.
        rng: Randomness.

    Returns:
        As an entry of `score_interval`; the block is the longest that a part needs.

    Raises:
        InputError: If level or draws make no sense.
        DataError: If there are fewer than five cases, or a value is infinite.
    """
    values = {f"part {k}": v.astype(float).transpose(over, ...) for k, v in enumerate(parts)}
    _check(values, over, level, draws)
    length = max(block_length(v, over=over) for v in values.values())
    each = [np.maximum(_redrawn(v, over, length, draws=draws, rng=rng, level=level), _least(v)) for v in values.values()]
    centre = [v.mean(over) for v in values.values()]
    return _bounded(centre[0].copy(data=combine(*(c.values for c in centre))), combine(*each), level)


def paired_difference(
    table: xr.Dataset,
    reference: xr.Dataset,
    *,
    over: str = "init_time",
    level: float = 0.95,
    block: int | None = None,
    draws: int = 2000,
    rng: Rng = Rng(0),  # noqa: B008 - a value
) -> xr.Dataset:
    """Mean of ``table - reference`` over the cases that both have, its interval and p-value.

    Arguments as in `score_interval`; both tables hold the same scores. What one table alone has (cases, lead times) is left out, and a warning says
    how much.

    Returns:
        Dimension ``bound`` (mean, lower, upper, p_value). Attributes: `block`, `cases` (how many both have), `left_out_table` and
        `left_out_reference` (how many each has alone). The p-value is two-sided, of Student's law: the mean over the redrawn means'
        standard deviation, with n/b - 1 degrees of freedom (shares of redrawn means beyond zero are far too small in the tails that Holm's rule asks
        for, with few blocks). For a table of many entries compare it with the level divided by their number.

    Raises:
        InputError: If level, block or draws make no sense.
        DataError: If the tables share no score or fewer than five cases, or a score is infinite.
    """
    names = [n for n in table.data_vars if n in reference.data_vars and over in table[n].dims]
    if not names:
        raise DataError(f"paired_difference: expected scores by {over} that both tables have, got {_listed(table)} and {_listed(reference)}")
    a, b = xr.align(table[names], reference[names], join="inner")
    alone = _told_of_left_out(table[names], reference[names], a, over)
    change = (a - b).assign_attrs(table.attrs)
    values = {name: _values(change, name, over) for name in map(str, names)}
    _check(values, over, level, draws)
    blocks, found = {}, {}
    for name, v in values.items():
        blocks[name] = block_length(v, over=over) if block is None else _checked_block(block, v.sizes[over])
        means = _redrawn(v, over, blocks[name], draws=draws, rng=rng, level=level)
        bounds = _bounded(v.mean(over), means, level)
        known = v.notnull().sum(over).values
        p = student_p_value(v.mean(over).values, means.std(0) / _student(known, blocks[name], level), np.maximum(known / blocks[name] - 1, 1.0))
        last = bounds.isel(bound=0, drop=True).copy(data=p).expand_dims(bound=["p_value"])
        found[name] = xr.concat([bounds, last], "bound").assign_attrs(table[name].attrs)
    return xr.Dataset(found, attrs={**table.attrs, "level": level, "block": [f"{n}: {b}" for n, b in blocks.items()], **alone})


def _told_of_left_out(table: xr.Dataset, reference: xr.Dataset, both: xr.Dataset, over: str) -> dict[str, int]:
    """How many cases both have and each alone; a warning of all that one alone has."""
    said = []
    for dim, kept in both.sizes.items():
        ours, theirs = table.sizes.get(dim, kept) - kept, reference.sizes.get(dim, kept) - kept
        if ours or theirs:
            said.append(f"{ours} of {ours + kept} along {dim} of the table and {theirs} of {theirs + kept} of the reference")
    if said:
        log.warning("paired_difference: left out what one table alone has: %s; evaluate both on the same ones", "; ".join(said))
    kept = both.sizes[over]
    return {"cases": kept, "left_out_table": table.sizes[over] - kept, "left_out_reference": reference.sizes.get(over, kept) - kept}


def block_length(values: xr.DataArray, *, over: str = "init_time") -> int:
    r"""Length of blocks for the mean of a dependent series: $n^{1/3}\,\tau^{2/3}$ rounded up, at most a third of the cases.

    $\tau = (1+\rho)/(1-\rho)$ with the mean correlation $\rho \ge 0$ of neighbours over all entries; independent cases (and `sample`) give short
    blocks.

    Args:
        values: Scores with the dimension `over`.
        over: The dimension of the cases.
    """
    n = values.sizes[over]
    if over == "sample":
        return 1
    x = values.transpose(over, ...).values.reshape(n, -1).astype(float)
    x = x - np.nanmean(x, 0)
    spread = np.nansum(x * x)
    rho = 0.0 if spread == 0 else float(np.clip(np.nansum(x[1:] * x[:-1]) / spread, 0.0, 0.99))
    return int(np.clip(np.ceil(n ** (1 / 3) * ((1 + rho) / (1 - rho)) ** (2 / 3) - 1e-9), 1, max(1, n // 3)))


def _values(table: xr.Dataset, name: str, over: str) -> xr.DataArray:
    return table[name].astype(float).transpose(over, ...)


def _least(values: xr.DataArray) -> float:
    """Means of squares, shares and distances are not below zero, however far few blocks stretch them."""
    return 0.0 if float(values.min()) >= 0 else -np.inf


def _bounded(mean: xr.DataArray, means: np.ndarray, level: float) -> xr.DataArray:
    """Mean, lower and upper end along a new dimension."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an entry without an interval: NaN is what is to be said
        low, high = np.nanquantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return xr.concat([mean, mean.copy(data=low), mean.copy(data=high)], xr.DataArray(["mean", "lower", "upper"], dims="bound", name="bound"))


def _redrawn(values: xr.DataArray, over: str, block: int, *, draws: int, rng: Rng, level: float) -> np.ndarray:
    """Means of redrawn cases about the mean of all, stretched for few blocks, (draws, ...); NaN where fewer than five cases are known."""
    n = values.sizes[over]
    x = values.values.reshape(n, -1)
    known = np.isfinite(x)
    # sums over circular blocks once, then a redrawing is a sum over few starts: how often each was drawn, times those sums
    total, count = (_block_sums(v, block) for v in (np.where(known, x, 0.0), known.astype(float)))
    starts = rng.child("blocks").integers(0, n, (draws, -(-n // block))).numpy()
    means = np.empty((draws, x.shape[1]))
    for k in range(0, draws, _CHUNK):
        part = starts[k : k + _CHUNK]
        often = np.bincount((part + n * np.arange(len(part))[:, None]).ravel(), minlength=n * len(part)).reshape(len(part), n).astype(float)
        top, bottom = often @ total, often @ count
        means[k : k + _CHUNK] = top / np.where(bottom > 0, bottom, np.nan)
    cases = known.sum(0)
    centre = values.mean(over).values.reshape(-1)
    found = np.where(cases >= _FEWEST, centre + _stretch(cases, block, level) * (means - centre), np.nan)
    return found.reshape(draws, *values.shape[1:])


def student_p_value(mean: np.ndarray, error: np.ndarray, freedom: np.ndarray) -> np.ndarray:
    """P-values of Student's law; a difference that is the same in every case is no chance, and none at all is nothing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.where((mean == 0) & (error == 0), 0.0, np.abs(mean) / error)
    # t = sqrt(v) tan(a) has the density cos(a)^(v - 1)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    power = np.minimum(freedom, _MOST_FREEDOM)[..., None] - 1

    def beyond(angle: np.ndarray) -> np.ndarray:
        half = (0.5 * np.pi - angle)[..., None] / 2
        return np.asarray((weights * half * np.cos(angle[..., None] + half * (1 + nodes)) ** power).sum(-1))

    first = np.arctan(size / np.sqrt(power[..., 0] + 1))
    return np.asarray(beyond(first) / beyond(np.zeros_like(first)))


def _stretch(cases: np.ndarray, block: int, level: float) -> np.ndarray:
    return np.asarray(_student(cases, block, level) * np.sqrt(cases / np.maximum(cases - block, 1)))


def _student(cases: np.ndarray, block: int, level: float) -> np.ndarray:
    """Quantile of Student's law with as many degrees of freedom as there are blocks less one, over the normal one."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    v = np.maximum(cases / block - 1, 1.0)
    # quantile of Student's t by its expansion in 1/v (Abramowitz and Stegun 26.7.5), within 3 % from v = 2 on
    t = z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2) + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    return np.asarray(t / z)


def _block_sums(x: np.ndarray, block: int) -> np.ndarray:
    sums = np.cumsum(np.concatenate([np.zeros_like(x[:1]), x, x[: block - 1]]), 0)
    return np.asarray(sums[block:] - sums[:-block])


def _check(values: dict[str, xr.DataArray], over: str, level: float, draws: int) -> None:
    if not values:
        raise DataError(f"expected scores by {over}, got none; call evaluate with by=({over!r}, ...)")
    n = next(iter(values.values())).sizes[over]
    if n < _FEWEST:
        raise DataError(f"expected at least five cases along {over}, got {n}; redrawing fewer says nothing")
    unbounded = [name for name, v in values.items() if bool(np.isinf(v).any())]
    if unbounded:
        raise DataError(f"expected finite scores, got infinite ones of {unbounded[0]} (unbounded bands?); select cases where it is finite")
    if not 0 < level < 1 or draws < 100:
        raise InputError(f"expected a level in (0, 1) and at least 100 draws, got {level!r} and {draws}")


def _checked_block(block: int, cases: int) -> int:
    if not 1 <= block <= cases:
        raise InputError(f"block: expected 1 to {cases} cases, got {block}")
    return block


def _listed(table: Iterable[object]) -> str:
    return ", ".join(map(str, table)) or "none"
