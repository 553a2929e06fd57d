"""``physdiff generate --vary``."""

from __future__ import annotations

import math

from physdiff.base.rng import Rng
from physdiff.cli.generate import Frames, grid_for, march_options, state_for
from physdiff.cli.options import check_at_least, checked_file
from physdiff.cli.processes import joined_processes
from physdiff.cli.threads import threads_for
from physdiff.data.generate import generate as generate_data
from physdiff.data.varied_law import VariedLaw
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.pde import PDE
from physdiff.solvers.initial import RandomField
from physdiff.solvers.stepper import Stepper
from physdiff.solvers.stepper_for import stepper_for

__all__ = ["generate_varied"]


def generate_varied(
    out: str,
    pde: PDE,
    grid: CartesianGrid,
    *,
    vary: dict[str, list[float]],
    samples: int = 16,
    frames: Frames = Frames(),  # noqa: B008 - a frozen value
    initial: RandomField | dict[str, RandomField] | None = None,
    seed: int = 0,
) -> None:
    """Solve a law whose parameters are drawn anew for each trajectory, and write trajectories and parameters as CF netCDF.

    A parameter is written as a field of its name, constant in space and time: what ``physdiff fit --recipe.parameters`` takes, and
    ``physdiff infer`` infers with the state. All else is as without ``--vary``; the law and the grid choose the solver.

    Args:
        out: File to write.
        pde: The law, as in ``--pde Burgers --pde.viscosity 0.01``; what it says of a varied parameter is not used.
        grid: The grid, as in ``--grid.shape 256``.
        vary: Parameters of the law and the numbers each is drawn between, log-uniformly, as in ``--vary.viscosity [0.01,0.1]``.
        samples: Number of trajectories.
        frames: Which times are written, and how long the steps are.
        initial: Departures from the law's usual state, see ``physdiff generate --help``.
        seed: Seed of the initial states and of the parameters.
    """
    target = checked_file(out, store=True)
    check_at_least(samples, 1, "samples")
    where = grid_for(pde, grid)

    def solver(law: PDE) -> Stepper:
        return stepper_for(law, where)

    law = VariedLaw(pde, solver, {name: tuple(pair) for name, pair in vary.items()})  # type: ignore[misc]  # lengths are checked there
    state = state_for(law.stepper_of({}), initial)
    times = [k * frames.dt for k in range(frames.count)]
    options = march_options(frames, law.stepper_of({}))
    with joined_processes() as first, threads_for(math.prod(grid.shape)):
        generate_data(law, state, times, samples=samples, rng=Rng(seed), out=target, **options)
    if first:
        print(f"wrote {samples} trajectories of {frames.count} frames, each with its own {' and '.join(vary)}, to {target}")
