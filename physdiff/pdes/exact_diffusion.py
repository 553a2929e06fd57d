r"""Exact solutions of the Fokker-Planck equation, and drifts with known equilibria.

- `OrnsteinUhlenbeck`: drift $-\Theta(x - c)$, constant D (a diagonal or a matrix). From a Gaussian start the density stays Gaussian, with mean
  $c + e^{-\Theta t}(m_0 - c)$ and covariance $\Sigma_\infty + e^{-\Theta t}(\Sigma_0 - \Sigma_\infty)e^{-\Theta^T t}$, where
  $\Theta\Sigma_\infty + \Sigma_\infty\Theta^T = 2 D$ (Uhlenbeck and Ornstein, 1930; Gardiner, Stochastic Methods, 2009).
- `gibbs_density`: the equilibrium $e^{-V/D}/Z$ of the drift $-\nabla V$.
- `double_well` and `double_well_drift`: $V = x^4/4 - x^2/2$, minima at -1 and 1, barrier 1/4. For small D a particle crosses at Kramers' rate
  $k = \sqrt 2/(2\pi)\,e^{-1/(4D)}$ and the slowest decay rate tends to $2k$ (Kramers, 1940).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.grids.grid import Grid
from physdiff.pdes.diffusivity import check_diffusivity

__all__ = ["LinearDrift", "OrnsteinUhlenbeck", "double_well", "double_well_drift", "gibbs_density", "kramers_rate"]


@dataclass(frozen=True)
class LinearDrift(Saved):
    """One component of a linear drift: f(x, [y, [z,]] t) = -sum_j rates_j (x_j - centre_j).

    Args:
        rates: One for each coordinate, per time.
        centre: Where the drift vanishes.
    """

    rates: tuple[float, ...]
    centre: tuple[float, ...]

    def __call__(self, *coordinates_and_time: Tensor) -> Tensor:
        """Drift at the points, of the coordinates' shape."""
        terms = [-rate * (x - c) for rate, c, x in zip(self.rates, self.centre, coordinates_and_time[:-1], strict=True)]
        return sum(terms[1:], terms[0])


