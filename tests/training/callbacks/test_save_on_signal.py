"""A real signal in the middle of training: saved, stopped in words, put back into SLURM's queue, and gone on with."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from physdiff.base.errors import Stopped
from physdiff.training.fit import fit
from tests.training.callbacks.quadratic import Quadratic, loader
from tests.training.test_fit import problem
from tests.training.test_resume import same


class Sends(pl.Callback):
    """Sends this process a signal within a step."""

    def __init__(self, number: int, step: int) -> None:
        self.number, self.step = number, step

    def on_before_backward(self, trainer: pl.Trainer, *_) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)


def scontrol(folder: Path, monkeypatch, *, code: int = 0) -> Path:
    """A scontrol that notes what it is asked."""
    program = folder / "bin" / "scontrol"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\necho "no such job" >&2\nexit {code}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return folder / "asked"


def test_saved_and_gone_on_with(tmp_path, monkeypatch) -> None:
    for name in ("SLURM_JOB_ID", "SLURM_ARRAY_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    number = signal.SIGUSR1
    before = signal.getsignal(number)
    module, data = problem()
    with pytest.raises(Stopped, match=f"stopped by {number.name} after step 3; the same command goes on from .*last.ckpt$"):
        fit(module, data, max_steps=5, out=tmp_path / "a", save_every=100, callbacks=[Sends(number, 2)])
    assert signal.getsignal(number) == before
    module, data = problem()
    fit(module, data, max_steps=5, out=tmp_path / "a")
    whole, data = problem()
    fit(whole, data, max_steps=5, out=tmp_path / "b")
    same(whole.state_dict(), module.state_dict())


@pytest.mark.parametrize(
    ("job", "code", "asked", "said"),
    [
        ({"SLURM_JOB_ID": "815"}, 0, "requeue 815\n", "job 815 was put back into the queue"),
        ({"SLURM_JOB_ID": "815", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3"}, 0, "requeue 77_3\n", "job 77_3 was put back"),
        ({"SLURM_JOB_ID": "815"}, 1, "requeue 815\n", r"job 815 could not be put back into the queue \(no such job\)"),
        ({"SLURM_JOB_ID": "8; rm"}, 0, None, "was not put back into the queue: no number"),
    ],
)
def test_slurm_begins_it_again(tmp_path, monkeypatch, job, code, asked, said) -> None:
    for name in ("SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    note = scontrol(tmp_path, monkeypatch, code=code)
    with pytest.raises(Stopped, match=said):
        fit(Quadratic(), loader(), max_steps=4, out=tmp_path / "a", callbacks=[Sends(signal.SIGUSR1, 1)])
    assert torch.load(tmp_path / "a" / "last.ckpt", weights_only=True)["global_step"] == 2
    assert (note.read_text() if note.exists() else None) == asked


def test_room_must_be_made_without_the_queue(tmp_path, monkeypatch) -> None:
    """After SIGTERM SLURM itself puts a job that makes room back, if it is set so."""
    monkeypatch.setenv("SLURM_JOB_ID", "815")
    note = scontrol(tmp_path, monkeypatch)
    with pytest.raises(Stopped, match="last.ckpt$"):
        fit(Quadratic(), loader(), max_steps=4, out=tmp_path / "a", callbacks=[Sends(signal.SIGTERM, 1)])
    assert not note.exists()


def test_with_accumulation_it_waits_for_the_step(tmp_path) -> None:
    with pytest.raises(Stopped, match="after step 2"):
        fit(Quadratic(), loader(), max_steps=4, out=tmp_path, callbacks=[Sends(signal.SIGTERM, 1)], accumulate_grad_batches=2)
