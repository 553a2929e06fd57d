"""Options of training that change how it runs and not what comes out: compiled, deterministic, logged for TensorBoard."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
import torch

from physdiff.base.saved import read
from tests.cli.command import TINY, works

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile on a CPU needs g++")
needs_tensorboard = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="the extra tensorboard is not installed")


def weights(path) -> dict[str, torch.Tensor]:
    return read(path)[0].state_dict()


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of what its compiler loads
def test_a_compiled_network_is_trained_alike_and_saved_plain(tmp_path, burgers):
    words = ("fit --transform WaveletTransform", *TINY, "--network.dropout 0 --data", burgers)  # a compiler draws masks of its own
    works(*words, "--out", tmp_path / "a.prior")
    works(*words, "--training.compile true --out", tmp_path / "b.prior")
    one, other = weights(tmp_path / "a.prior"), weights(tmp_path / "b.prior")
    assert one.keys() == other.keys()  # the file needs no compiler
    moved = torch.cat([(one[k] - other[k]).flatten().float().abs() for k in one])
    # sums in another order: rounding, but where a gradient is rounding itself, whose sign is all that Adam's first three steps of 1e-3 see
    assert float(moved.median()) < 1e-6 and float((moved > 1e-5).float().mean()) < 0.02 and float(moved.max()) < 6e-3


def test_deterministic_runs_are_the_same_bit_for_bit(tmp_path, burgers, burgers_prior):
    works("fit --transform WaveletTransform", *TINY, "--trainer.deterministic true --data", burgers, "--out", tmp_path / "a.prior")
    assert not torch.are_deterministic_algorithms_enabled()  # for the run alone
    one, other = weights(tmp_path / "a.prior"), weights(burgers_prior)
    assert all(torch.equal(one[k], other[k]) for k in one)


@needs_tensorboard
def test_tensorboard_has_the_losses(tmp_path, burgers):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    long = "--training.max_steps 60 --trainer.log_every_n_steps 10 --trainer.logger tensorboard"
    works("fit --transform WaveletTransform", *TINY, long, "--data", burgers, "--out", tmp_path / "a.prior")
    events = EventAccumulator(str(tmp_path / "a.prior.fit" / "log" / "tensorboard"))
    events.Reload()
    assert "loss" in events.Tags()["scalars"] and len(events.Scalars("loss")) >= 5


def test_a_prior_that_can_be_diagnosed_is_told_so(tmp_path, burgers):
    words = ("fit --network UNet --network.width 8 --training.max_steps 1 --data", burgers, "--out", tmp_path / "a.prior")
    assert f"physdiff diagnose --prior {tmp_path / 'a.prior'}" in works(*words)
    words = (*words[:-1], tmp_path / "b.prior")
    assert "physdiff diagnose" not in works(*words, "--recipe.process deterministic")
