r"""A law on a line along its own characteristics, and the way back to fixed points.

With labels X, the places at the start, and $x(X, t) = X + d(X, t)$,

$$\partial_t d|_X = c, \qquad \partial_t w|_X = R(w) + c\,\partial_x w, \qquad
\partial_x = J^{-1}\partial_X, \quad J = 1 + \partial_X d,$$

where $w_t = R(w)$ is the law at fixed points and c the speed it carries w at: transport drops out of the second equation, and what a network of
(X, t) has to hold does not depend on how fast the wind is. Derivatives in space are at fixed time and place; those by the label, which published
code takes for them, are the same only where J = 1. Mojgani, Balajewicz and Hassanzadeh, Kolmogorov n-width and Lagrangian physics-informed neural
networks, 2023, arXiv 2205.02902.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators, Vector
from physdiff.operators.taylor import Taylor
from physdiff.pdes.pde import PDE
from physdiff.pinn.coordinate_net import CoordinateNet

__all__ = ["Branches", "Lagrangian", "labels_on_grid", "lagrangian_on_grid"]

_NEWTON = 6


@dataclass(frozen=True, eq=False)
class Lagrangian(PDE):
    """A law on a line in labels: its fields as functions of (X, t), and `displacement`, which starts from zero.

    A law like others: for `Collocated` with a network whose outputs are the fields and `displacement` (two networks side by side, `Branches`, for
    both), and for solvers on a periodic grid of labels, until characteristics cross.

    Args:
        law: The law at fixed points, in one dimension, without diagnostics.
        speed: c, a number, or a function of (fields, x, t): what the law carries its fields at. Another speed gives the same solution, along
            other lines.

    Raises:
        InputError: If the law has diagnostics, or a field named displacement.
    """

    law: PDE
    speed: float | Callable[[Fields, Tensor, float | Tensor], Tensor]

    fields: ClassVar[tuple[str, ...]] = ("displacement",)

    def __post_init__(self) -> None:
        if self.law.diagnostics or "displacement" in self.law.fields:
            names = ", ".join((*self.law.fields, *self.law.diagnostics))
            raise InputError(f"Lagrangian: expected a law of fields that evolve, none named displacement, got {names}; solve it at fixed points")
        object.__setattr__(self, "fields", (*self.law.fields, "displacement"))

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The law and the speed along the lines."""
        if D.ndim != 1:
            raise ShapeError(f"Lagrangian: expected a line, got operators of {D.ndim} dimensions; solve it at fixed points")
        moved = u["displacement"]
        here = _Moved(D, moved)
        c = self.speed(u, here.place, t) if callable(self.speed) else self.speed * torch.ones_like(moved)
        still = {name: u[name] for name in self.law.fields}
        right = self.law.rhs(still, here, t)
        found = {name: right[name] + c * here.grad(u[name])[0] for name in self.law.fields}
        return {**found, "displacement": c}


class Branches(Saved, nn.Module):
    """Networks of the same features side by side, (n, features) -> (n, all their values): one for the fields and one for the displacement.

    Args:
        networks: Each from (n, features) to (n, values of its own).
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, features: Tensor) -> Tensor:
        """The values of all, in order."""
        return torch.cat([network(features) for network in self.networks], dim=-1)


class _Moved(Operators):
    """Derivatives in x at fixed time, of fields that are given on labels."""

    def __init__(self, D: Operators, displacement: Tensor) -> None:
        self._inner, self._stretch = D, 1 + D.grad(displacement)[0]
        self.place = D.coordinates_as(displacement)[0] + displacement

    @property
    def ndim(self) -> int:
        return 1

    @property
    def coordinates(self) -> Vector:
        return (self.place,)

    def coordinates_as(self, like: Tensor) -> Vector:
        return (self.place,)

    def dt(self, f: Tensor) -> Tensor:
        return self._inner.dt(f)

    def grad(self, f: Tensor) -> Vector:
        return (self._inner.grad(f)[0] / self._stretch,)

    def div(self, v: Vector) -> Tensor:
        return self.grad(self.check_vector(v, "div")[0])[0]

    def lap(self, f: Tensor) -> Tensor:
        return self.partial(f, 0, 2)

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        if order < 1:
            raise InputError(f"partial order: expected 1 or more, got {order}")
        for _ in range(order):
            f = self.grad(f)[0]
        return f


@torch.no_grad()
def lagrangian_on_grid(net: CoordinateNet, grid: CartesianGrid, times: Tensor) -> Tensor:
    """The fields at fixed points from a net of labels: (1, C, T, N) for the net's names but `displacement`.

    The label of each point is found by Newton's method on x(X, t) = x, from a table of the line.

    Args:
        net: Of (X, t), one of its names `displacement`; along X it covers the grid's box.
        grid: A line; on a periodic one labels and places wrap around.
        times: (T,).

    Raises:
        InputError: If the net has no displacement, the grid is no line, lines cross, or a point is reached from no label.
    """
    names = [n for n in net.names if n != "displacement"]
    frames = []
    for label, t in zip(labels_on_grid(net, grid, times), times.double().tolist(), strict=True):
        u = net.fields(_columns(net, label, t))
        frames.append(torch.stack([u[n].double() for n in names]))
    return torch.stack(frames, dim=1)[None]


@torch.no_grad()
def labels_on_grid(net: CoordinateNet, grid: CartesianGrid, times: Tensor) -> Tensor:
    """The labels X of the lines that pass the grid's points x at the times (T,): (T, N) float64, for what else is asked of the law there.

    Raises:
        InputError: As `lagrangian_on_grid`.
    """
    if "displacement" not in net.names or grid.ndim != 1 or len(net.lower) != 2:
        got = f"{', '.join(net.names)} of {len(net.lower)} columns and a grid of {grid.ndim} dimensions"
        raise InputError(f"lagrangian_on_grid: expected a net of (X, t) with a displacement, and a line, got {got}")
    x = grid.coordinates()[0].double()
    return torch.stack([_labels(net, grid, x, t=t) for t in times.double().tolist()])


def _columns(net: CoordinateNet, label: Tensor, t: float) -> Tensor:
    return torch.stack((label, torch.full_like(label, t)), dim=-1).to(next(net.parameters()))


def _labels(net: CoordinateNet, grid: CartesianGrid, x: Tensor, *, t: float) -> Tensor:
    """The labels that arrive at the places x at a time; on a closed line at places that are whole periods away."""
    a, length, closed = net.lower[0], net.upper[0] - net.lower[0], grid.periodic[0]
    table = a + length * torch.linspace(0, 1, 8 * len(x) + 1, dtype=torch.float64)
    position = table + net.fields(_columns(net, table, t))["displacement"].double()
    if not bool((position.diff() > 0).all()):
        raise InputError(f"lagrangian_on_grid: expected lines that do not cross, got some that do at t = {t:g}; train on, or end the span before")
    if closed:
        x = position[0] + (x - position[0]) % length
    elif bool(((x < position[0]) | (x > position[-1])).any()):
        reached = f"{float(position[0]):g} to {float(position[-1]):g}"
        raise InputError(f"lagrangian_on_grid: expected points that lines reach at t = {t:g}, {reached}, got others; take labels of a longer line")
    label = torch.from_numpy(np.interp(x.numpy(), position.numpy(), table.numpy()))
    for _ in range(_NEWTON):
        D = Taylor((label.to(next(net.parameters())),), torch.full_like(label, t).to(next(net.parameters())), orders=((1, 0),))
        d = net.fields(D.points())["displacement"]
        label = label - (label + D.value(d).double() - x) / (1 + D.value(D.grad(d)[0]).double())
    return label
