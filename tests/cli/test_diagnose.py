"""``physdiff diagnose`` on priors with and without known frames."""

from __future__ import annotations

from pathlib import Path

import pytest
import xarray as xr

from tests.cli.command import refuses, works

TINY_EFFORT = "--effort.windows 4 --effort.levels 2 --effort.cases 2 --effort.members 2 --effort.steps 8"


def test_a_prior_given_known_frames(tmp_path: Path, burgers: Path, burgers_prior: Path) -> None:
    said = works("diagnose", TINY_EFFORT, "--prior", burgers_prior, "--data", burgers, "--out", tmp_path)
    assert "Fokker-Planck residual" in said and "spread lost to steps, Gaussian" in said
    with xr.open_dataset(tmp_path / "diagnose.nc") as found:
        assert set(found["verdict"].values) <= {"good", "look", "bad"}
        assert bool(found["value"].notnull().all())
    assert (tmp_path / "index.html").is_file() and (tmp_path / "diagnose.png").is_file()


@pytest.mark.slow
def test_a_prior_of_frames_on_the_sphere(tmp_path: Path, era: Path, frame_prior: Path) -> None:
    said = works("diagnose", TINY_EFFORT, "--prior", frame_prior, "--data", era, "--out", tmp_path)
    assert "ODE to SDE" in said


def test_refusals(tmp_path: Path, burgers: Path, burgers_prior: Path) -> None:
    said = refuses("diagnose", "--effort.members 1", "--prior", burgers_prior, "--data", burgers, "--out", tmp_path)
    assert "Effort.members: expected at least 2, got 1" in said
