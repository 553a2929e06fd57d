"""Vorticity: diagnosis, forcing, budgets, symmetry."""

import math

import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact import ManufacturedFlow
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes

GRID = CartesianGrid((24, 40), extent=(1.5, 2.0))
KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5
FLOW = ManufacturedFlow(0.01, 0.1, waves=((0.05, KX, 2 * KY, 1.3, 0.2), (0.08, 2 * KX, -KY, -0.7, 1.0), (0.1, 3 * KX, 0.0, 0.5, 0.4)))
D = Spectral(GRID)
X, Y = D.coordinates


def test_diagnosis_finds_the_stream_function_and_its_constraint_vanishes():
    known = {k: v[None] for k, v in FLOW.fields(X, Y, 0.3).items()}
    law = NavierStokes(0.01)
    found = law.diagnose({"vorticity": known["vorticity"]}, D)
    torch.testing.assert_close(found["streamfunction"], known["streamfunction"])
    # rounding times the largest wave number squared (about 7e3)
    assert float(law.constraints(found, D)["streamfunction"].abs().max()) < 1e-11 * float(known["vorticity"].abs().max())


def test_velocity_has_the_vorticity_as_curl_and_no_divergence():
    w = FLOW.fields(X, Y, 0.3)["vorticity"][None]
    u, v = NavierStokes(0.01, mean_flow=(0.5, -0.2)).velocity({"vorticity": w}, D)
    torch.testing.assert_close(D.grad(v)[0] - D.grad(u)[1], w)
    assert float(D.div((u, v)).abs().max()) < 1e-11 * float(w.abs().max())  # rounding
    torch.testing.assert_close(torch.stack([u.mean(), v.mean()]), torch.tensor([0.5, -0.2], dtype=torch.float64))


def test_kolmogorov_forcing_is_the_curl_of_a_sine_along_x_and_does_not_know_x():
    g = KolmogorovForcing(2.0, 4.0)(X, Y, 0.0)
    y = Y.clone().requires_grad_()
    (slope,) = torch.autograd.grad((0.5 * torch.sin(4 * y)).sum(), y)
    torch.testing.assert_close(-slope, g)
    assert torch.equal(g, g[:, :1].expand_as(g))


def test_advection_by_a_uniform_flow_is_added():
    w = FLOW.fields(X, Y, 0.0)["vorticity"][None]
    still, moving = NavierStokes(0.01), NavierStokes(0.01, mean_flow=(0.5, -0.2))
    slope_x, slope_y = D.grad(w)
    got = moving.rhs({"vorticity": w}, D, 0.0)["vorticity"] - still.rhs({"vorticity": w}, D, 0.0)["vorticity"]
    torch.testing.assert_close(got, -0.5 * slope_x + 0.2 * slope_y)


def test_budgets_of_energy_and_enstrophy_close():
    w = FLOW.fields(X, Y, 0.3)["vorticity"][None]
    law = NavierStokes(0.01, 0.1, KolmogorovForcing(2.0, KY), mean_flow=(0.5, -0.2))

    def invariants(w):
        return law.invariants(law.diagnose({"vorticity": w}, D), GRID)

    # invariants are quadratic, so half the difference over u + du and u - du is the exact derivative along du
    rate = law.rhs({"vorticity": w}, D, 0.0)["vorticity"]
    ahead, behind = invariants(w + rate), invariants(w - rate)
    change = {name: (ahead[name] - behind[name]) / 2 for name in ahead}
    expected = law.expected_rates({"vorticity": w}, D, 0.0, grid=GRID)
    for name in ("energy", "enstrophy"):
        torch.testing.assert_close(change[name], expected[name])
        assert float(expected[name].abs().min()) > 1e-3
    # rounding of terms of order one
    assert float(change["circulation"].abs().max()) < 1e-12


def test_advection_does_work_on_neither_energy_nor_enstrophy():
    full = NavierStokes(0.0).diagnose({"vorticity": FLOW.fields(X, Y, 0.3)["vorticity"][None]}, D)
    w = full["vorticity"]
    transport = NavierStokes(0.0).explicit({"vorticity": w}, D, 0.0)["vorticity"]
    scale = transport.square().mean().sqrt() * w.square().mean().sqrt()
    # rounding: each wave's product is resolved, sums over 960 points
    assert float((w * transport).mean().abs() / scale) < 1e-14
    assert float((full["streamfunction"] * transport).mean().abs() / scale) < 1e-14
    assert float(transport.abs().max()) > 1
