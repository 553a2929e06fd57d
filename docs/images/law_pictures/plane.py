"""Laws on the plane: a scalar in a wind, patterns, and what seeps through the ground."""

from __future__ import annotations

import math

import torch
from law_pictures.shared import F64, array, beside_exact, extremes
from matplotlib.figure import Figure

from physdiff.base.rng import Rng
from physdiff.grids.boundary import Dirichlet, Neumann, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.exact_advection import ogata_banks, rotating_gaussian, sheared_gaussian
from physdiff.pdes.exact_porous import StefanFront, barenblatt
from physdiff.pdes.exact_wells import finite_well
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.porous_medium import JumpConductivity, PorousMedium, PowerConductivity
from physdiff.pdes.reaction_diffusion import GrayScott
from physdiff.pdes.reservoir_pressure import ReservoirPressure
from physdiff.plots.colours import LINES
from physdiff.plots.maps import map_plot
from physdiff.plots.style import SMALL, figure_of, new_axes, tidy
from physdiff.solvers.darcy import solve_darcy
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.implicit_diffusion import ImplicitDiffusion
from physdiff.solvers.initial import RandomField
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

__all__ = ["patterns", "porous", "transport", "underground"]


def transport() -> Figure:
    """A puff in a sheared wind, one in a turning wind, and a step at the inlet of a column, against the exact solutions."""
    axes = new_axes(1, 3, size=(4.2, 3.1))
    sheared = AdvectionDiffusion(0.05, (lambda x, y, t: y, 0.0))
    grid = CartesianGrid((72, 120), extent=(4.8, 8.0), origin=(-2.4, -4.0), periodic=False)
    turning = AdvectionDiffusion(0.01, (lambda x, y, t: -y, lambda x, y, t: x))
    places = grid.coordinates()
    cases = (
        ("shear", sheared, torch.tensor([0.5, 2.5], dtype=F64), lambda t: sheared_gaussian(*places, t, diffusivity=0.05, shear=1.0)),
        (
            "one turn", turning, torch.tensor([0.0, 2 * math.pi], dtype=F64),
            lambda t: rotating_gaussian(*places, t, diffusivity=0.01, rotation=1.0, start=(1.2, 0.0), width=0.25),
        ),
    )
    for panel, (name, law, times, exact) in zip(axes[0], cases, strict=False):
        stepper = RungeKutta(law, FiniteDifference(grid, order=4, boundary=Dirichlet(0.0)))
        c = solve(stepper, {"c": exact(times[0])[None]}, times, cfl=0.5)["c"][0, -1]
        wanted = exact(times[1])
        map_plot(array(c, grid, "c"), panel, title=f"{name}; lines: exact; off by {float((c - wanted).abs().max() / wanted.max()):.0e} of the peak")
        levels = [float(wanted.max()) * share for share in (0.1, 0.5, 0.9)]
        panel.contour(*extremes(grid), wanted, levels=levels, colors="white", linewidths=0.8)
    line = CartesianGrid(240, extent=6.0, periodic=False)
    (x,) = line.coordinates()
    column = RungeKutta(AdvectionDiffusion(0.1, (0.8,)), FiniteDifference(line, order=2, boundary={"x": (Dirichlet(1.0), Neumann(0.0))}))
    times = torch.tensor([0.25, 0.5, 1.5, 3.0], dtype=F64)
    exact_c = [ogata_banks(x, t, velocity=0.8, diffusivity=0.1) for t in times]
    found = solve(column, {"c": exact_c[0][None]}, times, cfl=0.5)["c"][0]
    worst = beside_exact(axes[0, 2], x, [(f"t = {float(t):g}", a, b) for t, a, b in zip(times, found, exact_c, strict=True)], every=8)
    tidy(axes[0, 2], x="x", y="c", title=f"inlet; dots: Ogata and Banks; difference {worst:.0e}")
    return figure_of(axes)


def patterns() -> Figure:
    """Chaos, phases and spots: Kuramoto-Sivashinsky in space and time, Allen-Cahn and Gray-Scott on the plane."""
    axes = new_axes(1, 3, size=(4.0, 3.3))
    line, times = CartesianGrid(256, extent=64.0), torch.linspace(0, 120, 241)
    wave = RandomField(length=3.0).sample(line, 1, Rng(0))
    u = solve(ETDRK4(KuramotoSivashinsky(), Spectral(line)), {"u": wave}, times, substeps=5)["u"][0]
    map_plot(array(u, line, "wave", times=times), axes[0, 0], title="Kuramoto-Sivashinsky")
    plane = CartesianGrid((160, 240), extent=(2.0, 3.0))
    phase = RandomField(length=0.08, std=0.5).sample(plane, 1, Rng(1))
    ac = solve(ETDRK4(AllenCahn(0.02**2), Spectral(plane)), {"u": phase}, torch.tensor([0.0, 12.0]), substeps=120)["u"][0, -1]
    map_plot(array(ac, plane, "phase"), axes[0, 1], title="Allen-Cahn at t = 12")
    spots = CartesianGrid((96, 120), extent=(1.5, 1.875))
    seeds = (RandomField(length=0.12).sample(spots, 1, Rng(2)) > 1.2).float()
    start = {"u": 1 - 0.5 * seeds, "v": 0.25 * seeds}
    law = GrayScott(feed=0.036, kill=0.062)
    gs = solve(ETDRK4(law, Spectral(spots)), start, torch.tensor([0.0, 3000.0]), substeps=2000)["v"][0, -1]
    map_plot(array(gs, spots, "second substance"), axes[0, 2], title="Gray-Scott at t = 3000")
    return figure_of(axes)


