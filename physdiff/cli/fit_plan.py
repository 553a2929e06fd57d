"""``physdiff fit --plan``."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext

from physdiff.base.errors import InputError
from physdiff.cli.fit import module_of
from physdiff.cli.options import Select, Training, check_at_least, opened
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.unet import UNet
from physdiff.training.callbacks.run_report import peak_memory
from physdiff.training.fit import check_trainer_options, steps_for
from physdiff.training.recipe import Recipe, prepare
from physdiff.training.recompute import recomputed
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["fit_plan"]

_COPIES = 5  # of the weights: themselves, gradient, two moments of Adam, average


def fit_plan(
    data: str | list[str],
    out: str = "",
    *,
    transform: WaveletTransform | Autoencoder | None = None,
    network: Callable[[int, int], FieldNetwork] = UNet,
    max_epochs: int | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008
    select: Select = Select(),  # noqa: B008
) -> None:
    """Say what a fit would take, without training: parameters, memory and time, from seven timed steps; nothing is written.

    Args:
        data: As for fit.
        out: Not used.
        transform: A wavelet; an autoencoder has to be trained before anything is known.
        network: As for fit.
        max_epochs: Passes (50 without another budget).
        recipe: What is modelled and how.
        training: How long and how.
        select: Which fields and times.
    """
    check_at_least(max_epochs, 1, "max_epochs")
    check_trainer_options(training.trainer or {})
    if isinstance(transform, Autoencoder):
        raise InputError("plan: expected pixels or a wavelet, got an autoencoder, which is trained first; plan its --recipe.wavelet none for a bound")
    recipe = recipe if transform is None else recipe.with_wavelet(transform)
    ds = opened(data, select, statics=recipe.statics)
    prior, windows = prepare(ds, recipe, network=network, batch_size=training.batch_size, seed=training.seed)
    windows.num_workers = training.workers
    before = peak_memory()
    options = {"precision": training.precision, **(training.trainer or {})}
    options.pop("logger", None)
    with recomputed(prior.model) if training.recompute else nullcontext():
        _, each = steps_for(module_of(prior, training), windows, seconds=1.0, floor=1, **options)  # type: ignore[arg-type]
    count = len(windows.train_windows)  # type: ignore[arg-type]  # torch's Dataset does not say that it has a length
    per_epoch = math.ceil(max(1, count // training.batch_size) / int(options.get("accumulate_grad_batches", 1)))
    weights = sum(p.numel() for p in prior.model.parameters())
    steps = _steps(training, max_epochs, each=each, per_epoch=per_epoch)
    print(f"windows  {count} of {prior.spec.frames} frames, {per_epoch} steps an epoch; coefficients {prior.latent_shape}")
    print(f"weights  {weights:,} parameters: {_COPIES * 4 * weights / 2**20:.1f} MiB with gradient, optimiser and average")
    for what, held in peak_memory().items():
        print(f"memory   at most {held:.0f} MiB ({what}), {before.get(what, 0.0):.0f} MiB before the first step")
    print(f"time     {steps} steps of about {each:.3g} s: {steps * each:.0f} s, {steps / per_epoch:.1f} epochs")


def _steps(training: Training, max_epochs: int | None, *, each: float, per_epoch: int) -> int:
    """Steps of the budget that is used up first."""
    found = [] if training.max_steps is None else [training.max_steps]
    if training.seconds is not None:
        found = [max(training.floor, math.floor(training.seconds / each))]
    if max_epochs is not None or not found:
        found.append((max_epochs or 50) * per_epoch)
    return min(found)
