"""Plane flows: Taylor-Green vortices, budgets along a solution, mass of a tracer, Kolmogorov's laminar flow."""

import math

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.exact import taylor_green
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

GRID = CartesianGrid((24, 40), extent=(1.5, 2.0))
KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5
TIMES = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)


@pytest.mark.parametrize("stepper", [ETDRK4, RungeKutta])
@pytest.mark.parametrize(("drag", "mean_flow"), [(0.0, (0.0, 0.0)), (0.7, (0.0, 0.0)), (0.7, (0.5, -0.3))])
def test_taylor_green_vortices_decay_and_drift(stepper, drag, mean_flow):
    x, y = GRID.coordinates()
    kind = {"viscosity": 0.02, "wave_numbers": (KX, 2 * KY), "drag": drag, "mean_flow": mean_flow}
    start = taylor_green(x, y, 0.0, **kind)["vorticity"][None]
    law = NavierStokes(0.02, drag, mean_flow=mean_flow)
    out = solve(stepper(law, Spectral(GRID)), {"vorticity": start}, TIMES, substeps=200)["vorticity"][0]
    wanted = taylor_green(x, y, TIMES[:, None, None], **kind)["vorticity"]
    # without mean flow the exponential stepper has no error but rounding; otherwise steps of 0.003 leave 1e-8
    bound = 1e-12 if stepper is ETDRK4 and mean_flow == (0.0, 0.0) else 1e-7
    assert float((out - wanted).abs().max()) < bound * float(start.abs().max())


def test_laminar_kolmogorov_flow_is_steady():
    law = NavierStokes(0.02, 0.1, KolmogorovForcing(2.0, 2 * KY))
    y = GRID.coordinates()[1]
    steady = (-2.0 * torch.cos(2 * KY * y) / (0.02 * (2 * KY) ** 2 + 0.1))[None]
    out = solve(ETDRK4(law, Spectral(GRID)), {"vorticity": steady}, TIMES, substeps=20)["vorticity"]
    assert float((out[:, -1] - steady).abs().max()) < 1e-12 * float(steady.abs().max())  # rounding


def test_budgets_close_along_a_turbulent_solution():
    """Energy and enstrophy change by what dissipation, drag and work say, to the order of the time quadrature."""
    ops = Spectral(GRID)
    law = NavierStokes(0.01, 0.1, KolmogorovForcing(2.0, 2 * KY), mean_flow=(0.3, 0.1))
    w0 = RandomField(length=0.3, std=3.0).sample(GRID, 2, Rng(5), like=TIMES)
    frames = 33
    times = torch.linspace(0, 0.4, frames, dtype=torch.float64)
    w = solve(ETDRK4(law, ops), {"vorticity": ops.dealias(w0)}, times, substeps=4)["vorticity"]
    full = law.diagnose({"vorticity": w}, ops)
    values, rates = law.invariants(full, GRID), law.expected_rates(full, ops, 0.0, grid=GRID)
    simpson = torch.ones(frames, dtype=torch.float64)
    simpson[1:-1:2], simpson[2:-1:2] = 4, 2
    for name in ("energy", "enstrophy"):
        work = (rates[name] * simpson).sum(1) * (0.4 / (frames - 1)) / 3
        change = values[name][:, -1] - values[name][:, 0]
        # Simpson's rule with 32 intervals and steps of 0.003: 1e-6 of the work done
        assert float((change - work).abs().max()) < 1e-5 * float(work.abs().max()), name
        assert float(change.abs().min()) > 1e-3
    assert float(values["circulation"].abs().max()) < 1e-13


@pytest.mark.parametrize("stepper", [ETDRK4, RungeKutta])
def test_tracer_mass_is_kept_to_rounding_in_a_stirring_wind(stepper):
    wind = (lambda x, y, t: 0.5 * torch.sin(KY * y + t), lambda x, y, t: 0.3 * torch.cos(KX * x))
    law = AdvectionDiffusion(0.01, wind)
    c0 = RandomField(length=0.2, mean=1.0, std=0.3).sample(GRID, 3, Rng(1), like=TIMES)
    out = solve(stepper(law, Spectral(GRID)), {"c": c0}, TIMES)["c"]
    mass = law.invariants({"c": out}, GRID)["mass"]
    assert float((mass - 1).abs().max()) < 1e-13  # rounding
    variance = law.invariants({"c": out}, GRID)["variance"]
    assert bool((variance.diff(dim=1) < 0).all())


@pytest.mark.slow
def test_statistics_of_forced_turbulence():
    """The recipe of the demo: root mean squares of velocity 0.85 and vorticity 2.86, the same everywhere along x."""
    grid = CartesianGrid((64, 64), extent=2 * math.pi)
    ops = Spectral(grid)
    law = NavierStokes(3e-3, 0.1, KolmogorovForcing(2.0, 4.0))
    w0 = RandomField(length=0.4, std=1.0).sample(grid, 8, Rng(0))
    spun = solve(ETDRK4(law, ops), {"vorticity": w0}, torch.tensor([0.0, 10.0]), substeps=200)["vorticity"][:, -1]
    w = solve(ETDRK4(law, ops), {"vorticity": spun}, torch.arange(0, 20.1, 0.5), substeps=10)["vorticity"]
    u, v = law.velocity({"vorticity": w}, ops)
    # 8 trajectories of 20 time units: some 80 independent states; each rms varies by 10 %
    assert abs(float(w.square().mean().sqrt()) / 2.86 - 1) < 0.05
    assert abs(float((u**2 + v**2).mean().sqrt()) / 0.85 - 1) < 0.05
    along_y, along_x = w.mean((0, 1, 3)), w.mean((0, 1, 2))
    assert float(along_y.std()) > 5 * float(along_x.std())
