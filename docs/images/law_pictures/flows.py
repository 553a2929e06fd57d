"""Incompressible flow: forced turbulence with its spectra, a cavity under a moving lid, convection between plates."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import torch
from law_pictures.shared import F64, array, extremes
from matplotlib.figure import Figure
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.grids.boundary import Dirichlet
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.operators.spectral import Spectral
from physdiff.operators.wall_operators import WallOperators
from physdiff.pdes.buoyant_flow import BuoyantFlow, free_fall_units
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.plots.colours import LINES, TRUTH
from physdiff.plots.maps import map_plot
from physdiff.plots.style import SMALL, figure_of, new_axes, tidy
from physdiff.scores.spectrum import isotropic_spectrum
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.solvers.projection import ProjectedRungeKutta
from physdiff.solvers.solve import solve
from physdiff.solvers.staggered import StaggeredFlow

__all__ = ["cavity", "convection", "inverse_cascade", "turbulence"]

GHIA = Path("../shared/data/cfd/ghia1982_lid_driven_cavity_Re100_1000.csv")
STIRRED = ((3, 0), (0, 3), (2, 2), (2, -2), (3, 1), (1, -3))
RANGE = (6.0, 30.0)


def stirring(x: Tensor, y: Tensor, t: float | Tensor) -> Tensor:
    """Curl of the force: six waves of about three per box, whose phases turn slowly, each at its own rate."""
    waves = (torch.cos(a * x + b * y + 2.4 * j + (0.3 + 0.1 * j) * (-1) ** j * t) for j, (a, b) in enumerate(STIRRED))
    return sum(waves, torch.zeros_like(x))


def slope_of(k: Tensor, energy: Tensor, span: tuple[float, float]) -> float:
    """Slope of the straight line through the logarithms within a range of k."""
    inside = (k >= span[0]) & (k <= span[1])
    a, b = k[inside].log(), energy[inside].log()
    a = a - a.mean()
    return float((a * b).sum() / a.square().sum())


def turbulence(cells: int = 256, *, until: float = 16.0) -> Figure:
    """Stirred two-dimensional turbulence: the vorticity at the end, and the energy per wave number averaged over the second half."""
    grid = CartesianGrid((cells, cells), extent=(2 * math.pi, 2 * math.pi))
    law = NavierStokes(viscosity=2.5e-4 * (256 / cells) ** 2, drag=0.1, forcing=stirring)
    start = RandomField(length=0.35, std=3.0).sample(grid, 1, Rng(3))
    omega = solve(ETDRK4(law, Spectral(grid)), {"vorticity": start}, torch.linspace(0, until, 17), cfl=0.5)["vorticity"][0]
    k, enstrophy = isotropic_spectrum(omega[9:].double(), space=2, spacing=grid.spacing, periodic=grid.periodic)
    keep = (k > 0) & (k < cells / 3)
    k, energy = k[keep], enstrophy.mean(0)[keep] / k[keep] ** 2
    axes = new_axes(1, 2, size=(4.4, 3.6))
    map_plot(array(omega[-1], grid, "vorticity"), axes[0, 0], title=f"vorticity at t = {until:g}")
    axes[0, 1].loglog(k, energy, color=LINES[0], label="energy per wave number")
    anchor = energy[(k - RANGE[0]).abs().argmin()]
    guide = k[(k >= RANGE[0]) & (k <= RANGE[1])]
    axes[0, 1].loglog(guide, 2.5 * anchor * (guide / RANGE[0]) ** -3, color=TRUTH, linestyle="--", linewidth=0.9, label="k⁻³ (Kraichnan, 1967)")
    axes[0, 1].axvspan(*RANGE, color="#000000", alpha=0.06, linewidth=0)
    axes[0, 1].legend(frameon=False, fontsize=SMALL)
    measured = slope_of(k, energy, RANGE)
    tidy(axes[0, 1], x="wave number k", y="E(k)", title=f"slope {measured:.2f} in {RANGE[0]:g} ≤ k ≤ {RANGE[1]:g}")
    return figure_of(axes)


@dataclass(frozen=True, eq=False)
class Hyperviscous(NavierStokes):
    """The same with fine |k|^8 and large |k|^-4 added to the drag, so that both act at the ends of the range alone."""

    fine: float = 0.0
    large: float = 0.0

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Drag, and the two that act at the ends."""
        omega = fourth = u["vorticity"]
        for _ in range(4):
            fourth = D.lap(fourth)
        out = -self.drag * omega - self.fine * fourth
        return {"vorticity": out - self.large * D.inv_lap(D.inv_lap(omega)) if self.large else out}


