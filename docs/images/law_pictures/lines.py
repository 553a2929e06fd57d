"""Laws on a line: Burgers' shock, escape over a barrier, solitons, Lorenz' weather."""

from __future__ import annotations

import math

import torch
from law_pictures.shared import F64, array, beside_exact
from matplotlib.figure import Figure

from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.lattice import Lattice
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import cole_hopf_sine
from physdiff.pdes.exact_diffusion import double_well, double_well_drift, gibbs_density
from physdiff.pdes.exact_waves import schroedinger_breather
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.lorenz import Lorenz96
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from physdiff.plots.colours import LINES, TRUTH, line_style
from physdiff.plots.maps import map_plot
from physdiff.plots.style import SMALL, figure_of, new_axes, tidy
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

__all__ = ["burgers", "fokker_planck", "lorenz", "waves"]


def burgers() -> Figure:
    """A shock of Burgers' equation with viscosity 0.01 / pi, the odd extension on a periodic line, against Cole and Hopf."""
    grid = CartesianGrid(1024, extent=2.0, origin=-1.0, periodic=True)
    (x,) = grid.coordinates()
    viscosity = 0.01 / math.pi
    times = torch.tensor([0.0, 0.25, 1.6037 / math.pi, 1.0], dtype=F64)
    start = -torch.sin(math.pi * x)
    u = solve(ETDRK4(Burgers(viscosity), Spectral(grid)), {"u": start[None]}, times, substeps=200)["u"][0]
    exact = [start, *(cole_hopf_sine(x, t, viscosity=viscosity) for t in times[1:])]
    axes = new_axes(1, 2, size=(4.6, 3.0))
    curves = [(f"t = {float(t):.2f}", a, b) for t, a, b in zip(times, u, exact, strict=True)]
    worst = beside_exact(axes[0, 0], x, curves, every=16)
    beside_exact(axes[0, 1], x, curves, every=2)
    axes[0, 1].set_xlim(-0.05, 0.05)
    axes[0, 1].get_legend().remove()
    tidy(axes[0, 0], x="x", y="u", title=f"Burgers; lines: solver, dots: exact; difference {worst:.0e}")
    tidy(axes[0, 1], x="x", y="u", title="the shock, 20 times wider")
    return figure_of(axes)


def fokker_planck() -> Figure:
    """Escape over a barrier: the density in a double well, and its approach to equilibrium."""
    grid = CartesianGrid(400, extent=5.0, origin=-2.5, periodic=False)
    (x,) = grid.coordinates()
    noise = 0.1
    law = FokkerPlanck(drift=(double_well_drift,), diffusion=noise)
    start = torch.exp(-((x + 1) ** 2) / 0.02)
    start = start / start.sum() / grid.spacing[0]
    times = torch.tensor([0.0, 1.0, 10.0, 40.0, 400.0], dtype=F64)
    p = solve(ChangCooper(law, grid), {"density": start[None]}, times, substeps=400)["density"][0]
    rest = gibbs_density(double_well, grid, diffusion=noise)
    axes = new_axes(1, 2, size=(4.6, 3.0))
    for k, t in enumerate(times[1:], start=1):
        axes[0, 0].plot(x, p[k], label=f"t = {float(t):g}", **{**line_style(k), "marker": ""})
    axes[0, 0].plot(x, rest, color=TRUTH, linewidth=0.8, label="equilibrium")
    axes[0, 0].legend(frameon=False, fontsize=SMALL)
    more = torch.linspace(0, 150, 61, dtype=F64)
    path = solve(ChangCooper(law, grid), {"density": start[None]}, more, substeps=20)["density"][0]
    left = (path * (x < 0)).sum(-1) * grid.spacing[0]
    axes[0, 1].semilogy(more, 2 * left - 1, color=LINES[0], label="solver")
    axes[0, 1].semilogy(more, torch.exp(-3.3543e-2 * more), color=TRUTH, linestyle="--", linewidth=0.9, label="exp(-0.0335 t)")
    axes[0, 1].legend(frameon=False, fontsize=SMALL)
    difference = float((p[-1] - rest).abs().max())
    tidy(axes[0, 0], x="x", y="density", title=f"double well; from the equilibrium at t = 400: {difference:.0e}")
    tidy(axes[0, 1], x="time", y="left minus right", title="escape at the first eigenvalue")
    return figure_of(axes)


