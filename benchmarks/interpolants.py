"""Forecasts by an interpolant beside those by diffusion: same data, network, steps of training and evaluations.

    python benchmarks/interpolants.py [--data FILE --stop DATE] [--training 600] [--lead 8] [--horizon 2]

Without a file: Burgers trajectories made here (64 points, viscosity 0.01), 96 for training and 16 for testing. With one: trained on times up to
--stop, tested on the rest. One JSON line per model: fair CRPS and spread-skill ratio by lead time (averages over the fields), processor seconds of
training and of forecasting; then a line for persistence. Interpolants are walked with three noises, chosen after training, and as bridges.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial

import numpy as np
import torch
import xarray as xr

from physdiff import (
    DDIM,
    ETDRK4,
    BridgeSampler,
    Burgers,
    CartesianGrid,
    DiffusionModule,
    ExponentialMultistep,
    Recipe,
    Rng,
    Rollout,
    Spectral,
    UNet,
    crps,
    evaluate,
    fit,
    generate,
    mae,
    open_dataset,
    persistence,
    prepare,
    spread_skill,
)
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.solvers.initial import RandomField

MEMBERS = 8


def burgers(samples: int, seed: int) -> xr.Dataset:
    """Trajectories of 24 frames on 64 points."""
    grid, law = CartesianGrid((64,), extent=1.0, periodic=True), Burgers(viscosity=0.01)
    initial = {"u": RandomField(0.1)}
    times = torch.arange(24, dtype=torch.float64) * 0.025
    return generate(ETDRK4(law, Spectral(grid)), initial, times, samples=samples, rng=Rng(seed))


def main() -> None:
    """Train, forecast, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data")
    parser.add_argument("--stop")
    parser.add_argument("--training", type=int, default=600)
    parser.add_argument("--lead", type=int, default=8)
    parser.add_argument("--horizon", type=int, default=2)
    parser.add_argument("--every", type=int, default=7)
    options = parser.parse_args()
    if options.data:
        whole = open_dataset(options.data)
        train, test = whole.sel(time=slice(None, options.stop)), whole.sel(time=slice(options.stop, None)).isel(time=slice(1, None))
    else:
        train, test = burgers(96, 1), burgers(16, 2)
    starts = None
    for name in ("diffusion", "interpolant", "interpolant of states"):
        process, guess = ("diffusion" if name == "diffusion" else "interpolant"), ("none" if name.endswith("states") else "auto")
        recipe = Recipe(history=2, horizon=options.horizon, process=process, guess=guess)
        prior, data = prepare(train, recipe, network=partial(UNet, width=16), seed=0)
        begin = time.process_time()
        fit(DiffusionModule(prior, 1e-3, 0.99, seed=0), data, max_steps=options.training, progress=False)
        trained = time.process_time() - begin
        for label, model in walks(prior).items():
            begin = time.process_time()
            forecast = Rollout(model, options.lead, MEMBERS, rng=Rng(3)).run(test, every=options.every)
            seconds = time.process_time() - begin
            starts = forecast["init_time"].values
            table = evaluate(forecast, test, {"crps": crps, "ssr": spread_skill}).mean("variable")
            shown(name + label, table, training=trained, forecast=seconds, evaluations=model.steps)
    shown("persistence", evaluate(persistence(test, starts, options.lead), test, {"crps": mae}).mean("variable"))


def walks(prior: WindowPrior) -> dict[str, WindowPrior]:
    """A trained prior with the ways to walk it, all at about the same number of evaluations."""
    if not isinstance(prior, InterpolantPrior):
        return {"": prior.eval()}
    found: dict[str, WindowPrior] = {f", noise {n:g}": prior.with_noise(n) for n in (0.1, 0.5, 1.0)}
    bridges = {"multistep with fresh noise": ExponentialMultistep(2, noise=1.0), "DBIM": DDIM(), "DBIM(eta = 1)": DDIM(1.0)}
    return found | {f", bridge by {k}": prior.with_sampler(BridgeSampler(s, prior.steps - 1)).eval() for k, s in bridges.items()}


def shown(name: str, table: xr.Dataset, **facts: float) -> None:
    """One JSON line."""
    scores = {k: [float(f"{v:.4g}") for v in np.asarray(table[k].values, dtype=float).ravel()] for k in table.data_vars}
    print(json.dumps({"model": name, **{k: round(v, 1) for k, v in facts.items()}, **scores}), flush=True)


if __name__ == "__main__":
    main()
