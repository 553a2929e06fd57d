"""Every preset of runs/ is understood by the parser, names what there is, and one of each kind trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from physdiff.cli.parse import parsed
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.networks.transformer import DiT
from physdiff.training.recipe import Recipe
from physdiff.transforms.autoencoder import Autoencoder
from tests.cli.command import works

RUNS = sorted((Path(__file__).parents[2] / "runs").glob("*.yaml"))


def test_there_is_one_for_each_data_set():
    data = {"t2m", "global_pressure", "cylinder_wake", "turbulence", "points", "wdno_burgers", "wdno_resolution", "wdno_gas", "wdno_smoke"}
    assert data <= {p.stem for p in RUNS}


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_every_preset_is_understood(path):
    function, options = parsed("fit", ["--config", str(path), "--data", "a.nc", "--out", "a.prior"])
    forms = {"wdno_resolution": "fit_resolution", "wdno_smoke": "fit_patterns"}
    whole = path.stem.startswith("wdno")
    assert function.__name__ == forms.get(path.stem, "fit_trajectories" if whole else "fit")
    assert whole or isinstance(options["recipe"], Recipe)
    assert "network" not in options or options["network"](3, 2, ndim=2, periodic=False).in_channels == 3
    assert options["training"].seconds or options["training"].max_steps


def test_tasks_of_a_preset_are_trained(tmp_path, burgers):
    network = "network: {class_path: UNet, init_args: {width: 8, multipliers: [1, 1]}}"
    (tmp_path / "run.yaml").write_text(f"tasks: [{{u: [0]}}]\n{network}\ntraining: {{max_steps: 1}}\n")
    assert "4 windows of 12 frames" in works("fit --config", tmp_path / "run.yaml", "--data", burgers, "--out", tmp_path / "a.prior")


@pytest.mark.parametrize("path", RUNS[:1], ids=lambda p: p.stem)
def test_it_prints_as_a_whole(path):
    text = works("fit --config", path, "--data a.nc --out a.prior --print_config")
    assert "horizon: 4" in text and "data: a.nc" in text


def test_latents_and_a_transformer_by_name(tmp_path, burgers):
    words = "--transform Autoencoder --transform.compression 4 --transform.width 8 --network DiT --network.width 16 --network.depth 1"
    rest = ("--recipe.history 1 --recipe.horizon 2 --training.max_steps 2 --data", burgers, "--out", tmp_path / "a.prior")
    said = works("fit", words, *rest)
    assert "latents  2 channels on (4,)" in said and "standard deviations" in said
    prior = WindowPrior.load(tmp_path / "a.prior")
    assert isinstance(prior.denoiser.network, DiT) and any(isinstance(p, Autoencoder) for p in prior.transform.modules())
    # the autoencoder is taken up again, not trained anew
    kept = tmp_path / "a.prior.fit" / "autoencoder" / "autoencoder.safetensors"
    before = kept.stat().st_mtime_ns
    works("fit", words, *rest)
    assert kept.stat().st_mtime_ns == before
