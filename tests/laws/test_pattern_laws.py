"""One text of a law, every use, for waves, patterns and what else has no exact solution at hand: right-hand side, residuals, solver.

Exact waves where they are periodic to rounding; else a manufactured field on a plane with two sizes and two extents, without symmetry, under the
source that sustains it. The source is found by autograd from the law's own text; that the text is the equation is shown in tests/pdes.
"""

import dataclasses
import math

import pytest
import torch

from physdiff.data.open import open_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.adsorption import AdvectionAdsorption
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.burgers import Burgers, VectorBurgers
from physdiff.pdes.diffusion_sorption import DiffusionSorption
from physdiff.pdes.exact_waves import bistable_front, cnoidal_wave
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.mass_action import MassAction
from physdiff.pdes.reaction_diffusion import FitzHughNagumo, GrayScott
from physdiff.pdes.residual import window_residual
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.solve import solve
from tests.cli.command import works

KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5
FEED = 0.1
LOW, HIGH = (0.5 * (1 - sign * math.sqrt(1 - 4 * FEED)) for sign in (1, -1))
# roots of u - u^3 = q, the middle one given
MIDDLE = 0.2
LEFT, RIGHT = (0.5 * (-MIDDLE + sign * math.sqrt(4 - 3 * MIDDLE**2)) for sign in (-1, 1))


def pair(x, t, *, diffusivity, rate, roots):
    """Two fronts that run apart; where one is not yet in its state behind, the other is to rounding."""
    shape = {"diffusivity": diffusivity, "rate": rate, "roots": roots, "position": 2.5}
    return sum(bistable_front((side * x,), t, **shape) for side in (1, -1)) - roots[2]


def phases(x, t):
    return {"u": pair(x, t, diffusivity=0.01, rate=4.0, roots=(0.0, -1.0, 1.0))}


def eaters(x, t):
    v = pair(x, t, diffusivity=0.002, rate=1.0, roots=(0.0, LOW, HIGH))
    return {"u": 1 - v, "v": v}


def excited(x, t):
    u = pair(x, t, diffusivity=0.01, rate=1.0, roots=(LEFT, MIDDLE, RIGHT))
    return {"u": u, "v": torch.full_like(u, 0.1)}


def trains(x, t):
    return {"u": cnoidal_wave(x, t, extent=3.0, speed=1.5, nonlinearity=2.0, dispersion=0.02, position=0.4)}


def waves(x, y, t):
    a = 0.5 + 0.3 * torch.cos(KX * x + 2 * KY * y - 1.3 * t + 0.2) + 0.2 * torch.sin(2 * KX * x - KY * y + 0.7 * t + 1.0)
    b = 0.3 + 0.1 * torch.cos(3 * KX * x - 0.5 * t + 0.4) + 0.1 * torch.sin(KX * x + KY * y + 0.9 * t)
    return {"u": a, "v": b}


def bumps(x, t):
    return {"u": 0.5 + torch.cos(KX * x - 1.3 * t + 0.2) + 0.4 * torch.sin(2 * KX * x + 0.7 * t)}


def first(x, y, t):
    return {"u": waves(x, y, t)["u"]}


def named(exact, *names):
    """The same waves under other names."""
    return lambda x, y, t: dict(zip(names, exact(x, y, t).values(), strict=False))


def dissolved(x, y, t):
    return {"u": 2 + first(x, y, t)["u"]}


def varied(x, y, t):
    return 0.02 + 0.008 * torch.cos(KX * x + KY * y) * (1 + 0.2 * t)


def leaning(x, y, t):
    return 0.004 * torch.sin(KX * x)


WIND = (lambda x, y, t: 0.5 + 0.3 * torch.sin(KX * x + KY * y), lambda x, y, t: 0.4 * torch.cos(2 * KX * x) * t)
ANISOTROPIC = AdvectionDiffusion(((varied, leaning), (leaning, varied)), WIND, lambda c: 0.7 * c * (1 - c), conservative=True)


