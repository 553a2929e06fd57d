"""Permeability and distance to a sealing fault from the pressure in an observation well (about three minutes of one core).

    python benchmarks/well_test.py [--cases 20] [--noise 0.01] [--steps 100]

A well at the origin takes a constant rate; a fault that seals lies at the distance L, so that the pressure is that of the well and of its image.
Readings of the drop stand at one place over 50 hours, noise of a share of the largest drop. Two ways to the mobility k and to L, each with intervals:

- "network": a network P(log r, log t) obeys the radial law with k unknown, the flux of the well and rest at the start; a reading is
  P(r, t) + P(r_image(L), t), so that L moves the points at which the network is asked. Gauss-Newton steps, Laplace's Gaussian of
  all weights, k and L.
- "exact": the same readings by the exponential integral, two unknowns, as the reference for errors and widths.

JSON lines to standard output: mean relative errors, spread of z-scores (1 if intervals are right), coverage of 90 % intervals, CPU seconds a case.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from physdiff import MLP, Collocated, CoordinateNet, ReservoirPressure, Rng, levenberg_marquardt
from physdiff.operators.taylor import Taylor
from physdiff.pdes.exact_wells import line_source
from physdiff.pinn.levenberg_marquardt import jacobian

STORAGE, MOBILITY, THICKNESS, RATE, DISTANCE = 2e-5, 0.01775, 10.0, 18.0, 150.0  # 1/bar, m^2/(bar h), m, m^3/h, m
PLACE, HOURS = 20.0, torch.logspace(-2, math.log10(50), 60, dtype=torch.float64)
RADIUS, TIME = (0.1, 500.0), (3e-7, 60.0)
GUESS = (0.7 * MOBILITY, 1.4 * DISTANCE)


def drop(mobility: float, distance: float) -> Tensor:
    """The exact drop at the observation well, which lies along the fault, in bar."""
    away = torch.full_like(HOURS, math.hypot(PLACE, 2 * distance))
    strength = RATE / (4 * math.pi * mobility * THICKNESS)
    r = torch.full_like(HOURS, PLACE)
    return line_source(r, HOURS, diffusivity=mobility / STORAGE, strength=strength, distance=distance, image=away)


class Logarithms(nn.Module):
    """Scaled (r, t) to scaled logarithms, then a network."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """(n, 2) to (n, 1)."""
        columns = []
        for k, (a, b) in enumerate((RADIUS, TIME)):
            value = (x[..., k] + 1) * (0.5 * (b - a)) + a
            columns.append((torch.log(value) - math.log(a)) * (2 / math.log(b / a)) - 1)
        out: Tensor = self.inner(torch.stack(columns, dim=-1))
        return out


class WellTest(nn.Module):
    """A radial pressure with its unknown mobility, the unknown distance, and the readings (noise std in bar)."""

    def __init__(self, readings: Tensor, std: float, *, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        net = CoordinateNet(
            Logarithms(MLP(2, 1, width=14, depth=2)), ("pressure",), lower=(RADIUS[0], TIME[0]), upper=(RADIUS[1], TIME[1]), std=(20.0,)
        ).double()
        law = ReservoirPressure(mobility=GUESS[0], storage=STORAGE, radial=True)
        self.problem = Collocated(net, law, unknown=("mobility",))
        self.log_distance = nn.Parameter(torch.zeros((), dtype=torch.float64))
        self.readings, self.std = readings, std
        u = Rng(seed).uniform((700, 2)).double()
        self.inside = torch.stack([a * (b / a) ** u[:, k] for k, (a, b) in enumerate((RADIUS, TIME))], dim=1)
        at = torch.linspace(0, 1, 60, dtype=torch.float64)
        times, radii = (a * (b / a) ** at for a, b in (TIME, RADIUS))
        self.well = torch.stack((torch.full_like(times, RADIUS[0]), times), dim=1)
        self.start = torch.stack((radii, torch.full_like(radii, TIME[0])), dim=1)
        self.far = torch.stack((torch.full_like(times, RADIUS[1]), times), dim=1)

    def found(self) -> tuple[Tensor, Tensor]:
        """Mobility and distance."""
        return self.problem.coefficients()["mobility"], GUESS[1] * torch.exp(self.log_distance)

    def deviations(self) -> list[Tensor]:
        """Law, flux of the well, rest at the start, readings; each over what it is believed to."""
        net, (mobility, distance) = self.problem.net, self.found()
        r, t = self.inside.unbind(1)
        # in units of a pressure: over the rate at which things change there, by time or by diffusion
        rate = 1 / t + MOBILITY / STORAGE / r**2
        law = self.problem.law_residuals(self.inside)["pressure"] / rate
        columns = self.well.unbind(1)
        D = Taylor(columns[:1], columns[1], orders=((1, 0), (0, 1)))
        slope = D.value(D.grad(net.fields(D.points())["pressure"])[0])
        flux = RATE + 2 * math.pi * THICKNESS * mobility * RADIUS[0] * slope
        at = torch.stack((torch.full_like(HOURS, PLACE), HOURS), dim=1)
        image = torch.stack(((PLACE**2 + 4 * distance**2).sqrt().expand_as(HOURS), HOURS), dim=1)
        seen = net.fields(at)["pressure"] + net.fields(image)["pressure"]
        rest = net.fields(self.start)["pressure"]
        return [law / 0.02, flux / (0.001 * RATE), rest / 0.02, (seen - self.readings) / self.std]


@functools.cache
def _begun(steps: int) -> dict[str, Tensor]:
    """Weights of the pressure that the guess of the mobility would give: where every case starts."""
    test = WellTest(torch.zeros_like(HOURS), 1.0)
    for p in (test.problem.theta["mobility"], test.log_distance):
        p.requires_grad_(False)
    levenberg_marquardt(test, lambda step: test.deviations()[:3], steps=steps)
    return test.state_dict()


def by_network(readings: Tensor, std: float, steps: int) -> tuple[Tensor, Tensor]:
    """Logarithms of k and L and their standard deviations, both (2,)."""
    test = WellTest(readings, std)
    test.load_state_dict(_begun(steps))
    levenberg_marquardt(test, lambda step: test.deviations(), steps=steps)
    return _gaussian(test, test.deviations, [test.problem.theta["mobility"], test.log_distance], [math.log(g) for g in GUESS])


def by_law(readings: Tensor, std: float) -> tuple[Tensor, Tensor]:
    """The same by the exact solution: Gauss-Newton steps on two unknowns, the Jacobian by differences."""
    x, h = torch.tensor([math.log(g) for g in GUESS], dtype=torch.float64), 1e-5

    def model(v: Tensor) -> Tensor:
        return drop(*(float(c) for c in v.exp())) / std

    for _ in range(30):
        J = torch.stack([(model(x + h * e) - model(x - h * e)) / (2 * h) for e in torch.eye(2, dtype=torch.float64)], dim=1)
        step = torch.linalg.solve(J.T @ J, J.T @ (readings / std - model(x)))
        x = x + step.clamp(-0.3, 0.3)
    return x, torch.linalg.inv(J.T @ J).diagonal().sqrt()


def _gaussian(
    module: nn.Module, deviations: Callable[[], Sequence[Tensor]], wanted: list[nn.Parameter], offsets: list[float]
) -> tuple[Tensor, Tensor]:
    _, J = jacobian(module, deviations)
    H = J.T @ J + 1e-4 * torch.eye(J.shape[1], dtype=J.dtype)  # weights of some hundred are believed possible
    at, start = [], 0
    for p in module.parameters():
        at += [start] * any(p is w for w in wanted)
        start += p.numel()
    order = [next(i for i, p in enumerate(q for q in module.parameters() if any(q is w for w in wanted)) if p is w) for w in wanted]
    std = torch.linalg.inv(H).diagonal()[at].sqrt()[order]
    return torch.stack([w.detach() + o for w, o in zip(wanted, offsets, strict=True)]), std


def main() -> None:
    """Print one line for each way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--noise", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    truth = torch.tensor([MOBILITY, DISTANCE], dtype=torch.float64).log()
    clean = drop(MOBILITY, DISTANCE)
    std = given.noise * float(clean.max())
    ways = {"exact": by_law, "network": lambda y, s: by_network(y, s, given.steps)}
    for name, way in ways.items():
        begun, rows = time.process_time(), []
        for k in range(given.cases):
            x, spread = way(clean + std * Rng(k).child("noise").normal(clean.shape, like=clean), std)
            rows.append(torch.stack((x - truth, spread)))
        error, spread = torch.stack(rows).unbind(1)
        z = error / spread
        line = {
            "way": name,
            "cases": given.cases,
            "noise": given.noise,
            "mobility_rms_error": float(error[:, 0].square().mean().sqrt()),
            "distance_rms_error": float(error[:, 1].square().mean().sqrt()),
            "mobility_std": float(spread[:, 0].mean()),
            "distance_std": float(spread[:, 1].mean()),
            "z_std": [float(v) for v in z.square().mean(0).sqrt()],
            "coverage_90": [float(v) for v in (z.abs() < 1.645).double().mean(0)],
            "cpu_s": (time.process_time() - begun) / given.cases,
        }
        print(json.dumps({key: _short(value) for key, value in line.items()}), flush=True)


def _short(value: object) -> object:
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
