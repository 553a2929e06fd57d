r"""Rates of jumps between the cells of a box: the forward equation, its exponential and its steady state, without a subtraction.

$$\dot p_x = \sum_e r_e(x - e)\,p_{x - e} - \Big(\lambda_x + \sum_e r_e(x)\Big) p_x$$

with a rate $r_e(x) \ge 0$ for each offset e. Uniformisation (Jensen, 1953) writes the exponential of it as a mean of powers of a matrix without a
negative entry, $e^{tQ} = \sum_k e^{-\Lambda t}\frac{(\Lambda t)^k}{k!}\,(1 + Q/\Lambda)^k$ with $\Lambda$ the fastest rate at which a cell is left:
positive and conserving whatever t, and exact in time. The steady state comes from block elimination in which diagonals are sums of what leaves
(Grassmann, Taksar and Heyman, 1985): no current needs to vanish in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from physdiff.base.errors import InputError

__all__ = ["exponential", "leaving", "steady_state", "stepped"]

Rates = Mapping[tuple[int, ...], Tensor]
"""By offset (storage order), rates (B or 1, *S); zero where the offset leads out of the box."""


def leaving(rates: Rates) -> Tensor:
    """The rate at which each cell is left, (B or 1, *S)."""
    parts = list(rates.values())
    return sum(parts[1:], parts[0])


def stepped(p: Tensor, shares: Rates, keep: Tensor) -> Tensor:
    """What is kept of p (B, *S) in each cell, plus the shares of it that jump to others."""
    total = keep * p
    for offset, share in shares.items():
        total = total + (share * p).roll(offset, tuple(range(-len(offset), 0)))
    return total


def exponential(p: Tensor, rates: Rates, *, time: float, loss: Tensor, source: Tensor | None = None) -> Tensor:
    """The density (B, *S) after the time, with rates of loss (B or 1, *S) and a source (B or 1, *S) that stay.

    The number of terms is about the time times the fastest rate.
    """
    out = leaving(rates) + loss
    fastest = float(out.detach().max())
    if fastest == 0:
        return p if source is None else p + time * source
    weights, tails = _poisson(fastest * time, torch.finfo(p.dtype).eps)
    shares: Rates = {offset: (rate / fastest).to(p) for offset, rate in rates.items()}
    keep = ((fastest - out) / fastest).clamp(min=0).to(p)
    total, term = weights[0] * p, p
    made = None if source is None else source.to(p)
    if made is not None:
        total = total + tails[0] / fastest * made
    for weight, tail in zip(weights[1:], tails[1:], strict=True):
        term = stepped(term, shares, keep)
        total = total + weight * term
        if made is not None:
            made = stepped(made, shares, keep)
            total = total + tail / fastest * made
    return total


def _poisson(mean: float, eps: float) -> tuple[list[float], list[float]]:
    """Probabilities of 0, 1, ... of Poisson's distribution, of sum one, up to a remainder below eps, and the probability of more than each."""
    most = math.ceil(mean + 12 * math.sqrt(mean + 1) + 12)
    k = torch.arange(most + 1, dtype=torch.float64, device="cpu")
    weights = torch.exp(k * math.log(mean) - mean - torch.lgamma(k + 1))
    weights = weights / weights.sum()
    tails = weights.flip(0).cumsum(0).flip(0) - weights
    last = int((tails < eps / 8).double().argmax())
    weights, tails = weights[: last + 1] / weights[: last + 1].sum(), tails[: last + 1]
    return weights.tolist(), tails.tolist()


def steady_state(rates: Rates, *, shape: tuple[int, ...], closed: tuple[bool, ...]) -> Tensor:
    """The probabilities (B or 1, *S), of sum one, that the jumps do not change; differentiable.

    Cost: the number of cells along the longer axis times the cube of that along the other (times the reach of the jumps, times two on a closed
    axis).

    Raises:
        InputError: If the box has another number of axes than one or two, or there are cells that are never reached from others.
    """
    if len(shape) == 1:
        line: dict[tuple[int, ...], Tensor] = {(0, e[0]): r[:, None] for e, r in rates.items()}
        made = steady_state(line, shape=(1, *shape), closed=(False, *closed))
        return made[:, 0]
    if len(shape) != 2:
        raise InputError(f"steady_state: expected a line or a plane, got a box of {len(shape)} axes; take long steps instead")
    if shape[0] < shape[1]:
        swapped: dict[tuple[int, ...], Tensor] = {(e[1], e[0]): r.mT for e, r in rates.items()}
        return steady_state(swapped, shape=(shape[1], shape[0]), closed=(closed[1], closed[0])).mT
    rows = _Rows(rates, shape, closed=closed[0])
    return rows.steady()