def porous() -> Figure:
    """Fronts of nonlinear diffusion: Barenblatt's point mass for u^2, and melting after Stefan."""
    axes = new_axes(1, 2, size=(4.6, 3.1))
    grid = CartesianGrid(200, extent=6.4, origin=-3.1, periodic=False)
    (x,) = grid.coordinates()
    times = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=F64)
    exact = [barenblatt(x, float(t), exponent=2.0, height=0.5) for t in times]
    u = solve(ImplicitDiffusion(PorousMedium(PowerConductivity(2.0)), grid, order=2), {"u": exact[0][None]}, times, substeps=40)["u"][0]
    beside_exact(axes[0, 0], x, [(f"t = {float(t):g}", a, b) for t, a, b in zip(times, u, exact, strict=True)])
    share = max(float((a - b).abs().sum() / b.sum()) for a, b in zip(u, exact, strict=True))
    tidy(axes[0, 0], x="x", y="u", title=f"Barenblatt; dots: exact; misplaced {100 * share:.1f} % of the mass")
    melt = StefanFront(0.5)
    line = CartesianGrid(200, extent=0.8, periodic=False)
    (x,) = line.coordinates()
    moments = torch.tensor([0.02, 0.04, 0.1], dtype=F64)
    front = [melt(x, float(t)) for t in moments]
    stepper = ImplicitDiffusion(PorousMedium(JumpConductivity(0.5)), line, {"x": (Dirichlet(1.0), Reflecting())})
    u = solve(stepper, {"u": front[0][None]}, moments, substeps=200)["u"][0]
    beside_exact(axes[0, 1], x, [(f"t = {float(t):g}", a, b) for t, a, b in zip(moments, u, front, strict=True)])
    place = float((u[-1] >= 0.5).sum()) * line.spacing[0]
    tidy(axes[0, 1], x="x", y="u", title=f"Stefan; dots: exact; front {place:.3f}, exact {melt.front(0.1):.3f}")
    return figure_of(axes)


def underground() -> Figure:
    """Darcy's pressure in a medium of two permeabilities, and the draw-down around a well against its Laplace transform inverted."""
    axes = new_axes(1, 3, size=(4.2, 3.2))
    grid = CartesianGrid((96, 120), extent=(0.8, 1.0), periodic=False)
    field = RandomField(length=0.08).sample(CartesianGrid((96, 120), extent=(0.8, 1.0)), 1, Rng(4))
    medium = torch.where(field > 0, torch.tensor(12.0), torch.tensor(3.0)).double()
    p = solve_darcy(medium, 1.0, grid)[0]
    map_plot(array(medium[0], grid, "permeability"), axes[0, 0], title="a medium of two permeabilities")
    map_plot(array(p, grid, "pressure"), axes[0, 1], title="Darcy's pressure, source 1, walls 0")
    axes[0, 1].contour(*extremes(grid), p, levels=8, colors="white", linewidths=0.6)
    line = CartesianGrid(240, extent=48.0, origin=1.0, periodic=False)
    (r,) = line.coordinates()
    times = torch.cat([torch.zeros(1, dtype=F64), torch.logspace(0, 2, 21, dtype=F64)])
    law = ReservoirPressure(1.0, 1.0, radial=True)
    # a draw-down of slope -1 at the wall of the well: its outward derivative there is 1
    stepper = RungeKutta(law, FiniteDifference(line, order=2, boundary={"x": (Neumann(1.0), Dirichlet(0.0))}))
    drop = solve(stepper, {"pressure": torch.zeros(1, 240, dtype=F64)}, times, cfl=0.5)["pressure"][0]
    at_wall = drop[1:, 0] + torch.log(r[0])  # from the first centre to the wall, where p falls like the logarithm
    exact = finite_well(times[1:])
    axes[0, 2].semilogx(times[1:], at_wall, color=LINES[0], label="solver")
    axes[0, 2].semilogx(times[1:], exact, ".", color=LINES[1], label="Laplace transform inverted")
    axes[0, 2].legend(frameon=False, fontsize=SMALL)
    off = float(((at_wall - exact) / exact).abs().max())
    tidy(axes[0, 2], x="η t / r²", y="2π k h Δp / q", title=f"pressure drop in a well; off by {100 * off:.1f} %")
    return figure_of(axes)
