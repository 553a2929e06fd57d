r"""Ensembles corrected by what past forecasts got wrong: bias, damping and spread.

For every variable and lead time four numbers are fitted, with the mean field $\mu$ of the truth in the pairs, the ensemble's mean $\bar x$ and
standard deviation $s$ in each cell:

$$m = \mu + a + b\,(\bar x - \mu), \qquad \sigma^2 = c^2 + d^2 s^2,$$

by the least CRPS of the Gaussian law N(m, sigma^2), area-weighted over cells and cases (EMOS). ``"members"`` then moves the members, $x' = m +
\sigma (x - \bar x)/s$,
which keeps their patterns, ranks and correlations (member by member); ``"gaussian"`` takes the quantiles of the law at plotting positions and
hands them
to the members in the order they have in each cell (ensemble copula coupling). ``"isotonic"`` fits no number and no shape: the law of the truth's
anomaly for each anomaly of the mean, given that it rises with it (isotonic distributional regression, isotonic.py), whose quantiles are handed out
the same way; it does not look at the spread, and beyond the anomalies of the pairs it keeps their outermost laws. References: Gneiting et al. (2005),
EMOS; Van Schaeybroeck and Vannitsem (2015), member by member; Schefzik, Thorarinsdottir and Gneiting (2013), copula coupling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError, InputError
from physdiff.data.cases import Cases, matched
from physdiff.uq.alike import check_alike
from physdiff.uq.isotonic import isotonic_quantiles

__all__ = ["gaussian_crps", "post_process"]

_METHODS = ("members", "gaussian", "isotonic")
_LEAST = 5         # cases; four numbers are fitted, all cells share them
_STEPS = 60        # of L-BFGS, which is done after some twenty


def post_process(forecast: xr.Dataset, *, with_pairs: tuple[xr.Dataset, xr.Dataset], method: str = "members") -> xr.Dataset:
    """The forecast with bias, damping and spread corrected.

    Args:
        forecast: Dims (sample?, init_time?, member, lead_time, *space), or time in lead_time's place.
        with_pairs: Forecasts of the same model, leads, grid and number of members, and the truth they are judged by; not those that are
            corrected, or the correction looks better than it is.
        method: ``"members"``, ``"gaussian"`` or ``"isotonic"``.

    Returns:
        As the forecast; attribute ``post_processing`` names the method, and those of each variable the fitted numbers by lead.

    Raises:
        InputError: If the method is unknown, the numbers of members differ, or members do not spread.
        DataError: If lead times are missing from the pairs, units differ, there are fewer than five cases, or what `evaluate` asks for is not met.
        GridMismatch: If past and new forecasts are on different grids.
    """
    check_one_of(method, _METHODS, "post_process method")
    pairs = matched(*with_pairs)
    check_alike(forecast, pairs, "post_process")
    if pairs.members < 2:
        raise InputError(f"post_process: expected two members or more, got {pairs.members}; take `input_ensemble` or bands of `calibrate`")
    found = forecast.copy()
    for v, name in enumerate(pairs.names):
        rows = _rows(pairs, v)
        known = {x: k for k, x in enumerate(np.asarray(pairs.forecast[pairs.inner].values).tolist())}
        leads = [known[x] for x in np.asarray(forecast[pairs.inner].values).tolist()]
        values = forecast[name].transpose("member", ..., pairs.inner, *pairs.grid.dims)
        x = torch.from_numpy(np.array(values.values, dtype=np.float64))
        if method == "isotonic":
            new, numbers = _isotonic(x, rows, leads, pairs), {}
        else:
            fit = _fitted(rows, pairs)
            a, b, c, d = (p[leads].reshape(-1, *[1] * pairs.grid.ndim) for p in fit.numbers.unbind(-1))
            mean, spread = x.mean(0), x.std(0)
            centre = fit.normal + a + b * (mean - fit.normal)
            sigma = (c.square() + d.square() * spread.square()).sqrt()
            new = _moved(x, mean, spread, centre=centre, sigma=sigma) if method == "members" else _ranked(x, centre, sigma)
            numbers = {f"post_{k}": fit.numbers[leads, i].tolist() for i, k in enumerate("abcd")}
        attrs = {**forecast[name].attrs, **numbers}
        found[name] = values.copy(data=new.numpy().astype(values.dtype)).transpose(*forecast[name].dims).assign_attrs(attrs)
    return found.assign_attrs(post_processing=method)


def gaussian_crps(mean: Tensor, std: Tensor, truth: Tensor) -> Tensor:
    r"""CRPS of a Gaussian law, $\sigma\,[z(2\Phi(z)-1) + 2\varphi(z) - \pi^{-1/2}]$ with $z = (y-m)/\sigma$, in the field's units.

    Args:
        mean: m, broadcast against truth.
        std: sigma > 0.
        truth: Any shape.
    """
    z = (truth - mean) / std
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return std * (z * torch.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


@dataclass(frozen=True)
class _Fit:
    normal: Tensor   # mean of the truth, (*S)
    numbers: Tensor  # (leads, 4): a, b, c, d


_Rows = dict[int, list[tuple[Tensor, Tensor, Tensor]]]


def _rows(pairs: Cases, variable: int) -> _Rows:
    """Mean, spread and truth of every case by lead."""
    rows: _Rows = {k: [] for k in range(pairs.sizes[pairs.inner])}
    for case in pairs:
        if case.variable != variable:
            continue
        members = case.members.double()
        for k, mean, spread, truth in zip(case.frames.tolist(), members.mean(0), members.std(0), case.truth.double(), strict=True):
            rows[k].append((mean, spread, truth))
    few = min(len(r) for r in rows.values())
    if few < _LEAST:
        raise DataError(f"post_process: expected at least {_LEAST} cases at every lead time, got {few}; give more past forecasts")
    return rows


def _normal(rows: _Rows) -> Tensor:
    return torch.stack([truth for r in rows.values() for _, _, truth in r]).nanmean(0)


def _fitted(rows: _Rows, pairs: Cases) -> _Fit:
    normal, area = _normal(rows), pairs.grid.weights().double()
    numbers = [_least_crps(*(torch.stack(part) for part in zip(*rows[k], strict=True)), normal=normal, area=area) for k in sorted(rows)]
    return _Fit(normal, torch.stack(numbers))


def _isotonic(x: Tensor, rows: _Rows, leads: list[int], pairs: Cases) -> Tensor:
    """Members (m, ..., leads, *S) at the quantiles of the isotonic laws, in the order they had."""
    normal, area = _normal(rows), pairs.grid.weights().double()
    count, at = x.shape[0], x.ndim - 1 - area.ndim
    levels = torch.arange(1, count + 1, dtype=torch.float64) / (count + 1)
    order, anomaly, new = x.argsort(0).argsort(0), x.mean(0) - normal, torch.empty_like(x)
    for k, lead in enumerate(leads):
        mean, _, truth = (torch.stack(part) for part in zip(*rows[lead], strict=True))
        seen = truth.isfinite() & mean.isfinite() & (area > 0)
        knots, quantiles = isotonic_quantiles((mean - normal)[seen], (truth - normal)[seen], levels, weights=area.expand(truth.shape)[seen])
        here = anomaly.select(at - 1, k)
        drawn = torch.stack([torch.from_numpy(np.interp(here.numpy(), knots.numpy(), q.numpy())) for q in quantiles.mT])
        new.select(at, k).copy_(drawn.gather(0, order.select(at, k)) + normal)
    return new.masked_fill(x.isnan(), float("nan"))


def _least_crps(mean: Tensor, spread: Tensor, truth: Tensor, *, normal: Tensor, area: Tensor) -> Tensor:
    """a, b, c, d of one lead from (cases, *S)."""
    seen = truth.isfinite() & mean.isfinite() & (area > 0)
    weight = area.expand(truth.shape)[seen]
    unit = (((truth - mean)[seen].square() * weight).sum() / weight.sum()).sqrt()
    width = ((spread[seen].square() * weight).sum() / weight.sum()).sqrt()
    if not bool(width > 0):
        raise InputError("post_process: expected members that differ, got a spread of zero at a lead time; draw members with noise")
    if not bool(unit > 0):
        return torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=torch.float64)
    anomaly, error = (mean - normal)[seen], (truth - normal)[seen]
    square = spread[seen].square()
    # in units of the error, so that the four numbers are of order one
    p = torch.tensor([0.0, 1.0, 0.5, float(0.7 * unit / width)], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([p], max_iter=_STEPS, line_search_fn="strong_wolfe", tolerance_grad=1e-9, tolerance_change=1e-12)

    def loss() -> Tensor:
        optimiser.zero_grad()
        sigma = ((p[2] * unit).square() + p[3].square() * square + (1e-6 * unit).square()).sqrt()
        value = (gaussian_crps(p[0] * unit + p[1] * anomaly, sigma, error) * weight).sum() / (weight.sum() * unit)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)
    found = p.detach()
    return torch.stack([found[0] * unit, found[1], (found[2] * unit).abs(), found[3].abs()])


def _moved(x: Tensor, mean: Tensor, spread: Tensor, *, centre: Tensor, sigma: Tensor) -> Tensor:
    # where all members agree there is no pattern to stretch
    ratio = torch.where(spread > 0, sigma / spread, 0.0)
    return centre + ratio * (x - mean)


def _ranked(x: Tensor, centre: Tensor, sigma: Tensor) -> Tensor:
    count = x.shape[0]
    position = torch.arange(1, count + 1, dtype=x.dtype) / (count + 1)
    z = math.sqrt(2) * torch.erfinv(2 * position - 1)
    order = x.argsort(0).argsort(0)
    return (centre + sigma * z[order]).masked_fill(x.isnan(), float("nan"))
