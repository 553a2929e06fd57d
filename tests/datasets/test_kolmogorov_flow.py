"""The script of the data set makes what its specification and `physdiff demo` say."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from physdiff.cli.demo import Size, turbulence
from physdiff.data.open import open_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

SCRIPT = Path(__file__).resolve().parents[2] / "datasets" / "kolmogorov_flow" / "generate.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("kolmogorov_flow_generate", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def made(script: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "flow.nc"
    assert script.main(["--out", str(path), "--samples", "2", "--points", "32", "--frames", "8"]) == path
    return path


def test_the_file_is_as_specified(script: ModuleType, made: Path):
    spec, ds = script.specification(), open_dataset(made)
    assert dict(ds.sizes) == {"sample": 2, "time": 8, "y": 32, "x": 32}
    assert list(ds.data_vars) == list(spec["fields"])
    np.testing.assert_allclose(np.diff(ds.time), spec["time"]["step"])
    assert ds.vorticity.attrs["units"] == spec["fields"]["vorticity"]["units"]
    assert spec["split"]["train"] + spec["split"]["test"] == spec["samples"]


def test_it_is_what_the_demo_trains_on(script: ModuleType, made: Path, tmp_path: Path):
    train, test = turbulence(tmp_path, Size(points=32, samples=2, frames=8), 0)
    both = np.concatenate([train.vorticity.values, test.vorticity.values])
    np.testing.assert_array_equal(both, open_dataset(made).vorticity.values)
    spec, size = script.specification(), Size()
    assert (spec["samples"], spec["grid"]["points"], spec["time"]["frames"]) == (size.samples, size.points, size.frames)


def test_it_obeys_the_law(made: Path):
    """The next frame by another method, in float64 and with short steps, from the law typed anew."""
    flow = torch.from_numpy(open_dataset(made).vorticity.values).double()
    operators = Spectral(CartesianGrid((32, 32), extent=2 * math.pi, length_unit="1"))

    def missed(law: NavierStokes) -> float:
        ahead = solve(RungeKutta(law, operators), {"vorticity": flow[:, 3]}, [0.0, 0.25], substeps=25)["vorticity"][:, -1]
        return float((ahead - flow[:, 4]).square().mean().sqrt() / flow[:, 4].std())

    forcing = KolmogorovForcing(2.0, 4.0)
    # ETDRK4 with steps of 0.05 in float32 keeps four digits; a frame without drag misses 1 - exp(-0.1 / 4) = 2.5 %,
    # one without the force about 0.25 * 2 / sqrt 2 in 2.8, 13 %
    assert missed(NavierStokes(viscosity=0.003, drag=0.1, forcing=forcing)) < 1e-3
    assert missed(NavierStokes(viscosity=0.003, drag=0.0, forcing=forcing)) > 1e-2
    assert missed(NavierStokes(viscosity=0.003, drag=0.1)) > 1e-2
