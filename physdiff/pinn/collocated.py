r"""What a network of the coordinates must fulfil: a law at points, and known values (initial, at walls, measured).

$$L = \lambda \sum_k \frac{1}{n}\sum_i \mathcal N_k[u](x_i)^2 + \sum_j \frac{w_j}{n_j}\sum_i \frac{(u - u_j)^2(x_i)}{s_j^2}.$$

`Collocated.residuals` gives the terms under the squares, each scaled so that L is their sum of squares: a loss for gradient methods, and the
vector whose Jacobian `levenberg_marquardt` takes. Unknown coefficients of the law are trained with the network; one that starts above or below
zero keeps its sign, $c = c_0 e^\theta$.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_one_of
from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.operators.taylor import Taylor, derivatives_needed
from physdiff.pdes.pde import PDE
from physdiff.pinn.coordinate_net import CoordinateNet

__all__ = ["Collocated", "Known", "Matched"]

_FAR = 10.0  # standard deviations that noise does not reach


@dataclass(frozen=True, eq=False)
class Known:
    """Values that fields have at points.

    Args:
        points: (n, d), columns `x, [y, [z,]] [t]`.
        values: By field, each (n,).
        weight: Weight of this term beside the law's.
        scale: What a deviation is measured in, per field or one for all; the standard deviation of readings. 1 if left out.
        exact: False for readings: two of them may differ at one point. With a scale other than 1 they always may.

    Raises:
        ShapeError: If points and values differ in number.
        InputError: If weight or scale is not positive, a value is not finite, or two values of one field at one point differ.
    """

    points: Tensor
    values: Mapping[str, Tensor]
    weight: float = 1.0
    scale: float = 1.0
    exact: bool = True

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or any(v.shape != self.points.shape[:1] for v in self.values.values()):
            got = {name: tuple(v.shape) for name, v in self.values.items()}
            raise ShapeError(f"Known: expected points (n, d) and values (n,), got {tuple(self.points.shape)} and {got}")
        if not (self.weight > 0 and self.scale > 0):
            raise InputError(f"Known: expected weight and scale above zero, got {self.weight} and {self.scale}; or leave the term out")
        for name, v in self.values.items():
            if not bool(v.isfinite().all()):
                raise InputError(f"Known {name}: expected finite values, got {int((~v.isfinite()).sum())} that are not; drop these points")


@dataclass(frozen=True, eq=False)
class Matched:
    """Fields that are the same at two sets of points: at both ends of a closed axis, or on both sides of a cut between networks.

    Args:
        points: (n, d), columns `x, [y, [z,]] [t]`.
        others: (n, d), the partner of each.
        what: value (of each field of the law and its diagnostics), slope (their derivatives along each column) or residual (what is left of
            each equation).
        weight: Weight of this term beside the law's.

    Raises:
        ShapeError: If the sets differ in number.
        InputError: If `what` is unknown or the weight not positive.
    """

    points: Tensor
    others: Tensor
    what: str = "value"
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape != self.others.shape or not len(self.points):
            raise ShapeError(f"Matched: expected two sets (n, d), n > 0, got {tuple(self.points.shape)} and {tuple(self.others.shape)}")
        check_one_of(self.what, ("value", "slope", "residual"), "Matched what")
        if not self.weight > 0:
            raise InputError(f"Matched: expected a weight above zero, got {self.weight}; or leave the term out")


class Collocated(nn.Module):
    """A law and known values for a network, at points that may change from call to call.

    Args:
        net: The solution; its names must hold the law's fields and diagnostics.
        law: The PDE.
        known: Initial, boundary and measured values (`Known`), and places that are alike (`Matched`).
        unknown: Names of coefficients of the law (numbers) to be found with the network; they start from the law's own.
        weight: Weight of the law's terms.

    Raises:
        InputError: If a field or a diagnostic has no output, a coefficient is no number of the law, a known value lies outside the network's box, or
            known values contradict each other: two of them at one place, at both ends of an axis that the network closes, or at a matched pair,
            or a reading more than ten standard deviations from a condition.
    """

    def __init__(
        self, net: CoordinateNet, law: PDE, known: Sequence[Known | Matched] = (), *, unknown: tuple[str, ...] = (), weight: float = 1.0
    ) -> None:
        super().__init__()
        names = (*law.fields, *law.diagnostics)
        missing = [name for name in names if name not in net.names]
        if missing:
            has = ", ".join(net.names)
            raise InputError(f"Collocated: {type(law).__name__} needs {', '.join(names)}; the network gives {has}, add {', '.join(missing)}")
        values = [part for part in known if isinstance(part, Known)]
        strange = [name for part in values for name in part.values if name not in net.names]
        if strange:
            raise InputError(f"Collocated: expected known values of {', '.join(net.names)}, got {', '.join(strange)}")
        matched = tuple(part for part in known if isinstance(part, Matched))
        _check_inside(values, net)
        _check_consistent(values, matched, net)
        self.net, self.law, self.known, self.weight = net, law, tuple(values), weight
        self.matched = matched
        self.theta = nn.ParameterDict()
        for name in unknown:
            value = getattr(law, name, None)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise InputError(f"Collocated unknown: expected numbers of {type(law).__name__}, got {name} = {value!r}; give it a first guess")
            self.theta[name] = nn.Parameter(torch.zeros((), dtype=next(net.parameters()).dtype))
        self.ndim = len(net.lower) - 1
        self.orders = derivatives_needed(law.residual, names, ndim=self.ndim)

    def coefficients(self) -> dict[str, Tensor]:
        """The unknown coefficients as they are now."""
        found = {}
        for name, theta in self.theta.items():
            start = float(getattr(self.law, name))
            found[name] = start * torch.exp(theta) if start else theta
        return found

    def current_law(self) -> PDE:
        """The law with the coefficients found so far."""
        return self.law.with_parameters(**self.coefficients()) if self.theta else self.law

    def law_residuals(self, points: Tensor) -> dict[str, Tensor]:
        """What is left of each equation at the points (n, d), each (n,), unscaled.

        Raises:
            Diverged: If a residual is not finite; the message says where.
        """
        columns = points.unbind(-1)
        D = Taylor(tuple(columns[:-1]), columns[-1], orders=self.orders)
        fields = self.net.fields(D.points())
        found = self.current_law().residual(fields, D, D.time)
        left = {name: D.value(r) for name, r in found.items()}
        for name, r in left.items():
            if not bool(r.sum().isfinite()) and not bool(r.isfinite().all()):  # a sum is one pass
                row = int((~r.isfinite()).nonzero()[0])
                raise _diverged(name, points[row], {field: float(D.value(u)[row].detach()) for field, u in fields.items()})
        return left

    def law_terms(self, points: Tensor) -> dict[str, Tensor]:
        """The law's terms by equation, (n,), scaled so that the sum of their squares is their part of the loss."""
        share = math.sqrt(self.weight / len(points))
        return {name: share * r for name, r in self.law_residuals(points).items()}

    def known_terms(self, *, joined: bool = False) -> dict[str, Tensor]:
        """The terms of known values by name ("known 0 u", ..., "matched 0 u", ...), scaled in the same way.

        Args:
            joined: Take all known points through the network in one pass: quicker, but `levenberg_marquardt` needs one for each term.
        """
        like, out = next(self.net.parameters()), {}
        places = [part.points.to(like) for part in self.known]
        fields = self._joined(places) if joined and places else map(self.net.fields, places)
        for i, (part, values) in enumerate(zip(self.known, fields, strict=True)):
            share = math.sqrt(part.weight / len(part.points)) / part.scale
            out.update({f"known {i} {name}": share * (values[name] - y.to(like)) for name, y in part.values.items()})
        for i, pair in enumerate(self.matched):
            share = math.sqrt(pair.weight / len(pair.points))
            one, other = (self._at(points.to(like), pair.what) for points in (pair.points, pair.others))
            out.update({f"matched {i} {name}": share * (one[name] - other[name]) for name in one})
        return out

    def _joined(self, places: Sequence[Tensor]) -> list[dict[str, Tensor]]:
        values = self.net(torch.cat(list(places))).split([len(points) for points in places])
        return [dict(zip(self.net.names, v.unbind(-1), strict=True)) for v in values]

    def _at(self, points: Tensor, what: str) -> dict[str, Tensor]:
        """What a `Matched` compares, at one of its sides."""
        if what == "residual":
            return self.law_residuals(points)
        names = (*self.law.fields, *self.law.diagnostics)
        if what == "value":
            values = self.net.fields(points)
            return {name: values[name] for name in names}
        columns = points.unbind(-1)
        first = [tuple(int(i == k) for i in range(len(columns))) for k in range(len(columns))]
        D = Taylor(tuple(columns[:-1]), columns[-1], orders=first)
        fields = self.net.fields(D.points())
        slopes = {name: (*D.grad(fields[name]), D.dt(fields[name])) for name in names}
        return {f"{name} slope {k}": D.value(slope) for name in names for k, slope in enumerate(slopes[name])}

    def residuals(self, points: Tensor) -> list[Tensor]:
        """All terms, scaled so that the loss is their sum of squares."""
        return [*self.law_terms(points).values(), *self.known_terms().values()]

    def forward(self, points: Tensor) -> Tensor:
        """The loss at the points."""
        terms = [*self.law_terms(points).values(), *self.known_terms(joined=True).values()]
        return torch.stack([r.square().sum() for r in terms]).sum()


