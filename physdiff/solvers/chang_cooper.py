r"""Chang and Cooper's method for the Fokker-Planck equation: positive, conserving, exact at equilibrium.

Between neighbouring cells of width h, with $w = \int A/D\,dx$ from centre to centre and $q = D p$, the current that would be uniform is

$$J_{i+1/2} = \frac{B(-w)\,q_i - B(w)\,q_{i+1}}{h}, \qquad B(w) = \frac{w}{e^w - 1},$$

centred where diffusion wins, upwind where drift does. It vanishes for $q \propto e^{\int A/D}$: the equilibrium of a drift $-\nabla V$ is kept at
the cell centres to rounding, because w is taken by Gauss quadrature (exact for polynomial drifts up to degree 7 over constant D). Where D
vanishes the difference quotient of D joins the drift, which is then upwind.

In time each direction is implicit and solved by `Exchange`: an M-matrix whose columns sum to one. ``order=1`` (backward Euler) is positive and
keeps mass for steps of any length. ``order=2`` (Alexander's L-stable pair of implicit stages, $a = 1 - 1/\sqrt 2$) keeps mass and is stable for
any step; its factor is $(I - aZ)^{-2}(I + (1-2a)Z)$, so it is positive as long as no cell is left faster than $(1+\sqrt 2)/\Delta t$. No linear
method of second order is positive for all steps (Bolley and Crouzeix, 1978). Directions are split (Lie, 1st order; Strang, 2nd).

References: Chang and Cooper, A practical difference scheme for Fokker-Planck equations, 1970; Scharfetter and Gummel, 1969; Alexander, 1977.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, per_axis
from physdiff.base.errors import GridMismatch, InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.pde import Coefficient
from physdiff.solvers.jumps import steady_state
from physdiff.solvers.stepper import Stepper
from physdiff.solvers.tridiagonal import Exchange

__all__ = ["ChangCooper", "bernoulli"]

_ENDS = ("absorbing", "periodic", "reflecting")
_NODES, _WEIGHTS = (tuple(float(v) for v in row) for row in np.polynomial.legendre.leggauss(4))
_A = 1 - math.sqrt(0.5)
_POSITIVE = 1 + math.sqrt(2)


def bernoulli(w: Tensor) -> Tensor:
    """B(w) = w / (e^w - 1) for w of at least zero, to rounding, differentiable; 1 at zero. B(-w) = B(w) + w."""
    large = w > 1e-2
    safe = torch.where(large, w, torch.ones_like(w)).clamp(max=700.0)  # e^700 is near the largest number, and B is 0 to rounding
    # next term: w^6 / 30240
    return torch.where(large, safe / torch.expm1(safe), 1 - w / 2 + w**2 / 12 - w**4 / 720)


class ChangCooper(Stepper):
    """Advances a probability density on a box, implicitly.

    Values are those at the cell centres of a CartesianGrid (walls half a cell outside); the sum of cells is the mass. Second order in space.
    No step is too long for stability: choose it by accuracy, ``solve(..., substeps=n)`` or ``solve(..., tol=e)``. Coefficients that depend on
    time are taken at the end of a step (order 1) or in its middle (order 2). Where a drift in two dimensions is no gradient, the state that
    steps tend to is right to the order of the step and of the cells: the directions are split. `steady` is without the step.

    Args:
        pde: The law.
        grid: A uniform CartesianGrid with as many axes as the law has directions.
        boundary: ``"reflecting"`` (no current), ``"absorbing"`` (density zero at the wall) or ``"periodic"``, one for all axes or one per axis
            in storage order; if None, periodic where the grid is and reflecting elsewhere.
        order: Of accuracy in time, 1 (always positive) or 2 (positive for short steps, see `limit`).

    Raises:
        InputError: If the law, the boundary or the order makes no sense.
        GridMismatch: If the grid is not uniform, or a boundary is not that of the grid.
        ShapeError: If the law has another number of directions than the grid.
    """

    pde: FokkerPlanck

    def __init__(self, pde: FokkerPlanck, grid: Grid, boundary: str | tuple[str, ...] | None = None, *, order: int = 1) -> None:
        if not isinstance(pde, FokkerPlanck):
            raise InputError(f"ChangCooper: expected a FokkerPlanck law, got {type(pde).__name__}; use another stepper for it")
        if pde.tensor is not None:
            raise InputError("ChangCooper: expected one diffusion for each direction, got a matrix; use MarkovChain, which takes it")
        if order not in (1, 2):
            raise InputError(f"ChangCooper order: expected 1 or 2, got {order!r}")
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise GridMismatch(f"ChangCooper: expected a uniform CartesianGrid, got {grid.summary()}")
        if len(pde.drift) != grid.ndim:
            raise ShapeError(f"ChangCooper: expected a drift of {grid.ndim} components as the grid has axes, got {len(pde.drift)}")
        self.pde, self.grid, self.order = pde, grid, order
        self.boundary = _ends(grid, boundary)
        self.operators = FiniteDifference(grid)
        self._sweeps = tuple(_Sweep(grid, direction, self.boundary[grid.ndim - 1 - direction]) for direction in range(grid.ndim))

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step; see Stepper.step.

        Raises:
            InputError: If order 1 meets a negative density, or a coefficient is negative or not finite somewhere.
        """
        p = u["density"]
        if self.order == 1:
            if bool((p.detach() < 0).any()):
                raise InputError(f"ChangCooper: expected a density of at least zero, got {float(p.detach().min()):g}; check the initial field")
            return {"density": self._euler(p, t, dt)}
        return {"density": self._strang(p, t, dt)}

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Order 1: inf. Order 2: the longest step sure to keep the density positive; longer ones are stable."""
        if self.order == 1:
            return math.inf
        law = self._law(u["density"])
        # sweeps but the first are made twice, with half the step
        spans = [_POSITIVE / sweep.fastest(law, t, like=u["density"]) * (1 if i == 0 else 2) for i, sweep in enumerate(self._sweeps)]
        return min(spans)

    def steady(self, like: Tensor, t: float = 0.0) -> Tensor:
        """The density that does not change any more, solved for at once on a line or in the plane, in float64.

        Either (on a line) particles are lost in every cell and a source replaces them; or nothing is lost or comes in, nothing is absorbed, and the
        density of integral one is returned. On a line between walls no current flows in it; elsewhere currents may circle.

        Args:
            like: A Tensor whose device is taken.
            t: Time at which coefficients and source are frozen.

        Returns:
            Density (B or 1, *S), float64, differentiable in the coefficients.

        Raises:
            InputError: If the grid has three axes, or the law has no single steady state of these two kinds.
        """
        like = torch.empty((), dtype=torch.float64, device=like.device)
        law = self.pde.bound(self.grid.ndim, like=like)
        if self.grid.ndim != 1 or (self.boundary[0] == "periodic" and law.source is None):
            return self._circling(law, t, like)
        right, left, loss = self._sweeps[0].rates(law, t, like=like)
        if bool((loss.detach() > 0).all()) and law.source is not None:
            source = self._source(law, t, like)
            source = source.expand(torch.broadcast_shapes(source.shape, loss.shape))
            return Exchange(loss, right, left, closed=self.boundary[0] == "periodic").solve(source)
        if bool((loss.detach() != 0).any()) or law.source is not None or self.boundary[0] != "reflecting":
            raise InputError("ChangCooper.steady: expected a loss in every cell and a source, or neither and walls that reflect; else there is none")
        ways = right[..., :-1], left[..., 1:]
        if bool((torch.minimum(*ways).detach() <= 0).any()):
            raise InputError("ChangCooper.steady: expected rates above zero both ways between all cells; raise the diffusion or refine the grid")
        steps = ways[0].log() - ways[1].log()
        height = torch.cat([torch.zeros_like(steps[..., :1]), steps.cumsum(-1)], dim=-1)
        return torch.softmax(height, dim=-1) / self._sweeps[0].h

    def _circling(self, law: FokkerPlanck, t: float, like: Tensor) -> Tensor:
        """The steady state of the jumps of all directions at once."""
        rates: dict[tuple[int, ...], Tensor] = {}
        for direction, sweep in enumerate(self._sweeps):
            right, left, loss = sweep.rates(law, t, like=like)
            if bool((loss.detach() != 0).any()) or law.source is not None or "absorbing" in self.boundary:
                raise InputError("ChangCooper.steady: expected neither loss nor source nor walls that absorb; take long steps of order 1 instead")
            for sign, rate in ((1, right), (-1, left)):
                rates[tuple(sign if i == self.grid.ndim - 1 - direction else 0 for i in range(self.grid.ndim))] = rate
        return steady_state(rates, shape=self.grid.shape, closed=self.grid.periodic) / math.prod(self.grid.spacing)

    def _euler(self, p: Tensor, t: float, dt: float) -> Tensor:
        law, moment = self._law(p), t + dt
        for i, sweep in enumerate(self._sweeps):
            added = dt * self._source(law, moment, p) if i == 0 and law.source is not None else 0.0
            p = sweep.system(law, moment, dt=dt, like=p).solve_along(p + added)
        return p

    def _strang(self, p: Tensor, t: float, dt: float) -> Tensor:
        law, moment = self._law(p), t + dt / 2
        outer = [(i, dt / 2) for i in range(len(self._sweeps) - 1, 0, -1)]
        for i, span in [*outer, (0, dt), *reversed(outer)]:
            added = _A * span * self._source(law, moment, p) if i == 0 and law.source is not None else 0.0
            system = self._sweeps[i].system(law, moment, dt=_A * span, like=p)
            first = system.solve_along(p + added)
            p = system.solve_along(p + (1 / _A - 1) * (first - p) + added)
        return p

    def _law(self, p: Tensor) -> FokkerPlanck:
        # rates are found in float64, whatever the density's precision
        return self.pde.bound(p.ndim - 1, like=torch.empty((), dtype=torch.float64, device=p.device))

    def _source(self, law: FokkerPlanck, t: float, p: Tensor) -> Tensor:
        assert law.source is not None
        made = _values(law.source, self._sweeps[0].centres, t, like=torch.empty((), dtype=torch.float64, device=p.device))
        return _check(made, "source", least=0.0).to(p)


class _System:
    """One implicit step along one axis."""

    def __init__(self, exchange: Exchange, axis: int) -> None:
        self._exchange, self._axis = exchange, axis

    def solve_along(self, p: Tensor) -> Tensor:
        return self._exchange.solve(p.movedim(self._axis, -1)).movedim(-1, self._axis)


class _Sweep:
    """Rates between neighbours along one direction, and the system of a step, kept while neither coefficients nor step change."""

    def __init__(self, grid: CartesianGrid, direction: int, ends: str) -> None:
        self.direction, self.ends = direction, ends
        self.centres = grid.coordinates()
        self._axis = -1 - direction
        self.h = grid.spacing[self._axis]
        # offsets from each centre to the points of quadrature on the way to its right neighbour
        self._faces = [self._moved(self.h * (1 + node) / 2, inside=ends != "periodic") for node in _NODES]
        self._walls = [self._moved(side * self.h * (1 + node) / 4) for side in (-1, 1) for node in _NODES]
        self._kept: tuple[float, torch.dtype, list[Tensor], _System] | None = None

    def _moved(self, offset: float, *, inside: bool = False) -> tuple[Tensor, ...]:
        """The centres with an offset; `inside`, the last cell, which has no right neighbour, gets the points of the one before."""
        x = self.centres[self.direction] + offset
        if inside:
            n = x.shape[self._axis]
            x = x.index_select(self._axis, torch.arange(n).clamp(max=n - 2))
        return tuple(x if i == self.direction else y for i, y in enumerate(self.centres))

    def system(self, law: FokkerPlanck, t: float, *, dt: float, like: Tensor) -> _System:
        values = self._coefficients(law, t, like)
        kept = self._kept
        if kept is not None and kept[:2] == (dt, like.dtype) and all(_same(a, b) for a, b in zip(kept[2], values, strict=True)):
            return kept[3]
        self._check_all(values)
        right, left, loss = (v.movedim(self._axis, -1) for v in self._rates(values))
        exchange = Exchange(*(v.to(like) for v in (1 + dt * loss, dt * right, dt * left)), closed=self.ends == "periodic")
        made = _System(exchange, self._axis)
        # what carries gradients belongs to one backward pass only
        self._kept = None if any(v.requires_grad for v in values) else (dt, like.dtype, values, made)
        return made

    def rates(self, law: FokkerPlanck, t: float, *, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rates per time, in float64, of leaving each cell to the right, to the left, and for good."""
        values = self._coefficients(law, t, like)
        self._check_all(values)
        return self._rates(values)

    def fastest(self, law: FokkerPlanck, t: float, *, like: Tensor) -> float:
        """Largest rate at which a cell is left along this direction, with the loss."""
        right, left, loss = self.rates(law, t, like=like)
        return max(float((right + left + loss).max()), torch.finfo(torch.float64).tiny)

    def _coefficients(self, law: FokkerPlanck, t: float, like: Tensor) -> list[Tensor]:
        """Values in float64: loss, D at the centres, then pairs (A, D) at the points of the faces and of the walls."""
        like = torch.empty((), dtype=torch.float64, device=like.device)
        a, d = law.drift[self.direction], law.diffusions[self.direction]
        loss: Coefficient = law.loss if self.direction == 0 else 0.0
        points = (*self._faces, *(self._walls if self.ends == "absorbing" else ()))
        pairs = [_values(v, x, t, like=like) for x in points for v in (a, d)]
        return [_values(loss, self.centres, t, like=like), _values(d, self.centres, t, like=like), *pairs]

    def _check_all(self, values: list[Tensor]) -> None:
        name = "xyz"[self.direction]
        _check(values[0], "loss", least=0.0)
        for i, v in enumerate(values[1:]):
            _check(v, f"drift along {name}") if i % 2 else _check(v, f"diffusion along {name}", least=0.0)

    def _rates(self, values: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rates per time of leaving each cell to the right, to the left, and for good: (1 or B, *S)."""
        loss, at, pairs, n = values[0], values[1], values[2:], 2 * len(_NODES)
        shape = torch.broadcast_shapes(*(v.shape for v in values), (1, *self.centres[0].shape))
        here, h = at.expand(shape), self.h
        forth, back = _face(pairs[:n], here, here.roll(-1, self._axis), h=h)
        right, left = forth / h**2, back.roll(1, self._axis) / h**2
        if self.ends == "periodic":
            return right, left, loss.expand(shape)
        first, last = torch.zeros(2, shape[self._axis], dtype=torch.bool, device=right.device)
        first[0], last[-1] = True, True
        first, last = (v.reshape(-1, *([1] * self.direction)) for v in (first, last))
        out_left, out_right = torch.zeros_like(right), torch.zeros_like(right)
        if self.ends == "absorbing":
            # half a cell to the wall, where the density is zero: D there is never weighted with it
            leftwards = [-v if i % 2 == 0 else v for i, v in enumerate(pairs[n : 2 * n])]
            out_left = _face(leftwards, here, here, h=h / 2)[0] * 2 / h**2
            out_right = _face(pairs[2 * n :], here, here, h=h / 2)[0] * 2 / h**2
        return torch.where(last, out_right, right), torch.where(first, out_left, left), loss.expand(shape)


def _face(pairs: list[Tensor], start: Tensor, end: Tensor, *, h: float) -> tuple[Tensor, Tensor]:
    """Rates forth and back between two points a distance h apart, times h squared, from A and D on the way and D at both."""
    quadrature = [(0.5 * weight, a, d) for weight, a, d in zip(_WEIGHTS, pairs[::2], pairs[1::2], strict=True)]
    spreads = torch.stack(torch.broadcast_tensors(start, end, *(d for _, _, d in quadrature))).detach().amin(0) > 0
    total = start.new_zeros(())
    for weight, a, d in quadrature:
        total = total + weight * a / torch.where(spreads, d, torch.ones_like(d))
    w = h * total
    small = bernoulli(w.abs())
    forth, back = start * (small + w.clamp(min=0)), end * (small + (-w).clamp(min=0))
    if bool(spreads.all()):
        return forth, back
    mean = sum((weight * d for weight, _, d in quadrature), start.new_zeros(()))
    speed = sum((weight * a for weight, a, _ in quadrature), start.new_zeros(())) - (end - start) / h
    ratio = h * speed.abs() / torch.where(mean > 0, mean, torch.ones_like(mean))
    spread = mean * bernoulli(ratio)
    return (
        torch.where(spreads, forth, spread + h * speed.clamp(min=0)),
        torch.where(spreads, back, spread + h * (-speed).clamp(min=0)),
    )


def _values(coefficient: Coefficient | Callable[..., Tensor], points: tuple[Tensor, ...], t: float, *, like: Tensor) -> Tensor:
    if callable(coefficient) and not isinstance(coefficient, Tensor):
        coefficient = coefficient(*(x.to(like) for x in points), t)
    return torch.as_tensor(coefficient, dtype=like.dtype, device=like.device)


def _check(values: Tensor, what: str, *, least: float = -math.inf) -> Tensor:
    seen = values.detach()
    if not bool(((seen >= least) & seen.isfinite()).all()):
        bad = seen[~((seen >= least) & seen.isfinite())]
        wanted = "finite values" if least == -math.inf else f"finite values of at least {least:g}"
        raise InputError(f"ChangCooper: expected {what} with {wanted} in every cell, got {float(bad[0]):g}; check the function or shrink the box")
    return values


def _same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.device == b.device and torch.equal(a, b))


def _ends(grid: CartesianGrid, boundary: str | tuple[str, ...] | None) -> tuple[str, ...]:
    if boundary is None:
        return tuple("periodic" if closed else "reflecting" for closed in grid.periodic)
    ends = per_axis(boundary, grid.ndim, "ChangCooper boundary")
    for name, kind, closed in zip(grid.dims, ends, grid.periodic, strict=True):
        check_one_of(kind, _ENDS, f"ChangCooper boundary along {name}")
        if (kind == "periodic") != closed:
            raise GridMismatch(
                f"ChangCooper boundary along {name}: got {kind!r}, but the grid's axis is {'periodic' if closed else 'open'} there; "
                f"build the CartesianGrid with periodic={not closed} (an open axis has its cells half a cell inside the walls)"
            )
    return ends