def sustained(law, exact):
    """The law with the source under which `exact` solves it."""

    class Sustained(type(law)):
        def nonstiff(self, u, D, t):
            # detached: the source is a given function of place and time
            ones = torch.ones_like(u[self.fields[0]].detach())
            points = [(ones * c).detach().requires_grad_() for c in D.coordinates_as(ones)]
            with torch.enable_grad():
                time = (ones * t).detach().requires_grad_()
                left = law.residual(exact(*points, time), Autograd(tuple(points), time), time)
            return {k: v + left[k].detach() for k, v in super().nonstiff(u, D, t).items()}

    return Sustained(**{name: getattr(law, name) for name in (f.name for f in dataclasses.fields(law))})


def made(law, exact, shape=(24, 40), extent=(1.5, 2.0)):
    return sustained(law, exact), shape, extent, exact


CASES = {
    "AllenCahn": (AllenCahn(0.01, 4.0), (640,), (10.0,), phases),
    "AllenCahn, plane": made(AllenCahn(0.02, 3.0), first),
    "GrayScott": (GrayScott((0.002, 0.002), FEED, 0.0), (640,), (10.0,), eaters),
    "GrayScott, plane": made(GrayScott((0.02, 0.01), 0.04, 0.06), waves),
    "FitzHughNagumo": (FitzHughNagumo((0.01, 0.01), MIDDLE - MIDDLE**3 - 0.1, 0.0), (640,), (10.0,), excited),
    "FitzHughNagumo, plane": made(FitzHughNagumo((0.02, 0.05), 0.1, 0.7, 1.3), waves),
    "KortewegDeVries": (KortewegDeVries(2.0, 0.02), (120,), (3.0,), trains),
    "AdvectionDiffusion, tensor that varies": made(ANISOTROPIC, named(waves, "c")),
    "AdvectionDiffusion, one direction varies": made(AdvectionDiffusion((varied, 0.01), WIND, -0.4), named(waves, "c")),
    "AdvectionAdsorption": made(AdvectionAdsorption(WIND, 1.5, 0.8, 0.6, 0.02, capacity=2.0), named(waves, "c", "q")),
    "Burgers, plane": made(Burgers(0.02), first),
    "VectorBurgers": made(VectorBurgers(0.02), named(waves, "velocity_x", "velocity_y")),
    "DiffusionSorption": made(DiffusionSorption(0.02, 0.4, 2.0, 0.7, 0.6), dissolved, (36, 60)),
    "MassAction": made(MassAction((0.02, 0.01), 0.8, 2), named(waves, "a", "b")),
    "NonlinearSchroedinger, plane": made(NonlinearSchroedinger(0.005, 1.5), named(waves, "real", "imaginary")),
    "KuramotoSivashinsky": made(KuramotoSivashinsky(1.5, 0.1, 0.002), bumps, (40,), (2.0,)),
    "KuramotoSivashinsky, plane": made(KuramotoSivashinsky(0.5, 0.02, 0.0005, potential=True), first),
}


def box(shape, extent, *, finer=1):
    """Centred on a line, so that the fronts run apart from its middle."""
    origin = (-extent[0] / 2,) if len(shape) == 1 else 0.0
    return CartesianGrid(tuple(finer * n for n in shape), extent=extent, origin=origin)


@pytest.fixture(params=CASES)
def case(request):
    """A law, a grid and a solution of the coordinates and the time."""
    law, shape, extent, exact = CASES[request.param]
    return law, box(shape, extent), exact


def derivative_in_time(exact, grid, t):
    time = torch.full(grid.shape, t, dtype=torch.float64, requires_grad=True)
    u = {k: v + 0 * time for k, v in exact(*grid.coordinates(), time).items()}
    return {k: v.detach()[None] for k, v in u.items()}, {k: torch.autograd.grad(v.sum(), time, retain_graph=True)[0][None] for k, v in u.items()}


