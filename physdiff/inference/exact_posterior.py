r"""The exact posterior of a prior in closed form: whatever the coefficients, units, gaps and noise, as matrices over the physical windows.

A Gaussian prior gives a Gaussian; a mixture gives a mixture, whose parts are updated each on its own and weighed by
$w_k N(y; A m_k, A C_k A^\top + R)$.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.diffusion.analytic import GaussianDenoiser, MixtureDenoiser
from physdiff.inference.exact import GaussianTarget, MixtureLaw
from physdiff.inference.noise import NormalNoise
from physdiff.inference.observation import LinearOperator
from physdiff.inference.posterior import Posterior

__all__ = ["ExactMixture", "exact_posterior"]


@dataclass(frozen=True, eq=False)
class ExactMixture(MixtureLaw):
    """A mixture of any Gaussians, and linear readings.

    Args:
        weights: Prior weights (K,), float64; normalised here.
        targets: That of each component.
    """

    weights: Tensor
    targets: tuple[GaussianTarget, ...]

    @property
    def parts(self) -> tuple[GaussianTarget, ...]:
        """The target of each component."""
        return self.targets


def exact_posterior(posterior: Posterior) -> GaussianTarget | ExactMixture:
    """Any posterior with a Gaussian prior or a mixture, linear decoding and linear readings, as matrices over its physical windows.

    For up to some thousand entries: it holds d x d matrices, one for each component.

    Raises:
        InputError: If the prior is neither, a noise law is not Gaussian or an operator is not linear.
    """
    prior, denoiser = posterior.prior, posterior.prior.denoiser
    if not isinstance(denoiser, GaussianDenoiser | MixtureDenoiser):
        raise InputError(f"exact_posterior: expected a prior with a GaussianDenoiser or a MixtureDenoiser, got {type(denoiser).__name__}")
    wrong = [type(o.operator).__name__ for o in posterior.observations if not isinstance(o.operator, LinearOperator)]
    if wrong:
        raise InputError(f"exact_posterior: expected linear operators, got {', '.join(wrong)}")
    matrix, y, std = _readings(posterior)
    decode = _columns(posterior.decode, prior.latent_shape)

    def part(centre: Tensor, spread: Tensor) -> GaussianTarget:
        """Coefficients of mean (1, *latent) and the product of their covariance with the decoding's transpose."""
        return GaussianTarget(posterior.decode(centre).flatten(), spread @ decode.T, matrix, y, std, prior.spec)

    if isinstance(denoiser, GaussianDenoiser):
        cond = prior.encode_cond(posterior.completed)
        centre = denoiser.prior_mean(torch.zeros(1, *prior.latent_shape, dtype=torch.float64), cond)
        return part(centre, denoiser.covariance(decode.reshape(-1, *prior.latent_shape)).flatten(1))
    means = denoiser.means.double()
    stds = denoiser.stds.double().reshape(len(means), -1).expand_as(means.flatten(1))
    parts = (part(m[None], decode * s**2) for m, s in zip(means, stds, strict=True))
    return ExactMixture(denoiser.weights.double(), tuple(parts))


def _readings(posterior: Posterior) -> tuple[Tensor, Tensor, Tensor]:
    """All readings there are as one matrix, their values and the std of their independent noise: (m, d), (m,), (m,)."""
    shape = posterior.prior.spec.shape
    rows, readings, stds = [], [], []
    for o in posterior.observations:
        if not isinstance(o.noise, NormalNoise):
            raise InputError(f"exact_posterior: expected Gaussian noise, got {type(o.noise).__name__}; there is no closed form")
        r = o.residual(torch.zeros(1, *shape, dtype=torch.float64))
        seen = o.seen(r.shape[1:])
        # columns of A as misfits of their own, so that correlated noise turns them and the readings alike
        turned, variance = o.noise.decorrelated(_columns(o.operator, shape).T.reshape(-1, *r.shape[1:]), seen)
        rows.append(turned.T)
        readings.append(o.noise.decorrelated(r, seen)[0][0])
        stds.append(variance.sqrt())
    return torch.cat(rows), torch.cat(readings), torch.cat(stds)


def _columns(function: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Matrix of the linear part of a map on (B, *shape), (outputs, inputs), float64."""
    size = torch.Size(shape).numel()
    offset = function(torch.zeros(1, *shape, dtype=torch.float64)).flatten()
    unit = torch.eye(size, dtype=torch.float64).reshape(size, *shape)
    return torch.cat([function(part).flatten(1) for part in unit.split(256)]).T - offset[:, None]
