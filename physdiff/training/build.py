"""From what the data are to a prior ready to be trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from physdiff.base.errors import InputError
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.unet import UNet
from physdiff.transforms.anomaly import Anomaly, Increment, SubtractGuess
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.latent_increment import LatentIncrement
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.transform import Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["build_prior", "condition_like"]


def build_prior(
    spec: FieldSpec,
    transform: Transform,
    *,
    cond_spec: FieldSpec | None = None,
    cond_transform: ConditionTransform | None = None,
    network: Callable[..., nn.Module] = UNet,
    width: int = 128,
    sampler: Sampler | None = None,
    steps: int = 20,
) -> DiffusionPrior:
    """Choose sizes from the data and build an untrained prior with EDM schedule and preconditioning (Karras et al., 2022).

    Args:
        spec: What the windows are.
        transform: Fitted transform.
        cond_spec: What the condition windows are; None for an unconditional prior.
        cond_transform: Fitted condition transform; derived from `transform` if not given (`condition_like`).
        network: Class or factory called as ``network(in_channels, out_channels, ndim=..., periodic=..., width=...)``.
        width: Channels of the network at its finest level.
        sampler: DPMSolver2M if None.
        steps: Sampler steps.

    Raises:
        InputError: If the transform is not fitted, or the condition does not land on the grid of the coefficients.
    """
    for part in _parts(transform):
        unfitted = isinstance(part, Normalizer) and part.mean is None or isinstance(part, Anomaly) and part.climatology is None
        if unfitted or isinstance(part, Autoencoder) and part.channels is None:
            raise InputError(f"build_prior: expected a fitted transform, got {type(part).__name__} that is not; use fitted(transform, data)")
    if cond_spec is not None and cond_transform is None:
        cond_transform = condition_like(transform, spec, cond_spec)
    channels, frames, *space = transform.out_shape(spec.shape)
    extra = 0
    if cond_spec is not None and cond_transform is not None:
        cond_shape = cond_transform.out_shape((len(cond_spec.names), spec.frames, *spec.grid.shape))
        if cond_shape[1:] != (frames, *space):
            raise InputError(f"build_prior: expected the condition on the coefficient grid {(frames, *space)}, got {cond_shape[1:]}")
        extra = cond_shape[0]
    periodic = spec.grid.periodic if frames == 1 else (False, *spec.grid.periodic)
    net = network(channels + extra, channels, ndim=len(periodic), periodic=periodic, width=width)
    denoiser = PreconditionedDenoiser(net, EDMSchedule(0.02, 80.0))
    return DiffusionPrior(
        denoiser, transform, spec, sampler=sampler or DPMSolver2M(), steps=steps, cond_transform=cond_transform, cond_spec=cond_spec
    )


def condition_like(transform: Transform, spec: FieldSpec, cond_spec: FieldSpec) -> ConditionTransform:
    """A condition transform with the same anomaly, wavelet or autoencoder, and frames as `transform` and the statistics of its first normaliser.

    Raises:
        InputError: If the transform subtracts a guess or the last known frame, so that its statistics say nothing about the known values.
    """
    parts = _parts(transform)
    departures = [type(p).__name__ for p in parts if isinstance(p, Increment | SubtractGuess | LatentIncrement)]
    if departures:
        raise InputError(
            f"condition_like: expected a transform of the values themselves, got one with {departures[0]}; "
            "give cond_transform=ConditionTransform(...).fitted_from(batches)"
        )
    anomaly = next((p for p in parts if isinstance(p, Anomaly)), None)
    wavelet = next((p for p in parts if isinstance(p, WaveletTransform | Autoencoder)), None)
    normalizer = next((p for p in parts if isinstance(p, Normalizer)), None)
    fold = any(isinstance(p, FramesToChannels) for p in parts)
    history = next((p.history for p in parts if isinstance(p, DropHistory)), spec.frames) if fold else None
    fields, extras = len(spec.names), len(cond_spec.names) - len(spec.names) - 1
    mean, std = torch.zeros(fields, 1, 1, *[1] * spec.grid.ndim), torch.ones(fields, 1, 1, *[1] * spec.grid.ndim)
    if normalizer is not None and normalizer.mean is not None and normalizer.std is not None and normalizer.mean.shape[0] == fields:
        axes = tuple(range(1, normalizer.mean.ndim))
        mean, std = normalizer.mean.mean(axes, keepdim=True), normalizer.std.mean(axes, keepdim=True)
    one = torch.ones(extras, *mean.shape[1:])
    return ConditionTransform(fields, anomaly, wavelet, history=history, mean=torch.cat([mean, 0 * one]), std=torch.cat([std, one]))


def _parts(transform: Transform) -> list[Transform]:
    return list(transform) if isinstance(transform, Compose) else [transform]