def waves() -> Figure:
    """Solitons that meet and pass (Zabusky and Kruskal, 1965), and two that breathe, against the closed form."""
    axes = new_axes(1, 2, size=(4.6, 3.2))
    line = CartesianGrid(256, extent=2.0)
    (x,) = line.coordinates()
    times = torch.linspace(0, 3.6 / math.pi, 91, dtype=F64)
    law = KortewegDeVries(1.0, 0.022**2)
    u = solve(ETDRK4(law, Spectral(line)), {"u": torch.cos(math.pi * x)[None]}, times, substeps=20)["u"][0]
    map_plot(array(u, line, "wave", times=times), axes[0, 0], title="Korteweg-de Vries from cos πx")
    wide = CartesianGrid(256, extent=24.0, origin=-12.0)
    (x,) = wide.coordinates()
    moments = torch.tensor([0.0, math.pi / 8, math.pi / 4, math.pi / 2], dtype=F64)
    start = {name: f[None] for name, f in schroedinger_breather(x, 0.0).items()}
    h = solve(RungeKutta(NonlinearSchroedinger(0.5, 1.0), Spectral(wide)), start, moments, substeps=600)
    size = torch.sqrt(h["real"] ** 2 + h["imaginary"] ** 2)[0]
    exact = [schroedinger_breather(x, t) for t in moments]
    names = ("π/8", "π/4", "π/2")
    curves = [(f"t = {n}", h, torch.hypot(e["real"], e["imaginary"])) for n, h, e in zip(names, size[1:], exact[1:], strict=True)]
    worst = beside_exact(axes[0, 1], x, curves, every=3)
    axes[0, 1].set_xlim(-4, 4)
    tidy(axes[0, 1], x="x", y="|h|", title=f"Schrödinger's breather; dots: exact; difference {worst:.0e}")
    return figure_of(axes)


def lorenz() -> Figure:
    """Lorenz' sites in space and time, and how fast nearby states part."""
    axes = new_axes(1, 2, size=(4.6, 3.4))
    ring = CartesianGrid(40, extent=40.0)
    stepper = RungeKutta(Lorenz96(8.0), Lattice(ring))
    start = 8 + Rng(0).normal((64, 40), like=torch.zeros(1, dtype=F64))
    settled = solve(stepper, {"state": start}, torch.tensor([0.0, 20.0]), substeps=400)["state"][:, -1]
    times = torch.linspace(0, 10, 201, dtype=F64)
    pairs = torch.cat([settled, settled + 1e-8 * Rng(1).normal((64, 40), like=settled)])
    path = solve(stepper, {"state": pairs}, times, substeps=1)["state"]
    map_plot(array(path[0], ring, "state", times=times), axes[0, 0], title="Lorenz 1996, 40 sites, F = 8")
    apart = torch.log((path[64:] - path[:64]).square().mean(-1).sqrt()).mean(0)
    inner = (times > 3) & (times < 9)
    slope = float(((times - times[inner].mean()) * apart)[inner].sum() / (times - times[inner].mean())[inner].square().sum())
    axes[0, 1].semilogy(times, torch.exp(apart), color=LINES[0], label="64 pairs, mean of the logarithm")
    guide = torch.exp(apart[60] + 1.69 * (times - times[60]))
    axes[0, 1].semilogy(times, guide, color=TRUTH, linestyle="--", linewidth=0.9, label="exp(1.69 t), the largest Lyapunov exponent")
    axes[0, 1].legend(frameon=False, fontsize=SMALL)
    tidy(axes[0, 1], x="time", y="distance of two states", title=f"errors grow at {slope:.2f} per unit time")
    return figure_of(axes)
