r"""Hamiltonian chains on the weights of a network of the coordinates (B-PINN), coefficients of the law with them.

$$\log \pi(\theta) = -\tfrac12 \sum_i d_i(\theta)^2 - \tfrac{1}{2 s^2}|\theta|^2$$

Chains move in $z$ with $\theta = \hat\theta + L^{-\mathsf T} z$, $H = L L^\mathsf T$ the Gauss-Newton Hessian at the weights that the network has:
directions, whose scales differ by many orders in weights, are alike in z, and where deviations are linear $\pi$ is a standard normal law of z. Chains
start at draws of Laplace's Gaussian. They do not visit the mirror images of a network, which are the same fields. Yang, Meng and Karniadakis,
B-PINNs, 2021; Neal, Bayesian learning for neural networks, 1996.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.inference.chains import run_chains
from physdiff.inference.hamiltonian import Point, hmc_move, nuts_move
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.uq.laplace import weight_laplace
from physdiff.uq.weight_draws import WeightDraws, trainable

__all__ = ["weight_chains"]

log = logging.getLogger(__name__)


def weight_chains(
    module: Collocated | CoordinateNet,
    deviations: Callable[[Collocated | CoordinateNet], Sequence[Tensor]],
    n: int,
    *,
    rng: Rng,
    prior_std: float = 1.0,
    method: str = "nuts",
    chains: int = 4,
    warmup: int = 100,
) -> WeightDraws:
    """Draw n weight vectors by chains of HMC or NUTS around the weights that a network has.

    Args:
        module: Trained (near the mode); float64, its parameters those of linear layers and numbers.
        deviations: Function of the module that gives terms in units of their standard deviations, as `deviations` of a problem.
        n: Number of draws, taken evenly from at least as many of each chain as `chains` need for it.
        rng: Randomness.
        prior_std: s, of every weight.
        method: ``"nuts"`` or ``"hmc"`` (trajectories of 8 steps in the mean).
        chains: Chains side by side.
        warmup: Moves of each chain that find step size and mass and are dropped.

    Returns:
        Draws; `info`: ``rhat``, ``ess_bulk``, ``ess_tail`` (worst over weights and log density), ``acceptance``, ``divergences``, ``gradient_calls``.

    Raises:
        InputError: If a number makes no sense, or as `weight_laplace`.
    """
    check_one_of(method, ("hmc", "nuts"), "weight_chains method")
    if n < 1 or chains < 1:
        raise InputError(f"weight_chains: expected n >= 1 draws and one chain or more, got {n} and {chains}")
    if trainable(module)[0].dtype != torch.float64:
        raise InputError("weight_chains: expected float64 weights, got others; call `module.double()` first")
    target = _Target(module, deviations, check_positive(prior_std, "weight_chains prior_std"))
    start = rng.child("start").normal((chains, len(target.centre)), like=target.centre)
    move = partial(nuts_move, depth=7) if method == "nuts" else partial(hmc_move, length=8)
    draws = max(4, -(-n // chains))
    found = run_chains(target, start, move, draws=draws, warmup=warmup, rng=rng.child("chains"), what="weight_chains")
    quality = found.quality()
    if float(quality["rhat"]) > 1.1:
        log.warning("weight_chains: chains have not mixed (R-hat %.2f, 1 is mixed); more warm-up and draws", float(quality["rhat"]))
    flat = found.images.transpose(0, 1).flatten(0, 1)
    which = ((torch.arange(n, dtype=torch.float64) + 0.5) * len(flat) / n).floor().long()
    counts = {"divergences": torch.tensor(found.divergences), "gradient_calls": found.gradients.sum().round().long()}
    return WeightDraws(module, flat[which], {**quality, "acceptance": found.acceptance, **counts})


class _Target:
    """Log density of z with its gradient, chain by chain; the image is the weights."""

    def __init__(
        self, module: Collocated | CoordinateNet, deviations: Callable[[Collocated | CoordinateNet], Sequence[Tensor]], prior_std: float
    ) -> None:
        self.twin, self.deviations, self.precision = copy.deepcopy(module), deviations, 1 / prior_std**2
        self.parameters = trainable(self.twin)
        gaussian = weight_laplace(self.twin, lambda: deviations(self.twin), prior_std=prior_std)
        self.centre, self.root = gaussian.mean, gaussian.root

    def __call__(self, z: Tensor) -> Point:
        theta = self.centre + torch.linalg.solve_triangular(self.root.mT, z.mT, upper=True).mT
        values, slopes = zip(*(self._one(row) for row in theta), strict=True)
        slope = torch.linalg.solve_triangular(self.root, torch.stack(slopes).mT, upper=False).mT
        return Point(z, torch.stack(values), slope, theta)

    def _one(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            nn.utils.vector_to_parameters(theta, self.parameters)
        with torch.enable_grad():
            try:
                half = 0.5 * torch.stack([d.square().sum() for d in self.deviations(self.twin)]).sum()
            except (Diverged, InputError):
                # a trajectory has run away, or taken a coefficient out of its law's range: no density there
                return theta.new_tensor(-torch.inf), torch.zeros_like(theta)
            grads = torch.autograd.grad(half, self.parameters, materialize_grads=True)
        value = -half.detach() - 0.5 * self.precision * (theta @ theta)
        slope = -torch.cat([g.reshape(-1) for g in grads]) - self.precision * theta
        finite = bool(value.isfinite()) and bool(slope.isfinite().all())
        return (value, slope) if finite else (theta.new_tensor(-torch.inf), torch.zeros_like(theta))
