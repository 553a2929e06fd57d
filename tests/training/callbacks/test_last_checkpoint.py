"""A checkpoint is whole or the old one; it is written when due, after everything else has moved."""

from __future__ import annotations

import os

import pytest
import torch

from physdiff.base.errors import DataError, Diverged, InputError
from physdiff.training.callbacks.last_checkpoint import AtomicCheckpointIO, LastCheckpoint
from physdiff.training.callbacks.weight_average import WeightAverage
from tests.training.callbacks.quadratic import Quadratic, Validated, loader, trainer


class Witness(LastCheckpoint):
    """Notes at which steps it saves, and whether the average has moved by then."""

    def __init__(self, *args, **options) -> None:
        super().__init__(*args, **options)
        self.steps, self.averaged = [], []

    def save(self, trainer) -> None:
        before = self._saved
        super().save(trainer)
        if self._saved == before:
            return
        found = torch.load(self.path, weights_only=True)
        self.steps.append(found["global_step"])
        self.averaged.append(int(found["averaging_state"]["n_averaged"]))


@pytest.mark.parametrize(("every", "accumulate", "expected"), [(3, 1, [3, 6, 7]), (2, 2, [2, 4, 6, 7]), (50, 1, [7])])
def test_when_it_saves(tmp_path, every, accumulate, expected) -> None:
    witness = Witness(tmp_path / "new", every=every)
    trainer(witness, WeightAverage(0.9), max_steps=7, accumulate_grad_batches=accumulate).fit(Validated(), loader(), loader(1))
    assert witness.steps == witness.averaged == expected
    assert os.listdir(tmp_path / "new") == ["last.ckpt"]
    # the end too is saved with the weights themselves, from which a longer run can go on, beside their average
    found = torch.load(witness.path, weights_only=True)
    assert found["current_model_state"]["w"].item() == pytest.approx(1 - 0.75**7, rel=1e-6)
    assert found["state_dict"]["w"].item() != found["current_model_state"]["w"].item()


def test_a_write_that_fails_leaves_the_old_one(tmp_path, monkeypatch) -> None:
    trainer(LastCheckpoint(tmp_path), max_steps=2).fit(Quadratic(), loader())
    before = (tmp_path / "last.ckpt").read_bytes()

    def broken(checkpoint, path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(DataError, match="expected to write a file, got disk full; check the folder and the space left"):
        trainer(LastCheckpoint(tmp_path), max_steps=2).fit(Quadratic(), loader())
    assert (tmp_path / "last.ckpt").read_bytes() == before and os.listdir(tmp_path) == ["last.ckpt"]


def test_the_new_one_appears_at_once(tmp_path, monkeypatch) -> None:
    """While it is being written, its name is not there; then it is renamed within its folder."""
    moves = []
    replace = os.replace

    def watched(source, target) -> None:
        assert source.parent == target.parent and not target.exists()
        moves.append(torch.load(source, weights_only=True)["global_step"])
        replace(source, target)

    monkeypatch.setattr(os, "replace", watched)
    trainer(LastCheckpoint(tmp_path), max_steps=2).fit(Quadratic(), loader())
    assert moves == [2]


def test_leftovers_of_a_killed_run_are_removed(tmp_path) -> None:
    for name in (".last.ckpt.12345.part", ".other.ckpt.1.part", "notes.txt"):
        (tmp_path / name).write_text("half")
    trainer(LastCheckpoint(tmp_path), max_steps=1).fit(Quadratic(), loader())
    assert sorted(os.listdir(tmp_path)) == [".other.ckpt.1.part", "last.ckpt", "notes.txt"]


def test_weights_that_are_not_finite_are_not_saved(tmp_path) -> None:
    """A gradient may overflow where the loss does not: the next loss would tell, after the checkpoint."""

    class Overflows(Quadratic):
        def on_train_batch_start(self, batch, batch_idx) -> None:
            if self.global_step == 3:
                self.w.data.fill_(torch.inf)

    with pytest.raises(Diverged, match="weight w.* is not finite at time 4: lower the learning rate"):
        trainer(LastCheckpoint(tmp_path, every=1), max_steps=6).fit(Overflows(), loader())
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3


def test_nothing_new_is_not_saved_again(tmp_path) -> None:
    trainer(LastCheckpoint(tmp_path), max_steps=2).fit(Quadratic(), loader())
    stamp = (tmp_path / "last.ckpt").stat().st_mtime_ns
    trainer(LastCheckpoint(tmp_path), max_steps=2).fit(Quadratic(), loader(), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == stamp


def test_wrong_arguments(tmp_path) -> None:
    with pytest.raises(InputError, match="every"):
        LastCheckpoint(tmp_path, every=0)
    with pytest.raises(InputError, match="storage options"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "a.ckpt", storage_options={"key": 1})
