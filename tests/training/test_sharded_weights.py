"""Weights shared out over two processes (gloo, CPU) train as one process does; checkpoints are whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.networks.unet import UNet
from physdiff.training.checkpoint_prior import prior_from_checkpoint
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import _trainer, fit, steps_for
from physdiff.training.recipe import Recipe, prepare
from physdiff.training.sharded_weights import ShardedWeights, own_part, put_whole, sharded_mesh, unsharded_copy, whole
from tests.training.ddp_run import main
from tests.training.problems import calendar, tiny
from tests.training.test_ddp import ROOT, by_one, by_two, curve, started
from tests.training.test_resume import same

STEPS = 30


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    return by_one(tmp_path_factory.mktemp("alone"), STEPS, "32")


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    return by_two(tmp_path_factory.mktemp("both"), STEPS, "32", 0, "fsdp")


def close(one: dict, other: dict) -> None:
    """Adam's steps of 1e-3 turn a rounding of a small gradient into a part of a step: a tenth of one at most."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        torch.testing.assert_close(other[name], value, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_the_same_curve_and_whole_checkpoints(alone, both) -> None:
    one, two = curve(alone), curve(both)
    assert (one["world"], two["world"]) == (1, 2) and len(two["losses"]) == STEPS
    assert max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True)) < 1e-5
    ends = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (alone, both)]
    assert ends[0].keys() == ends[1].keys()
    for part in ("state_dict", "current_model_state"):  # the average and the weights
        close(ends[0][part], ends[1][part])
    assert any(not torch.equal(ends[1]["state_dict"][n], v) for n, v in ends[1]["current_model_state"].items())
    moments = [{(k, n): v for k, s in end["optimizer_states"][0]["state"].items() for n, v in s.items()} for end in ends]
    close(*moments)
    prior, card = prior_from_checkpoint(both / "last.ckpt")
    left = torch.load(both / "final.pt", weights_only=True)
    assert card["step"] == STEPS and all(torch.equal(left[f"prior.{n}"], v) for n, v in prior.state_dict().items())


@pytest.mark.slow
def test_a_lost_process_stops_the_run_which_goes_on_with_two_or_with_one(alone, both, tmp_path) -> None:
    done = started(tmp_path / "run", STEPS, "32", 23, "fsdp")
    assert done.returncode == 75 and "expected all processes of the run to answer, lost one of them" in done.stderr, done.stderr[-3000:]
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 20
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    done = started(tmp_path / "run", STEPS, "32", 0, "fsdp")
    assert done.returncode == 0, done.stderr[-3000:]
    same(*(torch.load(folder / "final.pt", weights_only=True) for folder in (both, tmp_path / "run")))
    assert curve(tmp_path / "run")["losses"] == curve(both)["losses"][20:]
    assert main(str(tmp_path / "other"), "1", str(STEPS), "32") == 0
    close(*(torch.load(folder / "final.pt", weights_only=True) for folder in (alone, tmp_path / "other")))


@pytest.mark.slow
def test_from_the_command_line(tmp_path) -> None:
    run = [sys.executable, "-W", "ignore", "-m", "physdiff"]
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    shared = {"cwd": ROOT, "env": {**os.environ, **more}, "capture_output": True, "text": True, "timeout": 400}
    data, out = tmp_path / "d.nc", tmp_path / "a.prior"
    made = f"generate --pde Burgers --pde.viscosity 0.02 --grid.shape 16 --samples 2 --frames.count 12 --out {data}"
    assert subprocess.run([*run, *made.split()], **shared).returncode == 0
    words = "fit --network UNet --network.width 8 --training.max_steps 12 --training.batch_size 4 --trainer.accelerator cpu --trainer.strategy fsdp"
    done = subprocess.run([*run, *f"{words} --trainer.devices 2 --data {data} --out {out}".split()], **shared)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("wrote the prior") == 1 and subprocess.run([*run, "info", str(out)], **shared).returncode == 0


def module() -> tuple[DiffusionModule, pl.LightningDataModule]:
    prior, data = prepare(calendar(40), Recipe(history=1, horizon=1, guess="none", wavelet="none"), network=tiny)
    return DiffusionModule(prior), data


def test_the_strategy_is_built_by_its_name() -> None:
    trainer = _trainer([], max_epochs=1, max_steps=1, accelerator="cpu", devices=2, strategy="fsdp", precision="bf16-mixed")
    assert isinstance(trainer.strategy, ShardedWeights) and trainer.strategy.num_processes == 2


def test_one_process_has_whole_weights() -> None:
    one, other = (UNet(1, 1, ndim=1, periodic=(True,), width=4, multipliers=(1,)) for _ in range(2))
    put_whole(other, one.state_dict())
    assert all(torch.equal(v, other.state_dict()[n]) for n, v in one.state_dict().items()) and sharded_mesh(one) is None
    weight = next(one.parameters())
    assert whole(weight) is weight and own_part(weight) is weight and whole(3) == 3


def test_what_cannot_be_shared_out_is_refused() -> None:
    made, data = module()
    copied = unsharded_copy(made)
    assert copied is not made and next(copied.parameters()) is not next(made.parameters())
    with pytest.raises(InputError, match="expected a module that trains a prior, got LightningModule; take ddp"):
        unsharded_copy(pl.LightningModule())
    with pytest.raises(InputError, match="got a budget of time or a plan; give max_steps"):
        steps_for(made, data, seconds=1.0, strategy="fsdp")
    made.prior.model.forward = made.prior.model.forward  # as `recomputed` does
    with pytest.raises(InputError, match="neither compiled nor recomputes, got PreconditionedDenoiser; leave that out, or take ddp"):
        unsharded_copy(made)
    with pytest.raises(InputError, match="expected options that Lightning's Trainer takes, .* does not support"):
        fit(module()[0], data, max_steps=1, strategy="fsdp", precision="64-true", accelerator="cpu")