def pace(case):
    """Largest rate of change of a solution, per time."""
    law, grid, exact = case
    _, rate = derivative_in_time(exact, grid, 0.3)
    return max(float(rate[k].abs().max()) for k in law.fields)


def picked(fields, law):
    return {k: fields[k] for k in law.fields}


def test_right_hand_side_on_the_grid_is_the_time_derivative(case):
    law, grid, exact = case
    u, rate = derivative_in_time(exact, grid, 0.3)
    got = law.rhs(picked(u, law), Spectral(grid), 0.3)
    for name in law.fields:
        error = float((got[name] - rate[name]).abs().max())
        print(f"right-hand side of {name}: {error:.1e}")
        # rounding times the highest power of the largest wave number, at most 63^4 x 0.002, or 126^3 x 0.02
        assert error < 1e-10 * max(1.0, float(rate[name].abs().max())), name


def test_residual_by_autograd_vanishes_at_scattered_points(case):
    law, grid, exact = case
    generator = torch.Generator().manual_seed(0)
    points = [torch.rand(50, dtype=torch.float64, generator=generator).mul(2).requires_grad_() for _ in range(grid.ndim + 1)]
    *x, t = points
    if len(x) == 1 and grid.extent[0] == 10.0:
        x = [x[0].detach().mul(2.5).requires_grad_()]
    residual = law.residual(picked(exact(*x, t), law), Autograd(tuple(x), t), t)
    assert set(residual) == set(law.fields)
    for name, value in residual.items():
        # rounding of third derivatives of order 1e4 times their coefficient
        assert float(value.detach().abs().max()) < 1e-11, name


def test_autograd_and_grid_give_the_same_right_hand_side_off_the_solution(case):
    law, grid, exact = case
    coordinates = tuple(x.reshape(-1).requires_grad_() for x in grid.coordinates())
    u = {k: 1.3 * v for k, v in picked(exact(*coordinates, 0.2), law).items()}
    points = law.rhs(u, Autograd(coordinates), 0.2)
    # the source is for points too, in the order of the grid
    on_grid = law.rhs({k: v.detach().reshape(1, *grid.shape) for k, v in u.items()}, Spectral(grid), 0.2)
    for name in law.fields:
        a, b = points[name].detach().reshape(1, *grid.shape), on_grid[name]
        assert float((a - b).abs().max()) < 1e-10 * max(1.0, float(b.abs().max())), name


def test_grid_residual_falls_with_the_frame_interval(case):
    law, grid, exact = case
    sizes = []
    for dt in (0.06 / pace(case), 0.03 / pace(case), 0.015 / pace(case)):
        times = 0.1 + dt * torch.arange(7, dtype=torch.float64)
        u = {k: v[None] for k, v in picked(exact(*grid.coordinates(), times.reshape(-1, *[1] * grid.ndim)), law).items()}
        left = window_residual(law, u, Spectral(grid, dt=dt), times=times)
        sizes.append(max(float(v.square().mean().sqrt()) for v in left.values()))
    orders = [math.log2(a / b) for a, b in zip(sizes, sizes[1:], strict=False)]
    print("residual", *(f"{s:.1e}" for s in sizes), "orders", *(f"{o:.2f}" for o in orders))
    # the time derivative is of fourth order; below 1e-11 rounding over the interval is what is left
    assert all(abs(order - 4) < 0.4 for order, size in zip(orders, sizes[1:], strict=True) if size > 1e-11), (sizes, orders)
    assert sizes[0] > 1e-10


