"""``physdiff fit``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import xarray as xr
from torch import nn

from physdiff import __version__
from physdiff.base.errors import InputError
from physdiff.cli.options import Select, Training, opened
from physdiff.cli.parse import command_line
from physdiff.data.split import split_samples, split_time
from physdiff.networks.unet import UNet
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit as fit_module
from physdiff.training.fit import steps_for
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["fit", "train_prior"]


def fit(
    data: str | list[str],
    out: str,
    *,
    transform: WaveletTransform | None = None,
    network: Callable[[int, int], nn.Module] = UNet,
    max_epochs: int | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008
    select: Select = Select(),  # noqa: B008
) -> None:
    """Train a diffusion prior on trajectories and write it to one file; run again to go on after an interruption.

    Args:
        data: One netCDF file, several, or a pattern.
        out: File of the prior; checkpoints and the loss lie in the folder of the same name with ``.fit`` added.
        transform: Wavelet transform, as in ``--transform WaveletTransform --transform.wavelet db4``; the recipe's if not given.
        network: The network, as in ``--network UNet --network.width 64``.
        max_epochs: Passes over the data (50 if no other budget is given).
        recipe: What is modelled and how.
        training: How long and how.
        select: Which fields and times; leave test data out here.
    """
    start = time.monotonic()
    ds = opened(data, select)
    folder = Path(f"{out}.fit")
    prior, _ = train_prior(ds, recipe, network=network, transform=transform, max_epochs=max_epochs, training=training, folder=folder)
    card = {"command": command_line(), "physdiff": __version__, "data": data if isinstance(data, str) else list(data), "seed": training.seed}
    path = prior.save(out, card=card)
    print(f"wrote the prior to {path} after {time.monotonic() - start:.0f} s; loss in {folder / 'log' / 'metrics.csv'}")


def train_prior(
    ds: xr.Dataset,
    recipe: Recipe,
    *,
    training: Training,
    network: Callable[..., nn.Module] = UNet,
    transform: WaveletTransform | None = None,
    max_epochs: int | None = None,
    folder: Path | None = None,
    val: xr.Dataset | None = None,
):  # noqa: ANN201
    """Prepare, plan and train; returns the prior (in evaluation mode) and the data module."""
    if transform is not None:
        recipe = recipe.with_wavelet(transform)

    def built(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], **rest: object) -> nn.Module:
        return network(i, o, ndim=ndim, periodic=periodic, **({} if network is not UNet else rest))

    prior, data = prepare(ds, recipe, val=val, network=network, batch_size=training.batch_size, seed=training.seed)
