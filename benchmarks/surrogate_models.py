"""The rows of the comparison of surrogates: each is a function from a case to a forecast of all its starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import xarray as xr
from surrogate_cases import Case
from torch import nn
from torch.utils.data import Dataset

from physdiff.base.rng import Rng
from physdiff.data.split import split_time
from physdiff.diffusion.centred import around_mean, around_residuals, residual_noise
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.evaluation.climatology import climatology
from physdiff.evaluation.linear_inverse import linear_inverse, zonal_regression
from physdiff.evaluation.persistence import damped_persistence, dressed_persistence, persistence
from physdiff.forecast.rollout import Rollout
from physdiff.networks.fno import FNO
from physdiff.networks.unet import UNet
from physdiff.training.callbacks.best_weights import BestWeights
from physdiff.training.cross_fit import bands_alike, cross_fit, residual_part
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit, steps_for
from physdiff.training.operator_module import OperatorModule
from physdiff.training.prior_module import PriorModule
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.autoencoder import Autoencoder

__all__ = ["BASELINES", "MODELS", "Budget", "Row"]

Facts = dict[str, Any]
Row = Callable[[Case, "Budget"], tuple[xr.Dataset, Facts]]


@dataclass(frozen=True)
class Budget:
    """What every model gets.

    Args:
        seconds: CPU seconds of training, one thread, first guess and validation included.
        members: Members of the forecasts.
        work: Folder for checkpoints, priors and forecasts; an interrupted run goes on there.
        seed: Of everything random.
    """

    seconds: float
    members: int
    work: Path
    seed: int = 0


def _baseline(make: Callable[..., xr.Dataset], case: Case, budget: Budget, *, members: bool = False, train: bool = True) -> tuple[xr.Dataset, Facts]:
    begin, parts = time.process_time(), ((case.train,) if train else ())
    drawn = {"members": budget.members, "rng": Rng(budget.seed).child(make.__name__)} if members else {}
    found = make(*parts, case.test, case.starts, lead=case.leads[-1], **drawn)
    return found, {"cpu_seconds": round(time.process_time() - begin, 1)}


BASELINES: dict[str, Row] = {
    "persistence": partial(_baseline, persistence, train=False),
    "damped persistence": partial(_baseline, damped_persistence),
    "dressed persistence": partial(_baseline, dressed_persistence, members=True),
    "climatology": partial(_baseline, climatology),
    "linear inverse model": partial(_baseline, linear_inverse, members=True),
    "zonal regression": partial(_baseline, zonal_regression, members=True),
}


def _diffusion(
    name: str, change: Callable[[Recipe], Recipe], case: Case, budget: Budget, *, coder: Autoencoder | None = None
) -> tuple[xr.Dataset, Facts]:
    """A diffusion prior on the coefficients that `change` chooses, or in the latents of an autoencoder."""
    stem = budget.work / f"{case.name}_{name}_{budget.seed}"
    path, note = stem.with_suffix(".prior"), stem.with_suffix(".json")
    if not path.is_file():
        prior, facts = _trained(change(case.recipe), case, budget, stem.with_suffix(".fit"), coder=coder)
        prior.save(path)
        note.write_text(json.dumps(facts), encoding="utf-8")
    return _drawn(stem, case, budget)


def _drawn(stem: Path, case: Case, budget: Budget) -> tuple[xr.Dataset, Facts]:
    """Forecasts of a trained prior."""
    # at ten steps a flow of order 2 loses less than fresh noise does: CRPS 60, 211, 393 Pa at 6, 24, 72 h against 66, 239, 432 of one start
    prior = DiffusionPrior.load(stem.with_suffix(".prior")).eval().with_sampler(DPMSolver2M(), case.recipe.steps)
    facts = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    begin = time.process_time()
    made = Rollout(prior, case.leads[-1], budget.members, rng=Rng(budget.seed)).run(case.test, case.starts, out=stem.with_suffix(".nc"))
    return made, {**facts, "sampling_cpu_seconds": round(time.process_time() - begin)}


def _deterministic(name: str, network: Callable[..., nn.Module], case: Case, budget: Budget, *, fold: bool = False) -> tuple[xr.Dataset, Facts]:
    """One forecast of the mean by a network on pixels (2 x 2 of them folded into channels if wished), the residual of the same first guess."""
    folder = budget.work / f"{case.name}_{name}_{budget.seed}.fit"
    recipe = replace(case.recipe, process="deterministic", wavelet="pixels" if fold else "none")
    prior, facts = _trained(recipe, case, budget, folder, network=network)
    begin = time.process_time()
    made = Rollout(prior.eval(), case.leads[-1], 1, rng=Rng(budget.seed)).run(case.test, case.starts)
    return made, {**facts, "sampling_cpu_seconds": round(time.process_time() - begin)}


def _residual(name: str, wavelet: str, case: Case, budget: Budget) -> tuple[xr.Dataset, Facts]:
    """Diffusion of the residual of a U-Net (a third of the budget), whose errors on the last fifth of the training part tell their size."""
    stem = budget.work / f"{case.name}_{name}_{budget.seed}"
    path, note = stem.with_suffix(".prior"), stem.with_suffix(".json")
    if not path.is_file():
        begin = time.process_time()
        early, late = split_time(case.train, at=0.8)
        recipe = replace(case.recipe, process="deterministic", wavelet=wavelet)
        mean, data = prepare(early, recipe, val=late, network=_NETWORK, batch_size=case.batch, seed=budget.seed)
        assert isinstance(mean, Forecaster)
        bands_alike(mean)
        unseen, data = data.val_windows, TrajectoryDataModule(data.train_windows, batch_size=case.batch, seed=budget.seed)
        assert unseen is not None
        given = {"input_noise": 0.05, "roll": case.roll, "seed": budget.seed}
        steps = [_fitted(OperatorModule(mean, case.lr, 0.99, **given), data, begin + budget.seconds / 3)]  # type: ignore[arg-type]
        prior = around_mean(mean, unseen, network=_NETWORK, spectral=True, steps=case.recipe.steps, seed=budget.seed)
        module = DiffusionModule(prior, case.lr, 0.99, noise=residual_noise(prior), **given)  # type: ignore[arg-type]
        steps += [_fitted(module, data, begin + budget.seconds)]
        prior.save(path)
        facts: Facts = {"parameters": sum(p.numel() for p in prior.parameters()), "steps": steps, "cpu_seconds": round(time.process_time() - begin)}
        note.write_text(json.dumps(facts), encoding="utf-8")
    return _drawn(stem, case, budget)


def _cross_fitted(name: str, wavelet: str, case: Case, budget: Budget, *, folds: int = 4) -> tuple[xr.Dataset, Facts]:
    """Diffusion of the errors that each of four U-Nets makes on the windows it has not seen, around the mean of the four (half of the budget)."""
    stem = budget.work / f"{case.name}_{name}_{budget.seed}"
    if not stem.with_suffix(".prior").is_file():
        begin = time.process_time()
        recipe = replace(case.recipe, process="deterministic", wavelet=wavelet)
        built, steps = partial(prepare, case.train, recipe, network=_NETWORK, batch_size=case.batch), []
        windows = built(seed=budget.seed)[1].train_windows

        def build(fold: int) -> Forecaster:
            mean = built(seed=budget.seed * folds + fold)[0]
            assert isinstance(mean, Forecaster)
            bands_alike(mean)
            return mean

        def train(mean: Forecaster, seen: Dataset[dict[str, Any]], unseen: Dataset[dict[str, Any]], fold: int) -> None:
            module = OperatorModule(mean, case.lr, 0.95, input_noise=0.05, roll=case.roll, seed=budget.seed * folds + fold)
            data, best = TrajectoryDataModule(seen, unseen, batch_size=case.batch, seed=budget.seed), BestWeights(patience=4)
            until = begin + budget.seconds / 2 * (fold + 1) / folds
            _fitted(module, data, until, callbacks=[best], check_val_every_n_epoch=max(1, 80 // len(seen)))  # type: ignore[arg-type]
            steps.append(best.step)

        mean, left = cross_fit(windows, build, train, folds=folds, roll=case.roll, copies=7, seed=budget.seed)
        prior = around_residuals(mean, left.held["z"], network=_NETWORK, spectral=True, steps=case.recipe.steps, seed=budget.seed)
        module = DiffusionModule(residual_part(prior), case.lr, 0.99, noise=residual_noise(prior), input_noise=0.05, seed=budget.seed)
        data = TrajectoryDataModule(left, batch_size=case.batch, seed=budget.seed)
        steps.append(_fitted(module, data, begin + budget.seconds))
        prior.save(stem.with_suffix(".prior"))
        facts: Facts = {"parameters": sum(p.numel() for p in prior.parameters()), "steps": steps, "cpu_seconds": round(time.process_time() - begin)}
        stem.with_suffix(".json").write_text(json.dumps(facts), encoding="utf-8")
    return _drawn(stem, case, budget)


def _fitted(module: PriorModule, data: TrajectoryDataModule, until: float, **options: Any) -> int:  # noqa: ANN401
    """Train to a time of the process's clock; the number of steps."""
    steps, _ = steps_for(module, data, seconds=max(1.0, until - time.process_time()), floor=30, clock=time.process_time)
    fit(module, data, max_steps=steps, progress=False, **options)
    return steps


