r"""Continuous ranked probability score of an ensemble.

$$\mathrm{CRPS} = \frac1m\sum_i |x_i-y| - \frac{1}{2D}\sum_{i,j}|x_i-x_j|,$$
$$D = m(m-1)\ \text{(fair)}, \qquad D = m^2\ \text{(biased)}.$$

The fair one is unbiased for the law the members are drawn from, at any m; the biased one expects more by
E|X-X'|/(2m). With sorted members $\sum_{i<j}|x_i-x_j| = \sum_i (2i-m-1)\,x_{(i)}$, so the cost is O(m log m)
per cell; cells go in blocks that stay in the cache, so the extra memory is that of a block. On a CPU a block is laid
out cell by cell and sorted by numpy, which has vector instructions for short rows of values without indices: torch,
which makes indices, takes several times as long. Gradients need these. References: Gneiting and Raftery (2007);
Ferro (2014), "Fair scores for ensemble forecasts".
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.scores.reduce import check_case, reduced

__all__ = ["biased_crps", "crps"]

_BLOCK = 2**18  # member values at a time, a megabyte in float32


def crps(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Fair CRPS, in the field's units; can be slightly negative for a single case.

    Args:
        members: (m, *batch, *S), m >= 2.
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.

    Raises:
        ShapeError: If shapes do not fit or there is one member only (use `biased_crps`, then the absolute
            error).
    """
    members, truth = check_case(members, truth, weights, least=2, what="fair crps")
    return reduced(_crps(members, truth, members.shape[0] * (members.shape[0] - 1)), weights)


def biased_crps(members: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """CRPS of the empirical distribution of the members, in the field's units.

    Of one member it is the absolute error.

    Args:
        members: (m, *batch, *S).
        truth: (*batch, *S).
        weights: (*S) for the weighted mean, None for the map.

    Raises:
        ShapeError: If shapes do not fit.
    """
    members, truth = check_case(members, truth, weights, what="biased_crps")
    return reduced(_crps(members, truth, members.shape[0] ** 2), weights)


def _crps(members: Tensor, truth: Tensor, pairs: int) -> Tensor:
    count = members.shape[0]
    factor = torch.arange(1 - count, count, 2, dtype=members.dtype, device=members.device) / pairs
    width = max(1, _BLOCK // count)
    blocks = zip(torch.split(members.reshape(count, -1), width, 1), torch.split(truth.reshape(-1), width), strict=True)
    needs_gradient = torch.is_grad_enabled() and (members.requires_grad or truth.requires_grad)
    if needs_gradient or members.device.type != "cpu":
        return torch.cat([_by_torch(x - y, factor) for x, y in blocks]).reshape(truth.shape)
    return torch.cat([_by_numpy(x.detach() - y.detach(), factor) for x, y in blocks]).reshape(truth.shape)


# both take departures from the truth: a shift changes nothing, and small numbers lose less to rounding than geopotential does


def _by_torch(departure: Tensor, factor: Tensor) -> Tensor:
    return departure.abs().mean(0) - factor @ departure.sort(0).values


def _by_numpy(departure: Tensor, factor: Tensor) -> Tensor:
    count = departure.shape[0]
    rows = torch.empty(departure.shape[::-1], dtype=departure.dtype).copy_(departure.mT)
    rows.numpy().sort(axis=-1)
    return departure.new_full((count,), 1 / count) @ departure.abs_() - rows @ factor
