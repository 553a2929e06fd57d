"""Every law of the door starts from the command line: the file opens, is finite and positive where it must be, and its budgets hold."""

from __future__ import annotations

import pytest
import torch

import physdiff
from physdiff.cli.generate import LAWS, grid_for
from physdiff.cli.parse import parsed
from physdiff.data.open import open_dataset
from physdiff.pdes.pde import PDE
from physdiff.solvers.stepper_for import stepper_for
from tests.cli.command import refuses, works

LINE, PLANE = "--grid.shape 24 --initial.length 0.2", "--grid.shape [12,16] --grid.extent [0.9,1.2] --initial.length 0.25"
# the law, what it runs on, and how far its budgets may be from closed over the run: where only what is kept is looked at, the rounding of float32;
# 1e-3 for Simpson's rule and what the two-thirds rule cuts from products on such small grids; more for second-order differences
RUNS = {
    "AdvectionAdsorption": (f"--pde.velocity [1.0] --pde.adsorption 2.0 --pde.desorption 1.0 {LINE}", 1e-4),
    "AdvectionDiffusion": (f"--pde.diffusivity 0.02 --pde.velocity [1.0,0.5] {PLANE}", 1e-4),
    "AllenCahn": (f"--pde.diffusivity 0.01 {PLANE}", 1e-3),
    "BuoyantFlow": (f"--pde.viscosity 0.01 --pde.diffusivity 0.01 {PLANE}", 1e-3),
    "BuoyantFlow between walls": (f"--pde.viscosity 0.05 --pde.diffusivity 0.05 {PLANE} --grid.periodic [false,true]", 0.1),
    "Burgers": (f"--pde.viscosity 0.05 {LINE}", 1e-3),
    "CompressibleNavierStokes": (f"--pde.viscosity 0.01 --pde.conductivity 0.01 --pde.ndim 2 {PLANE}", 1e-5),
    "DiffusionSorption": (LINE, 1e-3),
    "Euler": (LINE, 1e-5),
    "Euler in the plane": (f"--pde.ndim 2 {PLANE}", 1e-5),
    "FisherKPP": (f"--pde.diffusivity 0.01 {PLANE}", 1e-3),
    "FitzHughNagumo": (f"--pde.diffusivity [0.01,0.02] {PLANE}", 1e-3),
    "FokkerPlanck": (f"--pde.drift [0.5,0.2] --pde.diffusion 0.05 {PLANE} --grid.periodic false", 1e-5),
    "FokkerPlanck by a tensor": (f"--pde.drift [0.5,0.2] --pde.diffusion [[0.05,0.02],[0.02,0.03]] {PLANE} --grid.periodic false", 1e-5),
    "GrayScott": (f"--pde.diffusivity [0.002,0.001] {PLANE}", 1e-3),
    "IncompressibleFlow": (f"--pde.viscosity 0.01 {PLANE}", 1e-3),
    "IncompressibleFlow in space": ("--pde.viscosity 0.02 --pde.ndim 3 --grid.shape [10,10,10] --initial.length 0.25", 1e-3),
    "KortewegDeVries": (f"--pde.dispersion 1e-4 {LINE}", 1e-3),
    "KuramotoSivashinsky": ("--grid.shape 32 --grid.extent 22.0", 1e-3),
    "Lorenz63": ("--grid.shape 1 --frames.dt 0.002", 1e-3),
    "Lorenz96": ("--grid.shape 40 --grid.extent 40.0", 1e-3),
    "MassAction": (PLANE, 1e-3),
    "NavierStokes": (f"--pde.viscosity 0.01 {PLANE}", 1e-3),
    "NonlinearSchroedinger": (LINE, 1e-3),
    "PorousMedium": (f"--pde.conductivity PowerConductivity --pde.conductivity.exponent 2 {LINE} --grid.periodic false", 1e-5),
    "ReservoirPressure": (f"--pde.mobility 0.1 {PLANE}", 1e-5),
    "ReservoirPressure around a well": (f"--pde.mobility 0.1 --pde.radial true {LINE} --grid.origin 0.1 --grid.periodic false", 1e-2),
    "ShallowWater": (PLANE, 1e-5),
    "ShallowWater on a line": (f"--pde.ndim 1 {LINE} --grid.periodic false", None),
    "ShallowWaterSphere": ("--grid.shape [24,36] --frames.dt 1800", 1e-3),
    "VectorBurgers": (f"--pde.viscosity 0.05 {PLANE}", 1e-3),
}
DENSITY = '--pde Euler --grid.shape 24 --initial {"density":{"length":0.2,"mean":0.1,"std":0.5}}'
MOMENTUM = '--pde Euler --grid.shape 24 --initial {"momentum_x":{"length":0.2}}'
SHOCKS = ("mass", "momentum", "energy")  # what shocks keep; entropy they make


