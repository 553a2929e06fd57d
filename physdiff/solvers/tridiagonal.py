r"""Exchange between neighbouring cells, solved backwards in time without a single subtraction.

The system is $(e_i + r_i + l_i)\,x_i - r_{i-1} x_{i-1} - l_{i+1} x_{i+1} = b_i$ with rates $r_i$ (to the right) and $l_i$ (to the left) of at least
zero and $e_i > 0$: one implicit step of a Markov chain along a line. Gauss elimination has the pivots $s_i + r_i$ with

$$s_0 = e_0 + l_0, \qquad s_i = e_i + l_i\,\frac{s_{i-1}}{s_{i-1} + r_{i-1}},$$

which are sums and products of positive numbers only (the idea of Grassmann, Taksar and Heyman, 1985). So a positive b gives a positive x exactly,
every entry is right to a few roundings whatever the size of the rates, and what leaves a cell arrives in the next. All three recurrences
(pivots, forward, backward) are associative and run as scans: log2(n) passes over whole arrays in place of n steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Exchange"]


class Exchange:
    """The factorised system, along the last axis.

    Args:
        keep: e, positive, (..., n).
        right: r, not negative, (..., n); what goes right from the last cell arrives in the first one (closed) or is gone.
        left: l, not negative, (..., n); what goes left from the first cell arrives in the last one (closed) or is gone.
        closed: Whether the line is a circle; at least three cells.
    """

    def __init__(self, keep: Tensor, right: Tensor, left: Tensor, *, closed: bool = False) -> None:
        keep, right, left = torch.broadcast_tensors(keep, right, left)
        self._closed = closed
        if not closed:
            self._line = _Line(keep, right, left)
            return
        # one cell is solved last (the complement); what goes there is lost to the others
        self._line = _Line(keep[..., :-1], right[..., :-1], left[..., :-1])
        middle = torch.zeros_like(right[..., 2:])
        self._given = self._line.solve(torch.cat([right[..., -1:], middle[..., :-1], left[..., -1:]], dim=-1))
        self._ends = left[..., :1], right[..., -2:-1]
        # e + r + l of the last cell less what comes back, written as what is kept on the way
        self._pivot = keep[..., -1:] + (keep[..., :-1] * self._given).sum(-1, keepdim=True)

    def solve(self, b: Tensor) -> Tensor:
        """The solution x, of the shape of b (..., n), which the rates broadcast to."""
        if not self._closed:
            return self._line.solve(b)
        y = self._line.solve(b[..., :-1])
        to_left, to_right = self._ends
        last = (b[..., -1:] + to_left * y[..., :1] + to_right * y[..., -1:]) / self._pivot
        return torch.cat([y + last * self._given, last], dim=-1)


class _Line:
    """The same between two ends."""

    def __init__(self, keep: Tensor, right: Tensor, left: Tensor) -> None:
        s = _pivots(keep, right, left)
        self._pivot = s + right
        zero = torch.zeros_like(right[..., :1])
        self._forward = _Scan(torch.cat([zero, right[..., :-1] / self._pivot[..., :-1]], dim=-1))
        self._backward = _Scan(torch.cat([left[..., 1:] / self._pivot[..., :-1], zero], dim=-1).flip(-1))

    def solve(self, b: Tensor) -> Tensor:
        y = self._forward(b)
        return self._backward((y / self._pivot).flip(-1)).flip(-1)


class _Scan:
    """x_i = a_i x_{i-1} + b_i by pairs of pairs (Hillis and Steele, 1986); the products of the a are kept."""

    def __init__(self, a: Tensor) -> None:
        self._products, step = [], 1
        while step < a.shape[-1]:
            self._products.append((step, a[..., step:]))
            a = torch.cat([a[..., :step], a[..., step:] * a[..., :-step]], dim=-1)
            step *= 2

    def __call__(self, b: Tensor) -> Tensor:
        for step, a in self._products:
            b = torch.cat([b[..., :step], torch.addcmul(b[..., step:], a, b[..., :-step])], dim=-1)
        return b


def _pivots(keep: Tensor, right: Tensor, left: Tensor) -> Tensor:
    """s_i = ((e + l) s + e r) / (s + r), a product of two-by-two matrices; only ratios matter, so each is scaled to entries of at most one."""
    before = right[..., :-1]
    first = keep[..., :1] + left[..., :1]
    zero, one = torch.zeros_like(first), torch.ones_like(first)
    upper = torch.stack([torch.cat([zero, (keep + left)[..., 1:]], -1), torch.cat([first, keep[..., 1:] * before], -1)], dim=-1)
    lower = torch.stack([torch.cat([zero, torch.ones_like(before)], -1), torch.cat([one, before], -1)], dim=-1)
    m = _scaled(torch.stack([upper, lower], dim=-2))
    step, n = 1, keep.shape[-1]
    while step < n:
        late, early = m[..., step:, :, :], m[..., :-step, :, :]
        product = late[..., :, :1] * early[..., :1, :] + late[..., :, 1:] * early[..., 1:, :]
        m = torch.cat([m[..., :step, :, :], _scaled(product)], dim=-3)
        step *= 2
    return m[..., 0, 1] / m[..., 1, 1]


def _scaled(m: Tensor) -> Tensor:
    return m / m.detach().amax((-2, -1), keepdim=True)
