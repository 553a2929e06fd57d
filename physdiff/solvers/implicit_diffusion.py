r"""Nonlinear diffusion, implicitly: fronts of the porous medium and of Stefan's problem in balance form.

Between cells flows the difference of Kirchhoff's integral, $q_{i+1/2} = (\Phi(u_{i+1}) - \Phi(u_i))/h$, which neither freezes fronts (as the harmonic
mean of k does where k vanishes) nor pushes them (as the arithmetic one). A stage $u + a\Delta t\,L\,\Phi(u) = r$, with L minus the second difference,
is solved by Newton's method, $(1 + a\Delta t\,L\,K)\,\delta = -R$, K = diag k(u): on a line an `Exchange`, solved directly; on a plane or in a volume
by conjugate gradients for $z$ in $\delta = b - a\Delta t\,L K^{1/2} z$, $(1 + a\Delta t\,K^{1/2} L K^{1/2})\,z = K^{1/2} b$, definite even where k
vanishes. Either way each Newton step keeps the integral of u to rounding. Gradients by the implicit function theorem.

``order=1`` (backward Euler) keeps u between its extremes for steps of any length; ``order=2`` is Alexander's L-stable pair of stages.
References: Kirchhoff, 1894; Alexander, 1977; Brugnano and Casulli, Iterative solution of piecewise linear systems, 2008.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.linalg import cg
from physdiff.grids.boundary import Boundary, BoundaryValue, Condition, Dirichlet, Ends, Neumann, Reflecting, ends_of
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.pdes.porous_medium import Conductivity, PorousMedium
from physdiff.solvers.implicit_derivative import attach_derivative
from physdiff.solvers.stepper import Stepper
from physdiff.solvers.tridiagonal import Exchange
from physdiff.solvers.two_point_flux import TwoPointFlux

__all__ = ["ImplicitDiffusion"]

_A = 1 - math.sqrt(0.5)
_CLOSED = Reflecting()
_REMEDY = "take shorter steps, or a conductivity that does not fall as steeply"


class ImplicitDiffusion(Stepper):
    """Advances a PorousMedium on a uniform CartesianGrid.

    Args:
        pde: The law.
        grid: Open axes have walls half a cell outside the outermost centres.
        boundary: At the walls, values of u (`Dirichlet`) or no flux (`Reflecting`, ``Neumann(0.0)``), in any form `ends_of` takes.
        order: Of accuracy in time, 1 (never leaves the extremes) or 2.
        iterations: Most Newton steps of a stage; a front that crosses many cells in one step takes about as many.

    Raises:
        InputError: If the law, a condition or the order is another one.
        GridMismatch: If the grid is not a uniform CartesianGrid.
    """

    pde: PorousMedium

    def __init__(self, pde: PorousMedium, grid: Grid, boundary: Boundary = _CLOSED, *, order: int = 1, iterations: int = 100) -> None:
        if not isinstance(pde, PorousMedium):
            raise InputError(f"ImplicitDiffusion: expected a PorousMedium law, got {type(pde).__name__}; use another stepper for it")
        if order not in (1, 2):
            raise InputError(f"ImplicitDiffusion order: expected 1 or 2, got {order!r}")
        ends = {name: (self._wall(low, name, pde, grid.ndim), self._wall(high, name, pde, grid.ndim)) for name, (low, high) in _all(boundary, grid)}
        self.pde, self.grid, self.order, self._iterations = pde, grid, order, iterations
        self._cells = TwoPointFlux(grid, ends)
        self._degree = self._diagonal()
        self.operators = FiniteDifference(grid)

    @staticmethod
    def _wall(end: Condition, name: str, pde: PorousMedium, ndim: int) -> Condition:
        if isinstance(end, Dirichlet):
            return Dirichlet(_Integral(pde, end.value, ndim))
        if isinstance(end, Reflecting) or (isinstance(end, Neumann) and not callable(end.slope) and bool((torch.as_tensor(end.slope) == 0).all())):
            return Reflecting()
        raise InputError(f"ImplicitDiffusion boundary {name}: expected Dirichlet, Reflecting or Neumann(0.0), got {end!r}")

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step; see Stepper.step.

        Raises:
            Diverged: If Newton's method does not converge.
        """
        start = u["u"]
        if self.order == 1:
            return {"u": self._stage(start, start, t + dt, dt)}
        first = self._stage(start, start, t + _A * dt, _A * dt)
        known = start + (1 / _A - 1) * (first - start)
        return {"u": self._stage(known, first, t + dt, _A * dt)}

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Inf: every step is stable; choose it by accuracy, with substeps or tol."""
        return math.inf

    def inflow(self, u: Fields, t: float) -> Tensor:
        """What comes in through the walls, u times volume per time, (B,): the rate of the integral of u."""
        phi = self._law(u["u"]).integral(u["u"])
        return self._cells.through_walls(torch.ones_like(phi), phi, t=t)

    def _law(self, u: Tensor) -> Conductivity:
        return self.pde.bound(u.ndim - 1, like=u).conductivity

    def _stage(self, known: Tensor, guess: Tensor, t: float, dt: float) -> Tensor:
        """The root u of u - known - dt div grad Phi(u)."""
        k, one = self._law(known), torch.ones_like(known[:1])

        def residual(u: Tensor) -> Tensor:
            return u - known - dt * self._cells.divergence(one, k.integral(u), t=t)

        with torch.no_grad():
            root = self._newton(residual, guess.detach(), k, t=t, dt=dt)

            def transposed(g: Tensor) -> Tensor:
                # (1 + dt K L) lambda = g: lambda = g - K mu with (1 + dt L K) mu = dt L g
                slope = k.at(root)
                return g - slope * self._solve(slope, dt * self._minus_lap(g), dt)

        return attach_derivative(root, residual, transposed)

    def _newton(self, residual: object, u: Tensor, k: Conductivity, *, t: float, dt: float) -> Tensor:
        assert callable(residual)
        axes = tuple(range(1, u.ndim))
        left = residual(u)
        for _ in range(self._iterations):
            if not bool(left.isfinite().all()):
                break
            step = self._solve(k.at(u), -left, dt)
            small = step.abs().amax(axes, keepdim=True) <= 64 * torch.finfo(u.dtype).eps * u.abs().amax(axes, keepdim=True)
            new = residual(u + step)
            for _ in range(6):
                worse = (new.abs().sum(axes, keepdim=True) > left.abs().sum(axes, keepdim=True)) & ~small
                if not bool(worse.any()):
                    break
                step = torch.where(worse, step / 2, step)
                new = residual(u + step)
            u, left = u + step, new
            if bool(small.all()):
                return u
        raise Diverged("u", t, _REMEDY, event=f"is not found by {self._iterations} Newton steps")

    def _solve(self, slope: Tensor, b: Tensor, dt: float) -> Tensor:
        """The x with (1 + dt L K) x = b."""
        if self.grid.ndim == 1:
            rate = dt * slope / self._cells.grid.spacing[0] ** 2
            right, left = rate.clone(), rate.clone()
            closed = self.grid.periodic[0]
            if not closed:
                left[..., 0] *= self._degree.to(b)[0] - 1
                right[..., -1] *= self._degree.to(b)[-1] - 1
            return Exchange(torch.ones_like(b), right.expand_as(b), left.expand_as(b), closed=closed).solve(b)
        root = slope.sqrt()
        diagonal = 1 + dt * slope * self._degree.to(b)

        def system(z: Tensor) -> Tensor:
            return z + dt * root * self._minus_lap(root * z)

        z = cg(system, root * b, rtol=1e-2 * torch.finfo(b.dtype).eps ** 0.75, max_iter=1000, precondition=lambda r: r / diagonal)
        return b - dt * self._minus_lap(root * z)

    def _minus_lap(self, f: Tensor) -> Tensor:
        return -self._cells.divergence(torch.ones_like(f[:1]), f, homogeneous=True)

    def _diagonal(self) -> Tensor:
        """What a cell loses per value of its own: the diagonal of L (in units of 1/h^2 on a line), of the grid's shape."""
        total = torch.zeros(self.grid.shape, dtype=torch.float64)
        spacing = self._cells.grid.spacing
        for axis, (h, closed) in enumerate(zip(spacing, self.grid.periodic, strict=True)):
            n = self.grid.shape[axis]
            neighbours = torch.full((n,), 2.0, dtype=torch.float64)
            if not closed:
                # a wall's value is half a cell away, a closed wall takes nothing
                holds = [a != 0 for a, _, _ in self._cells.ends[axis]]
                neighbours[0], neighbours[-1] = (3.0 if hold else 1.0 for hold in holds)
            unit = 1.0 if self.grid.ndim == 1 else 1 / h**2
            total += unit * neighbours.reshape(-1, *([1] * (self.grid.ndim - 1 - axis)))
        return total


class _Integral:
    """The value of Kirchhoff's integral at a wall, as a function of the coordinates and the time."""

    def __init__(self, pde: PorousMedium, value: BoundaryValue, ndim: int) -> None:
        self._pde, self._value, self._ndim = pde, value, ndim

    def __call__(self, *coordinates_and_time: Tensor) -> Tensor:
        x, value = coordinates_and_time[0], self._value
        if callable(value) and not isinstance(value, Tensor):
            value = value(*coordinates_and_time)
        made = torch.as_tensor(value, device=x.device).to(x)
        made = made.reshape(-1, *([1] * self._ndim)) if made.ndim == 1 and not callable(self._value) else made
        return self._pde.bound(self._ndim, like=x).conductivity.integral(made)


def _all(boundary: Boundary, grid: Grid) -> list[tuple[str, Ends]]:
    return list(ends_of(boundary, grid, "u").items())
