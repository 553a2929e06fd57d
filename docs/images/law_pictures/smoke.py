"""Flow with ends and obstacles: smoke that rises past a bar, the wake of a square."""

from __future__ import annotations

import torch
from law_pictures.shared import F64, array
from matplotlib.figure import Figure

from physdiff.grids.boundary import Dirichlet, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.plots.maps import map_plot
from physdiff.plots.style import figure_of, new_axes
from physdiff.solvers.solve import solve
from physdiff.solvers.staggered import StaggeredFlow

__all__ = ["smoke"]


def smoke(cells: int = 64, *, until: float = 7.0, shed: float = 60.0) -> Figure:
    """Smoke from a source near the floor of an open chimney, past a bar; and the wake of a square at Reynolds number 100."""
    axes = new_axes(1, 2, size=(4.6, 4.0))
    rising(cells, until, axes[0, 0])
    wake(cells, shed, axes[0, 1])
    return figure_of(axes)


def rising(cells: int, until: float, axes: object) -> None:
    """Smoke in a box that is open at the top."""
    grid = CartesianGrid((cells * 3 // 2, cells), extent=(1.5, 1.0), periodic=False)
    x, y = grid.coordinates()
    solid = ((x - 0.45).abs() < 0.15) & ((y - 0.7).abs() < 0.04)
    ends = {
        "velocity_x": {"x": Dirichlet(), "y": (Dirichlet(), Outflow())},
        "velocity_y": {"x": Dirichlet(), "y": (Dirichlet(), Outflow())},
        "buoyancy": {"x": Reflecting(), "y": (Reflecting(), Dirichlet(0.0))},
    }
    law = BuoyantFlow(2e-4, 0.0, source=lambda x, y, t: 2.0 * ((x - 0.5) ** 2 + (y - 0.15) ** 2 < 0.07**2).to(x))
    stepper = StaggeredFlow(law, grid, ends, solid=solid)
    start = {name: torch.zeros(1, *grid.shape, dtype=F64) for name in law.fields}
    with torch.no_grad():
        solved = solve(stepper, start, torch.linspace(0, until, 29, dtype=F64), cfl=0.7)
    end = {name: f[:, -1] for name, f in solved.items()}
    field = torch.where(solid, torch.nan, end["buoyancy"][0])
    left = float(stepper.divergence(end).abs().max()) * grid.spacing[0] / float(end["velocity_y"].abs().max())
    map_plot(array(field, grid, "smoke"), axes, title=f"smoke past a bar, t = {until:g}; divergence {left:.0e} U/h")


def wake(cells: int, until: float, axes: object) -> None:
    """Vorticity behind a square between slip walls."""
    m = cells // 8
    grid = CartesianGrid((8 * m, 14 * m), extent=(8.0, 14.0), origin=(-4.0, -3.0), periodic=False)
    x, y = grid.coordinates()
    solid = (x.abs() < 0.5) & (y.abs() < 0.5)
    ends = {
        "velocity_x": {"x": (Dirichlet(1.0), Outflow()), "y": Reflecting()},
        "velocity_y": {"x": (Dirichlet(), Outflow()), "y": Reflecting()},
    }
    stepper = StaggeredFlow(IncompressibleFlow(0.01), grid, ends, solid=solid)
    start = {"velocity_x": torch.ones(1, *grid.shape, dtype=F64), "velocity_y": torch.exp(-((x - 1) ** 2) - y**2)[None]}
    with torch.no_grad():
        solved = solve(stepper, stepper.from_centres(start), torch.linspace(0, until, 61, dtype=F64), cfl=0.8)
    flow = stepper.at_centres({name: f[:, -1] for name, f in solved.items()})
    u, v = (flow[name][0] for name in ("velocity_x", "velocity_y"))
    omega = torch.gradient(v, dim=1)[0] / grid.spacing[1] - torch.gradient(u, dim=0)[0] / grid.spacing[0]
    beside = torch.nn.functional.max_pool2d(solid[None].double(), 3, 1, 1)[0] > 0
    omega = torch.where(beside, 0.0, omega).clamp(-3, 3)
    map_plot(array(torch.where(solid, torch.nan, omega), grid, "vorticity"), axes, title=f"wake of a square, Re = 100, t = {until:g}")
