r"""Operators from functions: derived fields, means over time, anything torch can differentiate, and black boxes.

    Mapped         any function of windows that torch can differentiate
    MappedLinear   a linear (or affine) one; its transpose comes from differentiating it
    BlackBox       a function without gradient: for methods that ask for none

What gives windows again (`derived` says of which fields) can be read by any other operator: `compose(Sensors(wind.derived, points), wind)` is the
wind speed at stations. Derivatives are those of the package's operators; the time mean of frames is $\sum_t w_t u_t / \sum_t w_t$.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from physdiff.base.checks import check_finite
from physdiff.base.errors import InputError, ShapeError, UnitError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.observation import LinearOperator, Operator
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.operators import Operators
from physdiff.operators.spectral import Spectral
from physdiff.operators.sphere import Sphere

__all__ = ["BlackBox", "Mapped", "MappedLinear", "compose", "divergence", "joined", "time_means", "vorticity", "wind_speed"]

Function = Callable[[Tensor], Tensor]


class Mapped(Operator):
    """Any function of windows that torch can differentiate.

    Args:
        function: (B, C, T, *S) -> (B, *m), each sample on its own.
        spec: What the windows are.
        derived: What the results are, if they are windows again.

    Raises:
        InputError: When called, if the results do not depend on the windows in a way that torch can see.
    """

    def __init__(self, function: Function, spec: FieldSpec | None = None, derived: FieldSpec | None = None) -> None:
        self.function, self.spec, self.derived = function, spec, derived

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, *m)."""
        result = _checked(self.function(_fitting(x, self.spec)), x, self.derived)
        if x.requires_grad and torch.is_grad_enabled() and not result.requires_grad:
            raise InputError("Mapped: expected a function that torch can differentiate, got results without gradient; use BlackBox for it")
        return result


class MappedLinear(LinearOperator):
    """A linear or affine function of windows, tried on random ones.

    Args:
        function: (B, C, T, *S) -> (B, *m), each sample on its own.
        spec: What the windows are.
        derived: What the results are, if they are windows again.

    Raises:
        InputError: If the function is not affine, or torch cannot differentiate it.
    """

    spec: FieldSpec

    def __init__(self, function: Function, spec: FieldSpec, derived: FieldSpec | None = None) -> None:
        self.function, self.spec, self.derived = function, spec, derived
        one, two = Rng(0).child("linear").normal((2, *spec.shape), like=torch.zeros((), dtype=torch.float64))
        at = check_finite(self(torch.stack([0 * one, one, two, one - 2 * two])), "MappedLinear")
        error = at[3] - at[1] + 2 * (at[2] - at[0])
        # rounding of derivatives, whose terms are larger than their sum by grid spacings squared at most
        if bool(error.norm() > 1e-6 * ((at[1:3] - at[0]).norm() + at[0].norm())):
            raise InputError("MappedLinear: expected a linear or affine function, got one that bends; use Mapped")

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, *m)."""
        return _checked(self.function(_fitting(x, self.spec)), x, self.derived)

    def adjoint(self, r: Tensor) -> Tensor:
        """(B, *m) -> (B, C, T, *S), differentiable in r."""
        with torch.enable_grad():
            x = r.new_zeros(len(r), *self.spec.shape).requires_grad_()
            out = self(x)
            if not out.requires_grad:
                raise InputError("MappedLinear: expected a function that torch can differentiate, got results without gradient; use BlackBox for it")
            (pulled,) = torch.autograd.grad(out, x, r, create_graph=r.requires_grad)
        return pulled


class BlackBox(Operator):
    """A function without gradient: a legacy code, a simulator in another language, a count.

    Args:
        function: (B, C, T, *S) -> (B, *m), each sample on its own; gets a tensor without graph and may return an array.
        spec: What the windows are.
    """

    differentiable = False

    def __init__(self, function: Callable[[Tensor], Any], spec: FieldSpec | None = None) -> None:
        self.function, self.spec = function, spec

    @torch.no_grad()
    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> (B, *m), without gradient."""
        return _checked(torch.as_tensor(self.function(_fitting(x.detach(), self.spec))).to(x), x, None)


