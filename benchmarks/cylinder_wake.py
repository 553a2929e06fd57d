"""Both coefficients of Navier-Stokes and the pressure from scattered velocities in a cylinder's wake, with intervals.

    python benchmarks/cylinder_wake.py --work FOLDER [--noise 0.01] [--member 1] [--start FILE] [--steps 160] [--points 1500]
    python benchmarks/cylinder_wake.py --together LINES

4970 readings of the velocity behind a cylinder at Reynolds number 100 (Nektar, `cylinder_nektar_wake_samples.csv`), noise of a share of each
component's standard deviation added. Unknown: the coefficient of convection (truth 1), the viscosity (0.01), the pressure, and the period of the
shedding, which the network learns as a number: it sees x, y and some harmonics of a phase that moves with the eddies, omega t - kappa x, kappa
learnt too. Gauss-Newton steps from 0.5, 0.05 and a period of 5.9 (from a scan of harmonic fits); points and the readings of a step are drawn anew
every five. Half way, times whose readings are three times as far from the network as those of the median time are left out, for they are no part
of the periodic flow (the file's first, t = 0). A coefficient is the mean of the last quarter of the steps; Laplace's Gaussian gives its standard
deviation, with what is left of the law at points not trained on taken for its noise. `--start` begins with the weights of another run. FOLDER keeps
the weights every ten steps, and the run goes on from there. One line of JSON to standard output; `--together FILE` takes such lines of networks
that differ in --member, and prints their mean and Student's interval, of the spread of the networks and what Laplace says of one.

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
from scipy.stats import t as student
from torch import Tensor, nn

from physdiff import PDE, Collocated, CoordinateNet, ModifiedMLP, Rng, levenberg_marquardt, weight_laplace
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
    """A network that is periodic in the last column, with a period to be found, of a phase that moves along the first with a number to be found."""

    def __init__(self, inner: nn.Module, omega: float, *, harmonics: int = 2) -> None:
        super().__init__()
        self.inner, self.omega, self.harmonics = inner, nn.Parameter(torch.tensor(omega)), harmonics
        # eddies go at some 0.85 of the wind
        self.kappa = nn.Parameter(torch.tensor(omega / 0.85 * (UPPER[0] - LOWER[0]) / (UPPER[2] - LOWER[2])))

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3) to (n, fields)."""
        angle = x[..., 2] * self.omega - x[..., 0] * self.kappa
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


def fitting(made: Collocated, where: Tensor, what: Tensor) -> Tensor:
    """Which readings belong to times that the periodic flow fits: their rms misfit is below three times that of the median time."""
    with torch.no_grad():
        fields = made.net.fields(where)
        squares = (torch.stack([fields[name] for name in NAMES[:2]], 1) - what).square().mean(1)
    means = _means(squares, where[:, 2])
    return means < 9 * means.median()


def train(
    made: Collocated, where: Tensor, what: Tensor, options: argparse.Namespace, *, save: Callable[[], None], past: list[list[float]], last: int
) -> None:
    """Gauss-Newton steps; deviations as if the law held to 0.03 and readings to 0.01, by means over the points. The coefficients go to `past`."""
    n, first = options.points, len(past)

    def residuals(step: int) -> list[Tensor]:
        key = Rng(options.seed).child("points", options.member, (first + step) // 5)
        rows = key.child("rows").permutation(len(where))[:n]
        found = terms(made, drawn(n, key), where[rows], what[rows], law_std=[1.0] * 3, std=[0.3] * 2)
        return [r / math.sqrt(n) for r in found]

    def after(step: int, loss: float) -> None:
        past.append([float(c.detach()) for c in made.coefficients().values()])
        if (first + step) % 10 == 9:
            save()

    levenberg_marquardt(made, residuals, steps=last - first, after=after)


def spread(made: Collocated, where: Tensor, what: Tensor, options: argparse.Namespace) -> dict[str, float]:
    """Standard deviations of the coefficients by Laplace's Gaussian, at points that were not trained on, with what is left there as scales."""
    points = drawn(options.fresh, Rng(options.seed).child("fresh", options.member))
    with torch.no_grad():
        left = terms(made, points, where, what, law_std=[1.0] * 3, std=[1.0] * 2)
    rms = [float(r.square().mean().sqrt()) for r in left]
    gaussian = weight_laplace(made, lambda: terms(made, points, where, what, law_std=rms[:3], std=rms[3:]), prior_std=10.0)
    found = {f"{name}_std": float(value.detach()) for name, value in gaussian.coefficient_std().items()}
    return {**found, "law_rms": max(rms[:3]), "misfit_rms": max(rms[3:])}


def _means(values: Tensor, times: Tensor) -> Tensor:
    """The mean of the values at the same time, for each."""
    _, which = times.unique(return_inverse=True)
    total = torch.zeros(int(which.max()) + 1, dtype=values.dtype)
    return (total.index_add(0, which, values) / torch.bincount(which))[which]


def together(lines: list[dict[str, float]]) -> dict[str, object]:
    """Each coefficient from networks that differ in their start and points: mean, standard deviation, Student's 90 % interval.

    The variance is that of Laplace's Gaussians, in the mean, and of another network beside these, (1 + 1/M) times the networks' own.
    """
    count, found = len(lines), dict[str, object]({"members": len(lines), "noise": lines[0]["noise"]})
    for name, truth in TRUTH.items():
        values, inner = np.array([line[name] for line in lines]), np.array([line[f"{name}_std"] for line in lines])
        std = math.sqrt(float((inner**2).mean()) + (1 + 1 / count) * float(values.var(ddof=1)))
        reach = float(student.ppf(0.95, count - 1)) * std
        low, high = float(values.mean()) - reach, float(values.mean()) + reach
        found |= {name: f"{values.mean():.5g}", f"{name}_90": f"{low:.5g} to {high:.5g}", f"{name}_std": f"{std:.2g}"}
        found |= {f"{name}_off": f"{values.mean() / truth - 1:.2%}", f"{name}_holds": low <= truth <= high}
    return found


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work")
    parser.add_argument("--together", default=None, help="file with lines of networks that differ in --member")
    parser.add_argument("--member", type=int, default=0, help="seed of the network and its points; --seed is that of the noise")
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--start", default=None)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--points", type=int, default=1500)
    parser.add_argument("--fresh", type=int, default=3000, help="points that the law is judged at in the end")
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--harmonics", type=int, default=4, help="of the shedding that the network sees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", default="../shared/data")
    return parser.parse_args()