class _Rows:
    """Blocks of rows of cells, each of which jumps only to its neighbours."""

    def __init__(self, rates: Rates, shape: tuple[int, ...], *, closed: bool) -> None:
        self._rates, (self._n, self._m) = rates, shape
        reach = max(1, *(abs(e[0]) for e in rates))
        # a closed axis is folded: the first rows beside the last ones
        half = (self._n + 1) // 2
        order = [i for pair in zip(range(half), range(self._n - 1, half - 2, -1), strict=False) for i in pair] if closed else list(range(self._n))
        order = list(dict.fromkeys(order))
        size = 2 * reach if closed else reach
        self._blocks = [order[i : i + size] for i in range(0, self._n, size)]
        self._batch = max(r.shape[0] for r in rates.values())

    def _from(self, start: list[int], end: list[int]) -> Tensor:
        """Rates from the cells of some rows to those of others, (B, len(start) m, len(end) m)."""
        m, like = self._m, next(iter(self._rates.values()))
        made = like.new_zeros((self._batch, len(start), m, len(end), m))
        columns = torch.arange(m, device=like.device)
        for (down, right), rate in self._rates.items():
            for i, row in enumerate(start):
                target = (row + down) % self._n
                if target in end:
                    entry = torch.zeros_like(made)
                    entry[:, i, columns, end.index(target), (columns + right) % m] = rate[:, row].expand(self._batch, m)
                    made = made + entry
        return made.reshape(self._batch, len(start) * m, len(end) * m)

    def steady(self) -> Tensor:
        """Elimination from the last block to the first, the first one's own steady state, and back."""
        blocks, shares = self._blocks, []
        inner = self._from(blocks[-1], blocks[-1])
        for upper, lower in zip(blocks[-2::-1], blocks[:0:-1], strict=True):
            down, up = self._from(upper, lower), self._from(lower, upper)
            system = torch.diag_embed(_off(inner).sum(-1) + up.sum(-1)) - _off(inner)
            # a row of the share: how much of the time in a cell of the upper block is spent in each of the lower one
            if bool((torch.diagonal(system, dim1=-2, dim2=-1).detach() <= 0).any()):
                raise InputError("steady_state: expected jumps out of every cell, got one that is never left; raise the diffusion")
            shares.append(torch.linalg.solve(system.mT, down.mT).mT)
            inner = self._from(upper, upper) + shares[-1] @ up
        parts = [_steady_dense(_off(inner))]
        for share in reversed(shares):
            parts.append((parts[-1][:, None] @ share)[:, 0])
            largest = parts[-1].detach().amax(-1, keepdim=True)
            if bool((largest > 1e100).any()):
                parts = [p / largest for p in parts]
        total = torch.cat(parts, dim=-1).clamp(min=0)
        order = [row for block in blocks for row in block]
        total = total.reshape(self._batch, self._n, self._m)[:, torch.tensor(order).argsort().to(total.device)]
        return total / total.sum((-2, -1), keepdim=True)


def _off(rates: Tensor) -> Tensor:
    return rates - torch.diag_embed(torch.diagonal(rates, dim1=-2, dim2=-1))


def _steady_dense(rates: Tensor) -> Tensor:
    """Steady probabilities (B, n), up to a factor, of rates (B, n, n) between n states, by elimination of one after the other."""
    n, left, columns = rates.shape[-1], rates, []
    for k in range(n - 1, 0, -1):
        away = left[:, k, :k].sum(-1, keepdim=True)
        if bool((away.detach() <= 0).any()):
            raise InputError("steady_state: expected one steady state, got cells that cannot be left for the others; raise the diffusion")
        columns.append(left[:, :k, k] / away)
        left = left[:, :k, :k] + columns[-1][:, :, None] * left[:, k, None, :k]
    p = left.new_ones((left.shape[0], 1))
    for column in reversed(columns):
        p = torch.cat([p, (p * column).sum(-1, keepdim=True)], dim=-1)
        p = p / p.detach().sum(-1, keepdim=True)
    return p