def _diverged(equation: str, point: Tensor, values: Mapping[str, float]) -> Diverged:
    """The error of a residual that is not finite: which equation, where, and what the network has there."""
    *place, time = point.tolist()
    there = ", ".join(f"{axis} = {v:g}" for axis, v in zip("xyz", place, strict=False))
    has = ", ".join(f"{name} = {v:g}" for name, v in values.items())
    if all(math.isfinite(v) for v in values.values()):
        remedy = f"the network has {has} there; look at what the law makes of these values"
    else:
        remedy = f"the network itself has {has} there; lower the learning rate, or begin again from other weights"
    return Diverged(f"residual of {equation}", time, remedy, event=f"is not finite at {there}")


def _check_inside(known: Sequence[Known], net: CoordinateNet) -> None:
    """Raise InputError if a value is known outside the box in space and time, where the network was not made for; closed axes have no outside."""
    lower, upper = torch.tensor((net.lower, net.upper), dtype=torch.float64)
    slack, opened = 1e-6 * (upper - lower), ~torch.tensor(net.periodic)
    for part in known:
        points = part.points.detach().double().cpu()
        if points.shape[1] != len(lower):
            raise ShapeError(f"Collocated: expected known points with {len(lower)} columns x, [y, [z,]] [t], got {points.shape[1]}")
        outside = (((points < lower - slack) | (points > upper + slack)) & opened).any(1)
        if bool(outside.any()):
            place = [float(f"{v:g}") for v in points[outside][0].tolist()]
            box = f"{list(net.lower)} to {list(net.upper)}"
            raise InputError(
                f"Collocated: expected known values in the network's box, {box}, got one at {place}; drop it, or make the network for a larger box"
            )


