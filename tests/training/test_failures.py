"""What ends a run from outside is said in words, with what to try and where it goes on."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from physdiff.base.errors import DataError, Diverged, InputError, Stopped
from physdiff.training.failures import in_words
from physdiff.training.fit import fit
from tests.training.callbacks.quadratic import Quadratic, loader
from tests.training.test_fit import problem


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), InputError, "a step that fits into memory.*smaller batch"),
        (MemoryError(), InputError, "got MemoryError; take a smaller batch"),
        (RuntimeError("[Rank 0] DataLoader worker (pid 7) is killed by signal: Killed."), Stopped, "loader processes.*fewer workers"),
        (RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer"), Stopped, "lost one of them"),
        (RuntimeError("Timed out waiting 1800000ms for recv operation to complete"), Stopped, "lost one of them"),
        (dist.DistNetworkError("no answer"), Stopped, "lost one of them"),
    ],
)
def test_in_words(tmp_path, error, kind, words) -> None:
    told = in_words(error, tmp_path / "last.ckpt")
    assert type(told) is kind
    with pytest.raises(kind, match=f"{words}.*; there is no checkpoint yet"):
        raise told
    (tmp_path / "last.ckpt").touch()
    assert f"the same command goes on from {tmp_path / 'last.ckpt'}" in str(in_words(error, tmp_path / "last.ckpt"))


def test_bugs_and_own_errors_stay() -> None:
    assert in_words(RuntimeError("shapes cannot be multiplied"), None) is None
    assert in_words(KeyError("x"), None) is None and in_words(DataError("x"), None) is None


def test_a_step_that_does_not_fit(tmp_path) -> None:
    """Real: torch asks the system for 256 TiB."""

    class Huge(Quadratic):
        def training_step(self, batch, batch_idx):
            if self.global_step == 3:
                torch.empty(2**45, dtype=torch.float64)
            return super().training_step(batch, batch_idx)

    with pytest.raises(InputError, match="a step that fits into memory, got .*; the same command goes on from"):
        fit(Huge(), loader(), max_steps=6, out=tmp_path, save_every=1)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == 3


def test_a_loss_that_is_not_finite(tmp_path) -> None:
    """The message names the checkpoint, which is of a step before, and what to try."""
    module, data = problem()
    loss = module._loss

    def broken(batch, rng, *, train, step=0):
        return loss(batch, rng, train=train, step=step) * (torch.nan if step == 5 else 1.0)

    module._loss = broken
    with pytest.raises(Diverged, match="training loss.*at time 5.*last.ckpt is of a step before: try a lower learning rate"):
        fit(module, data, max_steps=8, out=tmp_path, save_every=2)
    found = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert found["global_step"] == 4 and all(v.isfinite().all() for v in found["state_dict"].values())
