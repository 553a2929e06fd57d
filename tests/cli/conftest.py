"""Tiny data and priors made by the command itself, once per session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.command import TINY, works
from tests.data.files import earth, save

FRAMES = 44


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all that the fixtures below make."""
    torch.set_num_threads(1)
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="session")
def burgers(made: Path) -> Path:
    """Four trajectories of twelve frames on 32 points."""
    works("generate --pde Burgers --pde.viscosity 0.02 --grid.shape 32 --samples 4 --frames.count 12 --out", made / "burgers.h5")
    return made / "burgers.h5"


@pytest.fixture(scope="session")
def burgers_prior(made: Path, burgers: Path) -> Path:
    """A prior given two known frames."""
    works("fit --transform WaveletTransform", *TINY, "--data", burgers, "--out", made / "burgers.prior")
    return made / "burgers.prior"


@pytest.fixture(scope="session")
def burgers_forecast(made: Path, burgers: Path, burgers_prior: Path) -> Path:
    """Three frames from every fourth start, four members."""
    works("forecast --lead 3 --members 4 --every 4 --prior", burgers_prior, "--initial", burgers, "--out", made / "burgers_forecast.nc")
    return made / "burgers_forecast.nc"


def weather(frames: int = FRAMES, **options):
    """Three-hourly temperatures with a daily cycle on 6 x 8 points, latitude 50 to 40, longitude 0 to 17.5."""
    hours = 3 * np.arange(frames)
    noise = np.cumsum(np.random.default_rng(0).standard_normal((frames, 6, 8)), axis=0) / 10
    t2m = (280 + 3 * np.sin(2 * np.pi * hours / 24)[:, None, None] + noise).astype("float32")
    return earth(hours=hours, ny=6, nx=8, **{"t2m": t2m, **options})


@pytest.fixture(scope="session")
def era(made: Path) -> Path:
    """A CF file of temperatures."""
    return save(weather(), made / "era.nc")


@pytest.fixture(scope="session")
def era_prior(made: Path, era: Path) -> Path:
    """A prior given two known frames of temperature."""
    works("fit --recipe.horizon 3", *TINY, "--data", era, "--out", made / "era.prior")
    return made / "era.prior"


@pytest.fixture(scope="session")
def frame_prior(made: Path, era: Path) -> Path:
    """A prior of single frames of temperature."""
    works("fit --recipe.history 0 --recipe.horizon 1", *TINY, "--data", era, "--out", made / "frame.prior")
    return made / "frame.prior"


@pytest.fixture(scope="session")
def sensors(made: Path) -> Path:
    """Readings at two times."""
    lines = ["longitude,latitude,time,t2m [K]", "2.5,47.2,2020-01-02T09:00,281", "11,42,2020-01-02T09:00,282.5", "5,44,2020-01-03T00:00,279"]
    path = made / "sensors.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
