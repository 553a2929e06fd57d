"""From a data set to a trained autoencoder, ready for `prepare`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import torch
import xarray as xr

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.data.statistics import stream
from physdiff.training.autoencoder_module import AutoencoderLosses, AutoencoderModule
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.fit import fit, steps_for
from physdiff.training.recipe import Recipe, head_of, windows_of
from physdiff.transforms.compose import Compose
from physdiff.transforms.frame_coder import FrameCoder

__all__ = ["AutoencoderTraining", "fit_autoencoder"]

Coder = TypeVar("Coder", bound=FrameCoder)


@dataclass(frozen=True)
class AutoencoderTraining:
    """How long and how an autoencoder is trained.

    Args:
        max_steps: Optimiser steps; the most, if a budget of seconds is given too.
        seconds: Budget of wall-clock time, from a few timed steps.
        lr: Peak learning rate.
        ema: Decay of the average of the weights.
        batch_size: Windows per batch.
        roll: Periodic axes along which fields are shifted at random.
        seed: Seed of the weights and of everything random.
        trainer: Options of Lightning's Trainer, as for `fit`.
    """

    max_steps: int = 1000
    seconds: float | None = None
    lr: float = 1e-3
    ema: float = 0.99
    batch_size: int = 8
    roll: tuple[str, ...] = ()
    seed: int = 0
    trainer: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.max_steps < 1 or self.batch_size < 1:
            raise InputError(f"AutoencoderTraining: expected max_steps and batch_size from 1 up, got {self.max_steps} and {self.batch_size}")
        if self.seconds is not None:
            check_positive(self.seconds, "AutoencoderTraining seconds")


def fit_autoencoder(
    train: xr.Dataset,
    recipe: Recipe,
    autoencoder: Coder,
    *,
    val: xr.Dataset | None = None,
    losses: AutoencoderLosses = AutoencoderLosses(),  # noqa: B008 - frozen values
    training: AutoencoderTraining = AutoencoderTraining(),  # noqa: B008
    out: str | os.PathLike[str] | None = None,
) -> Coder:
    """Size it for the data, set its linear part, train its networks.

    Args:
        train: Training data in house conventions.
        recipe: The recipe of the prior it is for: its anomaly and the windows are the recipe's.
        autoencoder: Choices, not yet fitted; with width 0 the linear part is all.
        val: Validation data, on which its `error` is then measured.
        losses: Weights of the loss, and a law.
        training: How long and how.
        out: Folder of the checkpoint, from which an interrupted run goes on; None: nothing is written.

    Returns:
        A new autoencoder; ``prepare(train, recipe, autoencoder=...)`` takes it.

    Raises:
        DataError: If the data do not allow a choice of the recipe.
    """
    windows, anomaly = windows_of(train, recipe)
    head = head_of(windows, anomaly)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        made = Compose((head, autoencoder)).fitted_from(partial(stream, windows), windows.spec, windows.cond_spec)
    fitted = next(p for p in made if isinstance(p, type(autoencoder)))
    if fitted.width == 0:
        return fitted
    checked = None if val is None else windows_of(val, recipe, like=(windows, anomaly))[0]
    data = TrajectoryDataModule(windows, checked, batch_size=training.batch_size, seed=training.seed)
    module = AutoencoderModule(
        fitted, head, windows.spec, losses=losses, lr=training.lr, ema=training.ema, roll=training.roll, seed=training.seed
    )
    steps = training.max_steps
    if training.seconds is not None:
        steps = min(steps, steps_for(module, data, seconds=training.seconds, floor=1, **training.trainer)[0])
    fit(module, data, max_steps=steps, out=out, **training.trainer)
    return fitted