def compose(outer: Operator, inner: Mapped | MappedLinear) -> Operator:
    """An operator read off derived fields: outer(inner(x)), linear where both are, a black box where the outer is.

    Args:
        outer: Takes windows as `inner.derived` says.
        inner: From the prior's windows to derived ones.

    Raises:
        InputError: If the inner one gives no windows, or the outer one takes other fields or frames.
        GridMismatch: If they are on different grids.
    """
    made, taken = inner.derived, outer.spec
    if made is None:
        raise InputError("compose: expected an inner operator that gives windows (`derived`), got one that gives readings; name what it derives")
    if taken is not None and taken is not made:
        made.grid.check_same(taken.grid, "compose")
        if (taken.names, taken.units, taken.frames) != (made.names, made.units, made.frames):
            got = f"{', '.join(taken.names)} in {taken.frames} frames"
            raise InputError(
                f"compose: expected an operator on {', '.join(made.names)} in {made.frames} frames, got {got}; build it with inner.derived"
            )

    def both(x: Tensor) -> Tensor:
        return outer(inner(x))

    if not outer.differentiable:
        return BlackBox(both, inner.spec)
    derived = getattr(outer, "derived", None)
    if isinstance(outer, LinearOperator) and isinstance(inner, MappedLinear):
        return MappedLinear(both, inner.spec, derived)
    return Mapped(both, inner.spec, derived)


def joined(*operators: Operator) -> Operator:
    """Readings of several operators on the same windows as one flat vector (B, m): for constraints that hold together, noise that is correlated.

    Linear where all are, a black box where one is.

    Raises:
        InputError: If there is no operator, or none says what the windows are.
    """
    spec = next((o.spec for o in operators if o.spec is not None), None)
    if not operators or spec is None:
        raise InputError("joined: expected operators of which one says what the windows are (`spec`), got none")

    def together(x: Tensor) -> Tensor:
        return torch.cat([o(x).flatten(1) for o in operators], 1)

    if not all(o.differentiable for o in operators):
        return BlackBox(together, spec)
    return (MappedLinear if all(isinstance(o, LinearOperator) for o in operators) else Mapped)(together, spec)


def time_means(spec: FieldSpec, frames: Sequence[Sequence[int]], weights: Sequence[Sequence[float]] | None = None) -> MappedLinear:
    """Weighted means over frames: daily means of hourly windows, exposure times.

    Args:
        spec: What the windows are.
        frames: Frames of each mean, negative ones from the last.
        weights: Their weights, none negative, as shares of the frame's interval; equal if None.

    Returns:
        Operator to windows with a frame for each mean.

    Raises:
        InputError: If a frame does not exist, or weights do not fit or sum to zero.
    """
    rows = torch.zeros(len(frames), spec.frames, dtype=torch.float64)
    for i, chosen in enumerate(frames):
        if not chosen or any(not -spec.frames <= f < spec.frames for f in chosen):
            raise InputError(f"time_means: expected frames within 0 to {spec.frames - 1}, got {tuple(chosen)} for mean {i}")
        each = torch.ones(len(chosen)).double() if weights is None else torch.as_tensor(weights[i], dtype=torch.float64)
        if each.shape != (len(chosen),) or not bool((each >= 0).all()) or not float(each.sum()) > 0:
            raise InputError(f"time_means: expected a weight >= 0 for each of {tuple(chosen)}, not all zero, got {each.tolist()}")
        rows[i] = rows[i].index_add(0, torch.tensor(chosen) % spec.frames, each / each.sum())
    if not len(rows):
        raise InputError("time_means: expected one mean or more, got none")
    return MappedLinear(lambda x: torch.einsum("it,bct...->bci...", rows.to(x), x), spec, spec.with_frames(len(rows)))