@dataclass(frozen=True)
class OrnsteinUhlenbeck(Saved):
    """A particle pulled back to a centre by a linear force, started from a Gaussian; in one to three dimensions.

    ``FokkerPlanck(process.drift, process.diffusion)`` is its law, ``process.density(x, [y, [z,]] t)`` the exact solution.

    Args:
        rates: Rows of the matrix Theta, order x, y, z, per time; its eigenvalues have positive real parts. Asymmetric: the steady state has a
            current.
        diffusion: D along x, y, z, at least zero; or the rows of a symmetric matrix without negative eigenvalues.
        mean: Of the start.
        covariance: Of the start, rows of a positive definite matrix.
        centre: Where the drift vanishes; the origin if None.

    Raises:
        ShapeError: If the sizes do not agree.
        InputError: If the drift does not confine, a diffusion is negative or the start's covariance is not positive definite.
    """

    rates: tuple[tuple[float, ...], ...]
    diffusion: tuple[float, ...] | tuple[tuple[float, ...], ...]
    mean: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    centre: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.diffusion)
        square = all(len(rows) == n and all(len(row) == n for row in rows) for rows in (self.rates, self.covariance))
        if not square or len(self.mean) != n or len(self._centre) != n:
            raise ShapeError(f"OrnsteinUhlenbeck: expected {n} x {n} rates and covariance and {n} means, as many as diffusion coefficients")
        check_diffusivity(self.diffusion, n, "OrnsteinUhlenbeck diffusion")
        if not bool((torch.linalg.eigvals(_matrix(self.rates)).real > 0).all()):
            raise InputError(f"OrnsteinUhlenbeck rates: expected a matrix whose eigenvalues have positive real parts, got {self.rates!r}")
        start = _matrix(self.covariance)
        if not bool((start == start.mT).all()) or not bool((torch.linalg.eigvalsh(start) > 0).all()):
            raise InputError(f"OrnsteinUhlenbeck covariance: expected a symmetric positive definite matrix, got {self.covariance!r}")

    @property
    def _centre(self) -> tuple[float, ...]:
        return (0.0,) * len(self.diffusion) if self.centre is None else self.centre

    @property
    def drift(self) -> tuple[LinearDrift, ...]:
        """Components x, y, z of the drift, as a law takes them."""
        return tuple(LinearDrift(row, self._centre) for row in self.rates)

    def steady_covariance(self) -> Tensor:
        """Sigma_infinity, (n, n), float64: the solution of Lyapunov's equation."""
        theta, n = _matrix(self.rates), len(self.diffusion)
        one = torch.eye(n, dtype=torch.float64, device="cpu")
        given = torch.tensor(self.diffusion, dtype=torch.float64, device="cpu")
        right = 2 * (torch.diag(given) if given.ndim == 1 else given)
        steady: Tensor = torch.linalg.solve(torch.kron(theta, one) + torch.kron(one, theta), right.reshape(-1)).reshape(n, n)
        return steady

    def moments(self, t: float | Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Mean (*t, n) and covariance (*t, n, n) at times t, with the dtype and device of `like`."""
        time = torch.as_tensor(t).to(like) if isinstance(t, Tensor) else torch.as_tensor(t, dtype=like.dtype, device=like.device)
        decay = torch.linalg.matrix_exp(-_matrix(self.rates).to(like) * time[..., None, None])
        centre, start = (torch.tensor(v, dtype=like.dtype, device=like.device) for v in (self._centre, self.mean))
        steady = self.steady_covariance().to(like)
        covariance = steady + decay @ (_matrix(self.covariance).to(like) - steady) @ decay.mT
        return centre + (decay @ (start - centre)[:, None])[..., 0], covariance

    def density(self, *coordinates_and_time: Tensor | float) -> Tensor:
        """The density at x, [y, [z,]] and t, differentiable, of the coordinates' shape broadcast with t."""
        *coordinates, t = coordinates_and_time
        points = [x for x in coordinates if isinstance(x, Tensor)]
        if len(points) != len(self.diffusion) or len(coordinates) != len(points):
            raise ShapeError(f"OrnsteinUhlenbeck.density: expected {len(self.diffusion)} coordinate tensors and the time, got {len(coordinates)}")
        mean, covariance = self.moments(t, points[0])
        whole = sum((torch.zeros_like(x) for x in points[1:]), torch.zeros_like(points[0]))  # of the shape all points broadcast to
        offset = torch.stack([x + whole for x in points], dim=-1) - mean
        distance = (offset * torch.linalg.solve(covariance, offset[..., None])[..., 0]).sum(-1)
        return torch.exp(-distance / 2) / torch.sqrt((2 * math.pi) ** len(points) * torch.linalg.det(covariance))


def gibbs_density(potential: Callable[..., Tensor], grid: Grid, *, diffusion: float) -> Tensor:
    """The equilibrium e^(-V/D) / Z of the drift -grad V with one constant D, on a grid whose cells it fills with probability one.

    Args:
        potential: V as a function of (x, [y, [z]]), length squared per time.
        grid: A CartesianGrid.
        diffusion: D, positive.

    Returns:
        Density of the grid's shape, float64; its sum times the cells' volume is one.
    """
    check_positive(diffusion, "gibbs_density diffusion")
    values = potential(*grid.coordinates())
    weight = torch.exp(-(values - values.min()) / diffusion)
    volume = grid.weights() * math.prod(getattr(grid, "extent", (1.0,)))
    return weight / (weight * volume).sum()


def double_well(x: Tensor) -> Tensor:
    """V = x^4/4 - x^2/2."""
    return x**4 / 4 - x**2 / 2


def double_well_drift(x: Tensor, *others: Tensor | float) -> Tensor:
    """The drift -V' = x - x^3 along x; further coordinates and the time change nothing."""
    return x - x**3


def kramers_rate(diffusion: float) -> float:
    """Crossings of the double well's barrier per time, in the limit of small D: sqrt(2) / (2 pi) exp(-1 / (4 D))."""
    return math.sqrt(2) / (2 * math.pi) * math.exp(-1 / (4 * check_positive(diffusion, "kramers_rate diffusion")))


def _matrix(rows: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64, device="cpu")
