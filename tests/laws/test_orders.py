"""Measured orders of the time steppers: a manufactured flow without symmetry on a non-square grid, and Burgers by Cole-Hopf."""

import math

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import ManufacturedFlow, cole_hopf_waves
from physdiff.pdes.navier_stokes import NavierStokes
from physdiff.solvers.etdrk import ETDRK2, ETDRK4
from physdiff.solvers.imex import ARS222, ARS443, CN_RK4, CNAB2, ImexRungeKutta
from physdiff.solvers.runge_kutta import EULER, HEUN2, KUTTA3, MIDPOINT, RK4, SSPRK3, RungeKutta
from physdiff.solvers.solve import solve

KX, KY = 2 * math.pi / 2.0, 2 * math.pi / 1.5
FLOW = ManufacturedFlow(0.01, 0.1, waves=((0.05, KX, 2 * KY, 1.3, 0.2), (0.08, 2 * KX, -KY, -0.7, 1.0), (0.1, 3 * KX, 0.0, 0.5, 0.4)))
PLANE, LINE = CartesianGrid((24, 40), extent=(1.5, 2.0)), CartesianGrid(64, extent=2.0)


def flow_error(make, steps):
    start, end = (FLOW.fields(*PLANE.coordinates(), t)["vorticity"][None] for t in (0.0, 0.5))
    stepper = make(NavierStokes(0.01, 0.1, forcing=FLOW), Spectral(PLANE))
    out = solve(stepper, {"vorticity": start}, torch.tensor([0.0, 0.5], dtype=torch.float64), substeps=steps)["vorticity"]
    return float((out[:, -1] - end).abs().max() / end.abs().max())


def burgers_error(make, steps):
    (x,) = LINE.coordinates()
    start, end = (cole_hopf_waves(x, t, viscosity=0.05, extent=2.0)[None] for t in (0.0, 1.0))
    out = solve(make(Burgers(0.05), Spectral(LINE)), {"u": start}, torch.tensor([0.0, 1.0], dtype=torch.float64), substeps=steps)["u"]
    return float((out[:, -1] - end).abs().max() / end.abs().max())


def runge_kutta(tableau):
    return lambda pde, ops: RungeKutta(pde, ops, tableau)


def imex(tableau):
    return lambda pde, ops: ImexRungeKutta(pde, ops, tableau)


METHODS = {
    "ETDRK4": (ETDRK4, 4),
    "ETDRK2": (ETDRK2, 2),
    "RK4": (runge_kutta(RK4), 4),
    "SSPRK3": (runge_kutta(SSPRK3), 3),
    "KUTTA3": (runge_kutta(KUTTA3), 3),
    "HEUN2": (runge_kutta(HEUN2), 2),
    "MIDPOINT": (runge_kutta(MIDPOINT), 2),
    "EULER": (runge_kutta(EULER), 1),
    "ARS222": (imex(ARS222), 2),
    "ARS443": (imex(ARS443), 3),
    "CN_RK4": (imex(CN_RK4), 2),
    "CNAB2": (CNAB2, 2),
}


@pytest.mark.parametrize("name", METHODS)
def test_order_on_a_flow_without_symmetry(name):
    make, order = METHODS[name]
    check(name, order, [(n, flow_error(make, n)) for n in ((64, 128, 256) if order < 3 else (32, 64, 128))])


BURGERS_STEPS = {
    "ETDRK4": (8, 16, 32),
    "ETDRK2": (8, 16, 32),
    "RK4": (384, 768),
    "SSPRK3": (384, 768),
    "ARS443": (64, 128),
    "CN_RK4": (32, 64),
    "CNAB2": (64, 128),
}


@pytest.mark.parametrize(("name", "steps"), BURGERS_STEPS.items())
def test_order_on_burgers(name, steps):
    make, order = METHODS[name]
    check(name, order, [(n, burgers_error(make, n)) for n in steps])


def check(name, order, table):
    errors = [error for _, error in table]
    rates = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    print(name, *(f"{n} steps: {error:.2e}" for n, error in table), "orders", *(f"{rate:.2f}" for rate in rates))
    assert all(abs(rate - order) < 0.25 for rate in rates), (table, rates)
