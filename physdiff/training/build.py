"""From what the data are to a prior ready to be trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.refiner import RefinedMap, Refiner
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.points import PointGrid
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.noise_channels import NoiseChannels
from physdiff.networks.unet import UNet
from physdiff.transforms.anomaly import Anomaly, Increment, SubtractGuess
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.latent_increment import LatentIncrement
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.transform import Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["build_forecaster", "build_prior", "build_refiner", "condition_like"]

_TOLD = 16  # channels by which an operator is told a noise level


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
        network: Class or factory called as ``network(in_channels, out_channels, ndim=..., periodic=..., width=...)``. Operators that know no noise
            levels are told them as channels (`NoiseChannels`), those that belong to a grid get that of the coefficients (`FieldNetwork.at`).
        width: Channels of the network at its finest level.
        sampler: DPMSolver2M if None.
        steps: Sampler steps.

    Raises:
        InputError: If the transform is not fitted, or the condition does not land on the grid of the coefficients.
    """
    sizes = _sizes(transform, spec, cond_spec, cond_transform)
    net = sizes.network(network, sizes.channels + sizes.extra, sizes.channels, told=True, width=width)
    denoiser = PreconditionedDenoiser(net, EDMSchedule(0.02, 80.0))
    parts: dict[str, Any] = {"cond_transform": sizes.cond_transform, "cond_spec": cond_spec}
    return DiffusionPrior(denoiser, transform, spec, sampler=sampler or DPMSolver2M(), steps=steps, **parts)


def build_forecaster(
    spec: FieldSpec,
    transform: Transform,
    *,
    cond_spec: FieldSpec,
    cond_transform: ConditionTransform | None = None,
    network: Callable[..., nn.Module] = UNet,
    width: int = 128,
) -> Forecaster:
    """Choose sizes from the data and build an untrained deterministic forecast, a network of the condition alone; arguments as in `build_prior`."""
    sizes = _sizes(transform, spec, cond_spec, cond_transform)
    net = sizes.network(network, sizes.extra, sizes.channels, told=False, width=width)
    assert sizes.cond_transform is not None
    return Forecaster(net, transform, spec, cond_transform=sizes.cond_transform, cond_spec=cond_spec)


def build_refiner(
    spec: FieldSpec,
    transform: Transform,
    *,
    cond_spec: FieldSpec,
    cond_transform: ConditionTransform | None = None,
    network: Callable[..., nn.Module] = UNet,
    width: int = 128,
    refinements: int = 3,
) -> Refiner:
    """As `build_forecaster`, with refinements: the network sees noised coefficients beside the condition."""
    sizes = _sizes(transform, spec, cond_spec, cond_transform)
    net = RefinedMap(sizes.network(network, sizes.channels + sizes.extra, sizes.channels, told=True, width=width), refinements)
    assert sizes.cond_transform is not None
    return Refiner(net, transform, spec, cond_transform=sizes.cond_transform, cond_spec=cond_spec)


@dataclass(frozen=True)
class _Sizes:
    """Channels of the coefficients and of the encoded condition, and the axes of their grid."""

    channels: int
    extra: int
    axes: tuple[int, ...]
    periodic: tuple[bool, ...]
    cond_transform: ConditionTransform | None
    points: Tensor | None

    def network(self, factory: Callable[..., nn.Module], inputs: int, outputs: int, *, told: bool, width: int) -> nn.Module:
        """The network for these axes, told noise levels if wanted."""
        options = {"ndim": len(self.axes), "periodic": self.periodic, "width": width}
        net = factory(inputs, outputs, **options)
        wrap = told and isinstance(net, FieldNetwork) and not net.takes_noise
        if wrap:
            net = factory(inputs + _TOLD, outputs, **options)
        if isinstance(net, FieldNetwork):
            net = net.at(self.axes) if self.points is None else net.on(self.points)
        return NoiseChannels(net, _TOLD) if wrap else net


def _sizes(transform: Transform, spec: FieldSpec, cond_spec: FieldSpec | None, cond_transform: ConditionTransform | None) -> _Sizes:
    for part in _parts(transform):
        unfitted = isinstance(part, Normalizer) and part.mean is None or isinstance(part, Anomaly) and part.climatology is None
        if unfitted or isinstance(part, FrameCoder) and part.channels is None:
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
    coder = next((p for p in transform.modules() if isinstance(p, FrameCoder)), None)
    periodic = spec.grid.periodic if coder is None or coder.periodic is None else coder.periodic
    points = spec.grid.shares() if isinstance(spec.grid, PointGrid) and coder is None else None
    if frames == 1:
        return _Sizes(channels, extra, tuple(space), periodic, cond_transform, points)
    if points is not None:
        raise InputError(f"build_prior: expected the frames of values at points as channels, got an axis of {frames} frames; use FramesToChannels")
    return _Sizes(channels, extra, (frames, *space), (False, *periodic), cond_transform, None)


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
    wavelet = next((p for p in parts if isinstance(p, WaveletTransform | FrameCoder)), None)
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