def _check_consistent(known: Sequence[Known], matched: Sequence[Matched], net: CoordinateNet) -> None:
    """Raise InputError if two exact conditions (scale 1) give a field two values at one place, or a reading is more than ten of its scales off."""
    seen: dict[tuple[str, tuple[int, ...]], float] = {}
    exact = [part for part in known if part.exact and part.scale == 1.0]
    sizes: dict[str, float] = {}
    for part in exact:
        for name, values in part.values.items():
            sizes[name] = max(sizes.get(name, 0.0), float(values.abs().max()))
    for part in exact:
        places = _places(part.points, net)
        for name, values in part.values.items():
            for place, point, value in zip(places, part.points.tolist(), values.tolist(), strict=True):
                before = seen.setdefault((name, place), value)
                if abs(before - value) > 1e-3 * sizes[name]:
                    raise InputError(
                        f"Collocated: conditions contradict each other, {name} = {before:g} and {value:g} at {point}; drop the point from one"
                    )
    for part in (k for k in known if not k.exact or k.scale != 1.0):
        for place, i in zip(_places(part.points, net), range(len(part.points)), strict=True):
            for name, values in part.values.items():
                at, y = seen.get((name, place)), float(values[i])
                if at is not None and abs(at - y) > max(_FAR * part.scale, 1e-3 * sizes[name]):
                    what = f"{name} = {at:g} and a reading of {y:g} with standard deviation {part.scale:g} at {part.points[i].tolist()}"
                    raise InputError(f"Collocated: conditions contradict each other, {what}; drop one, or give the reading a larger one")
    for pair in (m for m in matched if m.what == "value"):
        for one, other, point in zip(_places(pair.points, net), _places(pair.others, net), pair.points.tolist(), strict=True):
            for name, size in sizes.items():
                a, b = seen.get((name, one)), seen.get((name, other))
                if a is not None and b is not None and abs(a - b) > 1e-3 * size:
                    what = f"{name} = {a:g} at {point} and {b:g} at its partner"
                    raise InputError(f"Collocated: conditions contradict each other, {what} in a Matched; drop the pair, or one of the values")


def _places(points: Tensor, net: CoordinateNet) -> list[tuple[int, ...]]:
    """Points in millionths of the box, so that rounding makes no difference; a closed axis ends where it begins."""
    lower, upper = torch.tensor((net.lower, net.upper), dtype=torch.float64)
    steps = ((points.detach().double().cpu() - lower) / (upper - lower) * 1e6).round().long()
    closed = torch.tensor(net.periodic)
    return [tuple(row) for row in torch.where(closed, steps % 10**6, steps).tolist()]
