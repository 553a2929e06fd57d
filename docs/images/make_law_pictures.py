"""The pictures of docs/laws.md, one per family of laws, each from a solver of this package.

    python docs/images/make_law_pictures.py                 # all, some minutes
    python docs/images/make_law_pictures.py --only burgers --out docs/images

Where an exact solution is known it is drawn beside the solver's, and the largest difference stands in the title.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import torch
import xarray as xr
from matplotlib.figure import Figure

from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.operators.spectral import Spectral
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import cole_hopf_sine
from physdiff.pdes.exact_diffusion import double_well, double_well_drift, gibbs_density
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.reaction_diffusion import GrayScott
from physdiff.plots.colours import LINES, TRUTH, line_style
from physdiff.plots.maps import map_plot
from physdiff.plots.style import SMALL, figure_of, new_axes, tidy
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.solvers.solve import solve

__all__ = ["PICTURES", "main"]

F64 = torch.float64


def array(values: torch.Tensor, grid: CartesianGrid, name: str, *, times: torch.Tensor | None = None) -> xr.DataArray:
    """One field ([T,] *S) as a named array on its grid."""
    frames = values[None] if times is None else values
    stamps = torch.zeros(1) if times is None else times
    step = float(stamps[1] - stamps[0]) if len(stamps) > 1 else 1.0
    spec = FieldSpec((name,), ("1",), grid, step, frames=len(frames), time_unit="1")
    found = to_dataset(frames[None, None], spec, stamps.double(), batch="sample")[name].isel(sample=0, drop=True)
    return found if times is not None else found.isel(time=0, drop=True)


def burgers() -> Figure:
    """A shock of Burgers' equation with viscosity 0.01 / pi, the odd extension on a periodic line, against Cole and Hopf."""
    grid = CartesianGrid(1024, extent=2.0, origin=-1.0, periodic=True)
    (x,) = grid.coordinates()
    viscosity = 0.01 / math.pi
    times = torch.tensor([0.0, 0.25, 1.6037 / math.pi, 1.0], dtype=F64)
    u = solve(ETDRK4(Burgers(viscosity), Spectral(grid)), {"u": -torch.sin(math.pi * x)[None]}, times, substeps=200)["u"][0]
    axes = new_axes(1, 2, size=(4.6, 3.0))
    worst = 0.0
    for k, t in enumerate(times):
        exact = -torch.sin(math.pi * x) if k == 0 else cole_hopf_sine(x, t, viscosity=viscosity)
        worst = max(worst, float((u[k] - exact).abs().max()))
        style = {**line_style(k), "marker": "", "linestyle": "-"}
        for panel in axes[0]:
            panel.plot(x, u[k], label=f"t = {float(t):.2f}", **style)
            panel.plot(x[::8], exact[::8], ".", color=style["color"], markersize=3)
    axes[0, 1].set_xlim(-0.05, 0.05)
    axes[0, 0].legend(frameon=False, fontsize=SMALL)
    tidy(axes[0, 0], x="x", y="u", title=f"lines: solver, dots: exact; largest difference {worst:.0e}")
    tidy(axes[0, 1], x="x", y="u", title="the shock")
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


def patterns() -> Figure:
    """Chaos, phases and spots: Kuramoto-Sivashinsky in space and time, Allen-Cahn and Gray-Scott on the plane."""
    axes = new_axes(1, 3, size=(4.0, 3.3))
    line, times = CartesianGrid(256, extent=64.0), torch.linspace(0, 120, 241)
    wave = RandomField(length=3.0).sample(line, 1, Rng(0))
    u = solve(ETDRK4(KuramotoSivashinsky(), Spectral(line)), {"u": wave}, times, substeps=5)["u"][0]
    map_plot(array(u, line, "u", times=times), axes[0, 0], title="Kuramoto-Sivashinsky")
    plane = CartesianGrid((160, 240), extent=(2.0, 3.0))
    phase = RandomField(length=0.08, std=0.5).sample(plane, 1, Rng(1))
    ac = solve(ETDRK4(AllenCahn(0.02**2), Spectral(plane)), {"u": phase}, torch.tensor([0.0, 12.0]), substeps=120)["u"][0, -1]
    map_plot(array(ac, plane, "u"), axes[0, 1], title="Allen-Cahn")
    spots = CartesianGrid((128, 160), extent=(2.0, 2.5))
    seeds = (RandomField(length=0.12).sample(spots, 1, Rng(2)) > 1.2).float()
    start = {"u": 1 - 0.5 * seeds, "v": 0.25 * seeds}
    law = GrayScott(feed=0.036, kill=0.062)
    gs = solve(ETDRK4(law, Spectral(spots)), start, torch.tensor([0.0, 3000.0]), substeps=3000)["v"][0, -1]
    map_plot(array(gs, spots, "v"), axes[0, 2], title="Gray-Scott")
    return figure_of(axes)


PICTURES: dict[str, Callable[[], Figure]] = {"burgers": burgers, "fokker_planck": fokker_planck, "patterns": patterns}


def main(argv: list[str] | None = None) -> None:
    """Read the arguments, draw, write the pictures."""
    parser = argparse.ArgumentParser(description="The pictures of docs/laws.md.")
    parser.add_argument("--only", nargs="*", choices=sorted(PICTURES), help="names of pictures; all if not given")
    parser.add_argument("--out", type=Path, default=Path("docs/images"), help="folder to write to")
    options = parser.parse_args(argv)
    mpl.use("Agg")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or PICTURES:
        began = time.perf_counter()
        path = options.out / f"law_{name}.png"
        PICTURES[name]().savefig(path, dpi=110)
        print(f"wrote {path} in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