@dataclass(frozen=True)
class Cascade:
    """A force of white noise in time that gives energy at `rate` to the waves between `low` and `high`, and what takes it out."""

    low: float
    high: float
    rate: float
    law: Hyperviscous
    dt: float


LAST = (256 / 3) ** 8  # of the largest wave number kept of 256
INVERSE = Cascade(48, 52, 1.0, Hyperviscous(0.0, 0.12, fine=30 / LAST), 0.004)
DIRECT = Cascade(3, 5, 1 / 16, Hyperviscous(0.0, fine=20 / LAST, large=1.0), 0.008)


def driven(case: Cascade, until: float, cells: int = 256) -> tuple[Tensor, Tensor, Tensor]:
    """Wave numbers and energy per wave number, averaged over the second half, and the last vorticity, of a run from almost rest."""
    grid = CartesianGrid((cells, cells), extent=(2 * math.pi, 2 * math.pi))
    k = torch.hypot(torch.fft.fftfreq(cells, 1 / cells)[:, None], torch.fft.rfftfreq(cells, 1 / cells))
    ring = (k >= case.low) & (k <= case.high)
    waves = 2 * int(ring.sum()) - int(ring[:, 0].sum())  # the half-spectrum holds one of k and -k, but both in its first column
    strength = math.sqrt(2 * case.rate / waves) * cells * ring * k  # the mean energy of a draw is the rate

    def push(key: str, index: int = 0) -> Tensor:
        """The vorticity that the force gives in a unit of time."""
        noise = Rng(5).child(key, index).normal((1, cells, cells))
        return torch.fft.irfft2(torch.fft.rfft2(noise) * strength, s=(cells, cells))

    stepper, spectra = ETDRK4(case.law, Spectral(grid)), []
    omega = 0.1 * push("start")
    steps = round(until / case.dt)
    for i in range(steps):
        omega = stepper.step({"vorticity": omega}, i * case.dt, case.dt)["vorticity"] + math.sqrt(case.dt) * push("force", i)
        if i > steps // 2 and i % 100 == 0:
            bins, enstrophy = isotropic_spectrum(omega[0].double(), space=2, spacing=grid.spacing, periodic=grid.periodic)
            spectra.append(enstrophy)
    keep = (bins > 0) & (bins < cells / 3)
    return bins[keep], torch.stack(spectra).mean(0)[keep] / bins[keep] ** 2, omega[0]


def inverse_cascade(cells: int = 256, *, until: float = 16.0) -> Figure:
    """Turbulence driven at small scales, whose energy goes to large ones: the stream function at the end, and the spectrum."""
    k, energy, omega = driven(INVERSE, until, cells)
    grid = CartesianGrid((cells, cells), extent=(2 * math.pi, 2 * math.pi))
    axes = new_axes(1, 2, size=(4.4, 3.6))
    psi = -Spectral(grid).inv_lap(omega[None])[0]
    map_plot(array(psi, grid, "streamfunction"), axes[0, 0], title=f"stream function at t = {until:g}")
    axes[0, 1].loglog(k, energy, color=LINES[0], label="energy per wave number")
    guide = k[(k >= RANGE[0]) & (k <= RANGE[1])]
    anchor = energy[(k - RANGE[0]).abs().argmin()]
    law = 1.6 * anchor * (guide / RANGE[0]) ** (-5 / 3)
    axes[0, 1].loglog(guide, law, color=TRUTH, linestyle="--", linewidth=0.9, label="k^(-5/3) (Kraichnan, 1967)")
    axes[0, 1].axvspan(*RANGE, color="#000000", alpha=0.06, linewidth=0)
    axes[0, 1].axvspan(INVERSE.low, INVERSE.high, color=LINES[1], alpha=0.3, linewidth=0, label="force")
    axes[0, 1].legend(frameon=False, fontsize=SMALL, loc="lower left")
    tidy(axes[0, 1], x="wave number k", y="E(k)", title=f"slope {slope_of(k, energy, RANGE):.2f} in {RANGE[0]:g} ≤ k ≤ {RANGE[1]:g}")
    return figure_of(axes)


