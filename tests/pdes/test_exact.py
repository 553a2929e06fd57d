"""Exact solutions: golden values, masses, periods."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.exact import cole_hopf_sine, cole_hopf_waves, gaussian_puff, taylor_green


def test_golden_values_of_the_sine_problem():
    # values computed independently with 120 nodes (methods card, section 5), eight digits given
    nu, t = 0.01 / math.pi, torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    for x, values in ((0.02, (-0.24612563, -0.97990587, -0.85235890, -0.70608168)), (0.5, (-0.80319842, -0.59276953, -0.46141330, -0.37618140))):
        got = cole_hopf_sine(torch.full_like(t, x), t, viscosity=nu)
        assert float((got - torch.tensor(values, dtype=torch.float64)).abs().max()) < 6e-9


def test_sine_problem_against_the_series_of_bessel_functions():
    special = pytest.importorskip("scipy.special")
    # u_0 = sin(pi x) on [0, 1] is the sine problem with x reversed; golden value u(0.5, 1) = 0.29191596 at nu = 0.1
    nu, t, x = 0.1, 1.0, 0.5
    z = 1 / (2 * math.pi * nu)
    decay = [math.exp(-(n * math.pi) ** 2 * nu * t) * special.ive(n, z) for n in range(40)]
    top = sum(n * d * math.sin(n * math.pi * x) for n, d in enumerate(decay))
    series = 4 * math.pi * nu * top / (decay[0] + 2 * sum(d * math.cos(n * math.pi * x) for n, d in enumerate(decay) if n))
    assert abs(series - 0.29191596) < 5e-9
    got = -cole_hopf_sine(torch.tensor([x], dtype=torch.float64), t, viscosity=nu)
    assert abs(float(got) - series) < 1e-10


def test_puff_keeps_unit_mass_and_spreads_at_the_right_rate():
    grid = CartesianGrid((48, 80), extent=(1.5, 2.0))
    x, y = grid.coordinates()
    t = 0.4
    c = gaussian_puff((x, y), t, diffusivity=0.01, velocity=(0.5, -0.3), centre=(0.8, 0.9), width=0.1, extent=(2.0, 1.5))
    area = grid.weights() * 3.0
    # the sum of a smooth periodic function over the grid is its integral to rounding
    assert abs(float((c * area).sum()) - 1) < 1e-12
    torch.testing.assert_close(float((c * area * (x - 1.0) ** 2).sum()), 0.1**2 + 2 * 0.01 * t, rtol=1e-6, atol=0)
    torch.testing.assert_close(float((c * area * (y - 0.78)).sum()), 0.0, rtol=0, atol=1e-6)


def test_puff_is_periodic_and_crosses_the_seam():
    x = torch.linspace(0, 2, 41, dtype=torch.float64)
    kind = {"diffusivity": 0.01, "velocity": (1.0,), "centre": (1.9,), "width": 0.1, "extent": (2.0,)}
    c = gaussian_puff((x,), 0.3, **kind)
    torch.testing.assert_close(c[0], c[-1])
    assert int(c.argmax()) in (3, 4)  # 1.9 + 0.3 - 2.0 = 0.2, the fifth of points 0.05 apart
    torch.testing.assert_close(c, gaussian_puff((x + 2.0,), 0.3, **kind))


def test_cole_hopf_waves_refuse_a_theta_that_vanishes():
    with pytest.raises(InputError, match="less than 1"):
        cole_hopf_waves(torch.zeros(1), 0.0, viscosity=0.1, extent=1.0, modes=((1, 0.6, 0.0), (2, 0.5, 0.0)))


def test_taylor_green_vorticity_is_minus_the_laplacian_of_psi():
    x = torch.tensor([0.3], dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0.8], dtype=torch.float64, requires_grad=True)
    out = taylor_green(x, y, 0.2, viscosity=0.1, wave_numbers=(2.0, 3.0), drag=0.3, mean_flow=(0.5, 0.1))
    gx, gy = torch.autograd.grad(out["streamfunction"], (x, y), create_graph=True)
    lap = torch.autograd.grad(gx, x, retain_graph=True)[0] + torch.autograd.grad(gy, y)[0]
    torch.testing.assert_close(lap, -out["vorticity"].detach())
