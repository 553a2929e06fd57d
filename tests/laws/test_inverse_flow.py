"""Both coefficients of Navier-Stokes and the pressure from scattered velocities: an exact flow, noise, intervals.

The exact flow is Kovasznay's (1948) carried by a wind across it: u(x - U t) + U. Steady, or carried along x alone, its law would hold for any
multiple of both coefficients with another pressure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP
from physdiff.pdes.incompressible import acceleration
from physdiff.pdes.pde import PDE
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.levenberg_marquardt import levenberg_marquardt
from physdiff.uq.laplace import weight_laplace
from physdiff.uq.weight_draws import deviations

NAMES = ("velocity_x", "velocity_y", "pressure")
VISCOSITY, WIND = 0.05, (0.3, 0.5)
LOWER, UPPER = (-0.5, -0.5, 0.0), (1.0, 0.5, 1.0)


@dataclass(frozen=True, eq=False)
class ScaledConvection(PDE):
    convection: float
    viscosity: float
    fields: ClassVar[tuple[str, ...]] = NAMES[:2]
    diagnostics: ClassVar[tuple[str, ...]] = NAMES[2:]

    def stiff(self, u, D):
        return {name: self.viscosity * D.lap(u[name]) for name in self.fields}

    def nonstiff(self, u, D, t):
        moved = acceleration(tuple(u[name] for name in self.fields), D)
        return {name: self.convection * a - slope for name, a, slope in zip(self.fields, moved, D.grad(u["pressure"]), strict=True)}

    def constraints(self, u, D):
        return {"pressure": D.div(tuple(u[name] for name in self.fields))}


def kovasznay(points):
    """Velocity and pressure of the carried flow at the points (n, 3)."""
    x, y = points[:, 0] - WIND[0] * points[:, 2], points[:, 1] - WIND[1] * points[:, 2]
    a = 0.5 / VISCOSITY - math.sqrt(0.25 / VISCOSITY**2 + 4 * math.pi**2)
    wave = torch.exp(a * x)
    u = 1 - wave * torch.cos(2 * math.pi * y) + WIND[0]
    v = a / (2 * math.pi) * wave * torch.sin(2 * math.pi * y) + WIND[1]
    return u, v, -0.5 * wave**2


def problem(readings, noise, seed):
    low, high = torch.tensor(LOWER).double(), torch.tensor(UPPER).double()
    points = low + (high - low) * Rng(1).child("readings").uniform((readings, 3)).double()
    u, v, _ = kovasznay(points)
    std = (noise or 0.002) * float(torch.cat((u, v)).std())
    dice = Rng(seed).child("noise")
    values = {"velocity_x": u, "velocity_y": v}
    if noise:
        values = {name: f + std * dice.child(name).normal(f.shape, like=f) for name, f in values.items()}
    torch.manual_seed(0)
    net = CoordinateNet(MLP(3, 3, width=14, depth=2), NAMES, lower=LOWER, upper=UPPER, mean=(1.0, 0.5, 0.0), std=(1.0, 0.3, 1.0)).double()
    return Collocated(net, ScaledConvection(0.5, 0.2), [Known(points, values, scale=std)], unknown=("convection", "viscosity"))


def inside(n):
    low, high = torch.tensor(LOWER).double(), torch.tensor(UPPER).double()
    return low + (high - low) * Rng(2).child("law").uniform((n, 3)).double()


def test_the_carried_flow_obeys_the_law():
    points = inside(6).requires_grad_()
    u, v, p = kovasznay(points)

    def slope(f):
        return torch.autograd.grad(f.sum(), points, create_graph=True)[0]

    for f, axis in ((u, 0), (v, 1)):
        g = slope(f)
        lap = slope(g[:, 0])[:, 0] + slope(g[:, 1])[:, 1]
        left = g[:, 2] + u * g[:, 0] + v * g[:, 1] + slope(p)[:, axis] - VISCOSITY * lap
        assert float(left.detach().abs().max()) < 1e-10
    assert float((slope(u)[:, 0] + slope(v)[:, 1]).detach().abs().max()) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_both_coefficients_and_the_pressure_are_found(noise):
    made, points = problem(400, noise, seed=3), inside(600)
    levenberg_marquardt(made, lambda step: deviations(made, points, law_std=0.02), steps=90)
    found = {name: float(value.detach()) for name, value in made.coefficients().items()}
    spread = weight_laplace(made, lambda: deviations(made, points, law_std=0.02), prior_std=10.0).coefficient_std()
    std = {name: float(value.detach()) for name, value in spread.items()}
    probe = inside(300)
    with torch.no_grad():
        _, _, p = kovasznay(probe)
        off = made.net.fields(probe)["pressure"] - p
        # the law holds for p plus any function of time: the mean at each time is free, here a line in time is taken away
        basis = torch.stack((torch.ones(300, dtype=torch.float64), probe[:, 2], probe[:, 2] ** 2), dim=1)
        off = off - basis @ torch.linalg.lstsq(basis, off[:, None]).solution[:, 0]
        pressure = float(off.norm() / (p - p.mean()).norm())
    print(f"noise {noise:g}: {found} +- {std}, pressure {pressure:.3f}")
    share = 0.05 if noise else 0.01
    assert found["convection"] == pytest.approx(1.0, rel=share) and found["viscosity"] == pytest.approx(VISCOSITY, rel=share)
    assert pressure < (0.1 if noise else 0.02)
    if noise:
        # the interval is of the error's size: within four of its standard deviations
        assert abs(found["viscosity"] - VISCOSITY) < 4 * std["viscosity"] and abs(found["convection"] - 1) < 4 * std["convection"]
