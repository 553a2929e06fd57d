"""Two processes (gloo, CPU) train as one does: losses, averages, order; a run that loses one of them stops in words and goes on."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.training.ddp_run import main
from tests.training.test_resume import same

ROOT = Path(__file__).resolve().parents[2]
STEPS = 50


def started(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """Two processes, as Lightning starts them."""
    folder.mkdir(exist_ok=True)
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-W", "ignore", "-m", "tests.training.ddp_run", str(folder), "2", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, capture_output=True, text=True, timeout=400)


def curve(folder: Path, rank: int = 0) -> dict:
    return json.loads((folder / f"rank{rank}.json").read_text())


def by_one(folder: Path, *words: object) -> Path:
    """One process with the batch of both."""
    assert main(str(folder), "1", *map(str, words)) == 0
    return folder


def by_two(folder: Path, *words: object) -> Path:
    done = started(folder, *words)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    return by_one(tmp_path_factory.mktemp("alone"), STEPS, "64")


@pytest.fixture(scope="module")
def both(tmp_path_factory) -> Path:
    return by_two(tmp_path_factory.mktemp("both"), STEPS, "64")


@pytest.mark.slow
def test_the_same_curve_and_the_same_end(alone, both) -> None:
    """In float64, where what rounding does to a sum of halves stays below 1e-10 over 50 steps; the issue asks for 1e-5."""
    one, two = curve(alone), curve(both)
    assert (one["world"], two["world"]) == (1, 2) and len(one["losses"]) == STEPS
    worst = max(abs(a - b) for a, b in zip(one["losses"], two["losses"], strict=True))
    print(f"largest difference of the loss over {STEPS} steps: {worst:.1e}")
    assert worst < 1e-10
    ends = [torch.load(folder / "last.ckpt", weights_only=True) for folder in (alone, both)]
    for part in ("state_dict", "current_model_state"):  # the average and the weights
        for name, value in ends[0][part].items():
            torch.testing.assert_close(ends[1][part][name], value, rtol=0, atol=1e-10)
    rows = [list(csv.DictReader((folder / "log/metrics.csv").read_text().splitlines())) for folder in (alone, both)]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]] and any(r["val_loss"] for r in rows[1])
    for a, b in zip(*rows, strict=True):
        assert all(a[k] == b[k] or float(a[k]) == pytest.approx(float(b[k]), rel=1e-5) for k in ("loss", "val_loss", "lr"))


@pytest.mark.slow
def test_no_window_is_seen_twice(alone, both) -> None:
    """Of every batch each process has its half, and both together what one process has."""
    whole, parts = curve(alone)["seen"], [curve(both, rank)["seen"] for rank in range(2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert len(first) == len(second) == 4 and not set(first) & set(second) and sorted(first + second) == batch


@pytest.mark.slow
def test_a_lost_process_stops_the_run_which_goes_on(both, tmp_path) -> None:
    done = started(tmp_path / "run", STEPS, "64", 23)
    assert done.returncode == 75, (done.returncode, done.stderr)
    assert "Stopped: fit: expected all processes of the run to answer, lost one of them" in done.stderr
    assert "the same command goes on from" in done.stderr
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] == 20
    assert started(tmp_path / "run", STEPS, "64").returncode == 0
    same(*(torch.load(folder / "final.pt", weights_only=True) for folder in (both, tmp_path / "run")))
    assert curve(tmp_path / "run")["losses"] == curve(both)["losses"][20:]


@pytest.mark.slow
def test_from_the_command_line(tmp_path) -> None:
    """`--trainer.strategy ddp`: one prior, said once, the losses of both in one table."""
    run = [sys.executable, "-W", "ignore", "-m", "physdiff"]
    more = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""}
    shared = {"cwd": ROOT, "env": {**os.environ, **more}, "capture_output": True, "text": True, "timeout": 400}
    data, out = tmp_path / "d.nc", tmp_path / "a.prior"
    made = f"generate --pde Burgers --pde.viscosity 0.02 --grid.shape 16 --samples 2 --frames.count 12 --out {data}"
    assert subprocess.run([*run, *made.split()], **shared).returncode == 0
    words = "fit --network UNet --network.width 8 --training.max_steps 12 --training.batch_size 4 --trainer.accelerator cpu --trainer.strategy ddp"
    done = subprocess.run([*run, *f"{words} --trainer.devices 2 --data {data} --out {out}".split()], **shared)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote the prior") == 1 and done.stdout.count("windows of") == 1 and done.stderr.count("trained  12 steps") == 1
    assert out.is_file() and json.loads((tmp_path / "a.prior.fit/log/report.json").read_text())["processes"] == 2
    steps = [row["step"] for row in csv.DictReader((tmp_path / "a.prior.fit/log/metrics.csv").read_text().splitlines())]
    assert steps == ["10", "12"]
