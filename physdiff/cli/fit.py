"""``physdiff fit``."""

from __future__ import annotations

import io
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import xarray as xr
from torch import nn

from physdiff import __version__
from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import describe, read, write
from physdiff.base.whole_file import whole_file
from physdiff.cli.options import Select, Training, check_at_least, checked_file, checked_folder, opened
from physdiff.cli.parse import command_line
from physdiff.cli.splits import as_list
from physdiff.data.convert import spec_of
from physdiff.data.field_statistics import data_card
from physdiff.data.fingerprint import fingerprint
from physdiff.data.first_guess import GuessedWindows
from physdiff.data.windows import TrajectoryWindows, WindowRange
from physdiff.diffusion.centred import CentredDenoiser, residual_noise
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.objective import LogNormalNoise
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.refiner import Refiner
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.evaluation.consistency import ConsistencyTerm
from physdiff.grids.points import PointGrid
from physdiff.networks.cno import CNO  # noqa: F401 - the parser knows the classes that are loaded
from physdiff.networks.deeponet import DeepONet  # noqa: F401
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.fno import FFNO, FNO  # noqa: F401
from physdiff.networks.mwt import MWT  # noqa: F401
from physdiff.networks.point_network import PointNetwork  # noqa: F401
from physdiff.networks.transformer import AxialViT, DiT  # noqa: F401
from physdiff.networks.transolver import Transolver  # noqa: F401
from physdiff.networks.ufno import UFNO  # noqa: F401
from physdiff.networks.unet import UNet
from physdiff.networks.wno import WNO  # noqa: F401
from physdiff.training.callbacks.best_weights import BestWeights
from physdiff.training.callbacks.window_figure import WindowFigure
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import check_trainer_options, fit as fit_module, steps_for
from physdiff.training.fit_autoencoder import AutoencoderTraining, fit_autoencoder
from physdiff.training.gaussian_base import with_gaussian
from physdiff.training.network_share import network_share, with_share
from physdiff.training.operator_module import OperatorModule
from physdiff.training.pattern_prior import pattern_noise
from physdiff.training.prior_module import PriorModule
from physdiff.training.ranks import is_first_process
from physdiff.training.recipe import Recipe, prepare
from physdiff.training.recompute import recomputed
from physdiff.training.views import Views
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.coarse_residual import CoarseResidual
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.mesh_autoencoder import MeshAutoencoder
from physdiff.transforms.patterns import Patterns
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["begin", "card_of", "fit", "module_of", "named", "said_once", "settings_of", "train", "train_prior", "trained_coder"]

