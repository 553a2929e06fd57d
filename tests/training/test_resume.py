"""A run that is killed at any moment and resumed gives the weights, averages, optimiser state and learning rates of one that is not."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch

from physdiff.training.callbacks.last_checkpoint import LastCheckpoint
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import calendar, tiny

STEPS, PER_EPOCH = 8, 3  # two epochs and two steps


class Stop(Exception):
    """What a test interrupts training with."""


class StopAfter(pl.Callback):
    """Raise after a number of optimiser steps, before a checkpoint of that step is written."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise Stop


def problem(*, val: bool = False, workers: int = 0) -> tuple[DiffusionModule, TrajectoryDataModule]:
    """28 windows, 3 batches of 8 in an epoch; dropout, input noise and an average are on."""
    prior, data = prepare(calendar(31), Recipe(history=2, horizon=2, guess="increment"), network=tiny, batch_size=8, seed=3)
    data = TrajectoryDataModule(data.train_windows, data.train_windows if val else None, batch_size=8, num_workers=workers, seed=3)
    assert len(data.train_windows) // 8 == PER_EPOCH
    return DiffusionModule(prior, 1e-2, 0.9, input_noise=0.1, seed=5), data


def train(
    folder: Path, *, stop: int | None = None, accumulate: int = 1, val: bool = False, workers: int = 0, every: int = 1, **budget: int
) -> dict[str, Any]:
    """Train with a plain Trainer from where the folder stands, and read what it has saved at the end."""
    module, data = problem(val=val, workers=workers)
    callbacks: list[pl.Callback] = [LastCheckpoint(folder, every=every), *([] if stop is None else [StopAfter(stop)])]
    path = folder / "last.ckpt"
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=budget.get("max_epochs", -1),
        max_steps=budget.get("max_steps", -1),
        accumulate_grad_batches=accumulate,
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data, ckpt_path=str(path) if path.is_file() else None, weights_only=True if path.is_file() else None)
    return {**torch.load(path, weights_only=True), "final": module.state_dict()}


