"""From a data set to an untrained prior and its data, with choices that proved themselves.

What mattered most on real fields, in this order: removing the mean of the hour of the day, a linear first guess whose residual the network
models, folding space into channels by one wavelet level, and drawing blocks of several frames at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn
from torch.utils.data import default_collate

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.data.convert import field_names, spec_of
from physdiff.data.first_guess import GuessedWindows, linear_first_guess, zonal_first_guess
from physdiff.data.statistics import stream
from physdiff.data.timeline import FORCINGS, as_times, is_calendar, time_axis
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.bridge import BridgeSampler
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.interpolant import Interpolant
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.diffusion.interpolant_sampler import DriftSampler, InterpolantSampler
from physdiff.diffusion.network_drift import NetworkDrift
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.points import PointGrid
from physdiff.networks.unet import UNet
from physdiff.training.build import build_forecaster, build_prior, build_refiner
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.encoded import base_of, encode_batch
from physdiff.training.gaussian_base import with_gaussian
from physdiff.training.mode_base import with_modes
from physdiff.transforms.anomaly import Anomaly, Increment, SubtractGuess
from physdiff.transforms.compose import Compose
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.latent_increment import LatentIncrement
from physdiff.transforms.linear_forecast import LinearFit
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.parameters import ParameterChannels
from physdiff.transforms.transform import Sample, Transform
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["Recipe", "as_interpolant", "head_of", "prepare", "windows_of"]

Windows: TypeAlias = TrajectoryWindows | GuessedWindows


@dataclass(frozen=True)
class Recipe:
    """Choices for `prepare`.

    The sampler is a multistep method with fresh noise, which mends errors of the network and keeps the spread. "interpolant" and "bridge" start from
    persistence where there is no first guess, are trained alike, and are walked by Heun's method or by diffusion's sampler; `steps` are then the
    evaluations. "deterministic" forecasts the mean, "refiner" mends its small errors in three steps. The Gaussian denoiser has the training
    covariance; "patterns" are neither tapered nor shrunk, for many simulations. `parameters` need a prior without history.

    Args:
        history: Known frames; 0: windows without a past (for sensors).
        horizon: Frames drawn at once.
        anomaly: ``"hour"`` (remove the mean of the hour of the day), ``"all"`` (of all times), ``"none"``; ``"auto"``: by hour if times allow it.
        guess: ``"linear"``, ``"zonal"`` (waves along a closed last axis), ``"increment"`` (the last known frame, or its anomaly), ``"none"``;
            ``"auto"``: linear with enough windows of one trajectory, else increment.
        wavelet: Wavelet that folds space into channels; ``"none"``: pixels, as on scattered points whatever is said here.
        levels: Wavelet levels.
        steps: Steps of the sampler.
        process: ``"diffusion"``; with history also ``"interpolant"``, ``"bridge"``, ``"deterministic"``, ``"refiner"``.
        gaussian: Under the network: ``"auto"``: without history; ``"patterns"``: of leading patterns; ``"modes"``: and a network.
        parameters: Channels of unknown parameters of the law.
        statics: Fields that do not change and are told in every window; ``mask``: where values are.
    """

    history: int = 2
    horizon: int = 4
    anomaly: str = "auto"
    guess: str = "auto"
    wavelet: str = "haar"
    levels: int = 1
    steps: int = 24
    gaussian: str = "auto"
    process: str = "diffusion"
    parameters: tuple[str, ...] = ()
    statics: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.history < 0 or self.horizon < 1:
            raise InputError(f"Recipe: expected history >= 0 and horizon >= 1, got {self.history} and {self.horizon}")
        if self.parameters and (self.history > 0 or self.anomaly not in ("auto", "none")):
            raise InputError(f"Recipe parameters: expected history 0 and no anomaly beside {', '.join(self.parameters)}; parameters have no past")
        check_one_of(self.anomaly, ("auto", "hour", "all", "none"), "Recipe anomaly")
        check_one_of(self.guess, ("auto", "linear", "zonal", "increment", "none"), "Recipe guess")
        check_one_of(self.gaussian, ("auto", "yes", "patterns", "modes", "no"), "Recipe gaussian")
        check_one_of(self.process, ("diffusion", "interpolant", "bridge", "deterministic", "refiner"), "Recipe process")
        if self.process != "diffusion" and (self.history < 1 or self.gaussian in ("yes", "patterns", "modes")):
            raise InputError(f"Recipe: expected history >= 1 and no Gaussian base for process {self.process!r}; it starts from the known frames")

    def with_wavelet(self, transform: WaveletTransform) -> Recipe:
        """The same with the filter and the levels of a wavelet transform over space."""
        if transform.axes is not None or not isinstance(transform.wavelet, str):
            raise InputError("Recipe: expected one wavelet over all axes in space; build other chains with Compose, fitted and build_prior")
        return replace(self, wavelet=transform.wavelet, levels=transform.levels)


def prepare(
    train: xr.Dataset,
    recipe: Recipe,
    *,
    val: xr.Dataset | None = None,
    network: Callable[..., nn.Module] = UNet,
    autoencoder: FrameCoder | None = None,
    batch_size: int = 16,
    seed: int = 0,
) -> tuple[WindowPrior, TrajectoryDataModule]:
    """Fit the transform and the first guess, choose sizes, and build the prior (untrained) and the data module.

    Args:
        train: Training data in house conventions.
        recipe: Choices.
        val: Validation data.
        network: Class or factory called as ``network(in_channels, out_channels, ndim=..., periodic=...)``; it knows its width.
        autoencoder: Trained on the same data and recipe (`fit_autoencoder`); the prior then lives in its latents, and the recipe's wavelet is not
            used. With width 0 it may come as it is.
        batch_size: Windows per batch.
        seed: Seed of the weights and of the order of the batches.

    Raises:
        DataError: If the data do not allow a choice of the recipe (no time of day, too few windows).
    """
    windows, anomaly = windows_of(train, recipe)
    checked = None if val is None else windows_of(val, recipe, like=(windows, anomaly))[0]
    kind = _guess_kind(recipe, windows)
    fit = {"linear": linear_first_guess, "zonal": zonal_first_guess}[kind](windows, anomaly) if kind in ("linear", "zonal") else None
    source = windows if fit is None else GuessedWindows(windows, anomaly, fit)
    transform, condition = _fit_transforms(recipe, source, anomaly=anomaly, kind=kind, fit=fit, autoencoder=autoencoder)

    parts: dict[str, Any] = {"cond_spec": windows.cond_spec, "cond_transform": condition, "network": partial(_sized, network, recipe.process)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if recipe.process in ("deterministic", "refiner"):
            build = build_forecaster if recipe.process == "deterministic" else build_refiner
            return build(windows.spec, transform, **parts), _module(source, checked, batch_size, seed)
        prior = build_prior(windows.spec, transform, sampler=ExponentialMultistep(2, noise=1.0), steps=recipe.steps, **parts)
    if recipe.process != "diffusion":
        # the noise that suits a known base best, see InterpolantSampler; one evaluation of the bridge is at the known end
        heun, multistep = InterpolantSampler(max(1, recipe.steps // 2), 0.5, shape="decreasing"), ExponentialMultistep(2, noise=1.0)
        walk = heun if recipe.process == "interpolant" else BridgeSampler(multistep, max(2, recipe.steps - 1))
        start = "persistence" if kind == "none" else "centre"
        return as_interpolant(prior, source, start=start, sampler=walk), _module(source, checked, batch_size, seed)
    return _on_gaussian(prior, source, recipe, seed=seed), _module(source, checked, batch_size, seed)


def _on_gaussian(prior: DiffusionPrior, source: Windows, recipe: Recipe, *, seed: int) -> DiffusionPrior:
    """The prior on the Gaussian base that the recipe asks for."""
    if recipe.gaussian == "no" or (recipe.gaussian == "auto" and recipe.history > 0):
        return prior
    based = with_gaussian(prior, source, patterns=recipe.gaussian in ("patterns", "modes"))
    return with_modes(based, seed=seed) if recipe.gaussian == "modes" else based


def _sized(
    network: Callable[..., nn.Module], process: str, i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int
) -> nn.Module:
    """The network of a process, called as `build_prior` calls it; its width is its own affair."""
    return network(i, 2 * o if process in ("interpolant", "bridge") else o, ndim=ndim, periodic=periodic)


def windows_of(
    ds: xr.Dataset, recipe: Recipe, *, like: tuple[TrajectoryWindows, Anomaly | None] | None = None
) -> tuple[TrajectoryWindows, Anomaly | None]:
    """The windows of a recipe, with the anomaly fitted to them, which also fills what is not known.

    Args:
        ds: The data.
        recipe: Choices.
        like: Windows and anomaly of the training data, if these are others.
    """
    by = _anomaly_kind(ds, recipe) if like is None else "none"
    extras: tuple[str, ...] = (*(("hour_sin", "hour_cos") if by == "hour" else ()), *(("day_sin", "day_cos") if _has_years(ds, recipe) else ()))
    if like is not None and like[0].cond_spec is not None:
        extras = tuple(e for e in FORCINGS if e in like[0].cond_spec.names)
    names = [n for n in field_names(ds) if n not in recipe.statics]
    spec = like[0].spec if like is not None else spec_of(ds, names, gaps=True, mask=True)  # land or an obstacle: no draw has values there either
    made = partial(TrajectoryWindows, ds, history=recipe.history, horizon=recipe.horizon, spec=spec, extras=extras, statics=recipe.statics)
    if like is not None:
        return made(fill=None if like[1] is None else like[1].overall), like[1]
    windows = made()
    if by == "none":
        return windows, None
    anomaly = Anomaly(by).fitted_from(partial(stream, windows), windows.spec, windows.cond_spec)
    return made(fill=anomaly.overall), anomaly


def head_of(windows: TrajectoryWindows, anomaly: Anomaly | None) -> Compose:
    """What comes before an autoencoder: the anomaly, and one mean and one standard deviation for each field."""
    head = Compose((*([] if anomaly is None else [anomaly]), Normalizer(("channel",), centre=anomaly is None)))
    return head.fitted_from(partial(stream, windows), windows.spec, windows.cond_spec)


def _module(source: Windows, val: TrajectoryWindows | None, batch_size: int, seed: int) -> TrajectoryDataModule:
    return TrajectoryDataModule(source, val, batch_size=batch_size, seed=seed)


def as_interpolant(prior: DiffusionPrior, source: Windows, *, start: str, sampler: DriftSampler) -> InterpolantPrior:
    """The interpolant with the network (of twice as many outputs), transform and condition of a prior, and the moments of its ends.

    Args:
        prior: Gives the parts.
        source: Training windows, of which 256 are looked at.
        start: See `InterpolantPrior`.
        sampler: How it is walked.
    """
    denoiser = prior.denoiser
    if not isinstance(denoiser, PreconditionedDenoiser):
        raise InputError(f"as_interpolant: expected a prior with a network, got {type(denoiser).__name__}")
    parts = {"cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec, "start": start}

    def made(moments: tuple[float, float, float]) -> InterpolantPrior:
        return InterpolantPrior(NetworkDrift(denoiser.network, Interpolant(), moments), prior.transform, prior.spec, sampler=sampler, **parts)  # type: ignore[arg-type]

    rough, sums, count = made((0.0, 1.0, 0.0)), torch.zeros(3, dtype=torch.float64), 0
    for i in range(0, len(source), max(1, len(source) // 256)):
        batch = default_collate([source[i]])
        cond, guess = batch.get("cond"), batch.get("guess")
        x_1 = encode_batch(rough, batch["x"], cond, guess=guess)[0].double()
        base = base_of(rough, cond, guess=guess) if start == "persistence" else None
        x_0 = torch.zeros_like(x_1) if base is None else base.double()
        sums += torch.stack([x_0.square().mean(), x_1.square().mean(), (x_0 * x_1).mean()])
        count += 1
    v_0, v_1, c = (float(m) for m in sums / count)
    return made((v_0, v_1, c))


def _has_years(ds: xr.Dataset, recipe: Recipe) -> bool:
    """Whether the known frames come with the time of the year: data that hold every season more than once say what it does."""
    if recipe.history < 1 or "time" not in ds.coords or not is_calendar(ds["time"].values):
        return False
    return bool(np.ptp(ds["time"].values) > np.timedelta64(366, "D"))


def _anomaly_kind(train: xr.Dataset, recipe: Recipe) -> str:
    if recipe.anomaly != "auto" or recipe.parameters:
        return "none" if recipe.parameters else recipe.anomaly
    if "sample" in train.dims:
        return "none"  # simulations: where a law is homogeneous a mean field is only sampling noise
    if "time" not in train.coords or not str(train["time"].dtype).startswith("datetime64"):
        return "all"
    step = time_axis(as_times(train["time"].values)).dt
    days = step * train.sizes["time"] / 86400
    return "hour" if (86400 / step) % 1 == 0 and days >= 3 else "all"


def _guess_kind(recipe: Recipe, windows: TrajectoryWindows) -> str:
    if recipe.history == 0:
        return "none"
    if recipe.guess != "auto":
        return recipe.guess
    if windows.rows > 1:
        return "increment"
    return "linear" if len(windows) > max(40, 4 * windows.spec.frames) else "increment"


def _fit_transforms(
    recipe: Recipe,
    source: Windows,
    *,
    anomaly: Anomaly | None,
    kind: str,
    fit: LinearFit | None,
    autoencoder: FrameCoder | None = None,
) -> tuple[Transform, ConditionTransform | None]:
    spec, cond_spec, n = source.spec, source.cond_spec, len(source.spec.names)
    guess = None if fit is None else fit.full
    full = partial(_completed, source, ConditionTransform(n, anomaly, None, guess=guess, history=recipe.history))
    stages: list[Transform] = [DropHistory(recipe.history)] if recipe.history else []
    coder = None
    if autoencoder is None:
        stages += [] if anomaly is None else [anomaly]
        stages += [SubtractGuess()] if fit is not None else [Increment(recipe.history, anomaly)] if kind == "increment" else []
    else:
        coder = _coder(source, anomaly, autoencoder)
        stages += list(coder) if kind == "none" else [LatentIncrement(coder, n, recipe.history, guess=fit is not None)]
    centre = kind == "none" and (anomaly is None or coder is not None)
    stages += [Normalizer(("channel", "time") if recipe.horizon > 1 else ("channel",), centre=centre)]
    stages += [FramesToChannels(recipe.horizon)]
    if recipe.wavelet != "none" and coder is None and not isinstance(spec.grid, PointGrid):
        stages += [WaveletTransform(recipe.wavelet, recipe.levels), Normalizer(("channel",), centre=False)]
    chain: Transform = Compose(tuple(stages))
    if recipe.parameters:
        chain = ParameterChannels(chain, tuple(spec.channel(name) for name in recipe.parameters))
    fitted = chain.fitted_from(full, spec, cond_spec)
    if cond_spec is None:
        return fitted, None
    wavelet = next((p for p in fitted.modules() if isinstance(p, WaveletTransform | FrameCoder)), None)
    condition = ConditionTransform(n, anomaly, wavelet, guess=guess, history=recipe.history).fitted_from(full)
    return fitted, condition if coder is None else _with_statistics(condition, coder)


def _coder(source: Windows, anomaly: Anomaly | None, autoencoder: FrameCoder) -> Compose:
    """Anomaly, normaliser and autoencoder of single frames."""
    windows = source if isinstance(source, TrajectoryWindows) else source.windows
    head = head_of(windows, anomaly)
    if autoencoder.width and autoencoder.channels is None:
        raise InputError("prepare: expected a trained autoencoder, got one without weights; train it with fit_autoencoder")
    whole = Compose((*head, autoencoder)).fitted_from(partial(stream, windows), windows.spec, windows.cond_spec)
    whole.out_shape(windows.spec.shape)  # raises if it is one for other data
    return whole


def _with_statistics(condition: ConditionTransform, coder: Compose) -> ConditionTransform:
    """The condition with the statistics that the autoencoder was trained with for its fields and the guess of them."""
    (norm,) = [p for p in coder if isinstance(p, Normalizer)]
    n, mean, std = condition.fields, condition.mean, condition.std
    assert norm.mean is not None and norm.std is not None and mean is not None and std is not None
    tail = 0 if condition.guess is None else n

    def put(own: Tensor, given: Tensor) -> Tensor:
        given = given.reshape(n, *[1] * (own.ndim - 1)).to(own)
        return torch.cat([given, own[n : len(own) - tail], *([given] if tail else [])])

    return ConditionTransform(
        n, condition.anomaly, condition.wavelet, guess=condition.guess, history=condition.history, mean=put(mean, norm.mean), std=put(std, norm.std)
    )


def _completed(source: TrajectoryWindows | GuessedWindows, condition: ConditionTransform) -> Iterator[Sample]:
    """Training windows with completed condition windows."""
    for start in range(0, len(source), 64):
        items = [source[i] for i in range(start, min(start + 64, len(source)))]
        x = torch.stack([item["x"] for item in items])
        cond = None if "cond" not in items[0] else torch.stack([item["cond"] for item in items])
        guess = None if "guess" not in items[0] else torch.stack([item["guess"] for item in items])
        yield Sample(x, None if cond is None else condition.complete(cond, guess))
