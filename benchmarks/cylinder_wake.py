"""Both coefficients of Navier-Stokes and the pressure from scattered velocities in a cylinder's wake, with intervals.

    python benchmarks/cylinder_wake.py --work FOLDER [--noise 0.01] [--start FILE] [--steps 150] [--points 1500]

4970 readings of the velocity behind a cylinder at Reynolds number 100 (Nektar, `cylinder_nektar_wake_samples.csv`), noise of a share of each
component's standard deviation added. Unknown: the coefficient of convection (truth 1), the viscosity (0.01), the pressure, and the period of the
shedding, which the network learns as a number: it sees x, y and some harmonics of the time. Gauss-Newton steps from 0.5, 0.05 and a period of 5.9
(from a scan of harmonic fits); points and the readings of a step are drawn anew every five. Then a few steps at fixed points with more readings;
there misfits and residuals are taken for the noise, and Laplace's Gaussian gives the intervals. `--start` begins with the weights of another run,
as for a second draw of the noise. FOLDER keeps the weights every ten steps, and the run goes on from there. One line of JSON to standard output.

The law knows the gradient of the pressure alone, so that a function of time is free in it: `pressure_error` leaves out the mean difference at each
time of the readings, `pressure_error_constant` one mean for all.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from physdiff import PDE, Collocated, CoordinateNet, Damped, ModifiedMLP, Rng, levenberg_marquardt, weight_laplace
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.incompressible import acceleration

NAMES = ("velocity_x", "velocity_y", "pressure")
LOWER, UPPER, PERIOD = (1.0, -2.0, 0.0), (8.0, 2.0, 20.0), 5.9
TRUTH = {"convection": 1.0, "viscosity": 0.01}


@dataclass(frozen=True, eq=False)
class ScaledConvection(PDE):
    """Incompressible flow whose convection has a coefficient of its own, as it is asked for in this problem."""

    convection: float
    viscosity: float
    fields: ClassVar[tuple[str, ...]] = NAMES[:2]
    diagnostics: ClassVar[tuple[str, ...]] = NAMES[2:]

    def stiff(self, u: Fields, D: Operators) -> Fields:
        """Viscosity."""
        return {name: self.viscosity * D.lap(u[name]) for name in self.fields}

    def nonstiff(self, u: Fields, D: Operators, t: float | Tensor) -> Fields:
        """Convection and pressure."""
        moved = acceleration(tuple(u[name] for name in self.fields), D)
        return {name: self.convection * a - slope for name, a, slope in zip(self.fields, moved, D.grad(u["pressure"]), strict=True)}

    def constraints(self, u: Fields, D: Operators) -> Fields:
        """No divergence."""
        return {"pressure": D.div(tuple(u[name] for name in self.fields))}


class Shedding(nn.Module):
    """A network that is periodic in the last column, with a period to be found."""

    def __init__(self, inner: nn.Module, omega: float, *, harmonics: int = 2) -> None:
        super().__init__()
        self.inner, self.omega, self.harmonics = inner, nn.Parameter(torch.tensor(omega)), harmonics

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) to (n, fields)."""
        angle = x[..., 2] * self.omega
        waves = [wave(k * angle) for k in range(1, self.harmonics + 1) for wave in (torch.cos, torch.sin)]
        out: Tensor = self.inner(torch.stack((x[..., 0], x[..., 1], *waves), dim=-1))
        return out

    @property
    def period(self) -> float:
        """In units of time."""
        return math.pi * (UPPER[2] - LOWER[2]) / float(self.omega.detach())


def problem(mean: Tensor, std: Tensor, *, width: int, harmonics: int, seed: int) -> Collocated:
    """Law and network before training."""
    torch.manual_seed(seed)
    inner = Shedding(ModifiedMLP(2 + 2 * harmonics, 3, width=width, depth=3), math.pi * (UPPER[2] - LOWER[2]) / PERIOD, harmonics=harmonics)
    net = CoordinateNet(inner, NAMES, lower=LOWER, upper=UPPER, mean=(*mean.tolist(), 0.0), std=(*std.tolist(), 0.1)).double()
    return Collocated(net, ScaledConvection(0.5, 0.05), unknown=tuple(TRUTH))


def terms(made: Collocated, points: Tensor, where: Tensor, what: Tensor, *, law_std: list[float], std: list[float]) -> list[Tensor]:
    """Residuals of the law at points and misfits of readings (n, 2), each over its standard deviation."""
    left = made.law_residuals(points).values()
    fields = made.net.fields(where)
    misfits = [(fields[name] - what[:, k]) / std[k] for k, name in enumerate(NAMES[:2])]
    return [*(r / s for r, s in zip(left, law_std, strict=True)), *misfits]


def drawn(n: int, key: Rng) -> Tensor:
    """Points (n, 3) of the box."""
    low, high = (torch.tensor(c, dtype=torch.float64) for c in (LOWER, UPPER))
    return low + (high - low) * key.uniform((n, 3)).double()


