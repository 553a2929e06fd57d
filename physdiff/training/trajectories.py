r"""Diffusion of whole trajectories on wavelet coefficients in time and space: the wavelet diffusion neural operator in the house's parts.

All frames of a trajectory are drawn at once, so that errors do not grow from step to step. The chain is normalise, one or more wavelet levels
along time AND space, one scale for all bands (the error of a coefficient counts as that of the points it is made of); what is known of each field
(first frame, force, final state) goes in as channels, with coordinates and lines between known frames. Where a condition leaves little open, train
the mean first (`around_mean`).
``wavelet="pixels"`` gives the same channels without a wavelet. ``coarse=2`` gives a model that adds resolution to a coarse trajectory (`upscale`):
diffusion of what straight lines in the coarse cells leave, in units of the local second difference
(`CoarseResidual`), trained with ``noise=residual_noise(prior)``. A trained `Autoencoder` or
`MeshAutoencoder` in the wavelet's place gives diffusion of whole trajectories in its latents, on points too.

References: P. Hu et al., Wavelet diffusion neural operator, ICLR 2025 (arXiv 2412.04833); Zhou et al., Text2PDE, ICLR 2025 (arXiv 2410.01153).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import xarray as xr
from torch import nn

from physdiff.base.errors import InputError
from physdiff.data.convert import spec_of
from physdiff.data.statistics import stream
from physdiff.data.tasks import Task, TaskWindows
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.grids.points import PointGrid
from physdiff.networks.unet import UNet
from physdiff.training.build import build_prior
from physdiff.transforms.coarse_residual import CoarseCondition, CoarseResidual
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.transform import Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["prepare_trajectories"]


def prepare_trajectories(
    train: xr.Dataset,
    tasks: Sequence[Task],
    *,
    wavelet: str | FrameCoder = "haar",
    levels: int = 1,
    coarse: int = 1,
    steps: int = 24,
    network: Callable[..., nn.Module] = UNet,
    seed: int = 0,
) -> tuple[DiffusionPrior, TaskWindows]:
    """An untrained prior of whole trajectories and the windows to train it on.

    Args:
        train: Trajectories; all their frames are one window.
        tasks: What is known, see `data.tasks`: ``{"u": (0,), "force": "all"}`` simulates, ``{"u": (0, -1)}`` controls; several: one model for all.
        wavelet: Along space (haar along time), or ``"pixels"``: the same channels without a wavelet; or a coder of frames, trained by
            `fit_autoencoder` on a recipe without history and anomaly.
        levels: Wavelet levels; 0: every point a coefficient. Not used with a coder.
        coarse: Factor between a coarse trajectory that is known and the grid; 1: none.
        steps: Steps of the sampler.
        network: Class or factory called as ``network(in_channels, out_channels, ndim=..., periodic=...)``; it knows its width.
        seed: Seed of the weights.

    Raises:
        InputError: If a task names what is not there, or an axis is too short for so many levels.
        DataError: If trajectories hold gaps.
    """
    spec = spec_of(train, gaps=True, mask=True)
    windows = TaskWindows(TrajectoryWindows(train, history=0, horizon=train.sizes["time"], spec=spec), tasks, coarse=coarse)
    spec = windows.spec
    if isinstance(spec.grid, PointGrid) and not isinstance(wavelet, FrameCoder):
        told = f"got {wavelet!r}; give a trained MeshAutoencoder in its place (by command --transform MeshAutoencoder)"
        raise InputError(f"prepare_trajectories: expected a coder of frames for trajectories at scattered points, which have no wavelet, {told}")

    if not isinstance(wavelet, FrameCoder):
        _check_levels(levels, dict(zip(("time", *spec.grid.dims), (spec.frames, *spec.grid.shape), strict=True)))

    def batches() -> object:
        return stream(windows, most=1024)

    folded = _folded(wavelet, levels, coarse, dims=("time", *spec.grid.dims))
    first = CoarseResidual(coarse, spec.grid.periodic) if coarse > 1 else Normalizer(("channel",))
    chain = Compose((first, *folded)).fitted_from(batches, spec, windows.cond_spec)  # type: ignore[arg-type]

    def sized(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int) -> nn.Module:
        return network(i, o, ndim=ndim, periodic=periodic)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prior = build_prior(
            spec,
            chain,
            cond_spec=windows.cond_spec,
            cond_transform=_condition(chain, len(spec.names), places=1 + spec.grid.ndim),
            network=sized,
            sampler=ExponentialMultistep(2, noise=1.0),
            steps=steps,
        )
    return prior, windows


def _check_levels(levels: int, lengths: dict[str, int]) -> None:
    """More levels than an axis can halve would only pad it, and multiply channels."""
    if levels < 0:
        raise InputError(f"prepare_trajectories: expected levels >= 0, got {levels}")
    name = min(lengths, key=lambda axis: lengths[axis])
    if levels and 2**levels > lengths[name]:
        most = lengths[name].bit_length() - 1
        raise InputError(f"levels: expected at most {most} for {lengths[name]} points along {name}, got {levels}; 0 takes points as they are")


def _folded(wavelet: str | FrameCoder, levels: int, coarse: int, *, dims: tuple[str, ...]) -> list[Transform]:
    """What follows the first normaliser: a trained coder, a wavelet, or nothing."""
    if isinstance(wavelet, FrameCoder):
        if wavelet.width and wavelet.channels is None or coarse > 1:
            raise InputError("prepare_trajectories: expected a trained coder and coarse 1, got others; train it with fit_autoencoder")
        return [wavelet, Normalizer(("channel",))]
    if not levels:
        return [Normalizer((), centre=False)] if coarse > 1 else []
    # one scale for all bands: details at unit variance would have three quarters of the loss and little of the energy
    return [WaveletTransform(wavelet, levels, dims), Normalizer((), centre=False)]


def _condition(chain: Compose, fields: int, *, places: int) -> ConditionTransform:
    """Masks of each field, in the units of the chain's first part; coordinates as they are."""
    parts = list(chain)
    first, last = parts[0], parts[-1]
    packed = next((p for p in parts if isinstance(p, WaveletTransform | FrameCoder)), None)
    if isinstance(first, CoarseResidual):
        assert isinstance(last, Normalizer) and last.std is not None and not isinstance(packed, FrameCoder)
        return CoarseCondition(fields, packed, first, scale=float(last.std))
    assert isinstance(first, Normalizer)
    assert first.mean is not None
    assert first.std is not None
    mean, std = first.mean.float(), first.std.float()
    mean, std = torch.cat([mean, mean.new_zeros(places, *mean.shape[1:])]), torch.cat([std, std.new_ones(places, *std.shape[1:])])
    return ConditionTransform(fields, None, packed, mean=mean, std=std, each=True)
