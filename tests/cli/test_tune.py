"""``physdiff tune``: a prior that keeps the sampler found for it."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from physdiff.base.saved import read
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from tests.cli.command import refuses, works

TINY_EFFORT = "--effort.cases 2 --effort.members 2 --effort.finalists 1 --effort.nodes 8"


def test_a_prior_given_known_frames(tmp_path: Path, burgers: Path, burgers_prior: Path) -> None:
    out = tmp_path / "tuned.prior"
    said = works("tune", TINY_EFFORT, "--prior", burgers_prior, "--data", burgers, "--evaluations", "3", "--out", out)
    assert "best: " in said and "crps" in said and "\nDDIM, " in said
    # the fine run's own CRPS is the unit of the second term; four digits are printed
    score, _, decibels, _, crps = (float(v) for v in next(line for line in said.splitlines() if line.startswith("fine")).split()[2:])
    assert score == pytest.approx(1 + math.log(10) / 20 * decibels, rel=1e-3) and crps > 0
    prior, card = read(out)
    assert isinstance(prior.sampler, FixedGrid) and prior.steps <= 3
    # what the file said of its making is kept, and how it was tuned is added
    assert card["tuned"]["evaluations"] == 3 and set(read(burgers_prior)[1]) < set(card)


def test_refusals(tmp_path: Path, burgers: Path, burgers_prior: Path) -> None:
    said = refuses("tune", "--evaluations", "0", "--prior", burgers_prior, "--data", burgers, "--out", tmp_path / "x.prior")
    assert "evaluations: expected a whole number, at least 1, got 0" in said
