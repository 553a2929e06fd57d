r"""The linear part of a prior, exact: a Gaussian with the training covariance under the network.

The covariance is estimated where places have distances, on the normalised pixels (tapered, shrunk and inflated as held-out windows ask for, see
`tapered_covariance`, `choose_taper` and `choose_inflation`), and carried to the coefficients by the wavelet transform W, which is linear:
$C_z = W C W^\top$. The network then learns only what is not Gaussian (`network_share` weighs it), and guidance by sensors (`Guided`) finds in it how
far a reading reaches. On a few hundred frames this matters more than any network.
"""

from __future__ import annotations

import logging

import torch
from torch import Tensor
from torch.utils.data import default_collate

from physdiff.base.errors import InputError
from physdiff.data.first_guess import GuessedWindows
from physdiff.data.windows import TrajectoryWindows, WindowRange
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import Covariance, LowRankCovariance, dense_covariance, low_rank_covariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.sample_covariance import pairwise_distance, tapered_covariance
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.diffusion.taper_choice import choose_inflation, choose_taper
from physdiff.grids.grid import Grid
from physdiff.transforms.compose import Compose
from physdiff.transforms.parameters import ParameterChannels
from physdiff.transforms.transform import Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["with_gaussian"]

log = logging.getLogger(__name__)

_DENSE = 6000  # entries up to which a covariance is kept whole: its eigenvectors take 144 MB in float32
_MOST_PATTERNS = 400
_LEFT_OVER = 1e-4  # with unit variance at each entry: a hundredth of it, below the last noise level
_BATCH = 64


def with_gaussian(prior: DiffusionPrior, source: TrajectoryWindows | GuessedWindows | WindowRange, *, patterns: bool = False) -> DiffusionPrior:
    """The same prior with the Gaussian denoiser of the training windows under its network.

    Args:
        prior: A prior whose denoiser is a network.
        source: Training windows.
        patterns: Take the leading patterns of the windows' covariance as they are: those that hold all but 1e-4 of the variance, at most 400.

    Raises:
        InputError: If the denoiser is no network.
    """
    denoiser = prior.denoiser
    if not isinstance(denoiser, PreconditionedDenoiser):
        raise InputError(f"with_gaussian: expected a prior with a network, got {type(denoiser).__name__}")
    split = prior.transform if isinstance(prior.transform, ParameterChannels) else None
    chain = prior.transform if split is None else split.fields
    parts = list(chain) if isinstance(chain, Compose) else [chain]
    cut = next((i for i, p in enumerate(parts) if isinstance(p, WaveletTransform)), len(parts))
    head, tail = Compose(tuple(parts[:cut])), Compose(tuple(parts[cut:]))
    pixels = _pixels(prior, head, source)
    mean, covariance = _leading(tail.encode(pixels)) if patterns else _moments(pixels, tail, prior.spec.grid)
    if split is not None:
        mean, covariance = _beside_parameters(mean, covariance, split)
    # a smooth field has most of its variance in a few patterns: the noise must drown those too
    schedule = EDMSchedule(0.02, 400.0)
    return DiffusionPrior(
        PreconditionedDenoiser(denoiser.network, schedule, base=GaussianDenoiser(schedule, mean, covariance)),
        prior.transform,
        prior.spec,
        sampler=ExactLinear(),  # keeps the spread of the Gaussian part whatever the steps, where an ancestral sampler loses 16 %
        steps=prior.steps,
        cond_transform=prior.cond_transform,
        cond_spec=prior.cond_spec,
    )


def _pixels(prior: DiffusionPrior, head: Transform, source: TrajectoryWindows | GuessedWindows | WindowRange) -> Tensor:
    """Normalised windows before the wavelet, (n, C, T, *S); with a first guess those of the folds, as the network gets them."""
    rows = []
    for start in range(0, len(source), _BATCH):
        batch = default_collate([source[i] for i in range(start, min(start + _BATCH, len(source)))])
        completed = prior.complete(batch.get("cond"), batch.get("guess"))
        x = torch.where(batch["x"].isfinite(), batch["x"], prior.centre(completed, like=batch["x"]))
        if isinstance(prior.transform, ParameterChannels):
            x = prior.transform.without(x)
        rows.append(head.encode(x, completed))
    return torch.cat(rows)


def _leading(samples: Tensor) -> tuple[Tensor, LowRankCovariance]:
    """Mean and the patterns that hold all but `_LEFT_OVER` of the variance."""
    mean, most = low_rank_covariance(samples, min(len(samples) // 2, samples[0].numel() - 1, _MOST_PATTERNS))
    values, size = most.eigenvalues.double(), samples[0].numel()
    total = values.sum() + most.rest * (size - len(values))
    rank = min(len(values), int((values.cumsum(0) < (1 - _LEFT_OVER) * total).sum()) + 1)
    return mean, LowRankCovariance(most.eigenvectors[:rank], most.eigenvalues[:rank], float((total - values[:rank].sum()) / (size - rank)))


def _moments(pixels: Tensor, tail: Transform, grid: Grid) -> tuple[Tensor, Covariance]:
    if pixels[0].numel() > _DENSE or pixels.shape[3:] != grid.shape:
        samples = tail.encode(pixels)
        return low_rank_covariance(samples, min(len(samples) // 2, samples[0].numel() - 1, _MOST_PATTERNS))
    distance = pairwise_distance(grid)
    taper = choose_taper(pixels, distance)
    inflation = choose_inflation(pixels, distance, taper)
    log.info("Gaussian base: taper of length %.3g, shrunk by %g, inflated by %.2f", taper.length, taper.shrink, inflation)
    local = tapered_covariance(pixels, distance, taper.shrink, length=taper.length)
    roots = local.eigenvectors * (inflation * local.eigenvalues).sqrt()[:, None]
    rows = roots.reshape(-1, *pixels.shape[1:])
    # the wavelet chain is affine: without its offset it is W
    carried = (tail.encode(rows) - tail.encode(torch.zeros_like(rows[:1]))).flatten(1).double()
    covariance = dense_covariance(carried.T @ carried)
    mean = tail.encode(pixels.mean(0, keepdim=True))[0]
    return mean, _single(covariance, pixels)


def _beside_parameters(mean: Tensor, covariance: Covariance, split: ParameterChannels) -> tuple[Tensor, Covariance]:
    """The moments with those of the parameters, one direction each; what fields and parameters have in common is left to the network."""
    assert isinstance(covariance, LowRankCovariance)
    count, cells = len(split.channels), mean[0].numel()
    rank, size = covariance.eigenvectors.shape
    basis = mean.new_zeros(rank + count, size + count * cells)
    basis[:rank, :size] = covariance.eigenvectors
    for k in range(count):
        basis[rank + k, size + k * cells : size + (k + 1) * cells] = cells**-0.5
    values = torch.cat([covariance.eigenvalues, mean.new_full((count,), split.size**2)])
    whole = torch.cat([mean, mean.new_zeros(count, *mean.shape[1:])])
    # what leading patterns leave over is spread over the parameters' other directions too, where it is noise to be removed
    return whole, LowRankCovariance(basis, values, covariance.rest if rank < size else 0.0)


def _single(covariance: LowRankCovariance, like: Tensor) -> LowRankCovariance:
    """The covariance in the dtype of the data: eigenvectors in float64 would take twice the room for nothing.

    Built anew, not moved by `to`: a file holds what an object was built from.
    """
    return LowRankCovariance(covariance.eigenvectors.to(like.dtype), covariance.eigenvalues.to(like.dtype))

