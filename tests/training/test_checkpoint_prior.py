"""A checkpoint is a prior of its own; a damaged one is refused."""

from __future__ import annotations

import random

import pytest
import torch

from physdiff.base.errors import DataError, PhysdiffError
from physdiff.base.rng import Rng
from physdiff.training.checkpoint_prior import prior_from_checkpoint, read_checkpoint
from physdiff.training.fit import fit
from tests.training.test_fit import problem
from tests.training.test_resume import same


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    module, data = problem()
    module.card = {"command": "physdiff fit", "seed": 3}
    fit(module, data, max_steps=4, out=folder)
    return module.prior, data, folder / "last.ckpt"


def test_the_prior_without_anything_else(trained) -> None:
    """Weights (the average), transform with its statistics, units, and draws: all from the file alone."""
    prior, data, path = trained
    again, card = prior_from_checkpoint(path)
    assert card == {"command": "physdiff fit", "seed": 3, "step": 4}
    same(prior.state_dict(), again.state_dict())
    prior.check_grid(again.spec, "again")
    assert not again.training
    cond = data.train_windows[0]["cond"][None]
    assert torch.equal(*(p.sample(2, cond=cond, rng=Rng(0)) for p in (prior, again)))


def test_what_is_no_checkpoint(tmp_path, trained) -> None:
    (tmp_path / "a.ckpt").write_bytes(b"no")
    with pytest.raises(DataError, match="cannot read it"):
        read_checkpoint(tmp_path / "a.ckpt")
    with pytest.raises(DataError, match="found none"):
        read_checkpoint(tmp_path / "b.ckpt")
    torch.save([1], tmp_path / "c.ckpt")
    with pytest.raises(DataError, match="got a list"):
        read_checkpoint(tmp_path / "c.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "d.ckpt")
    with pytest.raises(DataError, match="a checkpoint that describes its prior, got one without"):
        prior_from_checkpoint(tmp_path / "d.ckpt")
    found = read_checkpoint(trained[2])
    found["state_dict"].popitem()
    torch.save(found, tmp_path / "e.ckpt")
    with pytest.raises(DataError, match="the weights of the prior it describes, got others"):
        prior_from_checkpoint(tmp_path / "e.ckpt")


def test_no_code_of_a_checkpoint_runs(tmp_path) -> None:
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": {}, "x": Payload()}, tmp_path / "a.ckpt")
    with pytest.raises(DataError, match="cannot read it"):
        read_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_damaged_in_a_hundred_ways(tmp_path, trained) -> None:
    """Truncated, one bit flipped, a block zeroed: an error in words, or the same prior (bits between the parts mean nothing)."""
    prior, _, path = trained
    whole, draw, counts = path.read_bytes(), random.Random(1), {"refused": 0, "right": 0}
    target = tmp_path / "a.ckpt"
    for k in range(120):
        damaged = bytearray(whole)
        if k % 3 == 0:
            del damaged[draw.randrange(len(whole)) :]
        elif k % 3 == 1:
            damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        else:
            start = draw.randrange(len(whole))
            damaged[start : start + 64] = bytes(len(damaged[start : start + 64]))
        target.write_bytes(bytes(damaged))
        try:
            again, _ = prior_from_checkpoint(target)
        except PhysdiffError:
            counts["refused"] += 1
            continue
        same(prior.state_dict(), again.state_dict())
        counts["right"] += 1
    print(counts)
    assert counts["refused"] >= 80