def cavity(cells: int = 64, *, until: float = 40.0, table: Path = GHIA) -> Figure:
    """A box whose lid moves, at Reynolds numbers 100 and 1000; the velocity along its middle beside Ghia's table where that is at hand."""
    grid = CartesianGrid((cells, cells), periodic=False)
    walls = {"velocity_x": {"x": Dirichlet(), "y": (Dirichlet(), Dirichlet(1.0))}, "velocity_y": Dirichlet()}
    axes = new_axes(1, 2, size=(4.2, 3.6))
    x, y = extremes(grid)
    ends = torch.tensor([0.0, 1.0], dtype=F64)
    line = torch.cat([ends[:1], y, ends[1:]])
    rows = list(csv.DictReader(table.read_text().splitlines())) if table.is_file() else []
    gaps = []
    for k, reynolds in enumerate((100, 1000)):
        stepper = StaggeredFlow(IncompressibleFlow(1 / reynolds), grid, walls)
        start = {name: torch.zeros(1, cells, cells, dtype=F64) for name in stepper.pde.fields}
        with torch.no_grad():
            solved = solve(stepper, start, torch.linspace(0, until, 21, dtype=F64), cfl=0.9)
        end = {name: f[:, -1] for name, f in solved.items()}
        profile = torch.cat([ends[:1], stepper.faces(end)[0][0, :, cells // 2], ends[1:]])
        axes[0, 1].plot(profile, line, color=LINES[k], label=f"Re = {reynolds}")
        if rows:
            places, wanted = (torch.tensor([float(row[name]) for row in rows], dtype=F64) for name in ("y", f"u_Re{reynolds}"))
            axes[0, 1].plot(wanted, places, "o", color=LINES[k], markersize=3.5)
            gaps.append(f"{float((at(places, line, profile) - wanted).abs().max()):.1e}")
    u, v = (f[0] for f in stepper.at_centres(end).values())
    map_plot(array(torch.hypot(u, v), grid, "speed"), axes[0, 0], title=f"a cavity under a moving lid, Re = 1000, t = {until:g}")
    axes[0, 0].streamplot(x.numpy(), y.numpy(), u.numpy(), v.numpy(), color="white", linewidth=0.6, density=0.9, arrowsize=0.6)
    axes[0, 1].legend(frameon=False, fontsize=SMALL)
    title = f"dots: Ghia et al. (1982); differences {', '.join(gaps)}" if gaps else "velocity along x in the middle"
    tidy(axes[0, 1], x="velocity_x", y="y", title=title)
    return figure_of(axes)


def at(places: Tensor, line: Tensor, values: Tensor) -> Tensor:
    """Values at places between those of an increasing line, linearly."""
    upper = torch.searchsorted(line, places).clamp(1, len(line) - 1)
    share = (places - line[upper - 1]) / (line[upper] - line[upper - 1])
    return (1 - share) * values[upper - 1] + share * values[upper]


def convection(cells: int = 32, *, until: float = 24.0) -> Figure:
    """Warm fluid rises between plates: Rayleigh number 1e5, Prandtl number 1, in units of the height and of free fall."""
    grid = CartesianGrid((cells, 2 * cells), extent=(1.0, 2.0), periodic=(False, True))
    x, y = grid.coordinates()
    viscosity, diffusivity = free_fall_units(1e5, 1.0)
    walls = {"velocity_x": {"y": Dirichlet()}, "velocity_y": {"y": Dirichlet()}, "buoyancy": {"y": (Dirichlet(0.5), Dirichlet(-0.5))}}
    stepper = ProjectedRungeKutta(BuoyantFlow(viscosity, diffusivity), WallOperators(grid, boundary=walls))
    u = {name: torch.zeros(1, *grid.shape, dtype=F64) for name in ("velocity_x", "velocity_y")}
    ripple = torch.cos(math.pi * x) + 0.3 * torch.sin(3 * math.pi * x + 1)
    u["buoyancy"] = (0.5 - y + 0.05 * torch.sin(math.pi * y) * ripple)[None]
    times = torch.linspace(0, until, 49, dtype=F64)
    got = solve(stepper, u, times, cfl=0.8)
    b = got["buoyancy"][0]
    axes = new_axes(1, 2, size=(4.8, 2.8))
    map_plot(array(b[-1], grid, "buoyancy"), axes[0, 0], title=f"convection, Ra = 100000, Pr = 1, t = {until:g}")
    # heat through the plates over what conduction alone would carry: half a cell from the plate to the first centre
    through = [(0.5 - b[:, 0].mean(-1)) / (0.5 / cells), (b[:, -1].mean(-1) + 0.5) / (0.5 / cells)]
    for k, (name, values) in enumerate(zip(("lower plate", "upper plate"), through, strict=True)):
        axes[0, 1].plot(times, values, color=LINES[k], linestyle=("-", "--")[k], label=name)
    axes[0, 1].legend(frameon=False, fontsize=SMALL)
    late = (times > until * 2 / 3)
    tidy(axes[0, 1], x="time", y="Nusselt number", title=f"heat through the plates; mean of the last third {float(through[0][late].mean()):.2f}, "
         f"{float(through[1][late].mean()):.2f}")
    return figure_of(axes)
