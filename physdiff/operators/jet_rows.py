r"""The rows of a jet, one per derivative: kept as one tensor, made when they are asked for, or known to be those of points.

A law reads one row of what it makes, the value of a residual, and a product of jets has a dozen terms in its higher rows; so products and sums make
a row when it is asked for, once. Points have the same derivatives everywhere, $x = x_0 + \sum_i e_i\,h_i$, and a layer of a network wants them as
a matrix, not as a field.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor

from physdiff.operators.jet_orders import Order

__all__ = ["Rows"]


class Rows:
    """Taylor coefficients (orders, *shape) of a tensor of `shape`.

    Args:
        data: All rows (orders, *shape); None if they are made later.
        orders: Their orders.
        taken: Derivatives of the fields that the value was made of.
    """

    def __init__(self, data: Tensor | None, orders: tuple[Order, ...], taken: frozenset[Order] | None = None) -> None:
        self.orders = orders
        self.taken = frozenset({(0,) * len(orders[0])}) if taken is None else taken
        self._data, self._rows = data, dict[int, Tensor]()
        self._make: Callable[[int], Tensor] | None = None
        self._shape = None if data is None else data.shape[1:]
        self.slopes: Tensor | None = None
        """Of points: rows that do not depend on the point (orders, features); that of the value is zero."""

    @classmethod
    def later(cls, make: Callable[[int], Tensor], shape: torch.Size, orders: tuple[Order, ...], *, taken: frozenset[Order]) -> Self:
        """Rows by a function of their place, called once for each that is asked for."""
        made = cls(None, orders, taken)
        made._make, made._shape = make, shape
        return made

    @classmethod
    def line(cls, value: Tensor, slopes: Tensor, orders: tuple[Order, ...]) -> Self:
        """Points `value` (..., features) with rows (orders, features) that are the same at all of them."""
        made = cls.later(lambda i: slopes[i].expand_as(value) if i else value, value.shape, orders, taken=frozenset({(0,) * len(orders[0])}))
        made.slopes = slopes
        return made

    def row(self, i: int) -> Tensor:
        """Coefficients of order i of `orders`."""
        if i not in self._rows:
            if self._make is None:
                assert self._data is not None
                self._rows = dict(enumerate(self._data.unbind(0)))  # one step back for all rows, where one each would write zeros for the others
            else:
                self._rows[i] = self._make(i)
        return self._rows[i]

    @property
    def data(self) -> Tensor:
        """All rows (orders, *shape)."""
        if self._data is None:
            self._data = torch.stack([row.expand(self.shape) for row in map(self.row, range(len(self.orders)))])
        return self._data

    @property
    def whole(self) -> bool:
        """Whether the rows are one tensor already."""
        return self._data is not None

    @property
    def value(self) -> Tensor:
        """The values themselves."""
        return self.row(0)

    @property
    def shape(self) -> torch.Size:
        """Shape of the values."""
        assert self._shape is not None
        return self._shape

    @property
    def ndim(self) -> int:
        """Number of axes of the values."""
        return len(self.shape)

    @property
    def dtype(self) -> torch.dtype:
        """Data type."""
        return self._one.dtype

    @property
    def device(self) -> torch.device:
        """Device."""
        return self._one.device

    @property
    def _one(self) -> Tensor:
        return self.row(0) if self._data is None else self._data
