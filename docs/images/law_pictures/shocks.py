"""Laws with shocks: a gas, and shallow water."""

from __future__ import annotations

import math

import torch
from law_pictures.shared import F64, array, beside_exact
from matplotlib.figure import Figure

from physdiff.grids.boundary import Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.compressible import Euler
from physdiff.pdes.exact_riemann import SOD, gas_riemann
from physdiff.pdes.exact_shallow_water import stoker
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.plots.maps import map_plot
from physdiff.plots.style import figure_of, new_axes, tidy
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL, WENO5, mc
from physdiff.solvers.riemann import HLL, HLLC
from physdiff.solvers.solve import solve

__all__ = ["gas", "shallow_water"]


def gas(cells: int = 60, *, until: float = 1.6) -> Figure:
    """Sod's shock tube against the exact Riemann solution, and two streams of a gas that roll up where they meet."""
    axes = new_axes(1, 2, size=(4.6, 3.4))
    line = CartesianGrid(200, periodic=False)
    (x,) = line.coordinates()
    tube = Euler()
    start, exact = (gas_riemann(x, t, SOD, position=0.5) for t in (0.0, 0.2))
    first = {name: f[None] for name, f in tube.state(start["density"], (start["velocity_x"],), start["pressure"]).items()}
    stepper = FiniteVolume(tube, line, reconstruction=MUSCL(mc), riemann=HLLC(), boundary=Outflow())
    last = {name: f[0, -1] for name, f in solve(stepper, first, torch.tensor([0.0, 0.2], dtype=F64), cfl=0.5).items()}
    found = {"density": last["density"], "velocity_x": tube.velocity(last)[0], "pressure": tube.pressure(last)}
    beside_exact(axes[0, 0], x, [(name, found[name], exact[name]) for name in found])
    off = float((found["density"] - exact["density"]).abs().mean())
    tidy(axes[0, 0], x="x", y="", title=f"Sod's tube, t = 0.2; dots: exact; density off by {off:.1e} on average")
    plane = CartesianGrid((cells, cells * 4 // 3), extent=(1.0, 4 / 3))
    px, py = (c.float() for c in plane.coordinates())
    law = Euler(ndim=2)
    inner = torch.sigmoid((0.25 - (py - 0.5).abs()) / 0.015)
    up = 0.02 * torch.sin(3 * math.pi * px) * torch.exp(-((0.25 - (py - 0.5).abs()) ** 2) / 0.005)
    streams = law.state((1 + inner)[None], ((inner - 0.5)[None], up[None]), torch.full_like(inner, 2.5)[None])
    rolling = FiniteVolume(law, plane, reconstruction=WENO5("Z"), riemann=HLLC())
    rolled = solve(rolling, streams, torch.tensor([0.0, until]), cfl=0.5)["density"][0, -1]
    map_plot(array(rolled, plane, "density"), axes[0, 1], title=f"two streams roll up, t = {until:g}")
    return figure_of(axes)


def shallow_water(cells: int = 90) -> Figure:
    """A dam that breaks, against Stoker; and a round one in a basin with a bump on its ground."""
    axes = new_axes(1, 2, size=(4.6, 3.2))
    line = CartesianGrid(200, extent=10.0, origin=-5.0, periodic=False)
    (x,) = line.coordinates()
    times = torch.tensor([0.0, 0.4, 1.0], dtype=F64)
    exact = [stoker(x, float(t), depths=(1.0, 0.2))["depth"] for t in times]
    stepper = FiniteVolume(ShallowWater(ndim=1), line, reconstruction=MUSCL(mc), riemann=HLL(), boundary=Outflow())
    h = solve(stepper, {"depth": exact[0][None], "momentum_x": torch.zeros(1, 200, dtype=F64)}, times, cfl=0.5)["depth"][0]
    beside_exact(axes[0, 0], x, [(f"t = {float(t):g}", a, b) for t, a, b in zip(times, h, exact, strict=True)])
    off = max(float((a - b).abs().mean()) for a, b in zip(h, exact, strict=True))
    tidy(axes[0, 0], x="x", y="depth", title=f"dots: Stoker's dam break; off by {off:.1e} on average")
    basin = CartesianGrid((cells, cells * 4 // 3), extent=(3.0, 4.0), periodic=False)
    px, py = basin.coordinates()

    def ground(x: torch.Tensor, y: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
        return 0.35 * torch.exp(-((x - 2.9) ** 2 + (y - 1.7) ** 2) / 0.1)

    surface = 0.5 + 0.5 * torch.sigmoid((0.5 - torch.hypot(px - 1.2, py - 1.3)) / 0.02)
    still = torch.zeros(1, *basin.shape, dtype=F64)
    start = {"depth": (surface - ground(px, py, 0.0))[None], "momentum_x": still, "momentum_y": still}
    law = ShallowWater(bathymetry=ground)
    depth = solve(FiniteVolume(law, basin, riemann=HLL(), boundary=Reflecting()), start, torch.tensor([0.0, 0.7], dtype=F64), cfl=0.5)["depth"]
    change = float((depth[0, -1].mean() / depth[0, 0].mean() - 1).abs())
    map_plot(array(depth[0, -1] + ground(px, py, 0.0), basin, "surface"), axes[0, 1], title=f"a round dam broke, t = 0.7; water lost: {change:.0e}")
    axes[0, 1].contour(px[0], py[:, 0], ground(px, py, 0.0), levels=[0.1, 0.2, 0.3], colors="white", linewidths=0.6)
    return figure_of(axes)
