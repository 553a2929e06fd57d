r"""Derivatives at scattered points by reverse-mode differentiation of a network.

A field is the output of a function of the points, $f_i = f(x_i, t_i)$. Each output depends on its own point
only, so one backward pass of $\sum_i f_i$ gives every $\partial f_i / \partial x_i$ at once. Derivatives
keep their graph: residuals can be trained, and derivatives of derivatives taken. Reference: Raissi,
Perdikaris and Karniadakis, Physics-informed neural networks (2019).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.operators.operators import Operators, Vector

__all__ = ["Autograd"]


class Autograd(Operators):
    """Derivatives with respect to the points at which fields were computed; made anew for every batch of points.

    Args:
        coordinates: Points x, y, z, one tensor per direction, all of one shape and requiring gradients
            BEFORE the network sees them. A family of solutions repeats its points, so that fields and points
            have the same shape.
        time: Times of the points, of the same shape, for `dt`.

    Raises:
        ShapeError: If shapes differ.
        InputError: If a coordinate does not require gradients.
    """

    def __init__(self, coordinates: Vector, time: Tensor | None = None) -> None:
        self._coordinates, self._time = tuple(coordinates), time
        self._inputs = self._coordinates if time is None else (*self._coordinates, time)
        if not self._coordinates:
            raise InputError("Autograd: expected at least one coordinate, got none")
        if len({tuple(x.shape) for x in self._inputs}) > 1:
            raise ShapeError(f"Autograd: expected coordinates and time of one shape, got {[tuple(x.shape) for x in self._inputs]}; expand them")
        if not all(x.requires_grad for x in self._inputs):
            raise InputError("Autograd: expected points that require gradients; call requires_grad_() before the network sees them")
        self._known: dict[int, tuple[Tensor, Vector]] = {}

    @property
    def ndim(self) -> int:
        """Number of directions."""
        return len(self._coordinates)

    @property
    def coordinates(self) -> Vector:
        """The points x, y, z themselves."""
        return self._coordinates

    def coordinates_as(self, like: Tensor) -> Vector:
        """The points themselves, whatever `like` is: a copy would be another place to differentiate at."""
        return self._coordinates

    def dt(self, f: Tensor) -> Tensor:
        """Derivative in time at each point.

        Raises:
            UnsupportedOperator: If built without time.
        """
        if self._time is None:
            raise UnsupportedOperator("dt", "Autograd", "build it with the times of the points, Autograd(coordinates, time)")
        return self._derivative(f, len(self._inputs) - 1)

    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z at each point."""
        return tuple(self._derivative(f, i) for i in range(self.ndim))

    def div(self, v: Vector) -> Tensor:
        """Divergence at each point."""
        terms = [self._derivative(c, i) for i, c in enumerate(self.check_vector(v, "div"))]
        return sum(terms[1:], terms[0])

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian at each point."""
        return self.div(self.grad(f))

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """Derivative of any order along one direction (0, 1, 2 for x, y, z)."""
        if order < 1:
            raise InputError(f"Autograd.partial order: expected 1 or more, got {order}")
        for _ in range(order):
            f = self._derivative(f, direction)
        return f

    def _derivative(self, f: Tensor, i: int) -> Tensor:
        """The derivative with respect to one input."""
        return self._derivatives(f)[i]

    def _derivatives(self, f: Tensor) -> Vector:
        """The derivatives of f with respect to every input, from one backward pass; zero where f does not depend on it."""
        if f.shape != self._inputs[0].shape:
            raise ShapeError(
                f"Autograd: expected a field of the points' shape {tuple(self._inputs[0].shape)}, got {tuple(f.shape)}; "
                "a family of fields repeats its points, otherwise gradients would be summed over it"
            )
        if not torch.is_grad_enabled():
            raise InputError("Autograd: expected gradients to be enabled, got torch.no_grad or inference mode; leave it for residuals")
        known = self._known.get(id(f))
        if known is not None and known[0] is f:
            return known[1]
        if f.requires_grad:
            found = torch.autograd.grad(f, self._inputs, torch.ones_like(f), create_graph=True, allow_unused=True)
            derivatives = tuple(torch.zeros_like(f) if d is None else d for d in found)
        else:
            derivatives = tuple(torch.zeros_like(f) for _ in self._inputs)
        # holding f keeps its id from being given to another tensor
        self._known[id(f)] = (f, derivatives)
        return derivatives
