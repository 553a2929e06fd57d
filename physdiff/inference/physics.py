r"""A law as an observation: its residual $\partial_t u - \mathrm{rhs}(u)$ should be zero within a tolerance.

With y = 0 and std $= \epsilon$ the law is a Gaussian factor $e^{-|r(u)|^2 / 2\epsilon^2}$ beside the readings of sensors, so that any posterior
sampler takes it. Frames in time, grid and forcing leave a residual on true fields too, and of another size for each equation and frame: `calibrated`
measures it, so that the factor is as sharp as the law is true. The scale to judge a tolerance by is `pdes.residual.residual_scale`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor

from physdiff.base.checks import check_finite, check_positive
from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import Observation, Operator
from physdiff.operators.operators import Operators, PoissonOperators, Vector
from physdiff.operators.stencils import TimeDifference
from physdiff.pdes.pde import PDE
from physdiff.pdes.residual import window_residual

__all__ = ["PhysicsResidual", "calibrated"]

# Windows whose residual is computed at once; windows below which no dependence is estimated.
_BATCH, _LEAST = 16, 8


class PhysicsResidual(Operator):
    """Residual of a law on windows: ``dt u - rhs`` for every field of the law, and its constraints where the windows hold the diagnostics.

    Args:
        pde: The law; its fields must be among the names of `spec`.
        operators: Derivatives on the grid of `spec`; the time between frames is taken from `spec` where they have none of their own.
        spec: What the windows are; at least three frames.
        parameters: {parameter of the law: channel of the windows that holds it, constant in space and time}.
        times: Time of each frame (T,), for laws whose coefficients depend on time.
        frames: Frames at which the law is asked for, negative ones from the last; all if None. At the ends derivatives in time are one-sided.

    Attributes:
        units: Unit of each residual whose field is known, {field: unit per time}.

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
        frames: tuple[int, ...] | None = None,
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
        if frames is not None and (not frames or any(not -spec.frames <= f < spec.frames for f in frames)):
            raise InputError(f"PhysicsResidual: expected frames within 0 to {spec.frames - 1}, got {frames}")
        self.pde, self.spec, self.times, self.frames = pde, spec, times, frames
        self.units = {name: f"{spec.units[spec.channel(name)]} {spec.time_unit}-1" for name in pde.fields}
        self.operators = _timed(operators, spec)

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, T, *S) -> residuals (B, number of residuals, frames, *S), in units of each field per time."""
        fields = self.spec.split(x)
        pde = self.pde.unchecked(**{parameter: fields[channel].flatten(1).mean(1) for parameter, channel in self.parameters.items()})
        fields = {name: f for name, f in fields.items() if name not in self.parameters.values()}
        residual = window_residual(pde, fields, self.operators, times=self.times)
        stacked = torch.stack(list(residual.values()), dim=1)
        return stacked if self.frames is None else stacked[:, :, list(self.frames)]


def calibrated(
    operator: PhysicsResidual, truth: Tensor, *, factor: float = 1.0, dependent: bool = False, prior: DiffusionPrior | None = None
) -> Observation:
    r"""A law as an observation whose tolerance is what true fields leave of it.

    The tolerance of equation k at frame t is $\epsilon_{kt} = f \, (\mathrm{mean}\, r_{kt}^2)^{1/2}$ over windows and places. Neighbouring residuals
    go together, so that m of them say less than m readings: with $\rho_i$ the direction of $r/\epsilon$ of window i, independent ones have
    $\mathrm{mean}_{i \ne j}(\rho_i\cdot\rho_j)^2 = 1/m$, and its inverse m' is what they are worth, $(\mathrm{tr}\,\Sigma)^2/\mathrm{tr}\,\Sigma^2$
    of the directions' covariance (Bretherton et al., 1999). `dependent` raises the tolerance by $\sqrt{m/m'}$. Directions alone: a window near a
    shock leaves a hundred times as much as a smooth one, which has nothing to do with how many of its residuals are independent.

    Args:
        operator: The law on windows.
        truth: True windows (N, C, T, *S) in physical units that the prior has not seen.
        factor: f.
        dependent: Whether residuals count as no more than they are worth; from 8 windows on.
        prior: Take the truth as this prior can draw it: where its draws lie in a few patterns, no draw is closer to the law than truth in these.

    Returns:
        An observation y = 0 with the tolerances as std, of shape (residuals, frames, 1, ...).

    Raises:
        InputError: If a residual is not finite, or zero for an equation, or there are too few windows.
    """
    check_positive(factor, "calibrated factor")
    if len(truth) < (_LEAST if dependent else 1):
        raise InputError(f"calibrated: expected {_LEAST if dependent else 1} true windows or more, got {len(truth)}")
    with torch.no_grad():
        parts = [part if prior is None else _drawable(prior, part) for part in truth.split(_BATCH)]
        left = torch.cat([operator(part).double() for part in parts])
    square = left**2
    places = tuple(range(3, square.ndim))
    mean = check_finite(square.mean((0, *places), keepdim=True)[0], "calibrated: residual of the truth", "use frames and cells where the law holds")
    if bool((mean == 0).any()):
        raise InputError("calibrated: expected true fields that leave something of the law, got a residual of zero; give a std yourself")
    if dependent:
        scaled = (left / mean.sqrt()).flatten(1)
        directions = scaled / scaled.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
        overlap = (directions @ directions.T) ** 2
        share = float(overlap.sum() - overlap.diagonal().sum()) / (len(overlap) * (len(overlap) - 1))
        factor *= max(1.0, share * scaled.shape[1]) ** 0.5
    return Observation(operator, 0.0, std=factor * mean.sqrt())


def _drawable(prior: DiffusionPrior, windows: Tensor) -> Tensor:
    """Windows as the patterns of a prior hold them, if its draws lie in patterns; else as they are."""
    denoiser = prior.denoiser
    base = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else denoiser
    if not isinstance(base, GaussianDenoiser) or not isinstance(base.covariance, LowRankCovariance) or base.covariance.rest > 0:
        return windows
    z, patterns = prior.encode(windows), base.covariance.eigenvectors
    off = ((z - base.mean).flatten(1) @ patterns.T @ patterns).reshape(z.shape)
    return prior.decode(base.mean + off)


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
