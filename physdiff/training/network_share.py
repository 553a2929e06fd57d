r"""How much of what a network adds to a Gaussian holds for windows it has not seen.

On few days a network takes for known what holds for its own days only, and draws are too narrow. The denoiser of a prior on a Gaussian base is
$D = D_0 + w\,\Delta$, with $\Delta$ what the network adds; over windows kept from its training, and noise levels of the training law, the share with
the smallest weighted error is

$$ w = E[\langle \Delta, x_0 - D_0 \rangle / v] \,/\, E[\,|\Delta|^2 / v\,], $$

with v the mean variance of $x_0$ given $x_t$ under the base, held within 0 and 1. The share is one if the network is the exact posterior mean (whose
error is orthogonal to any function of $x_t$), zero where the Gaussian is right already. One number from thousands of products: it does not overfit.
$D_0$ must not have seen those windows either: it is the Gaussian of the others. On its own windows a Gaussian that is drawn wide for days to come is
too wide, and a network that takes this back would be praised.

References: Stein, Inadmissibility of the usual estimator, 1956, for shrinkage; Wolpert, Stacked generalization, 1992, for weights from held-out data.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.objective import LogNormalNoise, NoiseLaw
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.schedule import per_sample
from physdiff.training.encoded import EncodedWindows

__all__ = ["network_share", "with_share"]

_LEVELS = 8
_BATCH = 64


def network_share(
    prior: DiffusionPrior,
    windows: Dataset[dict[str, Any]],
    *,
    base: GaussianDenoiser | None = None,
    noise: NoiseLaw | None = None,
    rng: Rng,
) -> float:
    """The share of the module's formula, by eight noise levels of every window.

    Args:
        prior: A trained prior whose network adds to a Gaussian.
        windows: Windows the network was not trained on.
        base: The Gaussian of other windows of the same coefficients; the prior's own if None, which then should not have seen `windows`.
        noise: Law of the noise levels; LogNormalNoise() if None.
        rng: Randomness of levels and noise.

    Raises:
        InputError: If the prior has no network on a Gaussian.
    """
    denoiser = prior.denoiser
    if not isinstance(denoiser, PreconditionedDenoiser) or not isinstance(denoiser.base, GaussianDenoiser):
        raise InputError(f"network_share: expected a prior with a network on a Gaussian base, got {type(denoiser).__name__}; see with_gaussian")
    was, law, held = prior.training, noise or LogNormalNoise(), EncodedWindows(windows, prior)
    whole, judge = with_share(prior.eval(), 1.0).denoiser, denoiser.base if base is None else base  # eval: dropout off
    products = squares = 0.0
    for first in range(0, len(held), _BATCH):
        rows = range(first, min(first + _BATCH, len(held)))
        batch = default_collate([held[i] for i in rows])
        for level in range(_LEVELS):
            t = law.times(denoiser.schedule, rows, rng.child("level", level)).to(batch["z"].device)
            eps = rng.child("noise", level).normal_each(rows, batch["z"].shape[1:], like=batch["z"])
            added, left = _parts(whole, (denoiser.base, judge), batch, t=t, eps=eps)
            products += float((added * left).sum())
            squares += float(added.square().sum())
    prior.train(was)
    return min(1.0, max(0.0, products / squares)) if squares > 0 else 1.0


@torch.no_grad()
def _parts(
    whole: Denoiser, bases: tuple[GaussianDenoiser, GaussianDenoiser], batch: dict[str, Tensor], *, t: Tensor, eps: Tensor
) -> tuple[Tensor, Tensor]:
    """What the network adds to the first base and what the second leaves, in standard deviations of the first, as far as known; float64."""
    base, judge = bases
    z, c = batch["z"], batch.get("c")
    alpha, sigma = base.schedule(t)
    x_t = per_sample(alpha, z) * z + per_sample(sigma, z) * eps
    scale = per_sample(base.posterior_variance(t).rsqrt(), z)
    if "weights" in batch:
        scale = scale * batch["weights"].sqrt()
    left = torch.where(scale.expand_as(z) > 0, scale * (z - judge(x_t, t, c)), 0.0)  # a weight of zero hides whatever stands there
    return (scale * (whole(x_t, t, c) - base(x_t, t, c))).double(), left.double()


def with_share(prior: DiffusionPrior, share: float) -> DiffusionPrior:
    """The prior, parts shared, with that share of its network; what is saved then says so too.

    Raises:
        InputError: If the prior has no network, or the share is not within 0 and 1.
    """
    old = prior.denoiser
    if not isinstance(old, PreconditionedDenoiser):
        raise InputError(f"with_share: expected a prior with a network, got {type(old).__name__}")
    denoiser = PreconditionedDenoiser(old.network, old.schedule, old.sigma_data, base=old.base, share=share)
    own, cond = {"sampler": prior.sampler, "steps": prior.steps}, {"cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec}
    made = DiffusionPrior(denoiser, prior.transform, prior.spec, **own, **cond)  # type: ignore[arg-type]
    made.train(prior.training)
    return made
