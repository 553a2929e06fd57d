"""Which stepper and which operators a law gets on a grid; runs of all laws are in tests/cli/test_generate_laws.py."""

import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import Euler
from physdiff.pdes.darcy import Darcy
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pdes.lorenz import Lorenz96
from physdiff.pdes.porous_medium import PorousMedium, PowerConductivity
from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere
from physdiff.solvers.solve import solve
from physdiff.solvers.stepper_for import SOLVERS, stepper_for

LINE, OPEN = CartesianGrid(16), CartesianGrid(16, periodic=False)
WALLS, GLOBE = CartesianGrid((8, 8), periodic=False), LatLonGrid(torch.linspace(80, -80, 9), torch.arange(12) * 30.0)


@pytest.mark.parametrize(
    ("law", "grid", "stepper", "operators"),
    [
        (Burgers(0.1), LINE, "ETDRK4", "Spectral"),
        (Burgers(0.1), OPEN, "RungeKutta", "FiniteDifference"),
        (Euler(), OPEN, "FiniteVolume", "FiniteDifference"),
        (FokkerPlanck((0.1,), 0.1), LINE, "ChangCooper", "FiniteDifference"),
        (FokkerPlanck((0.1, 0.1), ((0.2, 0.1), (0.1, 0.2))), WALLS, "MarkovChain", "FiniteDifference"),
        (IncompressibleFlow(0.1), WALLS, "ProjectedRungeKutta", "WallOperators"),
        (Lorenz96(), LINE, "RungeKutta", "Lattice"),
        (PorousMedium(PowerConductivity(2.0)), OPEN, "ImplicitDiffusion", "FiniteDifference"),
        (ShallowWaterSphere(), GLOBE, "RungeKutta", "Sphere"),
    ],
)
def test_law_and_grid_choose(law, grid, stepper, operators):
    made = stepper_for(law, grid)
    assert (type(made).__name__, type(made.operators).__name__) == (stepper, operators)


def test_a_name_chooses():
    names = set(SOLVERS) - {"chang_cooper", "implicit_diffusion", "markov_chain", "projected"}
    made = {name: type(stepper_for(Burgers(0.1), LINE, name)).__name__ for name in names}
    assert made == {
        "etdrk2": "ETDRK2",
        "etdrk4": "ETDRK4",
        "finite_volume": "FiniteVolume",
        "imex": "ImexRungeKutta",
        "implicit": "ImplicitRungeKutta",
        "runge_kutta": "RungeKutta",
        "strehmel_weiner": "StrehmelWeiner",
    }


@pytest.mark.parametrize(
    ("law", "grid", "name", "error", "said"),
    [
        (Darcy(), LINE, None, InputError, "use solve_darcy"),
        (Burgers(0.1), LINE, "euler", InputError, "solver: expected one of"),
        (Burgers(0.1), LINE, "projected", InputError, "expected a law with velocity_x"),
        (Burgers(0.1), OPEN, "etdrk4", UnsupportedOperator, "periodic"),
        (Burgers(0.1), GLOBE, "finite_volume", GridMismatch, "uniform CartesianGrid"),
        (Euler(), WALLS, None, InputError, "set ndim or take a grid of 1"),
        (ShallowWaterSphere(), WALLS, None, InputError, "expected a LatLonGrid"),
    ],
)
def test_what_does_not_go_together_is_refused(law, grid, name, error, said):
    with pytest.raises(error, match=said):
        stepper_for(law, grid, name)


@pytest.mark.parametrize("name", sorted(set(SOLVERS) - {"chang_cooper", "implicit_diffusion", "markov_chain"}))
def test_parameters_by_sample_are_a_loop_with_every_stepper(name):
    rates, times = torch.tensor([0.02, 0.1], dtype=torch.float64), torch.tensor([0.0, 0.02], dtype=torch.float64)
    law, grid = (IncompressibleFlow, WALLS) if name == "projected" else (Burgers, LINE)
    grid_shape, fields = grid.shape, law(0.1).fields
    u = {n: torch.randn(2, *grid_shape, dtype=torch.float64, generator=torch.Generator().manual_seed(i)) / 8 for i, n in enumerate(fields)}
    u = {n: v.cumsum(-1) - v.sum(-1, keepdim=True) * torch.linspace(0, 1, v.shape[-1], dtype=torch.float64) for n, v in u.items()}
    both = solve(stepper_for(law(rates), grid, name), u, times, substeps=4)
    for i in range(2):
        alone = solve(stepper_for(law(float(rates[i])), grid, name), {n: v[i : i + 1] for n, v in u.items()}, times, substeps=4)
        for n in both:
            # rounding, and what an implicit solve leaves
            torch.testing.assert_close(both[n][i : i + 1], alone[n], rtol=1e-9, atol=1e-10)
