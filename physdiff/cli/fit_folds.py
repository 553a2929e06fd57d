"""``physdiff fit --folds``: diffusion of the errors of cross-fitted networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from torch import nn
from torch.utils.data import Dataset

from physdiff.base.errors import InputError
from physdiff.base.saved import read, write
from physdiff.cli.fit import begin, card_of, named, said_once, settings_of, train
from physdiff.cli.options import Select, Training, check_at_least, checked_file, checked_folder, opened
from physdiff.cli.splits import as_list
from physdiff.diffusion.centred import around_residuals, residual_noise
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.unet import UNet
from physdiff.training.callbacks.best_weights import BestWeights
from physdiff.training.cross_fit import bands_alike, cross_fit, residual_part
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import check_trainer_options
from physdiff.training.ranks import is_first_process
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["fit_folds", "train_folds"]

_COPIES = 7  # shifted copies of each error, where windows may be shifted
_LOOK, _PATIENCE = 80, 4  # windows between looks at the block that is left out, and looks without a gain


def fit_folds(
    data: str | list[str],
    out: str,
    folds: int,
    *,
    transform: WaveletTransform | None = None,
    network: Callable[[int, int], FieldNetwork] = UNet,
    recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008
    select: Select = Select(),  # noqa: B008
) -> None:
    """Train an ensemble forecast for a short record: diffusion of the errors that networks make on what they have not seen, around their mean.

    Each network is trained without one block of the record and stopped by it. All of them share half of the budget, and those that stop early leave
    theirs to the diffusion. Run again to go on after an interruption.

    Args:
        data: One netCDF file, several, or a pattern.
        out: File of the prior; checkpoints and the losses lie in the folder of the same name with ``.fit`` added.
        folds: Number of blocks, and of networks; 4 is usual.
        transform: A wavelet; the recipe's if not given.
        network: As in ``--network FNO --network.width 32``.
        recipe: What is modelled and how; its process is diffusion.
        training: How long and how (under a budget of seconds each network takes at least its share of `floor` steps, the diffusion all of them).
        select: Which fields and times; leave test data out here.
    """
    start = time.monotonic()
    target, folder = checked_file(out), checked_folder(f"{out}.fit")
    check_trainer_options(training.trainer or {})
    recipe = recipe if transform is None else recipe.with_wavelet(transform)
    with said_once():
        ds = opened(data, select, statics=recipe.statics)
        source = {**named(data, select, ds), "folds": folds}
        prior = train_folds(ds, recipe, folds=folds, training=training, network=network, folder=folder, source=source)
        if is_first_process():
            path = prior.save(target, card=card_of(source, training.seed))
            print(f"wrote the prior to {path} after {time.monotonic() - start:.0f} s; losses in {folder}")


def train_folds(
    ds: xr.Dataset,
    recipe: Recipe,
    *,
    folds: int,
    training: Training,
    network: Callable[..., nn.Module] = UNet,
    folder: Path | None = None,
    source: Mapping[str, Any] | None = None,
) -> DiffusionPrior:
    """Cross-fit forecasts, then train the diffusion of their errors; a prior in evaluation mode.

    With a folder, an interrupted run goes on there: networks that are done are read, the one that was being trained goes on exactly.
    """
    check_at_least(folds, 2, "folds")
    if recipe.process != "diffusion" or recipe.history < 1 or recipe.gaussian not in ("auto", "no"):
        asked = f"history {recipe.history}, process {recipe.process} and gaussian {recipe.gaussian}"
        raise InputError(f"folds: expected history >= 1, process diffusion and no Gaussian base, for errors of forecasts are modelled, got {asked}")
    if training.crop is not None or training.coarser is not None:
        raise InputError("folds: expected no crop and no coarser resolutions, got some; errors are learnt on the whole grid")
    start = time.monotonic()
    means = replace(recipe, process="deterministic", gaussian="auto")
    built = partial(prepare, ds, means, network=network, batch_size=training.batch_size)
    roll = tuple(as_list(training.roll) or ())

    def build(fold: int) -> Forecaster:
        made = built(seed=training.seed * folds + fold)[0]
        assert isinstance(made, Forecaster)
        bands_alike(made)
        return made

    def _one(mean: Forecaster, seen: Dataset[dict[str, Any]], unseen: Dataset[dict[str, Any]], fold: int) -> None:
        print(f"fold     {fold + 1} of {folds}: {len(seen)} windows, stopped by {len(unseen)} that share no frame with them")  # type: ignore[arg-type]
        own = None if folder is None else folder / f"fold{fold}"
        _fitted(mean, (seen, unseen), _share(training, folds, fold), folder=own, source={**(source or {}), "recipe": asdict(recipe)})

    windows = built(seed=training.seed)[1].train_windows
    mean, left = cross_fit(windows, build, _one, folds=folds, roll=roll, copies=_COPIES if roll else 0, seed=training.seed)
    prior = around_residuals(mean, left.held["z"], network=network, spectral=True, steps=recipe.steps, seed=training.seed)
    inner = residual_part(prior)
    noise = {"noise": residual_noise(prior), "input_noise": training.input_noise, "seed": training.seed}
    module = DiffusionModule(inner, training.lr, training.ema, **noise)  # type: ignore[arg-type]
    module.whole = False
    print(f"errors   {len(left)} windows")
    rest = _rest(training, folds, time.monotonic() - start)
    data = TrajectoryDataModule(left, batch_size=training.batch_size, seed=training.seed)
    train(inner, data, rest, folder=folder, source={**(source or {}), "recipe": asdict(recipe)}, module=module)
    return prior.eval()


def _share(training: Training, folds: int, fold: int) -> Training:
    """What one network may take: half of the budget, shared."""
    return replace(
        training,
        seconds=None if training.seconds is None else training.seconds / (2 * folds),
        floor=max(1, training.floor // folds),
        max_steps=None if training.max_steps is None else max(1, training.max_steps // (2 * folds)),
        seed=training.seed * folds + fold,
    )


def _rest(training: Training, folds: int, spent: float) -> Training:
    """What is left for the diffusion: of seconds all that networks did not take, of steps half."""
    return replace(
        training,
        seconds=None if training.seconds is None else max(1.0, training.seconds - spent),
        max_steps=None if training.max_steps is None else max(1, training.max_steps - folds * max(1, training.max_steps // (2 * folds))),
    )


def _fitted(
    mean: Forecaster,
    parts: tuple[Dataset[dict[str, Any]], Dataset[dict[str, Any]]],
    training: Training,
    *,
    folder: Path | None,
    source: Mapping[str, Any],
) -> None:
    """Train one network in place until its block says so, or take it from the folder, where it is done."""
    kept = None if folder is None else folder / "mean.prior"
    if kept is not None and folder is not None and is_first_process():
        begin(folder, settings_of(mean, training, source), done=kept)
    if kept is None or not kept.is_file():
        seen, unseen = parts
        data = TrajectoryDataModule(seen, unseen, batch_size=training.batch_size, seed=training.seed)
        every = max(1, _LOOK // len(seen))  # type: ignore[arg-type]
        looked = replace(training, trainer={"check_val_every_n_epoch": every, **(training.trainer or {})})
        train(mean, data, looked, folder=folder, source=source, stop=BestWeights(_PATIENCE))
        if kept is not None and is_first_process():
            write(kept, mean)
    else:
        mean.load_state_dict(read(kept)[0].state_dict())
