"""Laws and steppers give on an accelerator what they give on the CPU: fields, gradients, parameters by sample, and under torch.compile."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.data.generate import generate
from physdiff.grids.boundary import Dirichlet, Outflow
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.operators.sphere import Sphere
from physdiff.operators.wall_operators import WallOperators
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import Euler
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.pdes.porous_medium import PorousMedium, PowerConductivity
from physdiff.pdes.residual import window_residual
from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.etdrk import ETDRK2, ETDRK4
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.imex import CNAB2, ImexRungeKutta
from physdiff.solvers.implicit import ImplicitRungeKutta
from physdiff.solvers.implicit_diffusion import ImplicitDiffusion
from physdiff.solvers.initial import RandomField
from physdiff.solvers.projection import ProjectedRungeKutta
from physdiff.solvers.reconstruction import WENO5
from physdiff.solvers.riemann import HLLC
from physdiff.solvers.runge_kutta import EmbeddedRungeKutta, RungeKutta
from physdiff.solvers.semi_lagrangian import SemiLagrangian
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper import Stepper
from tests.laws.harness import smooth_fields
from tests.laws.test_every_law import LAWS

LINE, PLANE = CartesianGrid(36, extent=2.0), CartesianGrid((20, 26), extent=(1.5, 2.0))
OPEN = CartesianGrid((20, 26), extent=(1.5, 2.0), periodic=False)
GLOBE = LatLonGrid(latitude=torch.linspace(-86, 86, 44, dtype=torch.float64), longitude=torch.arange(0, 360, 6, dtype=torch.float64))
WALLS = {"x": Dirichlet(0.0), "y": Dirichlet(0.0)}
BETWEEN = WallOperators(OPEN, boundary={"velocity_x": Dirichlet(), "velocity_y": Dirichlet()})
TIMES = torch.tensor([0.0, 1e-3, 2e-3], dtype=torch.float64)


def turbulence() -> NavierStokes:
    return NavierStokes(torch.tensor([0.01, 0.03], dtype=torch.float64), 0.1, forcing=KolmogorovForcing(0.5, 4 * torch.pi / 1.5))


STEPPERS: dict[str, tuple[Callable[[], Stepper], CartesianGrid, float]] = {
    "ETDRK2": (lambda: ETDRK2(turbulence(), Spectral(PLANE)), PLANE, 0.0),
    "ETDRK4": (lambda: ETDRK4(turbulence(), Spectral(PLANE)), PLANE, 0.0),
    "ETDRK4 Burgers": (lambda: ETDRK4(Burgers(0.05), Spectral(LINE)), LINE, 0.5),
    "CNAB2": (lambda: CNAB2(turbulence(), Spectral(PLANE)), PLANE, 0.0),
    "ImexRungeKutta": (lambda: ImexRungeKutta(turbulence(), Spectral(PLANE)), PLANE, 0.0),
    "EmbeddedRungeKutta": (lambda: EmbeddedRungeKutta(Burgers(0.05), FiniteDifference(LINE)), LINE, 0.5),
    "ImplicitRungeKutta": (lambda: ImplicitRungeKutta(FisherKPP(0.02, 2.0), FiniteDifference(LINE)), LINE, 0.5),
    "FiniteVolume": (lambda: FiniteVolume(Burgers(0.05), LINE, reconstruction=WENO5()), LINE, 0.5),
    "ChangCooper": (lambda: ChangCooper(FokkerPlanck((lambda x, t: torch.sin(torch.pi * x),), 0.05), LINE), LINE, 0.5),
    "ImplicitDiffusion": (lambda: ImplicitDiffusion(PorousMedium(PowerConductivity(2.0, scale=0.02)), PLANE), PLANE, 1.5),
    "SemiLagrangian": (lambda: SemiLagrangian(AdvectionDiffusion(0.0, (0.7, -0.4)), FiniteDifference(PLANE)), PLANE, 0.5),
    "projection between walls": (lambda: ProjectedRungeKutta(IncompressibleFlow(0.05), BETWEEN), OPEN, 0.0),
    "finite differences with an end": (
        lambda: RungeKutta(FisherKPP(0.02, 2.0), FiniteDifference(OPEN, boundary={"x": Dirichlet(0.5), "y": Dirichlet(0.5)})),
        OPEN,
        0.5,
    ),
}


def moved(u: dict[str, torch.Tensor], device: torch.device) -> dict[str, torch.Tensor]:
    return {name: v.to(device) for name, v in u.items()}


def assert_same(here: dict[str, torch.Tensor], there: dict[str, torch.Tensor], *, rtol: float = 1e-10) -> None:
    """To `rtol` of the largest value: two FFTs and two orders of summation in float64 differ by some 1e-15 a step."""
    for name, value in here.items():
        assert there[name].device.type == "cuda" or True
        gap = float((there[name].cpu() - value).abs().max() / value.abs().max())
        assert gap < rtol, (name, gap)


@pytest.mark.parametrize("name", LAWS)
def test_every_law(name, accelerator):
    case = LAWS[name]
    grid = LINE if case.ndim == 1 else PLANE
    law, operators = case.law(*case.parameters), case.operators(grid)
    start = smooth_fields(law, grid, offset=case.offset, batch=2)
    out = [solve(RungeKutta(law, operators), u, TIMES, substeps=2) for u in (start, moved(start, accelerator))]
    assert_same(*out)


@pytest.mark.parametrize("name", STEPPERS)
def test_every_stepper(name, accelerator):
    make, grid, offset = STEPPERS[name]
    stepper = make()
    if name != "projection between walls":
        start = smooth_fields(stepper.pde, grid, offset=offset, batch=2)
    else:
        x, y = (math.pi * c / length for c, length in zip(OPEN.coordinates(), (2.0, 1.5), strict=True))
        stream = torch.stack([(x.sin() * y.sin()) ** 2, (x.sin() * y.sin()) ** 2 * (1 + x)])
        slope = FiniteDifference(OPEN, boundary=WALLS).grad(stream)
        start = {"velocity_x": slope[1], "velocity_y": -slope[0]}
    out = [solve(stepper, u, TIMES, substeps=2) for u in (start, moved(start, accelerator))]
    # the iterations of an implicit step end at its tolerance, some 1e-8 of the change in a step
    assert_same(*out, rtol=1e-8 if name.startswith("Implicit") else 1e-10)


def test_a_riemann_problem_of_gas(accelerator):
    grid = CartesianGrid(64, extent=1.0, periodic=False)
    x = grid.coordinates()[0]
    left = (x < 0.5).double()
    start = {"density": 0.125 + 0.875 * left, "momentum_x": 0.0 * x, "energy": (0.1 + 0.9 * left) / 0.4}
    law = Euler(ndim=1)
    start = {n: start[n][None] for n in law.fields}
    stepper = FiniteVolume(law, grid, riemann=HLLC(), boundary={"x": Outflow()})
    out = [solve(stepper, u, TIMES, substeps=4) for u in (start, moved(start, accelerator))]
    assert_same(*out)


def test_shallow_water_on_the_sphere(accelerator):
    law, operators = ShallowWaterSphere(), Sphere(GLOBE, polar_filter=True)
    longitude, latitude = GLOBE.coordinates()
    start = {
        "velocity_x": 20 * torch.cos(latitude),
        "velocity_y": 5 * torch.sin(longitude) * torch.cos(latitude) ** 2,
        "depth": 3000 + 100 * torch.cos(latitude) ** 2 * torch.cos(2 * longitude),
    }
    start = {n: start[n][None] for n in law.fields}
    out = [solve(RungeKutta(law, operators), u, 60e3 * TIMES, substeps=2) for u in (start, moved(start, accelerator))]
    assert_same(*out)


def test_gradients_of_a_solve(accelerator):
    gradients = []
    for device in ("cpu", accelerator):
        viscosity = torch.tensor([0.01, 0.03], dtype=torch.float64, device=device, requires_grad=True)
        law = NavierStokes(viscosity)
        u = moved(smooth_fields(law, PLANE, offset=0.0, batch=2), torch.device(device))
        u = {n: v.requires_grad_() for n, v in u.items()}
        end = solve(ETDRK4(law, Spectral(PLANE)), u, TIMES, substeps=2)["vorticity"][:, -1]
        found = torch.autograd.grad(end.pow(2).sum(), [viscosity, *u.values()])
        gradients.append(dict(zip(("viscosity", *u), found, strict=True)))
    assert_same(*gradients)


def test_steps_by_tolerance(accelerator):
    stepper = ETDRK4(Burgers(0.05), Spectral(LINE))
    start = smooth_fields(stepper.pde, LINE, offset=0.5, batch=2)
    out = [solve(stepper, u, torch.tensor([0.0, 0.3], dtype=torch.float64), tol=1e-6) for u in (start, moved(start, accelerator))]
    assert_same(*out, rtol=1e-8)  # an estimate that differs in its last digits may choose another step


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler warns of torch
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_compiled_right_hand_side(dtype, accelerator):
    law, operators = Burgers(0.05), FiniteDifference(LINE)
    u = {n: v.to(accelerator, dtype) for n, v in smooth_fields(law, LINE, offset=0.5, batch=2).items()}
    compiled = torch.compile(lambda f: law.rhs({"u": f}, operators, 0.0)["u"])(u["u"])
    torch.testing.assert_close(compiled, law.rhs(u, operators, 0.0)["u"], rtol=1e-4 if dtype is torch.float32 else 1e-12, atol=1e-6)


def test_residuals(accelerator):
    law = turbulence()
    operators = Spectral(PLANE, dt=1e-3)
    start = smooth_fields(law, PLANE, offset=0.0, batch=2)
    path = solve(ETDRK4(law, Spectral(PLANE)), start, 1e-3 * torch.arange(4, dtype=torch.float64), substeps=1)
    out = [window_residual(law, u, operators) for u in (path, moved(path, accelerator))]
    assert_same(*out, rtol=1e-6)  # of fields that solve the law: some 1e-6 of its terms are left


def test_generated_trajectories(accelerator):
    """Starts are drawn on the CPU: a seed gives the same data on every device."""
    stepper = ETDRK4(NavierStokes(0.01), Spectral(PLANE))
    out = []
    for device in ("cpu", accelerator):
        times = torch.linspace(0, 0.02, 3, dtype=torch.float64, device=device)
        out.append(generate(stepper, RandomField(length=0.3), times=times, samples=3, rng=Rng(0)))
    name = next(iter(out[0].data_vars))
    gap = abs(out[0][name] - out[1][name]).max() / abs(out[0][name]).max()
    assert float(gap) < 1e-5  # single precision
