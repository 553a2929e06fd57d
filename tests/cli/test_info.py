"""`info` tells what a file of physdiff holds and how it came about."""

from __future__ import annotations

import torch

from physdiff.base.saved import read, write
from physdiff.grids.cartesian import CartesianGrid
from tests.cli.command import refuses, works


def facts(text: str) -> dict[str, str]:
    return dict(line.split(maxsplit=1) for line in text.splitlines() if len(line.split(maxsplit=1)) == 2)


def test_a_prior(burgers, burgers_prior) -> None:
    found = facts(works("info", burgers_prior))
    assert found["kind"] == "DiffusionPrior" and found["fields"] == "u [1]" and found["window"].startswith("6 frames, 0.025")
    assert found["command"].startswith("physdiff") and found["seed"] == "0" and found["data"] == str(burgers)
    assert len(found["fingerprint"]) == 64 and found["torch"] == torch.__version__
    assert "WaveletTransform" in found["transform"] and found["given"] == "2 frames; u, known"


def test_a_checkpoint_and_the_prior_of_it(burgers_prior, tmp_path) -> None:
    """At the end of a run both hold the same weights."""
    path = burgers_prior.with_name("burgers.prior.fit") / "last.ckpt"
    found = facts(works("info", path, "--out", tmp_path / "a.prior"))
    assert found["checkpoint"] == "after step 3" and found["kind"] == "DiffusionPrior" and len(found["fingerprint"]) == 64
    one, other = (read(p)[0].state_dict() for p in (burgers_prior, tmp_path / "a.prior"))
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def test_other_files(tmp_path) -> None:
    write(tmp_path / "a.grid", CartesianGrid((4,)))
    assert facts(works("info", tmp_path / "a.grid"))["card"] == "none was written"
    torch.save({"done": 3, "known": torch.zeros(2, 5)}, tmp_path / "a.part")
    found = facts(works("info", tmp_path / "a.part"))
    assert found["kind"] == "state of a run (torch)" and found["done"] == "3" and found["known"] == "tensor (2, 5) float32"


def test_refusals(tmp_path, burgers, burgers_prior) -> None:
    assert "found none; check the path" in refuses("info", tmp_path / "a")
    assert "found a folder" in refuses("info", tmp_path)
    assert "expected a file written by physdiff (safetensors)" in refuses("info", burgers)
    assert "which is no checkpoint" in refuses("info", burgers_prior, "--out", tmp_path / "b")
