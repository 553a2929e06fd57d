r"""A law, written once: the abstract partial differential equation.

$$\partial_t u = \underbrace{L u}_{\texttt{stiff}} + \underbrace{N(u, t)}_{\texttt{nonstiff}}, \qquad
N = -\nabla\cdot F(u, t) \;\text{ where a }\texttt{flux}\text{ is given instead.}$$

A law gets named scalar fields of equal shape and an Operators object `D`, and never sees an axis. So one text serves the solver (right-hand
side), the check of gridded data (residual), the physics-informed network (residual on points) and the exponential integrator (symbol of
`stiff`). A new law is `fields` and one or two methods:

    @dataclass(frozen=True, eq=False)
    class FisherKPP(PDE):
        diffusivity: float
        rate: float
        fields = ("c",)

        def stiff(self, u, D):
            return {"c": self.diffusivity * D.lap(u["c"])}

        def nonstiff(self, u, D, t):
            return {"c": self.rate * u["c"] * (1 - u["c"])}
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from abc import ABC
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Self, cast, final

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.steady import SteadyFunction

__all__ = ["PDE", "Coefficient", "Parameter", "check_parameter", "space_mean", "value_of"]

Parameter = float | Tensor
"""A number, or a Tensor of shape () or (B,): one value for each sample of a batch."""
Coefficient = float | Tensor | Callable[..., Tensor]
"""A Parameter, or a function f(x, [y, [z,]] t) of the coordinates and the time."""


class PDE(Saved, ABC):
    """Abstract law; subclasses are `dataclass(frozen=True, eq=False)`.

    Parameters are numbers, functions of (x, [y, [z,]] t), or Tensors of shape () or (B,). Fields are (B, [T,] *S) on grids, (points,) on
    scattered points.

    Attributes:
        fields: Names of the fields that evolve in time.
        diagnostics: Names of those that follow from a constraint at each time (pressure, stream function).
        positive: Names of those among the `primitive` variables that cannot be negative (density, pressure, depth).
    """

    fields: ClassVar[tuple[str, ...]]
    diagnostics: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:  # noqa: ANN401 - it mirrors object's
        super().__init_subclass__(**kwargs)
        if ABC in cls.__bases__:
            return
        if not getattr(cls, "fields", ()):
            raise InputError(f"{cls.__name__}: expected `fields = ('name', ...)` in the class, got none; name the fields that evolve")
        if all(getattr(cls, part) is getattr(PDE, part) for part in ("stiff", "nonstiff", "flux", "production")):
            raise InputError(f"{cls.__name__}: expected a method stiff, nonstiff, flux or production, got none; write the law in one of them")

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """The linear part with constant coefficients, without sources and without mixing of fields; default zero."""
        return {name: torch.zeros_like(u[name]) for name in self.fields}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Everything else; default minus the divergence of `flux` if the law gives one, plus `production`.

        A law with a flux leaves this as it is: finite volumes take flux and production apart.
        """
        rest = self._whole(self.production(u, D, t), "production")
        if type(self).flux is PDE.flux:
            return rest
        spread = D.div_flux(lambda v, points: self.flux(v, points, t), u)
        return {name: rest[name] - spread[name] for name in self.fields}

    def flux(self, u: Fields, D: Operators, t: float | Tensor) -> Mapping[str, Vector]:
        """Flux of each field, components x, y, z: the conservation form of the nonstiff part. Optional.

        It depends on the fields, coordinates and time at a point, not on derivatives: finite volumes take it at faces, differences at walls.
        """
        raise InputError(f"{type(self).__name__} is not written in conservation form; use a solver that needs no flux")

    def production(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """What a law in conservation form has besides `stiff` and the flux: forcing, reactions, viscous terms; default zero."""
        return {name: torch.zeros_like(u[name]) for name in self.fields}

    def speeds(self, u: Fields, D: Operators, t: float | Tensor) -> Vector:
        """Largest speed, at least zero, at which `flux` carries anything along x, y, z at each point; for upwinding and the step limit."""
        raise InputError(f"{type(self).__name__} does not say how fast its flux carries things; give it a method speeds(u, D, t)")

    def primitive(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The variables in which finite volumes go from cells to faces (velocity and pressure for momentum and energy); default the fields."""
        return {name: u[name] for name in self.fields}

    def conserved(self, w: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The fields that belong to primitive variables: the inverse of `primitive`; default identity."""
        return {name: w[name] for name in self.fields}

    @property
    def usual(self) -> Mapping[str, tuple[float, float]]:
        """What a random initial state is drawn in, by name, with its mean and standard deviation; default the fields, with 0 and 1.

        Those of `positive` are drawn above zero. `initial` makes the fields of them.
        """
        return dict.fromkeys(self.fields, (0.0, 1.0))

    def initial(self, w: Fields, D: Operators, *, grid: Grid) -> Fields:
        """Fields to begin with, of variables with the names of `usual`, (B, *S); default the fields themselves."""
        return {name: w[name] for name in self.fields}

    def diagnose(self, u: Fields, D: Operators) -> Fields:
        """`u` with the diagnostics filled in, where the grid allows it; default identity."""
        return u

    def constraints(self, u: Fields, D: Operators) -> Fields:
        """Residuals that must vanish besides the evolution equations, one per diagnostic; default none."""
        return {}

    def invariants(self, u: Fields, grid: Grid) -> Mapping[str, Tensor]:
        """Means over space of the quantities the law keeps or dissipates (mass, energy, ...), each (B, [T]); default none."""
        return {}

    def expected_rates(self, u: Fields, D: Operators, t: float | Tensor, *, grid: Grid) -> Mapping[str, Tensor]:
        """Time derivative of each invariant by its budget on a periodic box (dissipation, drag, work), each (B, [T]); default none."""
        return {}

    @final
    def explicit(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The nonstiff part after diagnosis; the only way solvers call it."""
        law = self._bound_to(self._check(u))
        full = law.complete(u, D.of(u, t))
        return self._whole(law.nonstiff(full, D.of(full, t), t), "nonstiff")

    def _whole(self, rates: Fields, method: str) -> Fields:
        """The rates, one for each field."""
        if any(name not in rates for name in self.fields):
            got = ", ".join(map(str, rates)) or "none"
            raise InputError(
                f"{type(self).__name__}.{method}: expected a rate of each field ({', '.join(self.fields)}), got {got}; "
                "return torch.zeros_like(u[name]) where nothing happens"
            )
        return rates

    @final
    def rhs(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """The whole right-hand side, stiff + explicit."""
        law = self._bound_to(self._check(u))
        linear, rest = self._whole(law.stiff(u, D.of(u, t)), "stiff"), law.explicit(u, D, t)
        return {name: linear[name] + rest[name] for name in self.fields}

    @final
    def residual(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """What is left of the law: dt u - rhs for each field and, if `u` holds the diagnostics, the constraints.

        Args:
            u: On grids windows (B, T, *S), on points (points,) with the diagnostics.
            D: Operators that know the time (`dt=` on grids).
            t: Times that broadcast against the fields, (T, 1, ..., 1) on grids; a number where the law is autonomous.
        """
        law = self._bound_to(self._check(u))
        right = law.rhs(u, D, t)
        left = {name: D.dt(u[name]) - right[name] for name in self.fields}
        return {**left, **law.constraints(u, D.of(u, t))} if all(name in u for name in self.diagnostics) else left

    @final
    def complete(self, u: Fields, D: Operators) -> Fields:
        """`u` with its diagnostics: as given (points), else diagnosed (grids)."""
        return u if all(name in u for name in self.diagnostics) else self.diagnose(u, D)

    @final
    def bound(self, ndim: int, *, like: Tensor | None = None) -> Self:
        """The law with its (B,) parameters as (B, 1, ..., 1), ready for plain products with fields of `ndim` axes after the batch.

        Tensors inside tuples and inside functions that are dataclasses are taken too. Binding twice changes nothing.

        Args:
            ndim: Number of axes of the fields after the batch.
            like: A field whose dtype and device the parameters take; unchanged if None.
        """
        if self._holds_tensors:
            law: Self = _bound(self, ndim, like)
            return law
        return self

    @final
    def with_parameters(self, **values: Parameter) -> Self:
        """The law with other parameters, checked as at construction."""
        law: Self = dataclasses.replace(cast(Any, self), **values)
        return law

    @final
    def parameter_fields(self) -> tuple[dataclasses.Field[Any], ...]:
        """The fields of the law's dataclass, one for each parameter."""
        return dataclasses.fields(cast(Any, self))

    @final
    def unchecked(self, **values: Parameter) -> Self:
        """The law with other parameters as they are: samplers pass, on their way, what the checks of `replace` refuse."""
        law = copy.copy(self)
        vars(law).pop("_holds_tensors", None)  # noted of the numbers that were
        for name, value in values.items():
            object.__setattr__(law, name, value)
        return law

    @functools.cached_property
    def _holds_tensors(self) -> bool:
        # a law of numbers is bound as it is; steppers ask at every stage
        return any(True for _ in _tensors(self))

    @property
    def device(self) -> torch.device:
        """Where the law's first tensor parameter is; the CPU if all are numbers."""
        return next((v.device for v in _tensors(self)), torch.device("cpu"))

    def _bound_to(self, f: Tensor) -> Self:
        return self.bound(f.ndim - 1, like=f)

    @final
    @property
    def batch(self) -> int:
        """Number of samples the (B,) parameters are for; 1 if all are single values.

        Raises:
            ShapeError: If two parameters are for different numbers of samples.
        """
        sizes = {v.numel() for v in _tensors(self) if v.ndim == 1} - {1}
        if len(sizes) > 1:
            raise ShapeError(f"{type(self).__name__}: expected parameters for one number of samples, got {sorted(sizes)}")
        return sizes.pop() if sizes else 1

    def _check(self, u: Fields) -> Tensor:
        missing = [name for name in self.fields if name not in u]
        if missing:
            raise InputError(
                f"{type(self).__name__}: expected the fields {', '.join(self.fields)}; got {', '.join(u) or 'none'}, missing {', '.join(missing)}"
            )
        return u[self.fields[0]]


def check_parameter(value: object, what: str, *, sign: int = 0) -> None:
    """Check one parameter of a law: finite, of shape () or (B,), and of the right sign (1 positive, 0 any, with zero: -1 for "not negative").

    Raises:
        InputError: If the value is not finite, has the wrong sign or is neither number, Tensor nor function.
        ShapeError: If a tensor has more than one axis.
    """
    if callable(value) and not isinstance(value, Tensor):
        return
    if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
        raise InputError(f"{what}: expected a number, a Tensor of shape () or (B,), or a function of the coordinates and t, got {value!r}")
    tensor = torch.as_tensor(value).detach()
    if tensor.ndim > 1:
        raise ShapeError(f"{what}: expected a Tensor of shape () or (B,), got {tuple(tensor.shape)}; a field in space is a function of (x, ..., t)")
    wrong = ~tensor.isfinite()
    if sign:
        wrong |= (tensor <= 0) if sign > 0 else (tensor < 0)
    if bool(wrong.any()):
        kind = {1: "positive and finite", 0: "finite", -1: "not negative and finite"}[sign]
        raise InputError(f"{what}: expected values that are {kind}, got {float(tensor[wrong].reshape(-1)[0]) if tensor.ndim else value!r}")


def value_of(coefficient: Coefficient, D: Operators, t: float | Tensor, *, like: Tensor) -> float | Tensor:
    """The coefficient itself, or its values at the operators' coordinates if it is a function."""
    if isinstance(coefficient, SteadyFunction):
        return D.steady(coefficient, t, like)
    if callable(coefficient) and not isinstance(coefficient, Tensor):
        return coefficient(*D.coordinates_as(like), t)
    return coefficient


def space_mean(f: Tensor, grid: Grid) -> Tensor:
    """Mean of f (..., *S) over the grid, weighted by area, (...)."""
    return (f * grid.weights().to(f)).flatten(f.ndim - grid.ndim).sum(-1)


def _tensors(value: Any) -> Iterator[Tensor]:  # noqa: ANN401 - any parameter
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple):
        for part in value:
            yield from _tensors(part)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name))


def _bound(value: Any, ndim: int, like: Tensor | None) -> Any:  # noqa: ANN401 - any parameter
    if isinstance(value, Tensor):
        value = value if like is None else value.to(like)
        return value.reshape(-1, *([1] * ndim)) if value.ndim == 1 else value
    if isinstance(value, tuple):
        parts = tuple(_bound(v, ndim, like) for v in value)
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    made = value
    for field in dataclasses.fields(value):
        old = getattr(value, field.name)
        new = _bound(old, ndim, like)
        if new is not old:
            made = copy.copy(value) if made is value else made  # not replace(): the checks at construction expect (B,)
            object.__setattr__(made, field.name, new)
    return made
