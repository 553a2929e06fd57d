"""Lorenz's models over long times: growth of errors against published exponents, the mean energy budget."""

import pytest
import torch

from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.lattice import Lattice
from physdiff.pdes.lorenz import Lorenz63, Lorenz96
from physdiff.solvers.runge_kutta import RungeKutta


def growth(law, sites, *, dt, steps, spin_up, members=256, seed=0):
    """Mean rate at which neighbours part, one per member, and the states on the way (by renormalising every step; Benettin et al., 1980)."""
    stepper = RungeKutta(law, Lattice(CartesianGrid(sites, extent=float(sites))))
    generator = torch.Generator().manual_seed(seed)
    names, size = law.fields, 1e-6
    state = torch.randn(members, len(names), sites, dtype=torch.float64, generator=generator) + 5
    away = torch.randn(state.shape, dtype=torch.float64, generator=generator)
    total, means = torch.zeros(members, dtype=torch.float64), []
    for step in range(steps + spin_up):
        away = size * away / away.square().sum((1, 2), keepdim=True).sqrt()
        both = torch.cat([state, state + away])
        moved = stepper.step(dict(zip(names, both.unbind(1), strict=True)), 0.0, dt)
        state, other = torch.stack([moved[n] for n in names], 1).split(members)
        away = other - state
        if step >= spin_up:
            total += (away.square().sum((1, 2)).sqrt() / size).log()
            means.append(torch.stack([state.mean((1, 2)), state.square().mean((1, 2))]))
    return total / (steps * dt), torch.stack(means)


@pytest.mark.slow
def test_errors_of_the_ring_grow_at_1_69():
    rates, means = growth(Lorenz96(8.0), 40, dt=0.05, steps=4000, spin_up=400, members=192)
    error = float(rates.std()) / len(rates) ** 0.5
    print(f"Lorenz-96: {float(rates.mean()):.4f} +- {error:.4f}")
    # published to 0.01; four standard errors of independent members
    assert error < 0.005
    assert abs(float(rates.mean()) - 1.69) < 0.01 + 4 * error
    # on average over time advection does no work: <x^2> = F <x>
    average, square = means.mean(0)
    left = square - 8 * average
    assert abs(float(left.mean())) < 4 * float(left.std()) / len(left) ** 0.5 + 0.02  # energies at both ends, over the time
    assert float(square.mean()) > 15


@pytest.mark.slow
def test_errors_of_convection_grow_at_0_906():
    rates, _ = growth(Lorenz63(), 1, dt=0.01, steps=10000, spin_up=3000, members=256)
    error = float(rates.std()) / len(rates) ** 0.5
    print(f"Lorenz-63: {float(rates.mean()):.4f} +- {error:.4f}")
    assert error < 0.005
    # published to three digits; four standard errors, and steps of 0.01 (fourth order)
    assert abs(float(rates.mean()) - 0.906) < 0.001 + 4 * error


def test_advection_turns_the_energy_round_and_loses_none():
    law, D = Lorenz96(0.0), Lattice(CartesianGrid(40, extent=40.0))
    x = torch.randn(5, 40, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    advection = law.rhs({"state": x}, D, 0.0)["state"] + x
    # rounding of a sum over 40 products
    assert float((x * advection).sum(-1).abs().max()) < 1e-12
    assert float(advection.abs().max()) > 1