def test_finite_differences_see_the_same_law_to_their_order(case):
    law, grid, exact = case
    sizes = []
    for finer in (2, 4):
        fine = box(grid.shape, grid.extent, finer=finer)
        u, rate = derivative_in_time(exact, fine, 0.3)
        got = law.rhs(picked(u, law), FiniteDifference(fine, order=4), 0.3)
        sizes.append(max(float((got[k] - rate[k]).square().mean().sqrt()) for k in law.fields))
    print("order", f"{math.log2(sizes[0] / sizes[1]):.2f}")
    assert abs(math.log2(sizes[0] / sizes[1]) - 4) < 0.3, sizes


# sources found by autograd at every stage take seconds
LONG = {name for name, (law, shape, *_) in CASES.items() if len(shape) == 2 and type(law).__mro__[1] not in (AllenCahn, GrayScott)}


@pytest.mark.parametrize("case", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in CASES], indirect=True)
def test_the_solver_arrives_at_the_solution_with_fourth_order(case):
    law, grid, exact = case
    times = torch.tensor([0.3, 0.3 + min(1.0, 1 / pace(case))], dtype=torch.float64)
    start, end = (picked({k: v[None] for k, v in exact(*grid.coordinates(), t).items()}, law) for t in times)
    errors = []
    for steps in (40, 80):
        found = solve(ETDRK4(law, Spectral(grid)), start, times, substeps=steps)
        errors.append(max(float((found[k][:, -1] - end[k]).abs().max()) for k in law.fields))
        assert not any(v.requires_grad for v in found.values())
    print("errors", *(f"{e:.1e}" for e in errors), "order", f"{math.log2(errors[0] / errors[1]):.2f}")
    assert errors[1] < 1e-6
    assert errors[1] < 1e-12 or abs(math.log2(errors[0] / errors[1]) - 4) < 0.25


def test_the_command_makes_chaos(tmp_path):
    words = "--pde KuramotoSivashinsky --grid.shape 256 --grid.extent 64 --samples 4"
    works("generate", words, "--frames.count 3 --frames.dt 1 --frames.spin_up 60 --frames.substeps 10", "--out", tmp_path / "ks.nc")
    u = open_dataset(tmp_path / "ks.nc")["u"].values
    assert u.shape == (4, 3, 256)
    # the root mean square is 1.185 on a line of 22 and 1.3 on long ones
    print(f"root mean square {float((u**2).mean() ** 0.5):.2f}")
    assert 1.0 < float((u**2).mean() ** 0.5) < 1.6
    assert abs(float(u.mean())) < 1e-5  # float32


@pytest.mark.parametrize(
    "words",
    [
        "KortewegDeVries --grid.shape 64 --grid.extent 40",
        "AllenCahn --pde.diffusivity 0.01 --pde.rate 2 --grid.shape [24,40] --grid.extent [1.5,2]",
        "GrayScott --pde.diffusivity [2e-3,1e-3] --grid.shape [24,40] --grid.extent [1.5,2] --initial.length 0.2 --initial.mean 0.4",
        "FitzHughNagumo --pde.decay 2 --grid.shape [24,40] --grid.extent [1.5,2]",
        "FisherKPP --pde.diffusivity 0.01 --grid.shape [24,40] --grid.extent [1.5,2] --initial.length 0.2 --initial.mean 0.5 --initial.std 0.1",
        "MassAction --grid.shape 64 --initial.length 0.2 --initial.mean 1 --initial.std 0.2",
        "DiffusionSorption --grid.shape 64 --initial.length 0.2 --initial.mean 0.5 --initial.std 0.1",
        "NonlinearSchroedinger --grid.shape 64 --grid.extent 20",
        "VectorBurgers --pde.viscosity 0.05 --grid.shape [24,40] --grid.extent [1.5,2]",
    ],
)
def test_the_command_takes_the_other_laws(tmp_path, words):
    works("generate --samples 2 --frames.count 3 --pde", words, "--out", tmp_path / "made.nc")
    made = open_dataset(tmp_path / "made.nc")
    assert words.split()[0] in made.attrs["source"]
    assert all(bool((made[name].std(("sample", "time")) > 0).all()) for name in made.data_vars)
