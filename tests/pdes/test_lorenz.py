"""Lorenz's models: text, budgets, the mirror, batched forcing, use by solve and generate, refusals."""

import pytest
import torch

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.base.rng import Rng
from physdiff.data.generate import generate
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.lattice import Lattice
from physdiff.operators.spectral import Spectral
from physdiff.pdes.lorenz import Lorenz63, Lorenz96
from physdiff.pdes.residual import window_residual
from physdiff.solvers.etdrk import ETDRK4
from physdiff.solvers.initial import RandomField
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve
from tests.pdes.budget import assert_batched, assert_budget

RING, POINT = CartesianGrid(9, extent=9.0), CartesianGrid(1)
X = torch.randn(1, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3 + 2
STATE = {k: torch.full((1, 1), v, dtype=torch.float64) for k, v in (("motion", 2.0), ("contrast", -3.0), ("distortion", 20.0))}


def test_the_text_of_1996_is_the_equation_and_its_mirror():
    x = X[0].tolist()
    for mirrored, way in ((False, 1), (True, -1)):
        got = Lorenz96(8.0, mirrored=mirrored).rhs({"state": X}, Lattice(RING), 0.0)["state"][0]
        wanted = [(x[(i + way) % 9] - x[(i - 2 * way) % 9]) * x[(i - way) % 9] - x[i] + 8.0 for i in range(9)]
        torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))
    # equal when sites are counted the other way, different where they are not
    plain, mirror = Lorenz96(8.0), Lorenz96(8.0, mirrored=True)
    turned = mirror.rhs({"state": X.flip(-1)}, Lattice(RING), 0.0)["state"].flip(-1)
    torch.testing.assert_close(turned, plain.rhs({"state": X}, Lattice(RING), 0.0)["state"])
    assert not torch.allclose(mirror.rhs({"state": X}, Lattice(RING), 0.0)["state"], turned)


def test_the_text_of_1963_is_the_equation():
    got = Lorenz63().rhs(STATE, Lattice(POINT), 0.0)
    wanted = {"motion": 10 * (-3.0 - 2.0), "contrast": 2.0 * (28 - 20.0) + 3.0, "distortion": 2.0 * -3.0 - 8 / 3 * 20.0}
    for name, value in wanted.items():
        assert abs(float(got[name]) - value) < 1e-12


def test_budgets_and_batches():
    assert_budget(Lorenz96(8.0), {"state": X}, Lattice(RING), RING)
    assert_budget(Lorenz63(), STATE, Lattice(POINT), POINT)
    assert_batched(Lorenz96, [4.0, 8.0], {"state": X}, Lattice(RING))
    assert_batched(lambda sigma: Lorenz63(sigma), [5.0, 10.0], STATE, Lattice(POINT))


def test_a_solver_carries_it_with_fourth_order_and_frames_obey_it():
    D = Lattice(RING, dt=0.01)
    times = 0.01 * torch.arange(9, dtype=torch.float64)
    fine = solve(RungeKutta(Lorenz96(), D), {"state": X}, times, substeps=16)["state"]
    coarse = (solve(RungeKutta(Lorenz96(), D), {"state": X}, times[[0, -1]], substeps=n)["state"] for n in (2, 4))
    errors = [float((found[:, -1] - fine[:, -1]).abs().max()) for found in coarse]
    assert 12 < errors[0] / errors[1] < 21  # 16 for fourth order; within a quarter of it
    left = window_residual(Lorenz96(), {"state": fine}, D)["state"]
    # the time derivative of fourth order: 1e-8 times the fifth derivative
    assert float(left[:, 2:-2].abs().max()) < 1e-3 * float(D.dt(fine).abs().max())
    start = X.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: RungeKutta(Lorenz96(), D).step({"state": x}, 0.0, 0.05)["state"], (start,))


def test_generate_makes_both():
    stepper, times = RungeKutta(Lorenz96(), Lattice(RING)), [0.0, 0.05, 0.1]
    ring = generate(stepper, RandomField(1.0, mean=8.0), times, samples=3, rng=Rng(0), spin_up=1.0, substeps=1)
    assert ring["state"].shape == (3, 3, 9) and float(ring["state"].std()) > 0.5
    start = {k: RandomField(1.0, mean=m, varying_mean=True) for k, m in (("motion", 0.0), ("contrast", 0.0), ("distortion", 25.0))}
    point = generate(RungeKutta(Lorenz63(), Lattice(POINT)), start, [0.0, 0.02, 0.04], samples=3, rng=Rng(0), substeps=2)
    assert point["distortion"].shape == (3, 3, 1) and float(point["distortion"].std()) > 0.1


def test_what_has_no_sites_is_refused():
    with pytest.raises(UnsupportedOperator, match="use Lattice"):
        Lorenz96().rhs({"state": X}, Spectral(RING), 0.0)
    with pytest.raises(UnsupportedOperator):
        ETDRK4(Lorenz96(), Lattice(RING))
    with pytest.raises(InputError, match="at least 4 sites"):
        Lorenz96().rhs({"state": X[:, :3]}, Lattice(CartesianGrid(3, extent=3.0)), 0.0)
    with pytest.raises(InputError, match="prandtl"):
        Lorenz63(prandtl=0.0)