def main() -> None:
    """Train, settle, print."""
    options = _options()
    if options.together is not None:
        lines = [json.loads(line) for line in Path(options.together).read_text().splitlines()]
        print(json.dumps(together(lines)), flush=True)
        return
    torch.set_num_threads(1)
    table = torch.from_numpy(np.loadtxt(Path(options.data) / "cfd" / "cylinder_nektar_wake_samples.csv", delimiter=",", skiprows=1))
    where, velocity, pressure = table[:, :3], table[:, 3:5], table[:, 5]
    noise = options.noise * velocity.std(0) * Rng(options.seed).child("noise").normal(velocity.shape, like=velocity)
    what = velocity + noise
    made = problem(velocity.mean(0), velocity.std(0), width=options.width, harmonics=options.harmonics, seed=options.member)
    file, past, before = Path(options.work) / f"wake_{options.noise:g}_{options.seed}_{options.member}.pt", list[list[float]](), 0.0
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        kept = torch.load(file)
        made.load_state_dict(kept["state"])
        past, before = kept["past"], kept["cpu_s"]
    elif options.start is not None:
        made.load_state_dict(torch.load(options.start)["state"])
    begun = time.process_time()

    def save() -> None:
        torch.save({"state": made.state_dict(), "past": past, "cpu_s": before + time.process_time() - begun}, file)

    half = options.steps // 2
    if options.start is None and len(past) < half:
        train(made, where, what, options, save=save, past=past, last=half)
    keep = fitting(made, where, what)
    if len(past) < options.steps:
        train(made, where[keep], what[keep], options, save=save, past=past, last=options.steps)
    found = spread(made, where[keep], what[keep], options)
    late = np.array(past[-max(1, options.steps // 4) :])
    left_out = sorted({float(t) for t in where[~keep, 2]})
    where, velocity, pressure = where[keep], velocity[keep], pressure[keep]
    with torch.no_grad():
        fields = made.net.fields(where)
        off, size = fields["pressure"] - pressure, (pressure - pressure.mean()).norm()
        line = {
            "noise": options.noise,
            "seed": options.seed,
            "member": options.member,
            "started": options.start is not None,
            **{name: float(values.mean()) for name, values in zip(TRUTH, late.T, strict=True)},
            **{f"{name}_last": float(values[-1]) for name, values in zip(TRUTH, late.T, strict=True)},
            **found,
            "pressure_error": float((off - _means(off, where[:, 2])).norm() / size),
            "pressure_error_constant": float((off - off.mean()).norm() / size),
            "velocity_error": float((torch.stack([fields[n] for n in NAMES[:2]], 1) - velocity).norm() / velocity.norm()),
            "period": made.net.network.period,
            "left_out": left_out,
            "weights": sum(p.numel() for p in made.parameters()),
            "cpu_s": before + time.process_time() - begun,
        }
    print(json.dumps({k: float(f"{v:.4g}") if isinstance(v, float) else v for k, v in line.items()}), flush=True)


if __name__ == "__main__":
    main()
