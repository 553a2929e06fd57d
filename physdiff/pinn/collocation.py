r"""Points at which a residual is asked for: spread evenly over space and time, or where the residual is large.

A point is a row (x, [y, [z,]] [t]). `UniformPoints` draws them by Sobol's sequence, by a Latin hypercube or independently. Given residuals r of
candidates, `redraw_by_residual` draws with the probabilities

$$p_i \propto |r_i|^k / \langle|r|^k\rangle + c$$

(RAD; Wu, Zhu, Tan, Kartha and Lu, 2023, arXiv 2207.10289), `add_largest` and `add_by_residual` add to the points there are (RAR-G, RAR-D).
`retain_resample` keeps the points above the mean and draws the others anew, at every step and without another evaluation (R3), and `CausalGate`
makes it follow the solution in time (Daw, Bu, Wang, Perdikaris and Karpatne, 2023, arXiv 2207.02338).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from physdiff.base.checks import check_finite, check_one_of, check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid

__all__ = ["CausalGate", "UniformPoints", "add_by_residual", "add_largest", "in_time_order", "redraw_by_residual", "retain_resample"]

_KINDS = ("latin", "sobol", "uniform")


@dataclass(frozen=True)
class UniformPoints:
    """Points spread evenly over the box of a grid and a span of time.

    Args:
        grid: Its box is what counts, not its points; walls lie on the faces of axes that are not periodic.
        t: First and last time; None for steady problems, whose points have no column t.
        kind: sobol (scrambled, anew by each Rng; the most even one), latin (a hypercube) or uniform (independent).
        dtype: Data type of the points.

    Raises:
        InputError: If the times do not increase, or the kind is unknown.
    """

    grid: CartesianGrid
    t: tuple[float, float] | None = (0.0, 1.0)
    kind: str = "sobol"
    dtype: torch.dtype = torch.float32

    def __post_init__(self) -> None:
        check_one_of(self.kind, _KINDS, "UniformPoints kind")
        if self.t is not None and not (math.isfinite(self.t[0]) and math.isfinite(self.t[1]) and self.t[0] < self.t[1]):
            raise InputError(f"UniformPoints t: expected two increasing times, got {self.t}; give None for a steady problem")

    @property
    def lower(self) -> Tensor:
        """Lower corner (d,) in the order `x, [y, [z,]] [t]`, float64."""
        return torch.tensor([*reversed(self.grid.origin), *(() if self.t is None else self.t[:1])], dtype=torch.float64)

    @property
    def upper(self) -> Tensor:
        """Upper corner (d,), float64."""
        ends = [start + length for start, length in zip(self.grid.origin, self.grid.extent, strict=True)]
        return torch.tensor([*reversed(ends), *(() if self.t is None else self.t[1:])], dtype=torch.float64)

    @property
    def faces(self) -> tuple[str, ...]:
        """Names of the faces that are walls, as "x lower"; `boundary` counts in this order."""
        walls = [dim for dim, closed in zip(self.grid.dims, self.grid.periodic, strict=True) if not closed]
        return tuple(f"{dim} {side}" for dim in reversed(walls) for side in ("lower", "upper"))

    def draw(self, n: int, rng: Rng) -> Tensor:
        """Points (n, d) of the inside."""
        return self._scaled(self._even(n, len(self.lower), rng)).to(self.dtype)

    def initial(self, n: int, rng: Rng) -> Tensor:
        """Points (n, d) at the first time.

        Raises:
            InputError: If the problem is steady.
        """
        if self.t is None:
            raise InputError("UniformPoints.initial: expected a span of time, got t=None; steady problems have no initial state")
        points = self._even(n, len(self.lower), rng)
        points[:, -1] = 0.0
        return self._scaled(points).to(self.dtype)

    def boundary(self, n: int, rng: Rng) -> tuple[Tensor, Tensor]:
        """Points on the walls, as many on each as its share of the area.

        Returns:
            Points (n, d), and which wall each is on (n,), int64, an index of `faces`.

        Raises:
            InputError: If all axes are periodic.
        """
        lower, upper = self.lower, self.upper
        columns = [i for i, closed in enumerate(reversed(self.grid.periodic)) if not closed]
        if not columns:
            raise InputError("UniformPoints.boundary: expected walls, got a grid periodic along all axes; leave out boundary conditions")
        # the area of a face over the volume; the lengths of a problem may differ by orders of magnitude
        share = (1 / (upper - lower)[columns]).repeat_interleave(2)
        edges = (share.cumsum(0) / share.sum() * n + float(rng.child("offset").uniform())).floor()
        edges[-1] = n  # the offset rounds shares up or down without bias
        counts = torch.diff(edges.clamp(max=n), prepend=edges.new_zeros(1)).to(torch.int64)
        face = torch.arange(len(counts)).repeat_interleave(counts)
        points = self._even(n, len(lower), rng.child("points"))
        column = torch.tensor(columns).repeat_interleave(2)[face]
        points[torch.arange(n), column] = (face % 2).to(points.dtype)
        return self._scaled(points).to(self.dtype), face

    def _even(self, n: int, dimension: int, rng: Rng) -> Tensor:
        """Points (n, dimension) of the unit cube, float64."""
        check_positive(n, "number of points", zero=True)
        if self.kind == "sobol":
            engine = torch.quasirandom.SobolEngine(dimension, scramble=True, seed=int(rng.integers(0, 2**31)))
            return engine.draw(n, dtype=torch.float64)
        points = rng.child("within").uniform((n, dimension), like=torch.empty(0, dtype=torch.float64))
        if self.kind == "latin":
            points = (torch.stack([rng.child("order", i).permutation(n) for i in range(dimension)], dim=1) + points) / max(n, 1)
        return points

    def _scaled(self, points: Tensor) -> Tensor:
        # lerp meets both ends exactly, so that points of a face are on it
        return torch.lerp(self.lower, self.upper, points)


def redraw_by_residual(candidates: Tensor, residual: Tensor, n: int, *, rng: Rng, power: float = 1.0, floor: float = 1.0) -> Tensor:
    """Draw points with probabilities that grow with the residual (RAD).

    The draw is systematic: candidate i is drawn n p_i times on average, and never more than one away from that, so that repetitions occur only
    where n p_i is above 1.

    Args:
        candidates: Points (m, d), say ten times as many as are drawn.
        residual: Residual at them (m,) or (m, equations), whose norm is taken; scale its equations alike first.
        n: Number of points to draw.
        rng: Source of randomness.
        power: Exponent k; larger looks at the largest ones only.
        floor: Constant c >= 0 that keeps points everywhere; 0 for none.

    Returns:
        Points (n, d) in random order.

    Raises:
        InputError: If the residual is not finite, or a number makes no sense.
        ShapeError: If shapes do not fit.
    """
    size = _sizes(candidates, residual, "redraw_by_residual")
    check_positive(power, "redraw_by_residual power", zero=True)
    check_positive(floor, "redraw_by_residual floor", zero=True)
    weight = (size / size.max()) ** power if size.max() > 0 else torch.ones_like(size)
    p = weight / weight.mean() + floor
    order = rng.child("order").permutation(len(p)).to(p.device)
    until = (p[order] / p.sum()).cumsum(0) * n
    marks = torch.arange(n, dtype=until.dtype, device=until.device) + float(rng.child("offset").uniform())
    found = candidates[order[torch.searchsorted(until, marks).clamp(max=len(p) - 1)]]
    return found[rng.child("shuffle").permutation(n).to(found.device)]


def add_largest(points: Tensor, candidates: Tensor, residual: Tensor, *, n: int) -> Tensor:
    """Add the n candidates with the largest residuals to the points (RAR-G): (p, d), (m, d), (m,) or (m, equations) -> (p + n, d).

    Raises:
        InputError: If the residual is not finite, or there are fewer candidates.
        ShapeError: If shapes do not fit.
    """
    size = _sizes(candidates, residual, "add_largest")
    if n > len(size):
        raise InputError(f"add_largest: expected at most {len(size)} points, one per candidate, got n = {n}; give more candidates")
    return torch.cat((points, candidates[size.topk(n).indices]))


def add_by_residual(points: Tensor, candidates: Tensor, residual: Tensor, *, n: int, rng: Rng, power: float = 2.0, floor: float = 0.0) -> Tensor:
    """Add n candidates drawn as by `redraw_by_residual` (RAR-D): (p, d), (m, d), (m,) or (m, equations) -> (p + n, d).

    Raises:
        InputError: If the residual is not finite, or a number makes no sense.
        ShapeError: If shapes do not fit.
    """
    return torch.cat((points, redraw_by_residual(candidates, residual, n, rng=rng, power=power, floor=floor)))


def retain_resample(points: Tensor, fitness: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
    """Keep the points whose fitness is above its mean, and draw the others anew (R3).

    Args:
        points: Points (n, d) of the last step.
        fitness: Size of the residual at them (n,), or (n, equations), whose norm is taken; times a `CausalGate` for the causal variant.
        draw: Draws a number of points, as ``lambda n: uniform.draw(n, rng.child(step))``.

    Returns:
        Points (n, d), the kept ones first.

    Raises:
        InputError: If the fitness is not finite.
        ShapeError: If shapes do not fit.
    """
    size = _sizes(points, fitness, "retain_resample")
    kept = points[size > size.mean()]
    return torch.cat((kept, draw(len(points) - len(kept)).to(points)))


def in_time_order(points: Tensor) -> Tensor:
    """The points (n, d) with their last column, the time, sorted and the others as they were, so that equal chunks are spans of time.

    Columns drawn apart stay independent: it is again a uniform draw, and cutting it into chunks for `CausalWeights` needs no sorting of rows.
    """
    return torch.cat((points[:, :-1], points[:, -1:].sort(dim=0).values), dim=1)


@dataclass(frozen=True)
class CausalGate:
    r"""A front in time behind which residuals count, $g(t) = \frac12[1 - \tanh(a(\hat t - \gamma))]$, $\hat t = (t - t_0)/(t_1 - t_0)$.

    Train on the mean of (r g)^2 and give r g to `retain_resample` as the fitness; then `update`. The front moves when the residual behind it is
    small, $\gamma \leftarrow \gamma + \eta\,\min(e^{-\epsilon\langle (r g)^2\rangle}, m)$.

    Args:
        t: First and last time.
        steepness: a, how sharp the front is.
        front: Where it is, gamma; -0.5 is before the start, 1.5 past the end.
        rate: eta.
        tolerance: epsilon, one over the mean square residual that halts it (scale the residual first).
        most: m, the largest exponential that counts.
    """

    t: tuple[float, float]
    steepness: float = 5.0
    front: float = -0.5
    rate: float = 1e-3
    tolerance: float = 20.0
    most: float = 0.1

    def __post_init__(self) -> None:
        if not self.t[0] < self.t[1]:
            raise InputError(f"CausalGate t: expected two increasing times, got {self.t}")
        for name in ("steepness", "rate", "tolerance", "most"):
            check_positive(getattr(self, name), f"CausalGate {name}")

    def __call__(self, t: Tensor) -> Tensor:
        """The gate at the times `t`, of their shape."""
        start, end = self.t
        return 0.5 * (1 - torch.tanh(self.steepness * ((t - start) / (end - start) - self.front)))

    def update(self, gated: Tensor) -> CausalGate:
        """The gate after a step with residuals r g (n,) or (n, equations) at its points.

        Raises:
            InputError: If they are not finite.
        """
        loss = float(check_finite(gated.detach(), "CausalGate residual").square().mean())
        return replace(self, front=self.front + self.rate * min(math.exp(-self.tolerance * loss), self.most))


def _sizes(points: Tensor, residual: Tensor, who: str) -> Tensor:
    """Norm of the residual at each point (n,), float64, detached."""
    if points.ndim != 2 or residual.ndim not in (1, 2) or len(residual) != len(points) or not len(points):
        shapes = f"{tuple(points.shape)} and {tuple(residual.shape)}"
        raise ShapeError(f"{who}: expected points (n, d), n > 0, and a residual (n,) or (n, equations), got {shapes}")
    check_finite(residual, f"{who} residual", "lower the learning rate, or start again from the last good network")
    r = residual.detach().double()
    return r.abs() if r.ndim == 1 else torch.linalg.vector_norm(r, dim=1)
