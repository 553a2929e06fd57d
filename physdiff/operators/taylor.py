r"""Derivatives at scattered points by Taylor mode: fields are jets, and a law is evaluated on them as it is written.

The network sees jets of the points and returns jets, products and fluxes in the law keep their derivatives, and `D.grad` only reads off. No
backward pass is needed for a residual, and training takes one. `derivatives_needed` finds which derivatives a law asks for, so that no others
are carried. Karniadakis et al., Physics-informed machine learning, 2021; Bettencourt, Johnson and Duvenaud, Taylor-mode automatic
differentiation, 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.operators.jet import Jet, MissingOrders
from physdiff.operators.jet_orders import MOST, Order, closed
from physdiff.operators.operators import Operators, Vector

__all__ = ["Taylor", "derivatives_needed"]


class Taylor(Operators):
    """Derivatives of jets with respect to the points; made anew for every batch of points.

    Give `points()` to the network, take its outputs as fields, and read the values of a residual with `value`.

    Args:
        coordinates: Points x, y, z, one tensor per direction, all (points,).
        time: Times of the points, for `dt`; None for none.
        orders: Which derivatives are carried, as often along each of x, y, z, t: (2, 0) and (0, 1) for u_xx and u_t; lower ones come with them.

    Raises:
        ShapeError: If shapes differ.
        InputError: If an order is above four, or its length is not the number of inputs.
    """

    def __init__(self, coordinates: Vector, time: Tensor | None = None, *, orders: Sequence[Order]) -> None:
        inputs = (*coordinates, time) if time is not None else tuple(coordinates)
        if not coordinates or len({tuple(x.shape) for x in inputs}) != 1:
            raise ShapeError(f"Taylor: expected coordinates and time of one shape, got {[tuple(x.shape) for x in inputs]}; expand them")
        self._orders = closed(orders)
        if len(self._orders[0]) != len(inputs):
            raise InputError(f"Taylor orders: expected {len(inputs)} numbers each, for {len(inputs)} inputs, got {list(orders)}")
        self._ndim, self._timed = len(coordinates), time is not None
        self._inputs = tuple(self._input(x, i) for i, x in enumerate(inputs))

    def _input(self, x: Tensor, i: int) -> Jet:
        step = tuple(int(j == i) for j in range(len(self._orders[0])))
        slopes = torch.tensor([float(order == step) for order in self._orders], dtype=x.dtype, device=x.device)
        return Jet.line(x, slopes, self._orders)

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return self._ndim

    @property
    def coordinates(self) -> Vector:
        """The points x, y, z as jets."""
        return cast(Vector, self._inputs[: self._ndim])

    @property
    def time(self) -> Tensor:
        """The times as a jet, for laws that depend on time.

        Raises:
            UnsupportedOperator: If built without time.
        """
        if not self._timed:
            raise UnsupportedOperator("time", "Taylor", "build it with the times of the points, Taylor(coordinates, time, orders=...)")
        return cast(Tensor, self._inputs[-1])

    def points(self) -> Tensor:
        """The jet (points, inputs) of x, y, z and t, for a network."""
        value = torch.stack([x.value for x in self._inputs], dim=-1)
        slopes = torch.stack([x.slopes for x in self._inputs if x.slopes is not None], dim=-1)
        return cast(Tensor, Jet.line(value, slopes, self._orders))

    def coordinates_as(self, like: Tensor) -> Vector:
        """The points themselves, whatever `like` is."""
        return self.coordinates

    def dt(self, f: Tensor) -> Tensor:
        """Derivative in time at each point."""
        if not self._timed:
            raise UnsupportedOperator("dt", "Taylor", "build it with the times of the points, Taylor(coordinates, time, orders=...)")
        return self._partial(f, self._ndim)

    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z at each point."""
        return tuple(self._partial(f, i) for i in range(self._ndim))

    def div(self, v: Vector) -> Tensor:
        """Divergence at each point."""
        terms = [self._partial(c, i) for i, c in enumerate(self.check_vector(v, "div"))]
        return sum(terms[1:], terms[0])

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian at each point."""
        terms = [self.partial(f, i, 2) for i in range(self._ndim)]
        return sum(terms[1:], terms[0])

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Derivative of any order along one direction (0, 1, 2 for x, y, z)."""
        if order < 1:
            raise InputError(f"Taylor.partial order: expected 1 or more, got {order}")
        for _ in range(order):
            f = self._partial(f, direction)
        return f

    @staticmethod
    def value(f: Tensor) -> Tensor:
        """The values of a field or a residual, a plain tensor."""
        return f.value if isinstance(f, Jet) else f

    def _partial(self, f: Tensor, i: int) -> Tensor:
        # a plain tensor in a law is a constant
        return cast(Tensor, f.partial(i)) if isinstance(f, Jet) else torch.zeros_like(f)


def derivatives_needed(
    residual: Callable[[Mapping[str, Tensor], Operators, Tensor], Mapping[str, Tensor]], names: Sequence[str], *, ndim: int, timed: bool = True
) -> tuple[Order, ...]:
    """Which derivatives of the fields a residual asks for, as often along each of x, y, z, t.

    The residual is tried on jets that carry nothing, then with what it missed.

    Args:
        residual: Function of (fields, operators, time), such as `pde.residual`.
        names: Names of the fields, diagnostics too.
        ndim: Number of directions of space.
        timed: Whether there is time.

    Raises:
        UnsupportedOperator: If derivatives above order four are asked for.
    """
    orders = closed([(0,) * (ndim + timed)])
    generator = torch.Generator().manual_seed(0)
    while True:
        inputs = [torch.rand(2, generator=generator, dtype=torch.float64) for _ in range(ndim + timed)]
        D = Taylor(tuple(inputs[:ndim]), inputs[ndim] if timed else None, orders=orders)
        data = 0.5 + torch.rand(len(names), len(orders), 2, generator=generator, dtype=torch.float64)
        fields = {name: cast(Tensor, Jet(data[i], orders)) for i, name in enumerate(names)}
        try:
            residual(fields, D, D.time if timed else torch.zeros(2, dtype=torch.float64))
        except MissingOrders as missing:
            if any(sum(order) > MOST for order in missing.orders):
                too_high = f"derivatives {sorted(missing.orders)}"
                raise UnsupportedOperator(too_high, "Taylor", f"it carries orders up to {MOST}; use Autograd") from None
            orders = closed([*orders, *missing.orders])
        else:
            return orders
