r"""A law as an observation: its residual $\partial_t u - \mathrm{rhs}(u)$ should be zero within a tolerance.

With y = 0 and std $= \epsilon$ the law is a Gaussian factor $e^{-|r(u)|^2 / 2\epsilon^2}$ beside the readings of sensors, so that any posterior
sampler takes it. The scale to judge a tolerance by is `pdes.residual.residual_scale`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import Operator
from physdiff.operators.operators import Operators, PoissonOperators, Vector
from physdiff.operators.stencils import TimeDifference
from physdiff.pdes.pde import PDE
from physdiff.pdes.residual import window_residual

__all__ = ["PhysicsResidual"]


class PhysicsResidual(Operator):
    """Residual of a law on windows: ``dt u - rhs`` for every field of the law, and its constraints where the windows hold the diagnostics.

    Args:
        pde: The law; its fields must be among the names of `spec`.
        operators: Derivatives on the grid of `spec`; the time between frames is taken from `spec` where they have none of their own.
        spec: What the windows are; at least three frames.
        parameters: {parameter of the law: channel of the windows that holds it, constant in space and time}.
        times: Time of each frame (T,), for laws whose coefficients depend on time.

    Raises:
        InputError: If a field, a parameter or its channel is missing, windows are too short, or the operators have another time step.
    """

    spec: FieldSpec

    def __init__(
        self,
        pde: PDE,
        operators: Operators,
        spec: FieldSpec,
        *,
        parameters: Mapping[str, str] | None = None,
        times: Tensor | None = None,
    ) -> None:
        self.parameters = dict(parameters or {})
        missing = [n for n in (*pde.fields, *self.parameters.values()) if n not in spec.names]
        if missing:
            raise InputError(f"PhysicsResidual: expected the fields {', '.join(missing)} among {', '.join(spec.names)}; rename the data's fields")
        known: list[str] = [f.name for f in dataclasses.fields(pde)] if dataclasses.is_dataclass(pde) else []
        for name in self.parameters:
            if name not in known:
                raise InputError(f"PhysicsResidual: expected parameters among {', '.join(known) or 'none'} of {type(pde).__name__}, got {name!r}")
        if spec.frames < 3:
            raise InputError(f"PhysicsResidual: expected windows of at least three frames, got {spec.frames}; a time derivative needs them")
        self.pde, self.spec, self.times = pde, spec, times
        self.operators = _timed(operators, spec)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> residuals (B, number of residuals, T, *S), in units of each field per time."""
        fields = self.spec.split(x)
        pde = self.pde
        if self.parameters:
            # not replace(): on its way a sampler may pass values which the checks at construction refuse
            pde = copy.copy(pde)
            for parameter, channel in self.parameters.items():
                object.__setattr__(pde, parameter, fields[channel].flatten(1).mean(1))
            fields = {name: f for name, f in fields.items() if name not in self.parameters.values()}
        residual = window_residual(pde, fields, self.operators, times=self.times)
        return torch.stack(list(residual.values()), dim=1)


def _timed(operators: Operators, spec: FieldSpec) -> Operators:
    """The operators with the time step of `spec`, tried on a ramp whose slope is one."""
    ramp = (torch.arange(spec.frames, dtype=torch.float64) * spec.dt).reshape(-1, *[1] * spec.grid.ndim).expand(spec.frames, *spec.grid.shape)
    try:
        slope = float(operators.dt(ramp.contiguous()).mean())
    except UnsupportedOperator:
        return _Timed(operators, spec)
    except ShapeError as error:
        raise InputError(f"PhysicsResidual: expected operators on the grid of the windows, {spec.grid.summary()}: {error}") from error
    if abs(slope - 1) > 1e-6:
        raise InputError(f"PhysicsResidual: expected operators with the time step of the windows, dt = {spec.dt:g}, got {spec.dt / slope:g}")
    return operators


class _Timed(PoissonOperators):
    """Operators without a time step, lent one."""

    def __init__(self, inner: Operators, spec: FieldSpec) -> None:
        self.inner, self.grid = inner, spec.grid
        self.time = TimeDifference(spec.dt, type(inner).__name__)

    @property
    def ndim(self) -> int:
        return self.inner.ndim

    @property
    def coordinates(self) -> tuple[Tensor, ...]:
        return self.inner.coordinates

    def dt(self, f: Tensor) -> Tensor:
        return self.time(f, self.grid)

    def grad(self, f: Tensor) -> Vector:
        return self.inner.grad(f)

    def div(self, v: Vector) -> Tensor:
        return self.inner.div(v)

    def lap(self, f: Tensor) -> Tensor:
        return self.inner.lap(f)

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        return self.inner.partial(f, direction, order)

    def inv_lap(self, f: Tensor) -> Tensor:
        return self.inner.inv_lap(f)

    def project(self, v: Vector) -> Vector:
        return self.inner.project(v)

    def dealias(self, f: Tensor) -> Tensor:
        return self.inner.dealias(f)
