"""Compressible flow with viscosity and conduction: one text, three uses, and the same numbers from the equations in other variables."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler
from physdiff.pdes.residual import window_residual

LINE, PLANE = CartesianGrid(40, extent=2.0), CartesianGrid((32, 40), extent=(1.5, 2.0))
KX, KY = math.pi, 2 * math.pi / 1.5
VISCOUS = {n: CompressibleNavierStokes(0.05, 0.02, 0.04, 1.3, ndim=n) for n in (1, 2)}


def state(x, y, t):
    """Density, velocity and pressure, smooth and without symmetry, far from vacuum."""
    a, b = KX * x - 1.1 * t, KY * y + 0.7 * t
    density = 1.2 + 0.2 * torch.sin(a + 0.3) * torch.cos(b)
    pressure = 0.9 + 0.2 * torch.cos(a - b + 0.5)
    return density, (0.3 + 0.2 * torch.cos(a + b), 0.25 * torch.sin(b - 0.4) - 0.1 * torch.cos(a)), pressure


def fields(law, *coordinates_and_time):
    x, y, t = coordinates_and_time if len(coordinates_and_time) == 3 else (coordinates_and_time[0], 0.2, coordinates_and_time[1])
    density, velocity, pressure = state(x, torch.as_tensor(y, dtype=torch.float64), t)
    return law.state(density, velocity[: law.ndim], pressure)


def at_points(law, grid, t):
    """Residual by autograd on the points of the grid."""
    coordinates = [c.reshape(-1).clone().requires_grad_() for c in grid.coordinates()]
    time = torch.full_like(coordinates[0], t).requires_grad_()
    left = law.residual(fields(law, *coordinates, time), Autograd(tuple(coordinates), time), time)
    return {name: v.detach().reshape(grid.shape) for name, v in left.items()}


def by_hand(law, grid, t):
    """The same from the equations of motion for velocity and pressure, every derivative by itself."""
    x, y = (*grid.coordinates(), torch.full(grid.shape, 0.2, dtype=torch.float64))[:2]
    x, y, time = (v.reshape(-1).clone().requires_grad_() for v in (x, y, torch.full_like(x, t)))
    rho, u, p = state(x, y, time)
    n = law.ndim

    def d(f, s):
        return torch.autograd.grad(f.sum(), s, create_graph=True)[0]

    places, u = (x, y)[:n], u[:n]
    growth = sum(d(v, s) for v, s in zip(u, places, strict=True))
    tau = [[law.viscosity * (d(u[i], places[j]) + d(u[j], places[i])) for j in range(n)] for i in range(n)]
    for i in range(n):
        tau[i][i] = tau[i][i] + (law.bulk_viscosity - 2 / 3 * law.viscosity) * growth
    mass = d(rho, time) + sum(d(rho * v, s) for v, s in zip(u, places, strict=True))
    push = [
        rho * (d(u[i], time) + sum(v * d(u[i], s) for v, s in zip(u, places, strict=True)))
        + d(p, places[i])
        - sum(d(tau[i][j], places[j]) for j in range(n))
        for i in range(n)
    ]
    heating = sum(tau[i][j] * d(u[i], places[j]) for i in range(n) for j in range(n))
    heat = law.conductivity * sum(d(d(p / rho, s), s) for s in places)
    gamma = law.heat_ratio
    inner = (d(p, time) + sum(v * d(p, s) for v, s in zip(u, places, strict=True)) + gamma * p * growth) / (gamma - 1) - heating - heat
    # conserved forms: momentum u_i mass + push_i, energy the inner one with the work of the rest
    out = {"density": mass, **{f"momentum_{a}": v * mass + f for a, v, f in zip("xy", u, push, strict=False)}}
    out["energy"] = inner + sum(v * f for v, f in zip(u, push, strict=True)) + sum(v**2 for v in u) / 2 * mass
    return {name: v.detach().reshape(grid.shape) for name, v in out.items()}


@pytest.mark.parametrize("law", [VISCOUS[1], VISCOUS[2], Euler(1.3, ndim=2)], ids=["line", "plane", "without friction"])
def test_right_hand_side_residual_on_grids_and_residual_on_points_agree(law):
    if isinstance(law, Euler):
        law = CompressibleNavierStokes(0.0, 0.0, 0.0, 1.3, ndim=2)
    grid, t, h = LINE if law.ndim == 1 else PLANE, 0.4, 0.01
    wanted = by_hand(law, grid, t)
    scale = {name: float(v.abs().max()) for name, v in wanted.items()}
    assert min(scale.values()) > 0.3, scale  # no exact solution: every equation has something left
    pointwise = at_points(law, grid, t)
    frames = [fields(law, *grid.coordinates(), t + (i - 2) * h) for i in range(5)]
    window = {name: torch.stack([f[name] for f in frames])[None] for name in law.fields}
    on_grid = {name: v[0, 2] for name, v in window_residual(law, window, Spectral(grid, dt=h)).items()}
    rates = {name: (window[name][0, 0] - 8 * window[name][0, 1] + 8 * window[name][0, 3] - window[name][0, 4]) / (12 * h) for name in law.fields}
    right = law.rhs({name: v[:, 2] for name, v in window.items()}, Spectral(grid), t)
    for name in law.fields:
        # autograd: rounding. Grids: waves beyond the resolved ones (1e-7) and differences of order four over 0.01
        assert float((pointwise[name] - wanted[name]).abs().max()) < 1e-10 * scale[name], name
        assert float((on_grid[name] - wanted[name]).abs().max()) < 1e-6 * scale[name], name
        assert float((rates[name] - right[name][0] - wanted[name]).abs().max()) < 1e-6 * scale[name], name


@pytest.mark.parametrize("n", [1, 2])
def test_differences_converge_to_the_same_at_their_order(n):
    law, errors = VISCOUS[n], []
    for m in (24, 48):
        grid = CartesianGrid(m, extent=2.0) if n == 1 else CartesianGrid((m, m), extent=(1.5, 2.0))
        u = {name: v[None] for name, v in fields(law, *grid.coordinates(), 0.4).items()}
        coarse, fine = law.rhs(u, FiniteDifference(grid, order=4), 0.4), law.rhs(u, Spectral(grid), 0.4)
        errors.append(max(float((coarse[name] - fine[name]).abs().max()) for name in law.fields))
    assert abs(math.log2(errors[0] / errors[1]) - 4) < 0.3, errors