def train(made: Collocated, where: Tensor, what: Tensor, options: argparse.Namespace, save: Callable[[int], None], first: int) -> None:
    """Gauss-Newton steps; deviations as if the law held to 0.03 and readings to 0.01, by means over the points."""
    n = options.points

    def residuals(step: int) -> list[Tensor]:
        key = Rng(options.seed).child("points", (first + step) // 5)
        rows = key.child("rows").permutation(len(where))[:n]
        found = terms(made, drawn(n, key), where[rows], what[rows], law_std=[1.0] * 3, std=[0.3] * 2)
        return [r / math.sqrt(n) for r in found]

    def after(step: int, loss: float) -> None:
        if (first + step) % 10 == 9:
            save(first + step + 1)

    levenberg_marquardt(made, residuals, steps=options.steps - first, after=after)


def settle(made: Collocated, where: Tensor, what: Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Steps at fixed points, scales from what is left there, and the standard deviations of the coefficients."""
    n = options.settle_points
    points, rows = drawn(n, Rng(options.seed).child("settle")), Rng(options.seed).child("rows").permutation(len(where))[: 2 * n]
    scales: tuple[list[float], list[float]] = ([1.0] * 3, [0.3] * 2)
    for _ in range(2):
        current = scales

        def residuals(step: int, current: tuple[list[float], list[float]] = current) -> list[Tensor]:
            return [r / math.sqrt(n) for r in terms(made, points, where[rows], what[rows], law_std=current[0], std=current[1])]

        levenberg_marquardt(made, residuals, steps=options.settle_steps, state=Damped(damping=1e-6))
        with torch.no_grad():
            left = terms(made, points, where[rows], what[rows], law_std=[1.0] * 3, std=[1.0] * 2)
        rms = [float(r.square().mean().sqrt()) for r in left]
        # weights have taken a share of what was left
        grown = math.sqrt(sum(map(len, left)) / max(1, sum(map(len, left)) - sum(p.numel() for p in made.parameters())))
        scales = ([grown * r for r in rms[:3]], [grown * r for r in rms[3:]])
    gaussian = weight_laplace(made, lambda: terms(made, points, where[rows], what[rows], law_std=scales[0], std=scales[1]), prior_std=10.0)
    found = {f"{name}_std": float(value.detach()) for name, value in gaussian.coefficient_std().items()}
    return {**found, "law_rms": max(rms[:3]), "misfit_rms": max(rms[3:])}


def _means(values: Tensor, times: Tensor) -> Tensor:
    """The mean of the values at the same time, for each."""
    _, which = times.unique(return_inverse=True)
    total = torch.zeros(int(which.max()) + 1, dtype=values.dtype)
    return (total.index_add(0, which, values) / torch.bincount(which))[which]


def main() -> None:
    """Train, settle, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--start", default=None)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--points", type=int, default=1500)
    parser.add_argument("--settle-points", type=int, default=2000)
    parser.add_argument("--settle-steps", type=int, default=6)
    parser.add_argument("--width", type=int, default=22)
    parser.add_argument("--harmonics", type=int, default=2, help="of the shedding that the network sees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="../shared/data")
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = torch.from_numpy(np.loadtxt(Path(options.data) / "cfd" / "cylinder_nektar_wake_samples.csv", delimiter=",", skiprows=1))
    where, velocity, pressure = table[:, :3], table[:, 3:5], table[:, 5]
    noise = options.noise * velocity.std(0) * Rng(options.seed).child("noise").normal(velocity.shape, like=velocity)
    what = velocity + noise
    made = problem(velocity.mean(0), velocity.std(0), width=options.width, harmonics=options.harmonics, seed=options.seed)
    file, first, before = Path(options.work) / f"wake_{options.noise:g}_{options.seed}.pt", 0, 0.0
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        kept = torch.load(file)
        made.load_state_dict(kept["state"])
        first, before = kept["steps"], kept["cpu_s"]
    elif options.start is not None:
        made.load_state_dict(torch.load(options.start)["state"])
    begun = time.process_time()

    def save(steps: int) -> None:
        torch.save({"state": made.state_dict(), "steps": steps, "cpu_s": before + time.process_time() - begun}, file)

    if first < options.steps:
        train(made, where, what, options, save, first)
    found = settle(made, where, what, options)
    with torch.no_grad():
        fields = made.net.fields(where)
        off, size = fields["pressure"] - pressure, (pressure - pressure.mean()).norm()
        line = {
            "noise": options.noise,
            "seed": options.seed,
            "started": options.start is not None,
            **{name: float(value) for name, value in made.coefficients().items()},
            **found,
            "pressure_error": float((off - _means(off, where[:, 2])).norm() / size),
            "pressure_error_constant": float((off - off.mean()).norm() / size),
            "velocity_error": float((torch.stack([fields[n] for n in NAMES[:2]], 1) - velocity).norm() / velocity.norm()),
            "period": made.net.network.period,
            "weights": sum(p.numel() for p in made.parameters()),
            "cpu_s": before + time.process_time() - begun,
        }
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


if __name__ == "__main__":
    main()
