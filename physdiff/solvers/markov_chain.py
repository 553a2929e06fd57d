r"""The Fokker-Planck equation in the plane as a chain of jumps between cells, for diffusion by a tensor that varies.

Selling's decomposition writes the tensor of each cell, in units of cells, as $\sum_k \rho_k e_k e_k^T$ with whole offsets and $\rho_k \ge 0$, and the
drift follows along the same offsets in Chang and Cooper's way,

$$r_{\pm e}(x) = \rho_e(x)\,B(\mp w), \qquad w = \int_x^{x \pm e} (\pm e)\cdot D^{-1}A\;ds, \qquad B(w) = \frac{w}{e^w - 1},$$

since $\sum_k \rho_k e_k\,(e_k\cdot D^{-1}A) = A$. As generator of the chain this is of second order; it needs no derivative of D. The chain is
positive, keeps what does not leave, and has the equilibrium of a drift $-D\nabla\phi$ with one constant D to rounding. Where D has no second
eigenvalue, what of the drift it does not reach is upwind, of first order. Time is exact for coefficients that do not depend on it (`exponential`),
of second order for others. References: Selling, 1874; Chang and Cooper, 1970; Jensen, 1953.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from physdiff.base.errors import GridMismatch, InputError, ShapeError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.grids.grid import Grid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.operators import Vector
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.pde import Coefficient
from physdiff.solvers.chang_cooper import bernoulli
from physdiff.solvers.jumps import exponential, steady_state
from physdiff.solvers.selling import selling
from physdiff.solvers.stepper import Stepper

__all__ = ["MarkovChain"]

_NODES, _WEIGHTS = (tuple(float(v) for v in row) for row in np.polynomial.legendre.leggauss(4))
_REACH = 12
# below this share of its larger eigenvalue a smaller one counts as none: its inverse would be rounding
_SINGULAR = 1e-11


class MarkovChain(Stepper):
    """Advances a probability density in the plane, whatever its tensor of diffusion; walls at open ends reflect.

    Values are those at the cell centres of a CartesianGrid (walls half a cell outside); the sum of cells is the mass. A step of any length is
    stable and positive; it costs about as many passes over the cells as the fastest cell makes jumps in it.

    Args:
        pde: The law, in two directions.
        grid: A uniform CartesianGrid with two axes.

    Raises:
        InputError: If the law is another one.
        GridMismatch: If the grid is not uniform and Cartesian.
        ShapeError: If the law or the grid is not plane.
    """

    pde: FokkerPlanck

    def __init__(self, pde: FokkerPlanck, grid: Grid) -> None:
        if not isinstance(pde, FokkerPlanck):
            raise InputError(f"MarkovChain: expected a FokkerPlanck law, got {type(pde).__name__}; use another stepper for it")
        if not isinstance(grid, CartesianGrid) or not grid.uniform:
            raise GridMismatch(f"MarkovChain: expected a uniform CartesianGrid, got {grid.summary()}")
        if grid.ndim != 2 or len(pde.drift) != 2:
            what = f"got {len(pde.drift)} directions on {grid.ndim} axes"
            raise ShapeError(f"MarkovChain: expected a law in two directions on a plane grid, {what}; ChangCooper takes lines and diagonal tensors")
        self.pde, self.grid, self.order = pde, grid, 2
        self.operators = FiniteDifference(grid)
        self._centres = grid.coordinates()
        self._kept: tuple[list[Tensor], dict[tuple[int, ...], Tensor]] | None = None

    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """One step; see Stepper.step.

        Raises:
            InputError: If the density is negative somewhere, the tensor has a negative eigenvalue or is too uneven for the cells, or a coefficient
                is not finite.
        """
        p = u["density"]
        if bool((p.detach() < 0).any()):
            raise InputError(f"MarkovChain: expected a density of at least zero, got {float(p.detach().min()):g}; check the initial field")
        law, moment = self._law(p), t + dt / 2
        loss = _finite(self._values(law.loss, self._centres, moment), "loss", least=0.0)
        source = None if law.source is None else _finite(self._values(law.source, self._centres, moment), "source", least=0.0)
        return {"density": exponential(p, self.rates(law, moment), time=dt, loss=loss, source=source)}

    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Inf: every step is stable; coefficients that depend on time want steps short beside their changes."""
        return math.inf

    def steady(self, like: Tensor, t: float = 0.0) -> Tensor:
        """The density of integral one that does not change any more, solved for at once, in float64; currents may circle in it.

        Args:
            like: A Tensor whose device is taken.
            t: Time at which the coefficients are frozen.

        Returns:
            Density (B or 1, *S), float64, differentiable in the coefficients.

        Raises:
            InputError: If there is a loss or a source, or cells that are never left.
        """
        law = self._law(like)
        if law.source is not None or bool((self._values(law.loss, self._centres, t) != 0).any()):
            raise InputError("MarkovChain.steady: expected neither loss nor source, got one; take long steps instead")
        chain = steady_state(self.rates(law, t), shape=self.grid.shape, closed=self.grid.periodic)
        return chain / math.prod(self.grid.spacing)

    def rates(self, law: FokkerPlanck, t: float) -> dict[tuple[int, ...], Tensor]:
        """Rates per time of jumping from each cell by each offset (storage order), (B or 1, *S), float64; kept while the coefficients stay."""
        drift, spread = self._coefficients(law, self._centres, t)
        values = [*drift, *spread]
        kept = self._kept
        if kept is not None and all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(kept[0], values, strict=True)):
            return kept[1]
        made = self._rates(law, t, drift, spread)
        # what carries gradients belongs to one backward pass only
        self._kept = None if any(v.requires_grad for v in values) else (values, made)
        return made

    def _rates(self, law: FokkerPlanck, t: float, drift: Vector, spread: Vector) -> dict[tuple[int, ...], Tensor]:
        _check_tensor(spread)
        offsets, weights = selling(*spread)
        most = min(_REACH, *(n - 1 for n in self.grid.shape))
        farthest = int(torch.where(weights.detach()[:, None] != 0, offsets.abs(), torch.zeros_like(offsets)).max())
        if farthest > most or bool((weights.detach() < 0).any()):
            raise InputError(
                f"MarkovChain: expected jumps of at most {most} cells, got a diffusion so uneven and oblique that they would be of {farthest}; raise "
                "its smaller eigenvalue, or turn or stretch the coordinates along its axes"
            )
        flat = offsets.movedim(1, -1).reshape(-1, 2)
        made: dict[tuple[int, ...], Tensor] = {}
        for e in {_upward(int(a), int(b)) for a, b in torch.unique(flat, dim=0).tolist()}:
            same = (offsets[:, 0] * e[1] - offsets[:, 1] * e[0] == 0) & (weights > 0)  # whole vectors of a basis: along e is e or -e
            rho = torch.where(same, weights, torch.zeros_like(weights)).sum(0)
            if not bool((rho.detach() > 0).any()):
                continue
            for sign in (1, -1):
                x, y = sign * e[0], sign * e[1]
                w = self._potential(law, t, (x, y))
                made[y, x] = rho * (bernoulli(w.abs()) + w.clamp(min=0)) * self._inside(x, y)
        rest = tuple(a - b for a, b in zip(drift, _times(spread, _solved(spread, drift)), strict=True))
        for i, part in enumerate(rest):
            if not bool((part.detach().abs() > 1e-12 * drift[i].detach().abs().max()).any()):
                continue
            for sign in (1, -1):
                key = (0, sign) if i == 0 else (sign, 0)
                upwind = (sign * part).clamp(min=0) * self._inside(key[1], key[0])
                made[key] = made[key] + upwind if key in made else upwind
        if not made:
            return {(0, 1): torch.zeros(1, *self.grid.shape, dtype=torch.float64)}
        return {key: rate.expand(torch.broadcast_shapes(rate.shape, (1, *self.grid.shape))) for key, rate in made.items()}

    def _potential(self, law: FokkerPlanck, t: float, e: tuple[int, int]) -> Tensor:
        """The integral of D^-1 A along the way by e from each cell, where the way stays inside."""
        inside = self._inside(*e) > 0
        steps = tuple(reversed(self.grid.spacing))
        total = torch.zeros((), dtype=torch.float64)
        for node, weight in zip(_NODES, _WEIGHTS, strict=True):
            share = (1 + node) / 2
            points = tuple(torch.where(inside, c + share * n * h, c) for c, n, h in zip(self._centres, e, steps, strict=True))
            pull = _solved(*reversed(self._coefficients(law, points, t)))
            total = total + weight / 2 * (e[0] * pull[0] + e[1] * pull[1])
        return total

    def _inside(self, x: int, y: int) -> Tensor:
        """One where a jump stays inside, else zero, of the grid's shape."""
        masks = []
        for n, move, closed in zip(self.grid.shape, (y, x), self.grid.periodic, strict=True):
            target = torch.arange(n) + move
            masks.append(torch.ones(n, dtype=torch.float64) if closed else ((target >= 0) & (target < n)).double())
        return masks[0][:, None] * masks[1][None]

    def _coefficients(self, law: FokkerPlanck, points: Vector, t: float) -> tuple[Vector, Vector]:
        """Drift (x, y) in cells per time, and tensor (xx, xy, yy) in squared cells per time, at points of the grid's shape."""
        hx, hy = reversed(self.grid.spacing)
        rows = law.tensor
        entries = (law.diffusions[0], 0.0, law.diffusions[1]) if rows is None else (rows[0][0], rows[0][1], rows[1][1])
        drift = [_finite(self._values(a, points, t), f"drift along {n}") / h for a, n, h in zip(law.drift, "xy", (hx, hy), strict=True)]
        areas = (hx * hx, hx * hy, hy * hy)
        spread = [_finite(self._values(d, points, t), f"diffusion {n}") / s for d, n, s in zip(entries, ("xx", "xy", "yy"), areas, strict=True)]
        return tuple(torch.broadcast_tensors(*drift)), tuple(torch.broadcast_tensors(*spread))

    def _values(self, coefficient: Coefficient, points: Vector, t: float) -> Tensor:
        if callable(coefficient) and not isinstance(coefficient, Tensor):
            coefficient = coefficient(*points, t)
        made = torch.as_tensor(coefficient, dtype=torch.float64)
        return made.expand(torch.broadcast_shapes(made.shape, (1, *self.grid.shape)))

    def _law(self, p: Tensor) -> FokkerPlanck:
        # rates are found in float64, whatever the density's precision
        return self.pde.bound(2, like=torch.empty((), dtype=torch.float64, device=p.device))


