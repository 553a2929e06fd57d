r"""The readings' share of a split posterior: $p(z | x, y) \propto p(y | A(z)) \, N(z; x, \rho^2 I)$, its mode and its draws.

With Gaussian noise and a few readings that depend on z by an affine map, whitened $R^{-1/2} H = U S V^\top$, the coordinates $V^\top z$ are
independent: coordinate i is read as $y_i'$ with noise $1/s_i$, so that its mean moves by the share $s_i^2 \rho^2 / (1 + s_i^2 \rho^2)$ of $y_i' -
v_i^\top x$ and its variance is $\rho^2 / (1 + s_i^2 \rho^2)$; all other directions stay N(x, rho^2). Otherwise the mode is one Gauss-Newton step
from x, and draws are made by the Metropolis-adjusted Langevin algorithm from there, as many moves as asked for. References: Kawar and others,
Denoising diffusion restoration models, 2022; Roberts and Tweedie, Exponential convergence of Langevin distributions, 1996.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.inference.guided import GuidedDenoiser
from physdiff.inference.noise import NormalNoise
from physdiff.inference.posterior import Posterior

__all__ = ["Coupling"]

# A prior so wide that it says nothing: with it, and alpha = 1, Sigma_t is sigma^2 I.
_FLAT = 1e12
_ACCEPTANCE = 0.57


class Coupling:
    """The law p(z | x, y) of a posterior's coefficients near given ones.

    Args:
        posterior: Gives readings and noise.
        moves: Langevin moves per draw, where the law is not Gaussian.

    Attributes:
        values: The s_i (r,), float64, or None where the readings are not affine, not Gaussian, or many.
        rows: The v_i (r, entries).
        seen: The y_i' (r,).
        calls: Calls of the operators and of products with their derivatives so far.
        acceptance: Share of the last moves that were accepted; NaN before any.
    """

    def __init__(self, posterior: Posterior, *, moves: int = 20) -> None:
        if moves < 1:
            raise InputError(f"Coupling: expected one move or more, got {moves}")
        self.posterior, self.moves = posterior, moves
        gaussian = all(isinstance(o.noise, NormalNoise) for o in posterior.observations)
        flat = DiagonalCovariance(torch.full(posterior.prior.latent_shape, _FLAT, dtype=torch.float64))
        self._linear = GuidedDenoiser(posterior, flat) if gaussian else None
        self._own_calls, self._step, self.acceptance = 0, torch.inf, float("nan")
        self.values: Tensor | None = None
        self.rows: Tensor | None = None
        self.seen: Tensor | None = None
        matrix = None if self._linear is None else self._linear.matrix
        if matrix is not None and self._linear is not None:
            residual, variance = self._linear.misfit(posterior.state.new_zeros(1, *posterior.prior.latent_shape))
            left, values, rows = torch.linalg.svd(matrix.flatten(1) / variance.sqrt()[:, None], full_matrices=False)
            # directions below rounding are not read at all
            keep = values > values[0] * max(matrix.flatten(1).shape) * torch.finfo(values.dtype).eps
            self.values, self.rows = values[keep], rows[keep]
            self.seen = ((residual[0].double() / variance.sqrt()) @ left)[keep] / self.values
        self.calls = 0

    @property
    def calls(self) -> int:
        """Operator calls so far."""
        return self._own_calls + (0 if self._linear is None else self._linear.operator_calls)

    @calls.setter
    def calls(self, value: int) -> None:
        self._own_calls = value
        if self._linear is not None:
            self._linear.operator_calls = 0

    def spectrum(self, what: str) -> tuple[Tensor, Tensor, Tensor]:
        """The s_i, v_i and y_i', for methods that ask for affine readings.

        Raises:
            InputError: If there are none.
        """
        if self.values is None or self.rows is None or self.seen is None:
            raise InputError(
                f"{what}: expected at most 1024 readings with Gaussian noise that depend on the coefficients by an affine map; use Guided or DAPS"
            )
        return self.values, self.rows, self.seen

    def misfit(self, z: Tensor) -> Tensor | None:
        """Mean over the readings of squared residual over noise variance, (B,); None without Gaussian noise."""
        if self._linear is None:
            return None
        residual, variance = self._linear.misfit(z)
        return (residual**2 / variance).mean(1)

    def mode(self, x: Tensor, rho: float) -> Tensor:
        """The mode given x (B, *latent): where the law is Gaussian its mean, else one Gauss-Newton step towards it.

        Raises:
            InputError: If the noise is not Gaussian.
        """
        if self._linear is None:
            raise InputError("Coupling.mode: expected Gaussian noise on every observation; use DAPS or SplitGibbs, which draw, or a weighted sampler")
        if self.values is None:
            return x + rho**2 * self._linear.slope(x, 1.0, rho).to(x)
        return x + self._along(self._pull(x, rho), x)

    def draw(self, x: Tensor, rho: float, rng: Rng) -> Tensor:
        """A draw given each x (B, *latent)."""
        if self.values is None:
            return self._walked(x, rho, rng)
        noise = rho * rng.normal(x.shape, like=x)
        # along the readings noise is that much smaller
        shrunk = self.coordinates(noise) * ((1 - self._gain(rho)).sqrt() - 1)
        return x + noise + self._along(self._pull(x, rho) + shrunk, x)

    def coordinates(self, x: Tensor) -> Tensor:
        """The v_i^T x, (B, r), float64."""
        assert self.rows is not None
        return x.flatten(1).double() @ self.rows.T

    def _along(self, coordinates: Tensor, like: Tensor) -> Tensor:
        assert self.rows is not None
        return (coordinates @ self.rows).reshape(like.shape).to(like)

    def _pull(self, x: Tensor, rho: float) -> Tensor:
        assert self.seen is not None
        return (self.seen - self.coordinates(x)) * self._gain(rho)

    def _gain(self, rho: float) -> Tensor:
        assert self.values is not None
        square = (self.values * rho) ** 2
        return square / (1 + square)

    def _walked(self, x: Tensor, rho: float, rng: Rng) -> Tensor:
        z = x if self._linear is None else self.mode(x, rho)
        value, slope = self._target(z, x, rho)
        taken = []
        for move in range(self.moves):
            key = rng.child("move", move)
            h = min(self._step, rho**2)
            step = h**0.5 * key.child("step").normal(z.shape, like=z)
            new = z + 0.5 * h * slope + step
            risen, turned = self._target(new, x, rho)
            # log q(z | new) - log q(new | z)
            odds = risen - value + (_square(step) - _square(z - new - 0.5 * h * turned)) / (2 * h)
            take = torch.log(key.child("accept").uniform((len(z),), like=odds)) < odds.nan_to_num(-torch.inf)
            keep = take.reshape(-1, *[1] * (z.ndim - 1))
            z, slope, value = torch.where(keep, new, z), torch.where(keep, turned, slope), torch.where(take, risen, value)
            taken.append(float(take.double().mean()))
            self._step = h * float(torch.exp(torch.tensor(taken[-1] - _ACCEPTANCE)))
        self.acceptance = sum(taken) / len(taken)
        return z

    def likelihood(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Log likelihood of coefficients (B, *latent), (B,), float64, and its gradient, shape of z.

        Raises:
            InputError: If an operator cannot be differentiated.
        """
        self._own_calls += 2
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            value = self.posterior.log_likelihood(self.posterior.decode(z))
            if not value.requires_grad:
                raise InputError(
                    "Coupling: expected operators that torch can differentiate, got a black box; use AnnealedSMC(guidance=0) or TemperedSMC"
                )
            (slope,) = torch.autograd.grad(value.sum(), z)
        return value.detach(), torch.where(slope.isfinite(), slope, 0.0)

    def _target(self, z: Tensor, x: Tensor, rho: float) -> tuple[Tensor, Tensor]:
        """Log density of z up to a constant, (B,), float64, and its gradient."""
        value, slope = self.likelihood(z)
        return value - _square(z - x) / (2 * rho**2), slope - (z - x) / rho**2


def _square(x: Tensor) -> Tensor:
    return (x.double() ** 2).flatten(1).sum(1)
