"""Every network by its name on the command line, for processes with and without noise levels, on any grid."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.cli.parse import parsed
from physdiff.networks.noise_channels import NoiseChannels
from physdiff.training.recipe import Recipe, prepare
from tests.cli.command import works
from tests.training.problems import line

NAMES = ("AxialViT", "CNO", "DeepONet", "DiT", "FFNO", "FNO", "MWT", "PointNetwork", "Transolver", "UFNO", "UNet", "WNO")
TOLD = ("AxialViT", "DiT", "Transolver", "UNet")  # have noise levels of their own
SMALL = {name: "--network.depth 1" for name in ("AxialViT", "DiT", "Transolver")}
SMALL |= {"DeepONet": "--network.rank 4", "UNet": "--network.multipliers [1,1]"}


def by_name(name: str):
    words = f"--data a.nc --out a.prior --network {name} --network.width 8 {SMALL.get(name, '')}"
    return parsed("fit", words.split())[1]["network"]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_built_for_every_process_and_told_levels_where_there_are_some(name):
    network = by_name(name)
    for process in ("diffusion", "deterministic"):
        torch.manual_seed(0)
        prior, data = prepare(line(), Recipe(history=1, horizon=2, steps=1, process=process), network=network)
        cond = torch.stack([data.train_windows[i]["cond"] for i in range(2)])
        assert bool(prior.sample(2, cond=cond, rng=Rng(0)).isfinite().all())
        inside = prior.model.network
        assert isinstance(inside, NoiseChannels) == (process == "diffusion" and name not in TOLD)
        inside = inside.network if isinstance(inside, NoiseChannels) else inside
        assert type(inside).__name__ == name and inside.ndim == 1
        if name in ("CNO", "DeepONet", "WNO"):
            assert inside.shape == (8,)  # 16 points, folded by one haar level
        if name in ("FNO", "FFNO", "UFNO"):
            assert inside.modes == (4,)  # of the twelve by default, what 8 points can hold
        again = build(describe(prior))
        again.load_state_dict(prior.state_dict())


def test_the_command_trains_one(tmp_path, burgers):
    words = "--network FNO --network.width 8 --network.layers 1 --recipe.process refiner --recipe.history 1 --recipe.horizon 2"
    assert "wrote the prior" in works("fit", words, "--training.max_steps 1 --data", burgers, "--out", tmp_path / "a.prior")