def _upward(x: int, y: int) -> tuple[int, int]:
    """The one of two opposite offsets that stands for both."""
    return (x, y) if (y, x) > (0, 0) else (-x, -y)


def _times(spread: Vector, v: Vector) -> Vector:
    xx, xy, yy = spread
    return xx * v[0] + xy * v[1], xy * v[0] + yy * v[1]


def _solved(spread: Vector, v: Vector) -> Vector:
    """D^-1 v; where D has one eigenvalue of zero its inverse on the other axis, where it is zero nothing."""
    xx, xy, yy = spread
    trace, det = xx + yy, xx * yy - xy**2
    regular, some = det.detach() > _SINGULAR * trace.detach() ** 2, trace.detach() > 0
    safe, size = torch.where(regular, det, torch.ones_like(det)), torch.where(some, trace, torch.ones_like(trace))
    full = (yy * v[0] - xy * v[1]) / safe, (xx * v[1] - xy * v[0]) / safe
    flat = tuple(part / size**2 for part in _times(spread, v))
    return tuple(torch.where(regular, a, torch.where(some, b, torch.zeros_like(b))) for a, b in zip(full, flat, strict=True))


def _check_tensor(spread: Vector) -> None:
    xx, xy, yy = (v.detach() for v in spread)
    least = (xx + yy) / 2 - torch.sqrt(((xx - yy) / 2) ** 2 + xy**2)
    bad = least < -1e-12 * (xx.abs() + yy.abs())
    if bool(bad.any()):
        row, column = bad.nonzero()[0, -2:].tolist()
        raise InputError(
            f"MarkovChain: expected a diffusion without negative eigenvalues in every cell, got one in row {row}, column {column} "
            f"(xx {float(xx[bad][0]):g}, xy {float(xy[bad][0]):g}, yy {float(yy[bad][0]):g} squared cells per time); check the functions"
        )


def _finite(values: Tensor, what: str, *, least: float = -math.inf) -> Tensor:
    seen = values.detach()
    good = seen.isfinite() & (seen >= least)
    if not bool(good.all()):
        wanted = "finite values" if least == -math.inf else f"finite values of at least {least:g}"
        raise InputError(f"MarkovChain: expected {what} with {wanted} in every cell, got {float(seen[~good][0]):g}; check the function")
    return values
