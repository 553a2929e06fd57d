"""Darcy's law as constraint: on a grid as at points."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.spectral import Spectral
from physdiff.pdes.darcy import Darcy

GRID = CartesianGrid((20, 24), extent=(1.0, 2.0))


def medium(x, y):
    return 2 + torch.sin(torch.pi * x) * torch.cos(2 * torch.pi * y)


def pressure(x, y):
    return torch.cos(torch.pi * x + 1) + 0.5 * torch.sin(2 * torch.pi * (x + y))


def test_the_constraint_is_the_same_on_points_and_on_a_grid():
    law = Darcy(source=lambda x, y, t: 3 + x * 0)
    x, y = (c.reshape(-1).requires_grad_() for c in GRID.coordinates())
    points = law.constraints({"permeability": medium(x, y), "pressure": pressure(x, y)}, Autograd((x, y)))["pressure"]
    u = {"permeability": medium(*GRID.coordinates())[None], "pressure": pressure(*GRID.coordinates())[None]}
    on_grid = law.constraints(u, Spectral(GRID))["pressure"]
    assert torch.allclose(points.reshape(1, *GRID.shape), on_grid, atol=1e-9)  # rounding times the wave numbers squared
    # by hand: -(a_x p_x + a_y p_y + a lap p) - 3
    pi = torch.pi
    x, y = x.detach(), y.detach()
    a_x, a_y = pi * torch.cos(pi * x) * torch.cos(2 * pi * y), -2 * pi * torch.sin(pi * x) * torch.sin(2 * pi * y)
    wave = pi * torch.cos(2 * pi * (x + y))
    p_x = -pi * torch.sin(pi * x + 1) + wave
    lap = -(pi**2) * torch.cos(pi * x + 1) - 4 * pi**2 * torch.sin(2 * pi * (x + y))
    assert torch.allclose(points.detach(), -(a_x * p_x + a_y * wave + medium(x, y) * lap) - 3, atol=1e-9)


def test_a_window_has_both_residuals_and_a_medium_that_changes_is_seen():
    frames = torch.stack([medium(*GRID.coordinates()) * (1 + 0.1 * i) for i in range(5)])[None]
    u = {"permeability": frames, "pressure": torch.zeros_like(frames)}
    left = Darcy(source=torch.tensor([2.0], dtype=torch.float64)).residual(u, Spectral(GRID, dt=0.5), 0.0)
    assert torch.allclose(left["pressure"], torch.tensor(-2.0).double())
    assert torch.allclose(left["permeability"], 0.2 * medium(*GRID.coordinates()).expand_as(frames))


def test_wrong_sources_are_named():
    with pytest.raises(InputError, match="Darcy source"):
        Darcy(source=float("nan"))
