r"""Darcy's pressure from the permeability: conjugate gradients on the balance of cells.

The system $-\nabla\cdot(a\nabla p) = f$ in two-point fluxes is symmetric and positive definite. Preconditioned by the same system with a = 1, its
condition number is at most max(a)/min(a), whatever the grid (Concus and Golub, 1973), so a handful of iterations is enough. Gradients with respect
to a, f and the walls' values come from one more solve (implicit function theorem), not from the iterations.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.checks import check_finite
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.linalg import cg
from physdiff.grids.boundary import Boundary, Dirichlet
from physdiff.grids.grid import Grid
from physdiff.operators.stencils import check_field
from physdiff.solvers.implicit_derivative import attach_derivative
from physdiff.solvers.two_point_flux import TwoPointFlux

__all__ = ["solve_darcy"]

_WALLS = Dirichlet(0.0)


def solve_darcy(
    permeability: Tensor,
    source: float | Tensor | Callable[..., Tensor],
    grid: Grid,
    *,
    boundary: Boundary = _WALLS,
    mean: str = "harmonic",
    rtol: float = 1e-10,
    max_iter: int = 2000,
) -> Tensor:
    """The pressure p with -div(a grad p) = f, at the centres of the cells.

    Computed in float64, returned in the permeability's dtype.

    Args:
        permeability: Positive, (B, *S).
        source: f: a number, a Tensor (B,) or (B or 1, *S), or a function of (x, [y, [z]]).
        grid: A uniform CartesianGrid; its open axes have walls half a cell outside the outermost centres.
        boundary: Conditions for p at the walls; zero unless given.
        mean: Of the permeability at a face: ``"harmonic"`` (right across jumps) or ``"arithmetic"`` (as the published FNO data were made).
        rtol: Of the residual against the right-hand side.
        max_iter: Most iterations.

    Returns:
        Pressure (B, *S); of zero mean where no wall holds its value.

    Raises:
        InputError: If the permeability is not positive and finite; if nothing holds the pressure and sources and walls do not balance; or if the
            residual is still above `rtol` after `max_iter` iterations.
        ShapeError: If the fields are not those of the grid.
    """
    check_field(permeability, grid, "solve_darcy permeability")
    if permeability.ndim != grid.ndim + 1 or not permeability.is_floating_point():
        raise InputError(f"solve_darcy permeability: expected real numbers (B, *S), got {permeability.dtype} {tuple(permeability.shape)}")
    check_finite(permeability.detach(), "solve_darcy permeability")
    if bool((permeability.detach() <= 0).any()):
        raise InputError(
            f"solve_darcy permeability: expected positive values, got {float(permeability.detach().min()):g}; "
            "give classes their permeabilities first, and close a region by a small one"
        )
    cells, a = TwoPointFlux(grid, boundary, mean=mean), permeability.double()
    f = _source(source, a, grid)

    def residual(p: Tensor) -> Tensor:
        return -cells.divergence(a, p) - f

    with torch.no_grad():
        still = torch.zeros_like(f)
        goal = -residual(still)
        if cells.singular:
            _check_balance(goal)
        p = _solve(cells, a.detach(), goal, rtol=rtol, max_iter=max_iter)
    p = attach_derivative(p, residual, lambda g: _solve(cells, a.detach(), _without_mean(g) if cells.singular else g, rtol=rtol, max_iter=max_iter))
    return p.to(permeability.dtype)


def _solve(cells: TwoPointFlux, a: Tensor, b: Tensor, *, rtol: float, max_iter: int) -> Tensor:
    def system(p: Tensor) -> Tensor:
        return -cells.divergence(a, p, homogeneous=True)

    p = cg(system, b, rtol=rtol, max_iter=max_iter, precondition=cells.inverse_of_constant)
    axes = tuple(range(1, b.ndim))
    left, size = (b - system(p)).square().sum(axes).sqrt(), b.square().sum(axes).sqrt()
    # the recursion's residual, which stopped the iterations, drifts from the true one by rounding
    rounding = 1e-14 * (a.amax(axes) * p.abs().amax(axes) * sum(8 / h**2 for h in cells.grid.spacing) * b[0].numel() ** 0.5)
    if bool((left > 10 * rtol * size + rounding).any()):
        raise InputError(
            f"solve_darcy: expected a residual below {rtol:g} of the sources after {max_iter} iterations, got {float((left / size).max()):.2g}; "
            "raise max_iter, or lower the contrast of the permeability"
        )
    return p - p.mean(axes, keepdim=True) if cells.singular else p


def _source(source: float | Tensor | Callable[..., Tensor], a: Tensor, grid: Grid) -> Tensor:
    if callable(source) and not isinstance(source, Tensor):
        source = source(*(x.to(a) for x in grid.coordinates()))
    f = torch.as_tensor(source, device=a.device).to(a)
    f = f.reshape(-1, *([1] * grid.ndim)) if f.ndim == 1 else f
    if f.ndim > a.ndim or any(n not in (1, m) for n, m in zip(reversed(f.shape), reversed(a.shape), strict=False)):
        raise ShapeError(f"solve_darcy source: expected a number, (B,) or a field of shape {tuple(a.shape)}, got {tuple(f.shape)}")
    return check_finite(f, "solve_darcy source").expand(a.shape)


def _check_balance(goal: Tensor) -> None:
    axes = tuple(range(1, goal.ndim))
    net, size = goal.mean(axes).abs(), goal.abs().mean(axes)
    if bool((net > 1e-10 * size).any()):
        raise InputError(
            f"solve_darcy: no wall holds the pressure, and sources and walls do not balance (mean {float(net.max()):.3g}); "
            "subtract the mean of the source, or give a Dirichlet wall"
        )


def _without_mean(g: Tensor) -> Tensor:
    return g - g.mean(tuple(range(1, g.ndim)), keepdim=True)
