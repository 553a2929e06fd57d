"""Sizes follow from the data: channels, axes, condition."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.heun import Heun
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.mlp import MLP
from physdiff.training.build import build_prior, condition_like
from physdiff.transforms.anomaly import Anomaly, Increment
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform

GRID = CartesianGrid((6, 8), extent=(1.0, 2.0), periodic=(True, False))
SPEC = FieldSpec(("u", "v"), ("m s-1", "m s-1"), GRID, 1.0, frames=3)
COND_SPEC = FieldSpec(("u", "v", "known", "hill"), ("m s-1", "m s-1", "1", "m"), GRID, 1.0, frames=3)
NORMALIZER = Normalizer(("channel",), torch.full((2, 1, 1, 1), 4.0), torch.full((2, 1, 1, 1), 2.0))


def wavelet(frames: int) -> WaveletTransform:
    return WaveletTransform("haar", 1, shape=(frames, 6, 8), dims=GRID.dims, periodic=GRID.periodic)


def test_time_stays_an_axis() -> None:
    prior = build_prior(SPEC, Compose((NORMALIZER, wavelet(3))), width=4, steps=20)
    assert prior.latent_shape == (8, 3, 3, 4)
    network = prior.denoiser.network
    assert (network.in_channels, network.out_channels, network.ndim) == (8, 8, 3)
    x = prior.sample(2, rng=Rng(0))
    assert x.shape == (2, 2, 3, 6, 8)
    # an untrained network answers zero: the denoiser is that of white noise of variance one, here 2 m/s about 4 m/s
    assert abs(float(x.mean()) - 4) < 4 * 2 / x.numel() ** 0.5 and abs(float(x.std()) / 2 - 1) < 4 / (2 * x.numel()) ** 0.5 + 0.05


def test_frames_as_channels_with_a_condition() -> None:
    transform = Compose((DropHistory(1), NORMALIZER, FramesToChannels(2), wavelet(1)))
    prior = build_prior(SPEC, transform, cond_spec=COND_SPEC, width=4, sampler=Heun(), steps=2)
    # coefficients: 2 fields, 2 frames, 4 parts; condition: 2 fields of 1 frame in 4 parts, one share, one static field
    assert prior.latent_shape == (16, 1, 3, 4)
    assert prior.denoiser.network.in_channels == 16 + 8 + 2 and prior.denoiser.network.ndim == 2
    assert isinstance(prior.sampler, Heun)
    # known values go through the same numbers as the fields
    assert torch.equal(prior.cond_transform.mean[:, 0, 0, 0], torch.tensor([4.0, 4.0, 0.0]))
    assert torch.equal(prior.cond_transform.std[:, 0, 0, 0], torch.tensor([2.0, 2.0, 1.0]))
    cond = torch.cat([torch.full((1, 2, 3, 6, 8), 6.0), torch.ones(1, 2, 3, 6, 8)], 1)
    encoded = prior.encode_cond(prior.complete(cond))
    # one standard deviation in every cell: 2 in the coarse part of an orthonormal haar transform in two axes, 0 in the details
    assert torch.allclose(encoded[0, :8, 0, 0, 0], torch.tensor([2.0, 2.0, 0, 0, 0, 0, 0, 0]))


def test_statistics_of_departures_are_not_taken_for_those_of_values() -> None:
    transform = Compose((DropHistory(1), Increment(1), NORMALIZER, FramesToChannels(2)))
    with pytest.raises(InputError, match="Increment"):
        condition_like(transform, SPEC, COND_SPEC)
    own = ConditionTransform(2, None, None, history=1, mean=torch.zeros(3, 1, 1, 1), std=torch.ones(3, 1, 1, 1))
    assert build_prior(SPEC, transform, cond_spec=COND_SPEC, cond_transform=own, width=4).denoiser.network.in_channels == 4 + 4


def test_other_networks() -> None:
    seen = {}

    def network(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int) -> MLP:
        seen.update(i=i, o=o, ndim=ndim, periodic=periodic, width=width)
        net = torch.nn.Identity()
        net.ndim = ndim
        return net

    build_prior(SPEC, Compose((NORMALIZER, FramesToChannels(3))), network=network, width=7)
    assert seen == {"i": 6, "o": 6, "ndim": 2, "periodic": (True, False), "width": 7}
    build_prior(SPEC, NORMALIZER, network=network)
    assert seen == {"i": 2, "o": 2, "ndim": 3, "periodic": (False, True, False), "width": 128}


@pytest.mark.parametrize("transform", [Normalizer(), Compose((FramesToChannels(3), Normalizer())), Compose((Anomaly("all"), NORMALIZER))])
def test_unfitted_transforms_are_refused(transform) -> None:
    with pytest.raises(InputError, match="fitted"):
        build_prior(SPEC, transform)


def test_a_condition_on_another_grid_is_refused() -> None:
    pixels = ConditionTransform(2, None, None, history=1, mean=torch.zeros(3, 1, 1, 1), std=torch.ones(3, 1, 1, 1))
    transform = Compose((DropHistory(1), NORMALIZER, FramesToChannels(2), wavelet(1)))
    with pytest.raises(InputError, match="coefficient grid"):
        build_prior(SPEC, transform, cond_spec=COND_SPEC, cond_transform=pixels)
