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
    assert {"t2m", "global_pressure", "cylinder_wake", "turbulence"} <= {p.stem for p in RUNS}


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_every_preset_is_understood(path):
    _, options = parsed("fit", ["--config", str(path), "--data", "a.nc", "--out", "a.prior"])
    assert isinstance(options["recipe"], Recipe) and options["network"](3, 2, ndim=2, periodic=False).in_channels == 3
    assert options["training"].seconds


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