@pytest.mark.parametrize("name", RUNS)
def test_a_law_runs(tmp_path, name):
    words, gap = RUNS[name]
    line = f"--pde {name.split()[0]} --frames.count 5 --frames.dt 0.004 --samples 2 {words} --out {tmp_path / 'x.nc'}".split()
    works("generate", *line)
    options = parsed("generate", line)[1]
    law, stepper = options["pde"], stepper_for(options["pde"], grid_for(options["pde"], options["grid"]))
    ds = open_dataset(tmp_path / "x.nc")
    u = {field: torch.as_tensor(ds[field].values, dtype=torch.float64) for field in law.fields}
    assert all(bool(v.isfinite().all()) and v.shape[:2] == (2, 5) for v in u.values())
    assert all(float(u[field].min()) > 0 for field in law.fields if field in law.positive)
    assert all(float(v[0].std()) > 0 or v[0].numel() == 5 for v in u.values()) and not any(torch.equal(v[0], v[1]) for v in u.values())
    if gap is not None:
        found = budgets(law, stepper, u, dt=float(ds["time"][1] - ds["time"][0]))
        assert found and max(found.values()) < gap, found


def budgets(law: PDE, stepper, u, *, dt):
    """How far each invariant's change is from the integral of its expected rate (Simpson over five frames), over the size of its terms."""
    D, grid = stepper.operators, stepper.operators.grid
    frames = [{name: v[:, i] for name, v in u.items()} for i in range(5)]
    values = [law.invariants(frame, grid) for frame in frames]
    shocks = type(stepper).__name__ == "FiniteVolume"
    gaps = {}
    rates = [law.expected_rates(frame, D.of(frame, i * dt), i * dt, grid=grid) for i, frame in enumerate(frames)] if not shocks else None
    for name, first in values[0].items():
        change = values[4][name] - first
        if shocks:
            if not name.startswith(SHOCKS) or (name == "energy" and "depth" in u):
                continue
            expected = torch.zeros_like(change)
        elif name in rates[0]:
            expected = sum(w * r[name] for w, r in zip((1, 4, 2, 4, 1), rates, strict=True)) * dt / 3
        else:
            continue
        size = torch.maximum(first.abs(), max(v.square().mean().sqrt() for v in u.values()).expand_as(first))
        gaps[name] = float(((change - expected).abs() / size).max())
    return gaps


def test_the_table_names_every_law_of_the_door():
    named = [getattr(physdiff, name) for name, module in physdiff._DOOR.items() if module.startswith("physdiff.pdes.")]
    laws = {cls.__name__ for cls in named if isinstance(cls, type) and issubclass(cls, PDE)} - {"PDE"}
    assert laws == {law.__name__ for law in LAWS}
    assert laws - {"Darcy"} == {name.split()[0] for name in RUNS}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (f"--pde Darcy {PLANE}", "Darcy: expected a law that evolves in time, got a steady one; use solve_darcy"),
        (f"--pde Euler {LINE} --solver etdrk", "solver: expected one of chang_cooper, etdrk2, etdrk4"),
        (f"--pde Burgers --pde.viscosity 0.1 {LINE} --solver chang_cooper", "ChangCooper: expected a FokkerPlanck law, got Burgers"),
        (f"--pde KuramotoSivashinsky {LINE} --solver finite_volume", "expected a law with flux and speeds, got KuramotoSivashinsky"),
        (f"--pde Burgers --pde.viscosity 0.1 {LINE} --grid.periodic false --solver etdrk4", "it needs periodic axes"),
        (f"--pde IncompressibleFlow --pde.viscosity 0.1 {LINE}", "set ndim or take a grid of 2 dimensions"),
        (f"--pde Euler {PLANE}", "set ndim or take a grid of 1 dimensions"),
        (f"--pde Lorenz96 {PLANE}", "it needs a periodic line"),
        (f"--pde ShallowWaterSphere {LINE}", "expected --grid.shape [latitudes, longitudes] alone for ShallowWaterSphere"),
        (DENSITY, "expected a density above zero"),
        (MOMENTUM, "initial variables of Euler: expected one of density, pressure, velocity_x"),
        (f"--pde Euler {LINE} --frames.tol 1e-3 --frames.substeps 2", "frames: expected substeps or tol"),
    ],
)
def test_what_cannot_run_is_refused_in_words(tmp_path, words, said):
    assert said in refuses("generate", words, "--samples", "1", "--frames.count", "2", "--out", tmp_path / "x.nc")


def test_single_variables_are_drawn_in_their_own_units(tmp_path):
    given = '{"pressure":{"length":0.3,"mean":5.0,"std":0.0},"density":{"length":0.3,"mean":2.0,"std":0.5,"positive":true}}'
    works("generate", f"--pde Euler --grid.shape 24 --samples 3 --frames.count 2 --initial {given} --out", tmp_path / "x.nc")
    ds = open_dataset(tmp_path / "x.nc").isel(time=0)
    pressure = 0.4 * (ds["energy"] - ds["momentum_x"] ** 2 / (2 * ds["density"]))
    # float32
    assert float(abs(pressure - 5).max()) < 1e-5 and 1.5 < float(ds["density"].mean()) < 2.5 and float(ds["momentum_x"].std()) > 0.1
