"""Every method of ``physdiff infer`` on a prior that `Recipe` makes with two levels of wavelets: readings in the unit of the field."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.rng import Rng
from physdiff.cli.infer import METHODS
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.sensors import Sensors
from physdiff.networks.unet import UNet
from physdiff.training.recipe import Recipe, prepare


@pytest.fixture(scope="module")
def prior() -> DiffusionPrior:
    """Waves of 280 K and some kelvin on 16 cells, an untrained network on top of their Gaussian law."""
    x = (np.arange(16) + 0.5) / 16
    size, shift = Rng(0).generator().normal(size=(2, 40, 1))
    u = 280 + 3 * size * np.sin(2 * np.pi * x + shift) + size * shift
    ds = xr.Dataset({"u": (("time", "x"), u, {"units": "K"})}, {"time": ("time", np.arange(40.0), {"units": "s"}), "x": ("x", x, {"units": "m"})})
    recipe = Recipe(history=0, horizon=1, levels=2, steps=4, guess="none", anomaly="none")
    made = prepare(ds, recipe, network=partial(UNet, width=4, multipliers=(1, 2)), batch_size=8)[0]
    assert made.latent_shape[-1] == 4 and made.latent_shape[0] == 4, made.latent_shape
    return made


# the network is asked some hundred times
LONG = {"HMC", "NUTS", "SplitGibbs"}


@pytest.mark.parametrize("name", [pytest.param(m, marks=pytest.mark.slow) if m in LONG else m for m in sorted(METHODS)])
def test_every_method_on_two_levels_of_wavelets(prior, name) -> None:
    """Finite fields of the right shape and size, in kelvin."""
    sensors = Sensors(prior.spec, torch.tensor([[0.3], [0.8]]))
    posterior = Posterior(prior, Observation(sensors, torch.full((1, 1, 2), 283.0), std=1.0))
    method = METHODS[name](steps=3)
    for setting, few in (("warmup", 2), ("draws", 4), ("depth", 1), ("length", 1), ("moves", 1)):
        if hasattr(method, setting):
            setattr(method, setting, few)
    run = method.sample(posterior, 4, rng=Rng(0))
    assert run.members.shape == (4, *prior.spec.shape) and bool(run.members.isfinite().all())
    assert 270 < float(run.mean().mean()) < 295