_STEPS = 2000  # of an autoencoder, if only epochs of the prior are given
# of training: what a run may have otherwise than the one it goes on with; of the trainer's options: what it may not
_FREE = ("seconds", "floor", "max_steps", "save_every", "workers", "recompute", "figures", "trainer")
_TRAINER = ("accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "limit_train_batches")
_FEWEST, _MOST_KEPT = 25, 256  # windows from which on a fifth of them, and at most how many, are kept to weigh the network


def fit(
    data: str | list[str],
    out: str,
    *,
    transform: WaveletTransform | Autoencoder | MeshAutoencoder | None = None,
    network: Callable[[int, int], FieldNetwork] = UNet,
    max_epochs: int | None = None,
    recipe: Recipe = Recipe(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008
    select: Select = Select(),  # noqa: B008
) -> None:
    """Train a prior on trajectories and write it to one file; run again to go on after an interruption.

    Args:
        data: One netCDF file, several, or a pattern.
        out: File of the prior; checkpoints and losses lie in the folder ``OUT.fit``.
        transform: As in ``--transform Autoencoder --transform.factor 4`` (``MeshAutoencoder`` for scattered points); the recipe's wavelet, if none.
        network: As in ``--network DiT --network.width 64``.
        max_epochs: Passes, else 50.
        recipe: What is modelled and how.
        training: How long and how.
        select: Which fields and times; leave test data out here.
    """
    start = time.monotonic()
    target = checked_file(out)
    folder = checked_folder(f"{out}.fit")
    check_at_least(max_epochs, 1, "max_epochs")
    check_trainer_options(training.trainer or {})
    autoencoder = transform if isinstance(transform, FrameCoder) else None
    if isinstance(transform, WaveletTransform):
        recipe = recipe.with_wavelet(transform)
    with said_once():
        ds = opened(data, select, statics=recipe.statics)
        source = named(data, select, ds)
        settings: dict[str, Any] = {"max_epochs": max_epochs, "folder": folder, "autoencoder": autoencoder, "source": source}
        prior = train_prior(ds, recipe, training=training, network=network, **settings)
        if is_first_process():
            path = prior.save(target, card=card_of(source, training.seed))
            print(f"wrote the prior to {path} after {time.monotonic() - start:.0f} s; loss in {folder / 'log' / 'metrics.csv'}")
            if isinstance(prior, DiffusionPrior):  # what diagnose looks at is a denoiser
                print(f"check it before its maps are shown: physdiff diagnose --prior {path} --data FILE --out FOLDER")


@contextmanager
def said_once() -> Iterator[None]:
    """Of several processes the first one prints; the others keep quiet."""
    with redirect_stdout(sys.stdout if is_first_process() else io.StringIO()):
        yield


def card_of(source: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """How a prior was made: command, versions, data and what they held, seed. No date: the same command makes the same file."""
    versions = {"physdiff": __version__, "torch": torch.__version__, "lightning": pl.__version__, "python": platform.python_version()}
    return {"command": command_line(), **versions, **source, "seed": seed}


def train_prior(
    ds: xr.Dataset,
    recipe: Recipe,
    *,
    training: Training,
    network: Callable[..., nn.Module] = UNet,
    max_epochs: int | None = None,
    folder: Path | None = None,
    autoencoder: FrameCoder | None = None,
    source: Mapping[str, Any] | None = None,
) -> WindowPrior:
    """Prepare, say what it will cost, train, and return the prior in evaluation mode.

    With a folder, an interrupted run goes on there, if it is the same one: model, settings and `source` (where the data come from). An autoencoder
    that is not fitted yet is trained first, as long as the prior, or for a third of a budget of seconds. On a Gaussian base the network does not see
    the last fifth of the windows (25 windows or more; at most 256 are kept from it): on these its share is weighed, see `network_share`.
    """
    grid = spec_of(ds, gaps=True).grid  # refuses what cannot be trained on, before anything is read for long
    shape = grid.shape
    if autoencoder is not None:
        autoencoder, training = trained_coder(ds, recipe, autoencoder, training=training, folder=folder, source=source)
    elif recipe.wavelet != "none" and 2**recipe.levels > min(shape):
        raise InputError(f"recipe.levels: expected at most {min(shape).bit_length() - 1} for a grid of {shape}, got {recipe.levels}")
    prior, data = prepare(ds, recipe, network=network, autoencoder=autoencoder, batch_size=training.batch_size, seed=training.seed)
    kept = _kept(prior, data)
    train(prior, data, training, max_epochs=max_epochs, folder=folder, source=source)
    prior.eval()
    return prior if kept is None else _weighed(prior, kept, recipe, seed=training.seed)


def train(
    prior: WindowPrior,
    data: TrajectoryDataModule,
    training: Training,
    *,
    max_epochs: int | None = None,
    folder: Path | None = None,
    source: Mapping[str, Any] | None = None,
    module: PriorModule | None = None,
    stop: BestWeights | None = None,
) -> None:
    """Train a prior as `train_prior` does, once it is built; by another module than usual, or until validation says so, if these are given."""
    data.num_workers = training.workers
    module = module_of(prior, training) if module is None else module
    module.card = card_of(source or {}, training.seed)
    if training.compile:
        prior.model.compile()
    parameters = sum(p.numel() for p in prior.parameters())
    count = len(data.train_windows)  # type: ignore[arg-type]  # torch's Dataset does not say that it has a length
    print(f"prior    {count} windows of {prior.spec.frames} frames, coefficients {prior.latent_shape}, {parameters:,} parameters")
    if folder is not None and is_first_process():
        begin(folder, settings_of(prior, training, source))
    max_steps = training.max_steps
    if training.seconds is not None:
        max_steps = _planned_steps(module, data, training, folder)
    options: dict[str, Any] = {"precision": training.precision, **(training.trainer or {}), "callbacks": [] if stop is None else [stop]}
    if training.figures and module.whole and folder is not None:
        shown = data.train_windows if data.val_windows is None else data.val_windows
        options["callbacks"] += [WindowFigure(shown, folder / "figures", every=training.figures)]
    with recomputed(prior.model) if training.recompute else nullcontext():
        fit_module(module, data, max_epochs=max_epochs, max_steps=max_steps, out=folder, save_every=training.save_every, **options)


def _kept(prior: WindowPrior, data: TrajectoryDataModule) -> tuple[WindowRange, WindowRange] | None:
    """What is left to train on and the last windows, which have no frame in common with it, if the network of the prior adds to a Gaussian."""
    based = isinstance(prior, DiffusionPrior) and isinstance(prior.denoiser, PreconditionedDenoiser) and prior.denoiser.base is not None
    windows = data.train_windows
    plain = windows.windows if isinstance(windows, GuessedWindows) else windows
    if not based or not isinstance(plain, TrajectoryWindows):
        return None
    count = len(plain)
    cut = count - min(count // 5, _MOST_KEPT)
    stop = cut - min(plain.spec.frames, plain.starts.size) + 1
    if count < _FEWEST or stop < count // 2:  # few, or windows so long that they have frames in common with most others
        return None
    data.train_windows = WindowRange(windows, 0, stop)
    return data.train_windows, WindowRange(windows, cut, count)


def _weighed(prior: WindowPrior, parts: tuple[WindowRange, WindowRange], recipe: Recipe, *, seed: int) -> WindowPrior:
    """The prior with the share of its network that the kept windows ask for, beside the Gaussian of the others."""
    assert isinstance(prior, DiffusionPrior)
    seen, kept = parts
    judge = with_gaussian(prior, seen, patterns=recipe.gaussian in ("patterns", "modes")).denoiser
    assert isinstance(judge, PreconditionedDenoiser)
    share = network_share(prior, kept, base=judge.base, rng=Rng(seed).child("share"))
    print(f"network  weighed {share:.2f} on the last {len(kept)} windows, which it was not trained on")
    return with_share(prior, share)


def _noise_of(prior: WindowPrior) -> LogNormalNoise | None:
    """The law of training noise where the usual one does not fit what a prior draws: what a mean or lines leave, coordinates along patterns."""
    if not isinstance(prior, DiffusionPrior):
        return None
    kinds = {type(part) for part in prior.transform.modules()}
    if CoarseResidual in kinds or isinstance(prior.denoiser, CentredDenoiser):
        return residual_noise(prior)
    return pattern_noise(prior) if Patterns in kinds else None


def module_of(prior: WindowPrior, training: Training) -> PriorModule:
    """What trains the prior."""
    roll, term = tuple(as_list(training.roll) or ()), ConsistencyTerm(training.fokker_planck, training.symmetry)
    views = Views(None if training.crop is None else tuple(training.crop), tuple(training.coarser or (1,)))
    if not isinstance(prior, Forecaster | Refiner):
        noise = _noise_of(prior)
        made = DiffusionModule(prior, training.lr, training.ema, noise=noise, input_noise=training.input_noise, roll=roll, seed=training.seed)
        return made.with_term(term).with_views(views)
    if term.due(0):
        raise InputError("training: expected no fokker_planck and symmetry for a deterministic forecast, got one; it has no denoiser")
    module = OperatorModule(prior, training.lr, training.ema, input_noise=training.input_noise, roll=roll, seed=training.seed)
    return module.with_views(views)


def trained_coder(
    ds: xr.Dataset, recipe: Recipe, autoencoder: FrameCoder, *, training: Training, folder: Path | None, source: Mapping[str, Any] | None
) -> tuple[FrameCoder, Training]:
    """The autoencoder, trained or as the folder holds it, and the budget that is left for the prior.

    Raises:
        InputError: If it is one for points and the data lie on a grid, or the reverse.
    """
    grid = spec_of(ds, gaps=True).grid
    if isinstance(autoencoder, MeshAutoencoder | Autoencoder) and isinstance(autoencoder, MeshAutoencoder) != isinstance(grid, PointGrid):
        wanted = "MeshAutoencoder" if isinstance(grid, PointGrid) else "Autoencoder"
        raise InputError(f"transform: expected {wanted} for {grid.summary()}, got {type(autoencoder).__name__}")
    plan = AutoencoderTraining(
        training.max_steps or _STEPS,
        None if training.seconds is None else training.seconds / 3,
        lr=training.lr,
        batch_size=max(1, training.batch_size // 2),
        roll=tuple(as_list(training.roll) or ()),
        seed=training.seed,
        trainer=training.trainer or {},
    )
    began = time.monotonic()
    kept = None if folder is None else folder / "autoencoder" / "autoencoder.safetensors"
    if kept is not None:
        settings = {"model": describe(autoencoder), "recipe": asdict(recipe), "training": _settings(training), **_told(source)}
        if is_first_process():
            begin(kept.parent, settings, done=kept)
    if kept is not None and kept.is_file():
        made = read(kept)[0]
    else:
        made = fit_autoencoder(ds, recipe, autoencoder, training=plan, out=None if kept is None else kept.parent)
        if kept is not None and is_first_process():
            write(kept, made)
    print(
        f"latents  {made.latent} channels on {made.coarse}, trained for {time.monotonic() - began:.0f} s; "
        f"what is lost has a root mean square of {float(made.error):.3g} standard deviations"
    )
    left = training.seconds if training.seconds is None else max(1.0, training.seconds - (time.monotonic() - began))
    return made, replace(training, seconds=left)


def _settings(training: Training) -> dict[str, Any]:
    """What a run must have in common with the one that it goes on with: all but the budget, and what does not change the weights."""
    kept = {k: v for k, v in asdict(training).items() if k not in _FREE}
    changing = {k: v for k, v in (training.trainer or {}).items() if k in _TRAINER}
    return {**kept, "trainer": changing} if changing else kept


def settings_of(prior: WindowPrior, training: Training, source: Mapping[str, Any] | None) -> dict[str, Any]:
    """What `begin` compares of the training of a prior."""
    return {"model": describe(prior, {}), "training": _settings(training), **_told(source)}


def _told(source: Mapping[str, Any] | None) -> dict[str, Any]:
    """What is compared of the data; their statistics follow from them."""
    return {k: v for k, v in (source or {}).items() if k != "statistics"}


def named(data: str | list[str], select: Select, ds: xr.Dataset) -> dict[str, Any]:
    """What tells one set of data from another."""
    where = {"data": data if isinstance(data, str) else list(data), "select": asdict(select)}
    return {**where, "fingerprint": fingerprint(ds), "statistics": data_card(ds)}


def begin(folder: Path, settings: Mapping[str, Any], *, done: Path | None = None) -> None:
    """Note what is trained in the folder; refuse to go on with another run's checkpoint, whose weights would not fit the statistics."""
    note, now = folder / "settings.json", json.loads(json.dumps(settings))
    if note.is_file() and ((folder / "last.ckpt").is_file() or (done is not None and done.is_file())):
        before = json.loads(note.read_text(encoding="utf-8"))
        changed = [k for k in {**before, **now} if before.get(k) != now.get(k)]
        if changed:
            raise DataError(
                f"{folder}: expected to go on with the run that was begun there, got another {' and '.join(changed)}; "
                "remove the folder to train anew, or choose another out"
            )
    with whole_file(note) as fresh:
        fresh.write_text(json.dumps(now, indent=1), encoding="utf-8")


def _planned_steps(module: PriorModule, data: TrajectoryDataModule, training: Training, folder: Path | None) -> int:
    """Steps that fit the budget; a resumed run keeps the plan it began with, for the learning rate follows it."""
    plan = None if folder is None else folder / "plan.json"
    if plan is not None and plan.is_file() and (plan.parent / "last.ckpt").is_file():
        steps = int(json.loads(plan.read_text())["steps"])
        print(f"training {steps} steps as planned before; going on from the last checkpoint")
        return steps
    assert training.seconds is not None
    options: dict[str, Any] = {"precision": training.precision, **(training.trainer or {})}
    options.pop("logger", None)
    steps, each = steps_for(module, data, seconds=training.seconds, floor=training.floor, **options)
    print(f"training {steps} steps of about {each:.3f} s: {steps * each:.0f} s (budget {training.seconds:g} s, at least {training.floor} steps)")
    if plan is not None and is_first_process():
        with whole_file(plan) as fresh:
            fresh.write_text(json.dumps({"steps": steps, "seconds_per_step": each}))
    return steps
