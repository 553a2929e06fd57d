"""Networks of the coordinates on the laws of the literature's tables, by Gauss-Newton steps on small networks, float64, one thread.

    python benchmarks/pinn_table.py [--cases allen_cahn advection_30_r3 kdv ks torus ...] [--steps 60] [--windows 5] [--data FOLDER]

allen_cahn: u_t = 1e-4 u_xx + 5 (u - u^3) from x^2 cos(pi x), t to 1, on the closed line. advection_BETA_HOW: u_t + beta u_x = 0 from sin(x) on
[0, 2 pi], t to 1; that the axis closes is a term of the loss (`Matched`), as in Daw and others' table, so that a network has to carry the start
across. HOW is plain, r3 or causal (their network 4 x 50, 1000 points, Adam, weights 100; float32), plain_soap, r3_soap or causal_soap (by SOAP),
plain_newton or r3_newton (3 x 20, Gauss-Newton steps), lagrangian (along characteristics) or closed (axis closed by construction, Gauss-Newton
steps). kdv: u_t + u u_x + 0.0025 u_xxx = 0 from cos(pi x), t to 1. ks: Kuramoto-Sivashinsky from -sin(pi x / 10), its first tenth, t to 5.
torus: vorticity of a decaying flow on the periodic square, t to 1, of viscosity 0.01, judged by a spectral solver. Every window
has a network of its own that starts from the one before it (`fit_pinn`). One line of JSON per case, appended to ``pinn_table.jsonl``:
relative L2 error, CPU seconds, weights, steps. The flow under a moving lid is in lid_cavity.py.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from lines import tell
from torch import Tensor, nn

from physdiff import (
    ETDRK4,
    MLP,
    AdvectionDiffusion,
    AllenCahn,
    Branches,
    CartesianGrid,
    Collocated,
    CoordinateNet,
    Descent,
    Known,
    KortewegDeVries,
    KuramotoSivashinsky,
    Lagrangian,
    Matched,
    NavierStokes,
    PINNTraining,
    Resampling,
    Rng,
    Spectral,
    UniformPoints,
    fit_pinn,
    lagrangian_on_grid,
    solve,
)
from physdiff.pdes.pde import PDE

DOUBLE = torch.float64


def _training(options: argparse.Namespace, n: int, *, windows: int, rule: str = "rad") -> PINNTraining:
    phases = (Descent("levenberg_marquardt", options.steps),)
    return PINNTraining(phases, Resampling(n, rule), windows=windows, seed=options.seed)


def on_a_line(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """Allen-Cahn, KdV or KS against the reference file."""
    made: dict[str, tuple[PDE, str, float, Callable[[Tensor], Tensor]]] = {
        "allen_cahn": (AllenCahn(diffusivity=1e-4, rate=5.0), "allen_cahn_periodic_nu1e-4.nc", 1.0, lambda x: x.square() * torch.cos(math.pi * x)),
        "kdv": (KortewegDeVries(nonlinearity=1.0, dispersion=0.0025), "kdv_cos_L2.nc", 1.0, lambda x: torch.cos(math.pi * x)),
        "ks": (KuramotoSivashinsky(), "ks_L20.nc", 5.0, lambda x: -torch.sin(math.pi * x / 10)),
    }
    law, name, end, start = made[case]
    ds = xr.open_dataset(Path(options.data) / "pde" / name)
    low = float(ds["x"][0])
    grid = CartesianGrid(256, extent=-2 * low, origin=low)
    box = UniformPoints(grid, t=(0.0, end), dtype=DOUBLE)
    inner = MLP(3, 1, width=options.width, depth=3)
    net = CoordinateNet(inner, law.fields, lower=(low, 0.0), upper=(-low, end), periodic=(True, False)).double()
    begin = torch.stack((grid.coordinates()[0].double(), torch.zeros(256, dtype=DOUBLE)), dim=1)
    problem = Collocated(net, law, [Known(begin, {law.fields[0]: start(begin[:, 0])}, weight=options.weight)])
    trained = fit_pinn(problem, box, training=_training(options, options.points, windows=options.windows), progress=False)
    part = ds["u"].sel(t=slice(0, end + 1e-9))
    t, x = np.meshgrid(part["t"].values, part["x"].values, indexing="ij")
    points = torch.stack([torch.from_numpy(np.ascontiguousarray(a)).reshape(-1) for a in (x, t)], dim=1)
    with torch.no_grad():
        got = torch.cat([trained.fields(p)[law.fields[0]] for p in points.split(16384)])
    truth = torch.from_numpy(part.values.reshape(-1))
    last = part.sizes["x"]
    return {
        "error": float((got - truth).norm() / truth.norm()),
        "error_at_the_end": float((got[-last:] - truth[-last:]).norm() / truth[-last:].norm()),
        "windows": options.windows,
        "weights": _size(net),
    }


def advection(case: str, options: argparse.Namespace) -> dict[str, Any]:
    """A sine that is carried many times around the line."""
    _, speed, how = case.split("_", 2)
    beta, length = float(speed), 2 * math.pi
    adam, soap = how in ("plain", "r3", "causal"), how.endswith("soap")
    newton = not adam and not soap
    dtype = DOUBLE if newton else torch.float32
    grid = CartesianGrid(256, extent=length)
    box = UniformPoints(grid, dtype=dtype)
    law: PDE = AdvectionDiffusion(diffusivity=0.0, velocity=(beta,))
    start = torch.stack((torch.linspace(0, length, 257, dtype=dtype), torch.zeros(257, dtype=dtype)), dim=1)[:-1]
    known: list[Known | Matched] = [Known(start, {"c": torch.sin(start[:, 0])}, weight=100.0)]
    box_of_net: dict[str, Any] = {"lower": (0.0, 0.0), "upper": (length, 1.0), "periodic": (how in ("lagrangian", "closed"), False)}
    if how == "lagrangian":
        law = Lagrangian(law, beta)
        known.append(Known(start, {"displacement": torch.zeros(256, dtype=dtype)}))
        inner: nn.Module = Branches((MLP(3, 1, width=20, depth=2), MLP(3, 1, width=10, depth=1)))
        box_of_net |= {"mean": (0.0, beta / 2), "std": (1.0, beta)}
    else:
        inner = MLP(3 if how == "closed" else 2, 1, width=20 if newton else 50, depth=3 if newton else 4)
    if how not in ("lagrangian", "closed"):
        t = torch.linspace(0, 1, 100, dtype=dtype)
        known.append(Matched(torch.stack((torch.zeros_like(t), t), 1), torch.stack((torch.full_like(t, length), t), 1), weight=100.0))
    net = CoordinateNet(inner, law.fields, **box_of_net).to(dtype)
    phases = (Descent("levenberg_marquardt" if newton else "soap" if soap else "adam", options.steps),)
    rule = "r3" if how.startswith("r3") else "causal_r3" if how.startswith("causal") else "fixed" if how.startswith("plain") else "even"
    training = PINNTraining(phases, Resampling(1000, rule), seed=options.seed, look=options.steps)
    trained = fit_pinn(Collocated(net, law, known), box, training=training, progress=False)
    times = torch.linspace(0, 1, 101, dtype=DOUBLE)
    got = (lagrangian_on_grid if how == "lagrangian" else CoordinateNet.on_grid)(trained, grid, times)[0, 0].double()
    truth = torch.sin(grid.coordinates()[0].double() - beta * times[:, None])
    return {"error": float((got - truth).norm() / truth.norm()), "weights": _size(net)}


def _size(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def torus(options: argparse.Namespace) -> dict[str, Any]:
    """A decaying flow of four vortices and a tilt on the periodic square, against a spectral solver."""
    law, grid = NavierStokes(viscosity=0.01), CartesianGrid((64, 64), extent=(2 * math.pi, 2 * math.pi))
    box = UniformPoints(grid, t=(0.0, 1.0), dtype=DOUBLE)

    def vorticity(x: Tensor, y: Tensor) -> Tensor:
        return 2 * torch.cos(x) * torch.cos(y) + torch.sin(2 * x + y) + 0.5 * torch.cos(x - 2 * y)

    x, y = grid.coordinates()
    times = torch.linspace(0, 1, 11, dtype=DOUBLE)
    truth = solve(ETDRK4(law, Spectral(grid)), {"vorticity": vorticity(x.double(), y.double())[None]}, times, substeps=20)["vorticity"][0]
    names = (*law.fields, *law.diagnostics)
    upper = (2 * math.pi, 2 * math.pi, 1.0)
    net = CoordinateNet(MLP(5, len(names), width=options.width, depth=3), names, lower=(0.0,) * 3, upper=upper, periodic=(True, True, False)).double()
    begin = box.initial(400, Rng(0))
    problem = Collocated(net, law, [Known(begin, {"vorticity": vorticity(begin[:, 0], begin[:, 1])}, weight=100.0)])
    trained = fit_pinn(problem, box, training=_training(options, 1500, windows=min(2, options.windows)), progress=False)
    got = trained.on_grid(grid, times)[0, names.index("vorticity")]
    return {"error": float((got - truth).norm() / truth.norm()), "weights": _size(net)}


def main() -> None:
    """Print one line for each case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=["kdv", "ks", "torus"])
    parser.add_argument("--steps", type=int, default=60, help="Gauss-Newton steps of each window")
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--width", type=int, default=20)
    parser.add_argument("--points", type=int, default=1500)
    parser.add_argument("--weight", type=float, default=100.0, help="of the start beside the law, on a line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--commit", default="", help="of the code that runs, for the line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for case in options.cases:
        torch.manual_seed(options.seed)
        begun = time.process_time()
        if case.startswith("advection"):
            found = advection(case, options)
        else:
            found = torus(options) if case == "torus" else on_a_line(case, options)
        row = {"case": case, "seed": options.seed, "steps": options.steps, **found, "cpu_s": time.process_time() - begun, "commit": options.commit}
        tell(row, options.out, "pinn_table.jsonl")


if __name__ == "__main__":
    main()
