"""Sets of multi-indices: which derivatives a jet carries, and how their products and derivatives fall into them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

from physdiff.base.errors import InputError

__all__ = ["MOST", "Order", "closed", "lowered", "products", "raised"]

Order = tuple[int, ...]
"""How often a derivative is taken along each input, (2, 0): twice along the first."""
MOST = 4
"""Highest order a function's series is written down for."""


def closed(orders: Sequence[Order]) -> tuple[Order, ...]:
    """The orders and all lower ones, the value first, sorted by their sum.

    Raises:
        InputError: If the total order is above 4, or the orders differ in length.
    """
    if not orders or len({len(a) for a in orders}) != 1 or any(sum(a) > MOST or min(a) < 0 for a in orders):
        raise InputError(f"orders: expected one length and totals from 0 to {MOST}, got {list(orders)}; Autograd takes higher ones")
    every = {low for order in orders for low in itertools.product(*(range(k + 1) for k in order))}
    return tuple(sorted(every, key=_by_sum))


def raised(order: Order, i: int, by: int = 1) -> Order:
    """The order with one more derivative along input i."""
    return tuple(k + by * (j == i) for j, k in enumerate(order))


@functools.cache
def products(orders: tuple[Order, ...]) -> tuple[tuple[tuple[int, int], ...], ...]:
    """For each row the pairs of rows whose orders add up to it."""
    row = {order: i for i, order in enumerate(orders)}
    lower = [[(i, tuple(x - y for x, y in zip(c, a, strict=True))) for i, a in enumerate(orders)] for c in orders]
    return tuple(tuple((i, row[b]) for i, b in pairs if b in row) for pairs in lower)


@functools.cache
def lowered(orders: tuple[Order, ...], i: int) -> tuple[tuple[int, ...], tuple[Order, ...], tuple[int, ...]]:
    """Rows, orders and factors of the derivative along input i."""
    kept = [(raised(a, i, -1), row, a[i]) for row, a in enumerate(orders) if a[i]]
    kept.sort(key=lambda k: _by_sum(k[0]))
    return tuple(k[1] for k in kept), tuple(k[0] for k in kept), tuple(k[2] for k in kept)


def _by_sum(order: Order) -> tuple[int, tuple[int, ...]]:
    return sum(order), tuple(-k for k in order)
