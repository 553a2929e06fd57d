"""``physdiff generate``."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.cli.options import check_at_least, checked_file
from physdiff.cli.processes import joined_processes
from physdiff.cli.threads import threads_for
from physdiff.data.generate import MarchOptions, generate as generate_data
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.lattice import Lattice
from physdiff.pdes.adsorption import AdvectionAdsorption
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.pdes.burgers import Burgers, VectorBurgers
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler
from physdiff.pdes.darcy import Darcy
from physdiff.pdes.diffusion_sorption import DiffusionSorption
from physdiff.pdes.exact_sphere import RADIUS
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.lorenz import Lorenz63, Lorenz96
from physdiff.pdes.mass_action import MassAction
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.pdes.pde import PDE
from physdiff.pdes.porous_medium import PorousMedium
from physdiff.pdes.reaction_diffusion import FitzHughNagumo, GrayScott
from physdiff.pdes.reservoir_pressure import ReservoirPressure
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.implicit import ImplicitRungeKutta
from physdiff.solvers.implicit_diffusion import ImplicitDiffusion
from physdiff.solvers.initial import RandomField
from physdiff.solvers.random_state import RandomState
from physdiff.solvers.stepper import Stepper
from physdiff.solvers.stepper_for import stepper_for

__all__ = ["LAWS", "Frames", "generate", "grid_for", "march_options", "state_for"]

LAWS = (
    AdvectionAdsorption,
    AdvectionDiffusion,
    AllenCahn,
    BuoyantFlow,
    Burgers,
    CompressibleNavierStokes,
    Darcy,
    DiffusionSorption,
    Euler,
    FisherKPP,
    FitzHughNagumo,
    FokkerPlanck,
    GrayScott,
    IncompressibleFlow,
    KortewegDeVries,
    KuramotoSivashinsky,
    Lorenz63,
    Lorenz96,
    MassAction,
    NavierStokes,
    NonlinearSchroedinger,
    PorousMedium,
    ReservoirPressure,
    ShallowWater,
    ShallowWaterSphere,
    VectorBurgers,
)


@dataclass(frozen=True)
class Frames:
    """Which times are written, and how the time between them is stepped through.

    Args:
        count: Number of frames.
        dt: Time between frames.
        spin_up: Time solved and thrown away before the first frame.
        substeps: Solver steps between frames. By half the stable limit if neither this nor tol is given, or by tol 1e-3 where no step is unstable.
        tol: Largest error of the steps between two frames, as a share of each field's size.
    """

    count: int = 41
    dt: float = 0.025
    spin_up: float = 0.0
    substeps: int | None = None
    tol: float | None = None

    def __post_init__(self) -> None:
        check_at_least(self.count, 2, "frames.count")
        check_positive(self.dt, "frames.dt")
        check_positive(self.spin_up, "frames.spin_up", zero=True)
        check_at_least(self.substeps, 1, "frames.substeps")
        if self.tol is not None:
            check_positive(self.tol, "frames.tol")
        if self.tol is not None and self.substeps is not None:
            raise InputError(f"frames: expected substeps or tol, got substeps={self.substeps} and tol={self.tol:g}; leave one of both out")


def generate(
    out: str,
    pde: PDE,
    grid: CartesianGrid,
    *,
    samples: int = 16,
    frames: Frames = Frames(),  # noqa: B008 - a frozen value
    initial: RandomField | dict[str, RandomField] | None = None,
    solver: str | None = None,
    seed: int = 0,
) -> None:
    """Solve a law from random initial states and write the trajectories as CF netCDF.

    Every law starts from a state that suits it: a gas from density, velocity and pressure about (1, 0, 1), a density from one of integral one, a
    flow from one without divergence. The law and the grid choose the solver: spectral and ETDRK4 on periodic boxes, finite volumes for gases and
    shallow water, Chang-Cooper for densities. ShallowWaterSphere takes the two sizes of --grid.shape as latitudes and longitudes of the whole Earth.

    With ``--vary.viscosity [0.01,0.1]`` beside them, draw parameters of the law anew for each trajectory (``--vary.viscosity [1,2] --help``).

    With ``--recipe NAME`` instead of a law, make a data set of the literature (``--recipe NAME --help`` tells its options):
    fno_burgers, fno_burgers_script, fno_darcy, fno_darcy_script, fno_navier_stokes, fno_navier_stokes_1e-4, fno_navier_stokes_1e-5,
    pdearena_smoke, pdearena_smoke_conditioned, pdebench_advection, pdebench_burgers, pdebench_compressible, pdebench_compressible_plane,
    pdebench_compressible_shock, pdebench_compressible_turbulence, pdebench_diffusion_reaction, pdebench_diffusion_sorption,
    pdebench_incompressible, pdebench_reaction_diffusion, pdebench_shallow_water, sda_kolmogorov, wdno_burgers, wdno_burgers_super, wdno_smoke.

    Args:
        out: File to write.
        pde: The law, as in ``--pde Burgers --pde.viscosity 0.01``.
        grid: The grid, as in ``--grid.shape 256``.
        samples: Number of trajectories.
        frames: Which times are written, and how long the steps are.
        initial: Departures from the law's usual state, in units of its usual standard deviations; or single variables in their own units, as in
            ``--initial '{density: {length: 0.2, mean: 1.2, std: 0.3, positive: true}}'``. A tenth of the box in length if not given.
        solver: One of chang_cooper, etdrk2, etdrk4, finite_volume, imex, implicit, implicit_diffusion, markov_chain, projected, runge_kutta,
            strehmel_weiner; by the law and the grid if not given.
        seed: Seed of the initial states.
    """
    target = checked_file(out, store=True)
    check_at_least(samples, 1, "samples")
    stepper = stepper_for(pde, grid_for(pde, grid), solver)
    times = [k * frames.dt for k in range(frames.count)]
    state = state_for(stepper, initial)
    with joined_processes() as first, threads_for(math.prod(grid.shape)):
        generate_data(stepper, state, times, samples=samples, rng=Rng(seed), out=target, **march_options(frames, stepper))
    if first:
        print(f"wrote {samples} trajectories of {frames.count} frames to {target}")


def march_options(frames: Frames, stepper: Stepper) -> MarchOptions:
    """How `generate` steps from frame to frame."""
    tol = 1e-3 if frames.substeps is None and frames.tol is None and _always_stable(stepper) else frames.tol
    return {"spin_up": frames.spin_up, "substeps": frames.substeps, "tol": tol}


def grid_for(pde: PDE, grid: CartesianGrid) -> Grid:
    """The grid as given; for a law of the sphere the whole Earth, in as many latitudes and longitudes."""
    if not isinstance(pde, ShallowWaterSphere):
        return grid
    plain = CartesianGrid(grid.shape)
    if grid.ndim != 2 or grid.extent != plain.extent or grid.origin != plain.origin or grid.periodic != plain.periodic or not grid.uniform:
        raise InputError(f"grid: expected --grid.shape [latitudes, longitudes] alone for ShallowWaterSphere, got {grid.summary()}")
    rows, columns = grid.shape
    latitude = 90 - 180 / rows * (torch.arange(rows, dtype=torch.float64) + 0.5)
    return LatLonGrid(latitude, torch.arange(columns, dtype=torch.float64) * (360 / columns), RADIUS)


def state_for(stepper: Stepper, initial: RandomField | dict[str, RandomField] | None) -> RandomState:
    """What the states that suit a law are drawn from; `initial` as the verb takes it."""
    grid: Grid = stepper.operators.grid  # type: ignore[attr-defined]
    if isinstance(initial, RandomField):
        return RandomState(initial)
    if isinstance(stepper.operators, Lattice):
        # sites are drawn one by one
        noise = RandomField(length=1e-3 * min(stepper.operators.grid.spacing), varying_mean=True)
    elif isinstance(grid, CartesianGrid):
        noise = RandomField(length=0.1 * min(grid.extent))
    else:
        noise = RandomField(length=0.5 * RADIUS)
    return RandomState(noise, initial or {})


def _always_stable(stepper: Stepper) -> bool:
    return isinstance(stepper, ChangCooper | ImplicitDiffusion | ImplicitRungeKutta)
