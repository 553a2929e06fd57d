"""The best sampler for a budget, on priors with exact scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.diffusion.analytic import MixtureDenoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.exact_linear import ExactLinear
from physdiff.diffusion.samplers.exponential import UniPC
from physdiff.diffusion.samplers.fitted_multistep import FittedMultistep
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.evaluation.tune_sampler import TunedSampler, TuningEffort, tune_sampler, tuning_table
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import plain_prior
from tests.evaluation.test_diagnose import DATA, SPEC, exact

EFFORT = TuningEffort(cases=4, members=8, nodes=40)
WAVE = torch.sin(2 * torch.pi * torch.arange(32, dtype=torch.float64) / 32).reshape(1, 1, 32)


def two_waves() -> DiffusionPrior:
    """Fields about one of two waves."""
    weights, stds = torch.tensor([[0.4, 0.6], [0.35, 0.5]], dtype=torch.float64)
    denoiser = MixtureDenoiser(EDMSchedule(0.002, 80.0), weights, torch.stack([-1.5 * WAVE, WAVE]), stds=stds)
    return plain_prior(denoiser, SPEC, sampler=DPMSolver2M(), steps=7)


@pytest.fixture(scope="module")
def tuned() -> TunedSampler:
    return tune_sampler(two_waves(), 7, DATA, against="flow", effort=EFFORT)


def test_on_starts_it_has_not_seen_it_errs_less_than_the_default(tuned: TunedSampler) -> None:
    prior = two_waves()
    reference, own, ours = (
        p.sample(256, rng=Rng(77)) for p in (prior.with_sampler(UniPC(3), 300), prior, tuned.put_into(prior))
    )
    errors = [float((draws - reference).square().mean().sqrt()) for draws in (own, ours)]
    assert errors[1] < 0.7 * errors[0]


def test_the_table_says_what_was_tried_and_the_best_is_the_best(tuned: TunedSampler) -> None:
    table = tuned.table
    best = table.sel(candidate=table.attrs["best"])
    assert float(best["score"]) == float(table["score"].isel(candidate=slice(None, -1)).min())
    assert int(best["steps"]) == tuned.steps and bool((table["evaluations"].isel(candidate=slice(None, -1)) <= 7).all())
    np.testing.assert_array_equal(best["times"].values[: tuned.steps + 1], tuned.sampler.times.numpy())
    assert {"own", "fine", "DDIM, path by modes", "Heun, own grid", "UniPC(3), edm", "DDPM, path by divergence"} <= set(table["candidate"].values)
    assert {"fitted, equal steps of lam", "fitted, path by energy", "fitted, edm"} <= set(table["candidate"].values)
    # the fine run is what is aimed at, and the second round is other starts than the first
    assert float(table["difference"].sel(candidate="fine")) == 0
    own = table.sel(candidate="own")
    assert float(own["score"]) != float(own["first_score"]) and int(table["score"].notnull().sum()) == EFFORT.finalists + 2
    text = tuning_table(tuned)
    assert text.splitlines()[-1].startswith("best: ") and "first_score" in text


def test_methods_on_the_path_err_less_than_on_their_own_grid(tuned: TunedSampler) -> None:
    score = tuned.table["first_score"]
    assert float(score.sel(candidate="UniPC(2), path by energy")) < 0.2 * float(score.sel(candidate="UniPC(2), own grid"))
    assert float(score.sel(candidate="DDIM, path by energy")) < 0.8 * float(score.sel(candidate="DDIM, own grid"))


def test_fitted_coefficients_on_the_path_are_the_best_and_beat_classical_ones(tuned: TunedSampler) -> None:
    """In the second round, on starts that neither the fit nor the path has seen: 0.003 where equal steps of lam leave 0.27."""
    score = tuned.table["score"]
    assert tuned.table.attrs["best"] == "fitted, path by energy"
    assert float(score.sel(candidate="fitted, path by energy")) < 0.3 * float(score.sel(candidate="UniPC(2), path by energy"))
    # each on the grid of equal steps, in the first round: whose starts the fit has not seen either
    early = tuned.table["first_score"]
    assert float(early.sel(candidate="fitted, equal steps of lam")) < 0.3 * float(early.sel(candidate="UniPC(3), own grid"))


def test_against_data_lost_spread_is_found_and_the_gaussian_base_used() -> None:
    found = tune_sampler(plain_prior(exact(), SPEC, sampler=DDIM(), steps=8), 8, DATA, effort=EFFORT)
    table = found.table
    own, best, fine = (table.sel(candidate=c) for c in ("own", table.attrs["best"], "fine"))
    # DDIM leaves 28 % of every amplitude undone in 8 steps, 2.9 dB; the fine run's spectrum is off by sampling error alone
    assert float(own["spectrum_db"]) > 2 > 1.2 * float(best["spectrum_db"]) and float(best["score"]) < float(fine["score"]) + 0.05
    assert {"ExactLinear, own grid", "DDPM, spectral"} <= set(table["candidate"].values)
    # nothing is known of the past: no CRPS
    assert bool(table["crps"].isnull().all())


def test_the_prior_keeps_it(tuned: TunedSampler, tmp_path: Path) -> None:
    prior = tuned.put_into(two_waves())
    again = DiffusionPrior.load(prior.save(tmp_path / "tuned.prior"))
    assert isinstance(again.sampler, FixedGrid) and isinstance(again.sampler.sampler, FittedMultistep) and again.steps == tuned.steps
    assert torch.equal(again.sample(3, rng=Rng(5)), prior.sample(3, rng=Rng(5)))


def test_errors_are_worded() -> None:
    prior = two_waves()
    with pytest.raises(InputError, match="at least 3 evaluations for heun, unipc, got 2"):
        tune_sampler(prior, 2, DATA, samplers={"heun": UniPC(3), "unipc": UniPC(4)})
    with pytest.raises(InputError, match="at least 1 evaluations"):
        tune_sampler(prior, 0, DATA)
    with pytest.raises(InputError, match="against"):
        tune_sampler(prior, 4, DATA, against="fid")
    with pytest.raises(InputError, match="TuningEffort.members"):
        TuningEffort(members=1)
    other = FieldSpec(("u",), ("m",), CartesianGrid((16,), extent=(1.0,), periodic=True), 0.1, time_unit="1")
    with pytest.raises(GridMismatch):
        tune_sampler(prior, 7, to_dataset(torch.zeros(4, 1, 2, 16), other, batch="sample"), effort=EFFORT)


def test_a_budget_of_one_evaluation_and_own_samplers() -> None:
    found = tune_sampler(two_waves(), 1, DATA, samplers={"a": DDPM(), "b": Heun(), "c": UniPC(3)}, effort=TuningEffort(2, 4, nodes=10))
    assert found.steps == 1 and not any(str(c).startswith("c") for c in found.table["candidate"].values)
    with pytest.raises(InputError, match="base"):
        tune_sampler(two_waves(), 5, DATA, samplers={"exact": ExactLinear()}, effort=EFFORT)
