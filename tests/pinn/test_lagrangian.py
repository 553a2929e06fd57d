"""A law in labels: exact solutions leave nothing, solvers step it, networks come back to fixed points."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.networks.mlp import MLP
from physdiff.operators.spectral import Spectral
from physdiff.operators.taylor import Taylor
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.lagrangian import Branches, Lagrangian, labels_on_grid, lagrangian_on_grid
from physdiff.pinn.levenberg_marquardt import levenberg_marquardt

T = torch.float64


class Exact(torch.nn.Module):
    """Fields and displacement as given functions of the features X and t in [0, 1]."""

    def __init__(self, *functions):
        super().__init__()
        self.functions, self.some = functions, torch.nn.Parameter(torch.zeros((), dtype=T))

    def forward(self, x):
        X, t = (0.5 * (x[..., i] + 1) for i in range(2))
        return torch.stack([f(X, t) for f in self.functions], dim=-1)


def field(*functions):
    return CoordinateNet(Exact(*functions), ("c", "displacement"), lower=(0.0, 0.0), upper=(1.0, 1.0))


POINTS = torch.rand(30, 2, dtype=T, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("speed", [3.0, 1.0, lambda u, x, t: 2 + 0.1 * torch.sin(x)])
def test_an_exact_solution_leaves_nothing_whatever_the_lines(speed):
    """c = exp(-4 pi^2 D t) sin 2 pi (x - 3 t), on lines x = X + d of any displacement: the equation of c vanishes where d_t is the speed.

    Each speed has its own displacement; the third is followed by its first terms in t at t = 0 only, so that only points there are asked.
    """
    def moved(X, t):
        if callable(speed):
            return t * (2 + 0.1 * torch.sin(X))
        return speed * t

    def c(X, t):
        x = X + moved(X, t)
        return torch.exp(t * (-4 * math.pi**2 * 0.01)) * torch.sin((x - 3 * t) * (2 * math.pi))

    points = POINTS.clone()
    if callable(speed):
        points[:, 1] = 0
    law = Lagrangian(AdvectionDiffusion(diffusivity=0.01, velocity=(3.0,)), speed)
    left = Collocated(field(c, moved), law).law_residuals(points)
    # 1e-13 of terms of size 20
    assert list(left) == ["c", "displacement"] and all(float(r.detach().abs().max()) < 1e-11 for r in left.values())


def test_diffusion_is_taken_at_fixed_places():
    """On stretched lines, d = X/2 + (X t)/4 and c = x^2: c_xx = 2, and the derivative by labels, 2 J^2, is another."""
    law = Lagrangian(AdvectionDiffusion(diffusivity=1.0, velocity=(0.0,)), 0.0)
    x = POINTS[:, 0], POINTS[:, 1]
    D = Taylor((x[0],), x[1], orders=((2, 0), (1, 1), (0, 1)))
    X, t = D.points().unbind(-1)
    d = X * 0.5 + X * t * 0.25
    place = X + d
    left = law.residual({"c": place * place, "displacement": d}, D, D.time)
    # c_t at a label is 2 x d_t
    wanted = 2 * (POINTS[:, 0] * (1.5 + 0.25 * POINTS[:, 1])) * 0.25 * POINTS[:, 0] - 2
    torch.testing.assert_close(D.value(left["c"]), wanted)


def test_on_a_grid_of_labels_its_right_side_is_that_of_fixed_points():
    """Burgers with its own speed: at t = 0, where d = 0, w follows viscosity alone."""
    grid = CartesianGrid(64, extent=2 * math.pi)
    D = Spectral(grid, dealias=False)
    x = grid.coordinates()[0].double()
    u = (0.3 + torch.sin(x))[None]
    law = Lagrangian(Burgers(0.05), lambda w, place, t: w["u"])
    right = law.rhs({"u": u, "displacement": torch.zeros_like(u)}, D, 0.0)
    torch.testing.assert_close(right["u"], -0.05 * torch.sin(x)[None], atol=1e-10, rtol=0)
    torch.testing.assert_close(right["displacement"], u)


@pytest.mark.parametrize("closed", [True, False])
def test_back_to_fixed_points(closed):
    """d = 3 t + 0.05 sin 2 pi X: the label is found to rounding."""
    stretch = (lambda X, t: 3 * t + 0.05 * torch.sin(2 * math.pi * X)) if closed else (lambda X, t: 0.3 * t * X)
    net = field(lambda X, t: torch.sin(2 * math.pi * X), stretch)
    grid = CartesianGrid(50, extent=1.0, periodic=closed)
    times = torch.tensor([0.0, 0.37, 1.0], dtype=T)
    got = lagrangian_on_grid(net, grid, times)
    assert got.shape == (1, 1, 3, 50)
    x = grid.coordinates()[0].double()
    for k, t in enumerate(times.tolist()):
        label = x.clone() - 3 * t if closed else x / (1 + 0.3 * t)
        if closed:
            for _ in range(60):  # a contraction by 0.1 pi
                label = x - 3 * t - 0.05 * torch.sin(2 * math.pi * label)
        torch.testing.assert_close(got[0, 0, k], torch.sin(2 * math.pi * label), atol=1e-12, rtol=0)
        own = labels_on_grid(net, grid, times)[k]
        torch.testing.assert_close(own + 0 * label, label + (own - label).round() * (1 if closed else 0), atol=1e-12, rtol=0)


def test_lines_that_cross_and_points_without_a_line_are_said():
    times = torch.tensor([1.0], dtype=T)
    crossing = field(lambda X, t: X, lambda X, t: t * torch.sin(2 * math.pi * X))
    with pytest.raises(InputError, match="do not cross"):
        lagrangian_on_grid(crossing, CartesianGrid(20, extent=1.0), times)
    away = field(lambda X, t: X, lambda X, t: 0.5 * t + 0.0 * X)
    with pytest.raises(InputError, match="longer line"):
        lagrangian_on_grid(away, CartesianGrid(20, extent=1.0, periodic=False), times)
    with pytest.raises(InputError, match="displacement"):
        lagrangian_on_grid(CoordinateNet(MLP(2, 1, width=2, depth=1), ("u",), lower=(0.0, 0.0), upper=(1.0, 1.0)), CartesianGrid(8), times)
    with pytest.raises(InputError, match="velocity_x"):
        Lagrangian(IncompressibleFlow(viscosity=0.1), 1.0)


def test_advection_at_any_speed_costs_the_same():
    """beta = 50 on the closed line, two branches, twenty Gauss-Newton steps: the lines are straight, so nothing but the start has to be learnt."""
    torch.manual_seed(0)
    beta, grid = 50.0, CartesianGrid(128, extent=2 * math.pi)
    box = UniformPoints(grid, dtype=T)
    inner = Branches((MLP(3, 1, width=8, depth=1), MLP(3, 1, width=4, depth=1)))
    net = CoordinateNet(
        inner, ("c", "displacement"), lower=(0.0, 0.0), upper=(2 * math.pi, 1.0), periodic=(True, False), mean=(0.0, beta / 2), std=(1.0, beta)
    ).double()
    start = box.initial(64, Rng(0))
    known = [
        Known(start, {"c": torch.sin(start[:, 0])}, weight=100.0),
        Known(start, {"displacement": torch.zeros(64, dtype=T)}, weight=1.0),
    ]
    problem = Collocated(net, Lagrangian(AdvectionDiffusion(diffusivity=0.0, velocity=(beta,)), beta), known)
    points = box.draw(100, Rng(1))
    levenberg_marquardt(problem, lambda step: problem.residuals(points), steps=20)
    times = torch.linspace(0, 1, 6, dtype=T)
    got = lagrangian_on_grid(net, grid, times)[0, 0]
    truth = torch.sin(grid.coordinates()[0].double() - beta * times[:, None])
    error = float((got - truth).norm() / truth.norm())
    assert error < 0.02, error
