"""``physdiff ensemble``."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass
from typing import Literal

import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.options import Times, check_at_least, checked_file, opened_for
from physdiff.cli.parse import command_line
from physdiff.cli.splits import as_list
from physdiff.diffusion.dropout_ensemble import DropoutEnsemble
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.input_perturbed import InputPerturbed
from physdiff.diffusion.weight_ensemble import WeightEnsemble
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.evaluation.diagnose import windows_of
from physdiff.forecast.rollout import history_of
from physdiff.uq.input_ensemble import state_differences
from physdiff.uq.operator_weights import last_layer_laplace, operator_task
from physdiff.uq.swag import descent_iterates, swag
from physdiff.uq.weights_hmc import weight_chains

__all__ = ["How", "ensemble"]

_WINDOWS = 256  # of the training data, evenly chosen
_WEIGHTS = ("swag", "laplace", "chains")


@dataclass(frozen=True)
class How:
    """Numbers of the methods.

    Args:
        share: dropout: share of entries dropped; that of the training if not given.
        size: inputs: standard deviation of the perturbation as a share of the data's.
        rate: swag: constant rate of the descent that goes on.
        steps: swag: its steps; chains: steps of a trajectory in the mean.
        warmup: chains: moves that are dropped.
        prior_std: laplace, chains: standard deviation of a weight before it has seen data.
        readings: laplace, chains: entries of a window that count as independent; one for each map if not given.
    """

    share: float | None = None
    size: float = 0.1
    rate: float = 0.01
    steps: int = 400
    warmup: int = 30
    prior_std: float = 1.0
    readings: float | None = None


def ensemble(
    prior: str | list[str],
    out: str,
    *,
    method: Literal["trainings", "dropout", "inputs", "swag", "laplace", "chains"] = "trainings",
    data: str | list[str] | None = None,
    members: int = 20,
    how: How = How(),  # noqa: B008 - a frozen value
    seed: int = 0,
    select: Times = Times(),  # noqa: B008
) -> None:
    """Make an ensemble of a trained forecast: a prior that ``physdiff forecast`` draws different members from.

    trainings: several priors trained alike with other seeds (deep ensemble). dropout: masks of its training kept on. inputs: perturbed initial
    states. swag, laplace (last layer), chains (Hamiltonian, small nets): draws of the weights of a deterministic forecast given its training data.

    Args:
        prior: File of the prior; two or more for trainings.
        out: File of the ensemble to write.
        method: Where members come from.
        data: Training data (netCDF), for inputs, swag, laplace and chains.
        members: Vectors of weights that are drawn (swag, laplace, chains) or differences of states that are kept (inputs).
        how: Numbers of the methods.
        seed: Seed of the draws.
        select: Which times of the data are looked at.
    """
    begin, target, files = time.monotonic(), checked_file(out), as_list(prior) or []
    check_at_least(seed, 0, "seed")
    check_at_least(members, 1, "members")
    if (len(files) > 1) != (method == "trainings"):
        raise InputError(f"prior: expected two files or more for trainings and one for other methods, got {len(files)} for {method}")
    if (data is not None) != (method in ("inputs", *_WEIGHTS)):
        raise InputError(f"data: expected training data for inputs, swag, laplace and chains alone, got {'some' if data else 'none'} for {method}")
    models = [WindowPrior.load(path) for path in files]
    model = models[0]
    if method == "trainings":
        found: WindowPrior = WeightEnsemble.of(models)
    elif method == "dropout":
        found = DropoutEnsemble(model, how.share)
    else:
        assert data is not None
        fields = opened_for(data, model, select)
        history = history_of(model)
        if method == "inputs":
            found = InputPerturbed(model, state_differences(fields, members, rng=Rng(seed), history=history, spec=model.spec), how.size)
        else:
            found = _weights(model, fields, method, members=members, how=how, rng=Rng(seed))
    card = read(files[0])[1] | {"ensemble": {"command": command_line(), "method": method, "priors": files}}
    written = found.save(target, card=card)
    print(f"wrote {written} ({method}) after {time.monotonic() - begin:.0f} s; forecast with it as with any prior")


def _weights(model: WindowPrior, fields: xr.Dataset, method: str, *, members: int, how: How, rng: Rng) -> WeightEnsemble:
    if not isinstance(model, Forecaster):
        got = type(model).__name__
        raise InputError(f"prior: expected a deterministic forecast (fit --recipe.process deterministic) for {method}, got a {got}; take trainings")
    x, cond = windows_of(model, fields, _WINDOWS)
    assert cond is not None
    task = operator_task(model, x, cond, readings=how.readings)
    if method == "laplace":
        draws = last_layer_laplace(task, prior_std=how.prior_std).draw(members, rng=rng)
    elif method == "swag":
        going = copy.deepcopy(model.model)
        loss = task.loss(going, rng=rng.child("batches"))
        iterates = descent_iterates(going, loss, steps=how.steps, every=max(1, how.steps // 40), rate=how.rate)
        draws = swag(going, iterates).draw(members, rng=rng.child("draws"))
    else:
        network = copy.deepcopy(model.model).double()
        options = {"method": "hmc", "length": how.steps, "warmup": how.warmup, "prior_std": how.prior_std}
        draws = weight_chains(network, task.double().deviations, members, rng=rng, **options)  # type: ignore[arg-type]
        if bool((draws.weights == draws.weights[:1]).all()):
            raise DataError(f"chains: expected draws that differ, got none after {how.warmup} moves of warm-up; give more (--how.warmup)")
        print(f"four chains, acceptance {float(draws.info['acceptance']):.2f}, R-hat of weights {float(draws.info['rhat']):.2f} (1 is mixed)")
    return WeightEnsemble(model, draws.weights)
