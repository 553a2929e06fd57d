r"""The posterior of an initial state and a viscosity by the solver itself: the reference for `joint_posterior.py`.

The first frame is Gaussian with a known spectrum, $u_0 = \sum_j a_j \xi_j \phi_j$ with $\xi \sim N(0, I)$ over the real Fourier modes that hold
all but 1e-6 of its variance, and the logarithm of the viscosity is uniform. For each of a row of viscosities: Gauss-Newton from zero to the mode
in $\xi$, with the Jacobian from differences of one batched solve, and Laplace's approximation of the evidence and of the law of $\xi$. Draws from
that mixture, linear between the viscosities, are weighted by prior times likelihood over their density and resampled: exact as their number grows;
the effective sample size says how far the approximation was off.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff import Ensemble, Rng

__all__ = ["SolverPosterior"]

Forward = Callable[[Tensor, Tensor], Tensor]


def real_modes(field: Callable[[Tensor], Tensor], shape: tuple[int, ...], left: float = 1e-6) -> Tensor:
    """Rows a_j phi_j (K, *shape), float64, of a linear map from white noise to a homogeneous field, largest first."""
    size = math.prod(shape)
    columns = field(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1)
    values, vectors = torch.linalg.eigh(columns.T @ columns)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    rank = int((values.cumsum(0) < (1 - left) * values.sum()).sum()) + 1
    return (vectors[:, :rank] * values[:rank].sqrt()).T.reshape(rank, *shape)


@dataclass(frozen=True, eq=False)
class SolverPosterior:
    """Posterior of (xi, log viscosity) given readings.

    Args:
        modes: Rows a_j phi_j (K, *S).
        forward: From first frames (B, *S) and viscosities (B,) to what is read, (B, m), float64.
        bounds: Lowest and highest viscosity.
        y: Readings (m,).
        std: Of their noise.
    """

    modes: Tensor
    forward: Forward
    bounds: tuple[float, float]
    y: Tensor
    std: float

    def sample(self, n: int, *, rng: Rng, nodes: int = 12, rounds: int = 6, proposals: int = 400) -> Ensemble:
        """Draw n first frames and viscosities: members (n, 2, 1, *S); ``ess`` in its info is that of the weighted proposals."""
        low, high = (math.log(b) for b in self.bounds)
        logs = torch.linspace(low, high, nodes, dtype=torch.float64)
        xi, precision, height = self._modes_at(logs, rounds)
        # Laplace's evidence at the nodes; its logarithm is linear between them, and so is the centre
        slots = torch.logsumexp(torch.stack([height[:-1], height[1:]]), 0) - math.log(2)
        share = torch.softmax(slots, 0)
        slot = torch.multinomial(share, proposals, replacement=True, generator=torch.Generator().manual_seed(int(rng.integers(0, 2**31))))
        part = rng.child("part").uniform((proposals,), like=logs)
        near = slot + (part > 0.5)
        noise = rng.child("xi").normal((proposals, xi.shape[1]), like=logs)
        lower = torch.linalg.cholesky(precision)
        # heavier than Gaussian: t with 8 degrees of freedom
        heavy = (8 / (rng.child("heavy").normal((proposals, 8), like=logs) ** 2).sum(1)).sqrt()
        away = torch.linalg.solve_triangular(lower.mT[near], (heavy[:, None] * noise)[..., None], upper=True)[..., 0]
        drawn = torch.lerp(xi[slot], xi[slot + 1], part[:, None]) + away
        log_nu = torch.lerp(logs[slot], logs[slot + 1], part)
        k = xi.shape[1]
        quadratic = (heavy[:, None] * noise).square().sum(1)
        density = share[slot].log() + lower.diagonal(dim1=-2, dim2=-1).log().sum(1)[near] - (8 + k) / 2 * torch.log1p(quadratic / 8)
        weights = self._log_posterior(drawn, log_nu) - density
        first = torch.einsum("bk,k...->b...", drawn, self.modes)
        members = torch.stack([first, log_nu.exp().reshape(-1, *[1] * (first.ndim - 1)).expand_as(first)], 1).unsqueeze(2)
        whole = Ensemble(members, weights)
        return Ensemble.equal(whole.resample(rng.child("resample"), n).members, {"ess": torch.tensor(whole.ess)})

    def _log_posterior(self, xi: Tensor, log_nu: Tensor) -> Tensor:
        read = self.forward(torch.einsum("bk,k...->b...", xi, self.modes), log_nu.exp())
        return -0.5 * xi.square().sum(1) - 0.5 * ((self.y - read) / self.std).square().sum(1)

    def _modes_at(self, logs: Tensor, rounds: int) -> tuple[Tensor, Tensor, Tensor]:
        """Modes (G, K), precisions (G, K, K), and logarithms of Laplace's evidence (G,) at the viscosities."""
        count, k, step = len(logs), len(self.modes), 1e-5
        xi, eye = torch.zeros(count, k, dtype=torch.float64), torch.eye(k, dtype=torch.float64)
        for last in (*[False] * rounds, True):
            stencil = torch.cat([xi[:, None], xi[:, None] + step * eye], 1).flatten(0, 1)
            read = self.forward(torch.einsum("bk,k...->b...", stencil, self.modes), logs.exp().repeat_interleave(k + 1)).reshape(count, k + 1, -1)
            jacobian = (read[:, 1:] - read[:, :1]).mT / (step * self.std)  # (G, m, K)
            misfit = (self.y - read[:, 0]) / self.std
            precision = jacobian.mT @ jacobian + eye
            if last:
                return xi, precision, -0.5 * misfit.square().sum(1) - 0.5 * xi.square().sum(1) - 0.5 * torch.logdet(precision)
            right = (jacobian.mT @ (misfit[..., None] + jacobian @ xi[..., None]))[..., 0]
            # damped: half way where the step is long
            move = torch.linalg.solve(precision, right) - xi
            xi = xi + move * (3 / move.norm(dim=1, keepdim=True)).clamp_max(1)
        raise AssertionError