_NETWORK = partial(UNet, width=32, dropout=0.2)


def _trained(
    recipe: Recipe, case: Case, budget: Budget, folder: Path, *, network: Callable[..., nn.Module] = _NETWORK, coder: Autoencoder | None = None
) -> tuple[WindowPrior, Facts]:
    begin = time.process_time()
    train, val = split_time(case.train, at=1 - case.held_out) if case.held_out else (case.train, None)
    prior, data = prepare(train, recipe, val=val, network=network, autoencoder=coder, batch_size=case.batch, seed=budget.seed)
    given = {"input_noise": 0.05, "roll": case.roll, "seed": budget.seed}
    module = OperatorModule(prior, case.lr, 0.99, **given) if isinstance(prior, Forecaster) else DiffusionModule(prior, case.lr, 0.99, **given)
    ready = time.process_time() - begin
    plan = folder / "plan.json"  # the learning rate follows it: an interrupted run keeps it
    if not plan.is_file():
        steps, each = steps_for(module, data, seconds=budget.seconds - ready, floor=50, clock=time.process_time)
        folder.mkdir(parents=True, exist_ok=True)
        plan.write_text(json.dumps({"steps": steps, "each": each}), encoding="utf-8")
    steps = json.loads(plan.read_text(encoding="utf-8"))["steps"]
    stop = [BestWeights(patience=8)] if val is not None else []
    epochs = steps * case.batch // 20 // max(1, len(data.train_windows))  # type: ignore[arg-type]
    every = {"check_val_every_n_epoch": max(1, epochs)} if val is not None else {}
    print(f"{folder.stem}: {steps} steps", flush=True)
    fit(module, data, max_steps=steps, out=folder, callbacks=stop, progress=False, **every)
    facts: Facts = {"parameters": sum(p.numel() for p in prior.parameters()), "steps": steps, "cpu_seconds": round(time.process_time() - begin)}
    facts |= {"best_step": stop[0].step, "val_loss": round(stop[0].best, 4)} if stop else {}
    return prior, facts


MODELS: dict[str, Row] = {
    "wavelet": partial(_diffusion, "wavelet", lambda recipe: recipe),
    "pixel": partial(_diffusion, "pixel", lambda recipe: replace(recipe, wavelet="pixels")),
    "latent": partial(_diffusion, "latent", lambda recipe: recipe, coder=Autoencoder(4.0, 4, 0)),
    "residual": partial(_residual, "residual", "haar"),
    "cross-fitted": partial(_cross_fitted, "cross-fitted", "haar"),
    "fno": partial(_deterministic, "fno", partial(FNO, width=24, modes=12)),
    "unet": partial(_deterministic, "unet", _NETWORK, fold=True),
    "wavelet, raw increments": partial(_diffusion, "wavelet-raw", lambda recipe: replace(recipe, guess="increment")),
}
