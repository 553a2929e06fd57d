"""``physdiff fit --tasks``: priors of whole trajectories."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import xarray as xr

from physdiff.cli.captions import SelectTold, encoder_name, spelled_out, told
from physdiff.cli.fit import card_of, named, said_once, train, trained_coder
from physdiff.cli.options import Training, check_at_least, checked_file, checked_folder, opened, tasks_of
from physdiff.data.tasks import Task, TaskWindows
from physdiff.data.windows import TrajectoryWindows
from physdiff.forecast.cascade import on_finer_grid
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.unet import UNet
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.fit import check_trainer_options
from physdiff.training.pattern_prior import in_patterns
from physdiff.training.ranks import is_first_process
from physdiff.training.recipe import Recipe
from physdiff.training.trajectories import prepare_trajectories
from physdiff.transforms.frame_coder import FrameCoder

__all__ = ["fit_trajectories", "fitted_trajectories"]

_FRAMES = 4  # of a window on which a coder of frames is trained


def fit_trajectories(
    data: str | list[str],
    out: str,
    tasks: list[dict[str, list[int] | str]],
    *,
    wavelet: str = "haar",
    levels: int = 1,
    network: Callable[[int, int], FieldNetwork] = UNet,
    training: Training = Training(),  # noqa: B008 - a frozen value
    select: SelectTold = SelectTold(),  # noqa: B008
) -> None:
    """Train a prior of whole trajectories, all frames drawn at once given some of them (wavelet diffusion neural operator).

    Args:
        data: One netCDF file, several, or a pattern; every trajectory of it is one window.
        out: File of the prior; checkpoints and the loss lie in the folder of the same name with ``.fit`` added.
        tasks: Frames that are known of each field, as in ``[{u: [0], force: all}]`` (simulation) or ``[{u: [0, -1]}]`` (control); several: one model
            for all.
        wavelet: Along space (haar along time); ``pixels``: the same channels without a wavelet.
        levels: Wavelet levels.
        network: As in ``--network FNO --network.width 32``.
        training: How long and how (50 epochs if nothing is said).
        select: Which fields and times, and texts; leave test data out here.
    """
    check_at_least(levels, 0, "levels")
    chain = {"wavelet": wavelet, "levels": levels, "network": network}
    fitted_trajectories(data, out, tasks, training=training, select=select, chain=chain)


def fitted_trajectories(
    data: str | list[str], out: str, tasks: list[dict[str, list[int] | str]], *, training: Training, select: SelectTold, chain: Mapping[str, Any]
) -> None:
    """Prepare with `chain` as arguments of `prepare_trajectories` (of `in_patterns`: patterns, width), train, and write the prior."""
    start, asked = time.monotonic(), tasks_of(tasks, "tasks")
    target, folder = checked_file(out), checked_folder(f"{out}.fit")
    check_trainer_options(training.trainer or {})
    with said_once():
        plain = select.plain()
        ds = told(opened(data, plain), select.captions, select.encoder)
        assert ds is not None
        given = spelled_out(asked, list(map(str, ds.data_vars)))
        sizes = {key: chain[key] for key in ("patterns", "width") if key in chain}
        known = [{n: list(f) if isinstance(f, tuple) else f for n, f in task.items()} for task in given]
        words = {} if select.captions is None else {"captions": select.captions, "encoder": encoder_name(select.encoder)}
        source = {**named(data, plain, ds), "tasks": known, **words, **sizes, **({"coarse": chain["coarse"]} if "coarse" in chain else {})}
        parts = {k: v for k, v in chain.items() if k not in sizes}
        if isinstance(parts["wavelet"], FrameCoder):
            parts["wavelet"], training = _coded(ds, given, parts["wavelet"], training=training, folder=folder, source=source)
        prior, windows = prepare_trajectories(ds, given, seed=training.seed, **parts)
        if sizes:
            prior = in_patterns(prior, windows, sizes["patterns"], width=sizes["width"], seed=training.seed)
        if "coarse" in chain:
            on_finer_grid(prior)  # refuses now what could not be used later
        loader = TrajectoryDataModule(windows, batch_size=training.batch_size, seed=training.seed)
        train(prior, loader, training, max_epochs=None, folder=folder, source=source)
        if is_first_process():
            path = prior.eval().save(target, card=card_of(source, training.seed))
            print(f"wrote the prior to {path} after {time.monotonic() - start:.0f} s; loss in {folder / 'log' / 'metrics.csv'}")


def _coded(
    ds: xr.Dataset, tasks: list[Task], coder: FrameCoder, *, training: Training, folder: Path, source: Mapping[str, Any]
) -> tuple[FrameCoder, Training]:
    """The coder, trained on short windows, and what is left of the budget; tasks that name what is not there are refused before."""
    TaskWindows(TrajectoryWindows(ds, history=0, horizon=ds.sizes["time"]), tasks)
    recipe = Recipe(history=0, horizon=min(_FRAMES, ds.sizes["time"]), anomaly="none", wavelet="none")
    return trained_coder(ds, recipe, coder, training=training, folder=folder, source=source)
