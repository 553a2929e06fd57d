r"""Laplace's approximation: the Gaussian at the most likely weights, its precision that of the Gauss-Newton step.

$$\theta \sim N\big(\hat\theta,\, H^{-1}\big), \qquad H = J^\mathsf T J + s^{-2} I,$$

with J the Jacobian of the deviations. With the last layer free alone (and a law linear in the fields, or none) the deviations are linear in it, and
the posterior is exact: that of Bayesian linear regression on the last hidden features,
$\hat\theta = H^{-1} J^\mathsf T (J\theta_0 - d_0)$. The evidence

$$\log Z = -\tfrac12 |\hat d|^2 - \tfrac{1}{2 s^2}|\hat\theta|^2 - \tfrac12 \log\det(s^2 H) - \tfrac n2 \log 2\pi$$

compares priors and networks, and $\gamma = P - s^{-2}\,\mathrm{tr}\,H^{-1}$ weights are told by the readings. MacKay,
A practical Bayesian framework for backpropagation networks, 1992; Immer, Korzepa
and Bauer, Improving predictions of Bayesian neural nets via local linearization, 2021.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.levenberg_marquardt import jacobian
from physdiff.uq.weight_draws import WeightDraws, trainable

__all__ = ["WeightGaussian", "weight_laplace"]


@dataclass(frozen=True, eq=False)
class WeightGaussian:
    """A Gaussian law of trainable weights.

    Args:
        module: The network or problem; its weights are not touched.
        mean: (P,).
        root: Lower triangular (F, F), the Cholesky factor of the precision of the free entries.
        free: Which entries are free, (F,) indices; the others stay at the mean.
        log_evidence: log Z, ().
        effective: gamma, ().
    """

    module: nn.Module
    mean: Tensor
    root: Tensor
    free: Tensor
    log_evidence: Tensor
    effective: Tensor

    def draw(self, n: int, *, rng: Rng) -> WeightDraws:
        """Draw n weight vectors."""
        if n < 1:
            raise InputError(f"WeightGaussian: expected n >= 1 draws, got {n}")
        noise = rng.normal((len(self.free), n), like=self.mean)
        weights = self.mean.expand(n, -1).clone()
        weights[:, self.free] += torch.linalg.solve_triangular(self.root.mT, noise, upper=True).mT
        return WeightDraws(self.module, weights, {"log_evidence": self.log_evidence, "effective": self.effective})

    def covariance(self) -> Tensor:
        """Of the free entries, (F, F)."""
        return torch.cholesky_inverse(self.root)

    def coefficient_std(self) -> dict[str, Tensor]:
        """Standard deviation of each unknown coefficient of the law, linearised: ``|dc/dtheta|`` times that of theta.

        Raises:
            InputError: If the module is not a problem with unknown coefficients.
        """
        if not isinstance(self.module, Collocated) or not self.module.theta:
            raise InputError("WeightGaussian.coefficient_std: expected a Collocated with unknown coefficients, got none")
        eye = torch.zeros(len(self.free), len(self.module.theta), dtype=self.root.dtype)
        names = list(self.module.theta)
        ids = {id(p): name for name, p in self.module.theta.items()}
        at, start = {}, 0
        for p in trainable(self.module):
            if id(p) in ids:
                at[ids[id(p)]] = int((self.free == start).nonzero()[0])
            start += p.numel()
        for k, name in enumerate(names):
            eye[at[name], k] = 1.0
        stds = torch.linalg.solve_triangular(self.root, eye, upper=False).norm(dim=0)
        found = {}
        for k, name in enumerate(names):
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(self.module.coefficients()[name], self.module.theta[name])
            found[name] = slope.abs() * stds[k]
        return found


def weight_laplace(
    module: Collocated | CoordinateNet,
    deviations: Callable[[], Sequence[Tensor]],
    *,
    prior_std: float = 1.0,
    last_layer: bool = False,
) -> WeightGaussian:
    """The Gaussian around the weights that a network has, or with `last_layer` the exact one of its last linear layer.

    Args:
        module: Trained, its parameters those of linear layers and numbers (see `levenberg_marquardt`); freeze what is to stay.
        deviations: Function that gives terms (n,) in units of their standard deviations, as `deviations` of a problem.
        prior_std: s, of every weight before it has seen readings.
        last_layer: Free are the weights of the last linear layer and the unknown coefficients; one Gauss-Newton step is taken to their mode first.

    Raises:
        InputError: If the prior's standard deviation is not positive, or the Hessian is not positive definite to rounding.
    """
    precision = 1 / check_positive(prior_std, "weight_laplace prior_std") ** 2
    d, J = jacobian(module, deviations)
    theta = nn.utils.parameters_to_vector(trainable(module)).detach()
    free = _last(module) if last_layer else torch.arange(len(theta))
    J = J[:, free]
    H = J.mT @ J
    H.diagonal().add_(precision)
    root, failed = torch.linalg.cholesky_ex(H)
    if int(failed):
        raise InputError("weight_laplace: expected a positive definite Hessian, got one that is not, to rounding; take a smaller prior_std")
    mean = theta.clone()
    if last_layer:
        step = -torch.cholesky_solve((J.mT @ d + precision * theta[free])[:, None], root)[:, 0]
        mean[free] += step
        d = d + J @ step
    determinant = 2 * root.diagonal().log().sum() + 2 * math.log(prior_std) * len(free)
    square = d @ d + precision * mean[free] @ mean[free]
    evidence = -0.5 * (square + determinant + len(d) * math.log(2 * math.pi))
    inverse = torch.linalg.solve_triangular(root, torch.eye(len(free), dtype=root.dtype), upper=False)
    return WeightGaussian(module, mean, root, free, evidence, len(free) - precision * inverse.square().sum())


def _last(module: nn.Module) -> Tensor:
    """Indices of the last linear layer's weights and of numbers."""
    linear = [m for m in module.modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise InputError("weight_laplace last_layer: expected a network that ends in a linear layer, got none")
    wanted = {id(p) for p in linear[-1].parameters()}
    parts, start = [], 0
    for p in trainable(module):
        if id(p) in wanted or p.ndim == 0:
            parts.append(torch.arange(start, start + p.numel()))
        start += p.numel()
    if not parts:
        raise InputError("weight_laplace last_layer: expected a last layer that is trainable, got a frozen one; call `requires_grad_(True)` on it")
    return torch.cat(parts)
