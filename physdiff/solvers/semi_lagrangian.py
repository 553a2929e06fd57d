r"""Advection along trajectories: stable for steps of any length.

The value at a point is that of the place the air came from, $c(x, t + \Delta t) = c(x_d, t)$; what happens on the way is added by Strang's
splitting, so that the whole is of second order in time:

$$c \leftarrow \mathcal{D}_{\Delta t/2}\;e^{r\Delta t}\,\big[c + \tfrac{\Delta t}{2} s\big](x_d) + \tfrac{\Delta t}{2} s(x), \qquad
\mathcal{D}\text{ before and after: diffusion by Heun's method}.$$

Interpolation is linear (diffusive), cubic, or linear with MacCormack's correction $\hat c + \tfrac12(c - \tilde c)$, where $\tilde c$ is
$\hat c$ carried back, held within the values around the departure point. Nothing conserves the integral: `drift` says how much is lost.
References: Staniforth and Cote, 1991; Selle, Fedkiw, Kim, Liu and Rossignac, An unconditionally stable MacCormack method, 2008.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.grids.resample import Resampling
from physdiff.grids.trajectory import Wind, departure_points
from physdiff.operators.operators import Operators, Vector
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.diffusivity import constant_spread, is_function, varying_spread
from physdiff.pdes.pde import Coefficient, space_mean, value_of
from physdiff.solvers.stepper import Stepper, spectral_radius

__all__ = ["SemiLagrangian"]

_METHODS = ("linear", "cubic", "maccormack")


class SemiLagrangian(Stepper):
    """Advances a scalar carried by a given wind.

    Args:
        pde: The law, in advective form, its wind given by numbers, Tensors or functions of (x, ..., t).
        operators: Derivatives on a CartesianGrid or a LatLonGrid, for the diffusion. Air that comes from outside an open grid brings
            the value at the edge.
        method: ``"linear"``, ``"cubic"`` or ``"maccormack"``.
        iterations: Of the middle of the trajectory.

    Raises:
        InputError: If the law is in conservation form, its wind is a field of the data, its reaction a function of c, or the method is unknown.
        UnsupportedOperator: If the law is no AdvectionDiffusion, or the operators have no grid.
    """

    def __init__(self, pde: AdvectionDiffusion, operators: Operators, method: str = "cubic", *, iterations: int = 2) -> None:
        if not isinstance(pde, AdvectionDiffusion):
            raise UnsupportedOperator("advect", "SemiLagrangian", f"it advances an AdvectionDiffusion, got {type(pde).__name__}; use RungeKutta")
        grid = getattr(operators, "grid", None)
        if not isinstance(grid, Grid):
            raise UnsupportedOperator("advect", "SemiLagrangian", f"it needs operators on a grid, got {type(operators).__name__}")
        if pde.conservative:
            raise InputError("SemiLagrangian: expected the advective form, got conservative=True; add -c div v to the law or use RungeKutta")
        if any(isinstance(v, str) for v in pde.velocity):
            raise InputError("SemiLagrangian: expected a wind given by numbers or functions, got the name of a field; give a function of (x, ..., t)")
        if is_function(pde.reaction):
            raise InputError("SemiLagrangian: expected a reaction of first order, a rate; got a function of c; use RungeKutta or an ETDRK")
        if len(pde.velocity) != grid.ndim:
            raise InputError(f"SemiLagrangian: expected a wind of {grid.ndim} components for {grid.summary()}, got {len(pde.velocity)}")
        self.pde: AdvectionDiffusion = pde
        self.operators, self.grid, self.order = operators, grid, 2
        self.method, self.iterations = check_one_of(method, _METHODS, "SemiLagrangian method"), iterations

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step of any length; see Stepper.step."""
        c = u["c"]
        law: AdvectionDiffusion = self.pde.bound(self.grid.ndim, like=c)
        c = self._spread(law, c, t, dt / 2)
        if law.source is not None:
            c = c + dt / 2 * value_of(law.source, self.operators, t, like=c)
        c = self._carried(law, c, t, dt) * torch.exp(torch.as_tensor(law.reaction * dt).to(c))  # type: ignore[operator]
        if law.source is not None:
            c = c + dt / 2 * value_of(law.source, self.operators, t + dt, like=c)
        return {**u, "c": self._spread(law, c, t + dt / 2, dt / 2)}

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Step limit of the diffusion; infinite without it: the trajectories allow any step."""
        law: AdvectionDiffusion = self.pde.bound(self.grid.ndim, like=u["c"])
        radius = spectral_radius(lambda v: {"c": self._diffusion(law, v["c"], t)}, {"c": u["c"]})
        # Heun's method reaches to -2 and takes half a step
        return 4.0 / radius if radius > 0 else float("inf")

    def drift(self, before: Fields, after: Fields) -> Tensor:
        """Change of the mean of c between two states, as a share of the mean of |c| before, (B,): what interpolation gains or loses."""
        old, new = (space_mean(f["c"], self.grid) for f in (before, after))
        return (new - old) / space_mean(before["c"].abs(), self.grid)

    def _carried(self, law: AdvectionDiffusion, c: Tensor, t: float, dt: float) -> Tensor:
        def wind(*points: Tensor) -> Vector:
            return tuple(torch.zeros_like(points[0]) + _at(v, points, t + dt / 2) for v in law.velocity if not isinstance(v, str))

        there = self._resampling(wind, dt, c)
        moved = there(c)
        if self.method != "maccormack":
            return moved
        low, high = there.bounds(c)
        back = self._resampling(wind, -dt, c)(moved)
        corrected = moved + (c - back) / 2
        return torch.minimum(torch.maximum(corrected, low), high)

    def _resampling(self, wind: Wind, dt: float, c: Tensor) -> Resampling:
        points = departure_points(self.grid, wind, dt, like=c, iterations=self.iterations)
        return Resampling(self.grid, points, cubic=self.method == "cubic")

    def _diffusion(self, law: AdvectionDiffusion, c: Tensor, t: float) -> Tensor:
        constant, varying = constant_spread(law.diffusivity, c, self.operators), varying_spread(law.diffusivity, c, self.operators, t=t)
        return constant if varying is None else constant + varying

    def _spread(self, law: AdvectionDiffusion, c: Tensor, t: float, dt: float) -> Tensor:
        """Diffusion over dt by Heun's method."""
        if not isinstance(law.diffusivity, Tensor) and law.diffusivity == 0.0:
            return c
        first = self._diffusion(law, c, t)
        return c + dt / 2 * (first + self._diffusion(law, c + dt * first, t + dt))


def _at(component: Coefficient, points: Vector, t: float) -> float | Tensor:
    if callable(component) and not isinstance(component, Tensor):
        return component(*points, t)
    return component
