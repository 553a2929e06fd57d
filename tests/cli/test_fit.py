"""``physdiff fit``: what it leaves, going on after an interruption, and data it cannot be trained on."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.saved import read
from physdiff.cli.fit import train_prior
from physdiff.cli.options import Training
from physdiff.data.open import open_dataset, open_forecast
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.training.recipe import Recipe
from physdiff.transforms.compose import Compose
from physdiff.transforms.wavelet import WaveletTransform
from tests.cli.command import TINY, physdiff, refuses, untouched, works
from tests.cli.conftest import weather
from tests.cli.test_inspect import REFUSED
from tests.data.files import save


def weights(path) -> dict[str, torch.Tensor]:
    return DiffusionPrior.load(path).state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def test_the_prior_the_loss_and_how_it_was_made(made, burgers, burgers_prior):
    prior, card = read(burgers_prior)
    assert prior.spec.names == ("u",) and prior.spec.frames == 6 and prior.spec.grid.periodic == (True,)
    assert card["data"] == str(burgers) and card["seed"] == 0 and card["physdiff"]
    rows = (made / "burgers.prior.fit" / "log" / "metrics.csv").read_text().splitlines()
    assert rows[0].startswith("step,") and len(rows) > 1
    assert not list(made.rglob("*.part")) and not list(made.glob("lightning_logs*"))


def test_the_options_reach_the_prior(tmp_path, burgers):
    words = "--transform WaveletTransform --transform.wavelet db2 --transform.levels 2 --recipe.history 1 --recipe.horizon 2 --max_epochs 1"
    said = works("fit", words, "--select.stop 0.2 --network UNet --network.width 12 --training.roll x --data", burgers, "--out", tmp_path / "a.prior")
    # 9 frames until 0.2, so 7 windows of 3 frames in each of 4 trajectories; two frames in four bands of a quarter of 32 points
    assert "28 windows of 3 frames, coefficients (8, 1, 8)" in said and str(tmp_path / "a.prior") in said
    prior = DiffusionPrior.load(tmp_path / "a.prior")
    assert isinstance(prior.transform, Compose)
    (wavelet,) = [p for p in prior.transform if isinstance(p, WaveletTransform)]
    assert (wavelet.wavelet, wavelet.levels) == ("db2", 2)
    assert prior.denoiser.network._saved_arguments["width"] == 12


def test_the_same_command_again_goes_on_and_changes_nothing(tmp_path, era, era_prior):
    """A finished run gives the same weights again, and another place does not change them (the exact resume is training/test_resume.py)."""
    words = ("--recipe.horizon", "3", *TINY, "--data", era, "--out", tmp_path / "a.prior")
    works("fit", *words, "--training.max_steps 2")
    first = weights(tmp_path / "a.prior")
    works("fit", *words, "--training.max_steps 2")
    assert same(weights(tmp_path / "a.prior"), first)
    # the card names the path of the data, the weights do not depend on it
    works("fit", *words[:-1], tmp_path / "b.prior")
    assert same(weights(tmp_path / "b.prior"), weights(era_prior)) and not same(first, weights(era_prior))


def test_another_run_is_not_gone_on_with(tmp_path, era, burgers):
    """Weights of one run under the statistics of another would be wrong without a word."""
    words = (*TINY, "--out", tmp_path / "a.prior")
    works("fit", *words, "--data", era)
    with untouched(tmp_path):
        for options, what in (
            (f"--data {burgers}", "model and data and fingerprint"),
            (f"--data {era} --training.lr 0.01", "training"),
            (f"--data {era} --network.width 12", "model"),
        ):
            assert f"expected to go on with the run that was begun there, got another {what}; remove the folder" in refuses("fit", *words, options)
        assert "got another select" in refuses("fit", *words, "--data", era, "--select.stop 2020-01-04")


def test_a_budget_of_seconds_is_planned_and_kept(tmp_path, era):
    words = ("--network.width 8 --training.floor 3 --training.seconds 0.01 --data", era, "--out", tmp_path / "a.prior")
    assert "training 3 steps of about" in works("fit", *words) and json.loads((tmp_path / "a.prior.fit" / "plan.json").read_text())["steps"] == 3
    assert "training 3 steps as planned before" in works("fit", *words)


def test_nothing_is_written_without_a_folder(tmp_path, era, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with untouched(tmp_path):
        prior = train_prior(open_dataset(era), Recipe(horizon=1), training=Training(max_steps=1))
    assert not prior.training


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_data_that_inspect_refuses_are_refused(tmp_path, make, said):
    path = save(make(), tmp_path / "a.nc")
    with untouched(tmp_path):
        assert said in refuses("fit", *TINY, "--data", path, "--out", tmp_path / "out" / "a.prior")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--select.variables rain", "expected a variable 'rain', got only t2m"),
        ("--select.start 2030-01-01", "got none from 2030-01-01 to 2020-01-06T09:00"),
        ("--select.start yesterday", "expected dates as 2019-03-15 for start and stop"),
        ("--select.stop 2020-01-01T06", "expected a stretch of 2 + 4 frames without gaps, got none in 3 frames"),
        ("--select.stop 2020-01-01T00", "expected at least two time steps, got 1"),
        ("--recipe.history 100", "expected a stretch of 100 + 4 frames without gaps, got none in 44 frames"),
        ("--recipe.history -1", "expected history >= 0 and horizon >= 1, got -1 and 4"),
        ("--recipe.levels 9", "recipe.levels: expected at most 2 for a grid of (6, 8), got 9"),
        ("--recipe.wavelet db77", "got 'db77'; did you mean"),
        ("--recipe.steps 0", "expected steps >= 1, got 0"),
        ("--training.max_steps 0", "training.max_steps: expected a whole number, at least 1, got 0"),
        ("--training.roll longitude", "expected axes that close, none of the data, got longitude; leave it out"),
        ("--max_epochs 0", "max_epochs: expected a whole number, at least 1, got 0"),
        ("--network.width 0", "width: expected a positive finite number, got 0"),
    ],
)
def test_choices_the_data_do_not_allow_are_refused(tmp_path, era, words, said):
    with untouched(tmp_path):
        assert said in refuses("fit", *TINY, "--data", era, "--out", tmp_path / "a.prior", words)


def test_files_that_are_none_and_places_that_are_none(tmp_path, era, burgers):
    (tmp_path / "text.nc").write_text("not data")
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    with untouched(tmp_path):
        assert "found nothing there" in refuses("fit", "--data", tmp_path / "none.nc", "--out", tmp_path / "a.prior")
        assert "a damaged" in refuses("fit", "--data", tmp_path / "text.nc", "--out", tmp_path / "a.prior")
        assert "got the folder" in refuses("fit", "--data", era, "--out", tmp_path / "folder")
        assert "expected a folder to write into" in refuses("fit", "--data", era, "--out", tmp_path / "file" / "a.prior")
        assert "expected calendar times" in refuses("fit", *TINY, "--data", burgers, "--out", tmp_path / "a.prior", "--recipe.anomaly hour")


def test_gaps_missing_values_and_a_constant_field_are_no_obstacle(tmp_path):
    ds = weather().isel(time=[*range(12), *range(20, 40)])
    ds["t2m"][3, :2] = np.nan
    ds["t2m"][30] = np.nan
    ds["still"] = xr.full_like(ds["t2m"], 3.0)
    done = physdiff("fit", *TINY, "--data", save(ds, tmp_path / "a.nc"), "--out", tmp_path / "a.prior")
    assert done.code == 0, done.err
    assert all(v.isfinite().all() for v in weights(tmp_path / "a.prior").values() if v.is_floating_point())


@pytest.mark.slow
def test_pairs_of_inputs_and_outputs_train_an_operator(tmp_path):
    """Blurred noise: by an FNO less than half the error of the input itself after 150 steps (0.37 here); windows of other lengths are refused."""
    for name, count, seed in (("train", 400, 0), ("test", 20, 1)):
        x = torch.randn((count, 16, 16), generator=torch.Generator().manual_seed(seed))
        y = sum(x.roll((i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)) / 3
        torch.save({"x": x, "y": y}, tmp_path / f"{name}.pt")
    words = ("--recipe.process deterministic --network FNO --training.max_steps 150 --data", tmp_path / "train.pt", "--out", tmp_path / "a.prior")
    assert "shorter horizon (fit: --recipe.history, --recipe.horizon)" in refuses("fit", *words)
    works("fit --recipe.history 1 --recipe.horizon 1", *words)
    works("forecast --lead 1 --members 1 --every 2 --prior", tmp_path / "a.prior", "--initial", tmp_path / "test.pt", "--out", tmp_path / "fc.nc")
    found = open_forecast(tmp_path / "fc.nc")["u"].values.reshape(20, 16, 16)
    first, last = (open_dataset(tmp_path / "test.pt")["u"].isel(time=k).values.reshape(20, 16, 16) for k in (0, 1))
    error, nothing = (float(np.sqrt(((v - last) ** 2).mean())) for v in (found, first))
    assert error < 0.5 * nothing