def wind_speed(spec: FieldSpec, u: str = "u", v: str = "v", *, name: str = "wind_speed") -> Mapped:
    """Speed sqrt(u^2 + v^2) of two components; its gradient in still air, where it has none, is taken as zero.

    Args:
        spec: What the windows are.
        u: Name of one component.
        v: Name of the other, of the same unit.
        name: Name of the result.

    Raises:
        InputError: If a component is missing.
        UnitError: If their units differ.
    """
    (first, second), unit = _components(spec, u, v)

    def speed(x: Tensor) -> Tensor:
        square = x[:, first] ** 2 + x[:, second] ** 2
        still = square == 0
        return torch.where(still, 0.0, torch.where(still, 1.0, square).sqrt())[:, None]

    return Mapped(speed, spec, replace(spec, names=(name,), units=(unit,)))


def vorticity(spec: FieldSpec, u: str = "u", v: str = "v", *, operators: Operators | None = None, name: str = "vorticity") -> MappedLinear:
    """Vertical vorticity dv/dx - du/dy, as div (v, -u), by the package's derivatives.

    Args:
        spec: What the windows are; two axes of space.
        u: Name of the component along x, or eastward.
        v: Name of the component along y, or northward.
        operators: Derivatives on the grid; by default Sphere on a LatLonGrid, Spectral on a periodic uniform box, else FiniteDifference.
        name: Name of the result.

    Raises:
        InputError: If a component is missing, or the grid has no two axes.
        UnitError: If their units differ.
    """
    return _derivative(spec, (u, v), operators, name, lambda d, a, b: d.div((b, -a)))


def divergence(spec: FieldSpec, u: str = "u", v: str = "v", *, operators: Operators | None = None, name: str = "divergence") -> MappedLinear:
    """Divergence du/dx + dv/dy; arguments and errors as `vorticity`."""
    return _derivative(spec, (u, v), operators, name, lambda d, a, b: d.div((a, b)))


def _derivative(
    spec: FieldSpec, pair: tuple[str, str], operators: Operators | None, name: str, formula: Callable[[Operators, Tensor, Tensor], Tensor]
) -> MappedLinear:
    (first, second), unit = _components(spec, *pair)
    if spec.grid.ndim != 2:
        raise InputError(f"{name}: expected windows of two axes of space, got {spec.grid.summary()}")
    d = operators or _operators(spec)
    derived = replace(spec, names=(name,), units=(f"{unit} {spec.grid.length_unit}-1",))
    return MappedLinear(lambda x: formula(d, x[:, first], x[:, second])[:, None], spec, derived)


def _operators(spec: FieldSpec) -> Operators:
    grid = spec.grid
    if isinstance(grid, LatLonGrid):
        return Sphere(grid)
    spectral = isinstance(grid, CartesianGrid) and grid.uniform and all(grid.periodic) and spec.mask is None
    return Spectral(grid) if spectral else FiniteDifference(grid)


def _components(spec: FieldSpec, u: str, v: str) -> tuple[tuple[int, int], str]:
    first, second = spec.channel(u), spec.channel(v)
    if spec.units[first] != spec.units[second]:
        raise UnitError(f"expected {u} and {v} in one unit, got {spec.units[first]!r} and {spec.units[second]!r}; convert one of them")
    return (first, second), spec.units[first]


def _fitting(x: Tensor, spec: FieldSpec | None) -> Tensor:
    if spec is not None:
        spec.check(x, "operator")
        if x.shape[2] != spec.frames:
            raise ShapeError(f"operator: expected windows of {spec.frames} frames, got {x.shape[2]}")
    return x


def _checked(result: Tensor, x: Tensor, derived: FieldSpec | None) -> Tensor:
    if result.ndim < 2 or len(result) != len(x) or (derived is not None and result.shape[1:] != torch.Size(derived.shape)):
        wanted = "(batch, readings)" if derived is None else f"(batch, {', '.join(map(str, derived.shape))})"
        raise ShapeError(f"operator: expected a function of windows that gives {wanted} for {len(x)} samples, got {tuple(result.shape)}")
    return result
