"""``physdiff generate``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from physdiff.base.checks import check_positive
from physdiff.base.rng import Rng
from physdiff.cli.options import check_at_least, checked_file
from physdiff.cli.threads import threads_for
from physdiff.data.generate import generate as generate_data
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.adsorption import AdvectionAdsorption
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.burgers import Burgers, VectorBurgers
from physdiff.pdes.diffusion_sorption import DiffusionSorption
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.mass_action import MassAction
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.pdes.pde import PDE
from physdiff.pdes.reaction_diffusion import FitzHughNagumo, GrayScott
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField

__all__ = ["LAWS", "Frames", "generate"]

LAWS = (
    AdvectionAdsorption,
    AdvectionDiffusion,
    AllenCahn,
    Burgers,
    DiffusionSorption,
    FisherKPP,
    FitzHughNagumo,
    GrayScott,
    KortewegDeVries,
    KuramotoSivashinsky,
    MassAction,
    NavierStokes,
    NonlinearSchroedinger,
    VectorBurgers,
)


@dataclass(frozen=True)
class Frames:
    """Which times are written.

    Args:
        count: Number of frames.
        dt: Time between frames.
        spin_up: Time solved and thrown away before the first frame.
        substeps: Solver steps between frames; by half the stable limit if not given.
    """

    count: int = 41
    dt: float = 0.025
    spin_up: float = 0.0
    substeps: int | None = None

    def __post_init__(self) -> None:
        check_at_least(self.count, 2, "frames.count")
        check_positive(self.dt, "frames.dt")
        check_positive(self.spin_up, "frames.spin_up", zero=True)
        check_at_least(self.substeps, 1, "frames.substeps")


def generate(
    out: str,
    pde: PDE,
    grid: CartesianGrid,
    *,
    samples: int = 16,
    frames: Frames = Frames(),  # noqa: B008 - a frozen value
    initial: RandomField | None = None,
    seed: int = 0,
) -> None:
    """Solve a law from random initial fields on a periodic grid (spectral, ETDRK4) and write the trajectories as CF netCDF.

    With ``--recipe NAME`` instead of a law, make a data set of the literature (``--recipe NAME --help`` tells its options):
    fno_burgers, fno_burgers_script, fno_darcy, fno_darcy_script, fno_navier_stokes, fno_navier_stokes_1e-4, fno_navier_stokes_1e-5,
    pdebench_advection, pdebench_burgers, pdebench_compressible, pdebench_compressible_shock, pdebench_diffusion_reaction,
    pdebench_diffusion_sorption, pdebench_reaction_diffusion, pdebench_shallow_water, sda_kolmogorov, wdno_burgers, wdno_burgers_super.

    Args:
        out: File to write.
        pde: The law, as in ``--pde Burgers --pde.viscosity 0.01``.
        grid: The grid, as in ``--grid.shape 256``.
        samples: Number of trajectories.
        frames: Which times are written.
        initial: Random initial field; a tenth of the box in length if not given.
        seed: Seed of the initial fields.
    """
    target = checked_file(out)
    check_at_least(samples, 1, "samples")
    operators = Spectral(grid)
    stepper = ETDRK4(pde, operators)
    field = initial or RandomField(length=0.1 * min(grid.extent))
    times = [k * frames.dt for k in range(frames.count)]
    with threads_for(math.prod(grid.shape)):
        generate_data(stepper, field, times, samples=samples, rng=Rng(seed), out=target, spin_up=frames.spin_up, substeps=frames.substeps)
    print(f"wrote {samples} trajectories of {frames.count} frames to {target}")
