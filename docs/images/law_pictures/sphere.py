"""Shallow water on the sphere: the flow over a mountain."""

from __future__ import annotations

import torch
from law_pictures.shared import F64
from matplotlib.figure import Figure

from physdiff.data.convert import to_dataset
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.sphere import Sphere
from physdiff.pdes.exact_sphere import GRAVITY, RADIUS, ROTATION_RATE, mountain, zonal_flow
from physdiff.pdes.pde import space_mean
from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere
from physdiff.plots.colours import LINES
from physdiff.plots.maps import map_plot
from physdiff.plots.style import SMALL, figure_of, new_axes, tidy
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

__all__ = ["sphere"]


def sphere(rows: int = 48, *, days: int = 5) -> Figure:
    """Williamson's test 5: the surface after some days, and what the mountain takes of the angular momentum."""
    columns = 2 * rows
    latitude = -90 + 180 / rows * (torch.arange(rows, dtype=F64) + 0.5)
    grid = LatLonGrid(latitude, torch.arange(columns, dtype=F64) * (360 / columns), RADIUS)
    x, y = grid.coordinates()
    ground, arm = mountain(x, y), RADIUS * torch.cos(y)
    law, D = ShallowWaterSphere(topography=mountain), Sphere(grid, polar_filter=True)
    u = {name: v[None] for name, v in zonal_flow(x, y, speed=20.0, geopotential=5960 * GRAVITY).items()}
    u["depth"] = u["depth"] - ground
    times = torch.linspace(0, days * 86400.0, 24 * days + 1, dtype=F64)
    with torch.no_grad():
        out = solve(RungeKutta(law, D), u, times, cfl=0.7)
    h, east = out["depth"][0], out["velocity_x"][0]
    axes = new_axes(1, 2, size=(5.0, 3.2))
    spec = FieldSpec(("surface",), ("m",), grid, 1.0, frames=1, time_unit="1")
    surface = to_dataset((h + ground)[-1:][None, None], spec, torch.zeros(1, dtype=F64), batch="sample")["surface"]
    map_plot(surface.isel(sample=0, time=0, drop=True), axes[0, 0], title=f"height of the surface, day {days}")
    degrees = [v.rad2deg().numpy() for v in (x, y)]
    axes[0, 0].contour(*degrees, ground.numpy(), levels=[1.0, 1000.0], colors="white", linewidths=0.9)
    momentum = space_mean(h * arm * (east + ROTATION_RATE * arm), grid)
    torque = -GRAVITY * space_mean(h * arm * D.grad(ground)[0], grid)
    whole = space_mean(h * arm * east, grid)[0] / 100
    axes[0, 1].plot(times / 86400, (momentum - momentum[0]) / whole, color=LINES[0], label="change in the water")
    taken = torch.cumulative_trapezoid(torque, times) / whole
    axes[0, 1].plot(times[1:] / 86400, taken, color=LINES[1], linestyle="--", label="pull of the mountain")
    axes[0, 1].legend(frameon=False, fontsize=SMALL)
    first, last = (law.invariants({name: f[:, i] for name, f in out.items()}, grid) for i in (0, -1))
    mass, energy = (abs(float(last[name] / first[name]) - 1) for name in ("mass", "energy"))
    tidy(axes[0, 1], x="days", y="angular momentum (%)", title=f"drift of mass {mass:.0e}, of energy {energy:.0e}")
    return figure_of(axes)