def same(a: Any, b: Any, where: str = "") -> None:
    """Assert that two trees of tensors and numbers are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


PARTS = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "lr_schedulers", "global_step", "final")


def same_run(a: dict[str, Any], b: dict[str, Any]) -> None:
    for part in PARTS:
        same(a[part], b[part], part)


def interrupted(folder: Path, stops: list[int], **options: Any) -> dict[str, Any]:
    for stop in stops:
        with pytest.raises(Stop):
            train(folder, stop=stop, **options)
    return train(folder, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Any]:
    torch.set_num_threads(1)
    return train(tmp_path_factory.mktemp("whole"), max_steps=STEPS)


def test_the_run_is_no_trivial_one(whole) -> None:
    assert whole["global_step"] == STEPS
    # the average is not the weights, and it is what the module holds at the end
    name = next(k for k in whole["final"] if k.endswith("weight"))
    assert not torch.equal(whole["state_dict"][name], whole["current_model_state"][name])
    same(whole["final"], whole["state_dict"])


@pytest.mark.parametrize("stop", range(2, STEPS + 1))
def test_resumed_at_any_step(whole, tmp_path, stop) -> None:
    same_run(whole, interrupted(tmp_path, [stop], max_steps=STEPS))


def test_resumed_many_times_from_older_checkpoints(whole, tmp_path) -> None:
    """The checkpoint lies up to two steps behind the interruption, and one falls on the end of an epoch."""
    same_run(whole, interrupted(tmp_path, [2, 5, 7, 8], max_steps=STEPS, every=3))


@pytest.mark.parametrize("stop", [2, 3, 4, 6, 7])
def test_epochs_as_budget_with_validation(tmp_path, stop) -> None:
    options = {"max_epochs": 2, "val": True}
    reference = train(tmp_path / "whole", **options)
    assert reference["global_step"] == 2 * PER_EPOCH
    if stop > 2 * PER_EPOCH:
        same_run(reference, train(tmp_path / "whole", **options))  # nothing left to do: the average is in place all the same
    else:
        same_run(reference, interrupted(tmp_path / "parts", [stop], **options))


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_with_accumulation(tmp_path, stop) -> None:
    """Two batches a step, and a single one at the end of an epoch of three."""
    options = {"max_epochs": 2, "accumulate": 2}
    reference = train(tmp_path / "whole", **options)
    assert reference["global_step"] == 4
    same_run(reference, interrupted(tmp_path / "parts", [stop], **options))


@pytest.mark.parametrize("budget", [{"max_steps": STEPS}, {"max_epochs": 3}])
def test_with_loader_processes(tmp_path, budget) -> None:
    """Workers fetch ahead; to count the steps of so many epochs Lightning starts them before it knows again where the run stands."""
    options = {"workers": 2, **budget}
    same_run(train(tmp_path / "whole", **options), interrupted(tmp_path / "parts", [3, 6], **options))


def test_fit_goes_on_by_itself(whole, tmp_path) -> None:
    """`fit` finds its checkpoint; its clipping, folders and quiet change nothing."""
    module, data = problem()
    data.train_windows = Faulty(data.train_windows, after=5 * 8)
    data._encoded = (module, data.train_windows)
    with pytest.raises(Stop):
        fit(module, data, max_steps=STEPS, out=tmp_path, save_every=2)
    module, data = problem()
    fit(module, data, max_steps=STEPS, out=tmp_path, save_every=2)
    same(whole["final"], module.state_dict())
    same(whole["optimizer_states"], torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"])
    steps = [line.split(",")[0] for line in (tmp_path / "log" / "metrics.csv").read_text().splitlines()]
    assert steps == ["step", str(STEPS)]


class Faulty(torch.utils.data.Dataset):
    """Windows of which one can be read only so often."""

    def __init__(self, windows: Any, after: int) -> None:
        self.windows, self.left = windows, after
        self.spec, self.cond_spec = windows.spec, windows.cond_spec

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.left -= 1
        if self.left < 0:
            raise Stop
        return self.windows[index]


KILLED_STEPS = 40


def run_to_the_end(folder: str) -> None:
    """What the killed process does: train, save at every second step."""
    torch.set_num_threads(1)
    module, data = problem()
    print("start", flush=True)
    fit(module, data, max_steps=KILLED_STEPS, out=folder, save_every=2, progress=False)
    torch.save(module.state_dict(), Path(folder) / "final.pt")


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path) -> None:
    """SIGKILL at six or more moments drawn at random, most of the time during or beside a checkpoint."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", "import sys; from tests.training.test_resume import run_to_the_end; run_to_the_end(sys.argv[1])", str(tmp_path)]
    random_moment = random.Random(7)
    checkpoint, kills, during = tmp_path / "last.ckpt", 0, 0
    for _ in range(40):
        step = torch.load(checkpoint, weights_only=True)["global_step"] if checkpoint.is_file() else 0  # whole, whatever happened
        if kills >= 8 or step >= KILLED_STEPS - 4:
            break
        process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None and process.stdout.readline() == b"start\n"
        # at an odd try wait for a checkpoint being written, at an even one for a moment within the next few steps
        deadline = time.monotonic() + 60
        if kills % 2:
            while not list(tmp_path.glob(".last.ckpt.*.part")) and process.poll() is None and time.monotonic() < deadline:
                pass
        else:
            before = checkpoint.stat().st_mtime_ns if checkpoint.is_file() else 0
            while (not checkpoint.is_file() or checkpoint.stat().st_mtime_ns == before) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            time.sleep(random_moment.uniform(0, 0.1))
        during += bool(list(tmp_path.glob(".last.ckpt.*.part")))
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills >= 6 and during >= 1
    subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    assert not list(tmp_path.glob(".last.ckpt.*.part"))

    module, data = problem()
    other = tmp_path / "whole"
    fit(module, data, max_steps=KILLED_STEPS, out=other, save_every=1000)
    same(module.state_dict(), torch.load(tmp_path / "final.pt", weights_only=True))
    killed, whole = (torch.load(f / "last.ckpt", weights_only=True) for f in (tmp_path, other))
    for part in PARTS[:-1]:
        same(whole[part], killed[part], part)
