"""A disk that is full in the middle of a fit or a generation: a sentence, the last checkpoint as it was, nothing half-written; then it goes on."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.cli.command import physdiff, works


@contextlib.contextmanager
def full(size: int) -> Iterator[None]:
    """No file may pass so many bytes, which the system reports like a disk without space."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def halves(folder: Path) -> list[Path]:
    return list(folder.rglob(".*.part"))


@pytest.mark.slow
def test_fit(tmp_path, burgers) -> None:
    words = ("fit --network UNet --network.width 8 --training.save_every 2 --data", burgers, "--out", tmp_path / "a.prior")
    works(*words, "--training.max_steps 2")
    checkpoint, prior = tmp_path / "a.prior.fit" / "last.ckpt", (tmp_path / "a.prior").read_bytes()
    before = checkpoint.read_bytes()
    with full(50_000):
        done = physdiff(*words, "--training.max_steps 4")
    assert done.code == 2 and "last.ckpt: expected to write a file, got" in done.err, done.err
    assert "check the folder and the space left (the file that was there is as before)" in done.err
    assert checkpoint.read_bytes() == before and (tmp_path / "a.prior").read_bytes() == prior and not halves(tmp_path)
    works(*words, "--training.max_steps 4")
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_the_prior_itself(tmp_path, burgers) -> None:
    """The checkpoint is there already; the last file does not fit."""
    words = ("fit --network UNet --network.width 8 --training.max_steps 2 --data", burgers, "--out", tmp_path / "a.prior")
    works(*words)
    (tmp_path / "a.prior").unlink()
    with full(50_000):
        done = physdiff(*words)
    assert done.code == 2 and "a.prior: expected to write a file, got" in done.err and not (tmp_path / "a.prior").exists() and not halves(tmp_path)
    works(*words)


def test_generate(tmp_path) -> None:
    words = ("generate --pde Burgers --pde.viscosity 0.02 --grid.shape 64 --frames.count 12 --samples 32 --out", tmp_path / "a.nc")
    with full(20_000):
        done = physdiff(*words)
    assert done.code == 2 and "expected to write a file, got" in done.err and "the space left" in done.err, done.err
    assert not (tmp_path / "a.nc").exists() and not halves(tmp_path)
    assert [p.name for p in (tmp_path / "a.nc.parts").iterdir()] == ["run.json"]
    works(*words)
    assert (tmp_path / "a.nc").is_file() and not (tmp_path / "a.nc.parts").exists()
