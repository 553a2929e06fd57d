"""Stochastic acceleration by Chang and Cooper on ln p: equilibria, golden peaks, power laws of hard spheres, the pile-up and when it vanishes."""

import math

import pytest
import torch

from physdiff.pdes.momentum_diffusion import MomentumDiffusion
from physdiff.solvers.chang_cooper import ChangCooper

LIKE = torch.zeros((), dtype=torch.float64)
INDICES = torch.tensor([5 / 3, 2.0], dtype=torch.float64)


def number(stepper):
    """Momenta and n = nu/p of the steady state, at the centres."""
    p = torch.exp(stepper.grid.coordinates()[0])
    return p, stepper.steady(LIKE) / p


def test_equilibrium_and_its_golden_peaks_for_both_indices_at_once():
    particles = MomentumDiffusion(1.0, INDICES, 1.0)
    p, n = number(ChangCooper(particles.law(), particles.grid(400, 1e-2, 40.0)))
    exact = torch.stack([MomentumDiffusion(1.0, float(q), 1.0).equilibrium(p) for q in INDICES])
    exact = exact / (exact * p).sum(-1, keepdim=True) / math.log(4000) * 400
    held = exact > 1e-12 * exact.amax(-1, keepdim=True)
    # the integral of A/d over a cell by Gauss's rule: exact to rounding; the derivative of d joins by its values at the centres
    print("equilibrium off by", float(((n / exact - 1).abs() * held).max()))
    assert float(((n / exact - 1).abs() * held).max()) < 1e-10
    for i, golden in enumerate((1.682, 2.000)):
        top = int(n[i].argmax())
        # parabola through the logarithms of three cells
        low, mid, high = (n[i, top + k].log() for k in (-1, 0, 1))
        y = p[top].log() + 0.5 * (low - high) / (low - 2 * mid + high) * math.log(4000) / 400
        assert float(y.exp()) == pytest.approx(golden, abs=1e-3)


def test_long_steps_come_to_the_steady_state_and_keep_the_particles():
    particles = MomentumDiffusion(1.0, INDICES, 1.0)
    stepper = ChangCooper(particles.law(), particles.grid(120, 1e-2, 40.0))
    u = {"density": torch.zeros(2, 120, dtype=torch.float64)}
    u["density"][:, 40] = 1 / stepper.grid.spacing[0]
    for _ in range(30):
        u = stepper.step(u, 0.0, 5.0)
    assert torch.allclose(u["density"].sum(-1) * stepper.grid.spacing[0], torch.ones(2).double(), rtol=1e-12)
    assert torch.allclose(u["density"], stepper.steady(LIKE), rtol=1e-9)


def slope(p, n, near):
    i = int((p - near).abs().argmin())
    return float((n[..., i + 1] / n[..., i - 1]).log() / (p[i + 1] / p[i - 1]).log())


def test_power_laws_of_hard_spheres():
    # injected near p = 1; the ends are far enough for both powers
    particles = MomentumDiffusion(1.0, 2.0, escape=1.0, source=lambda p, t: torch.exp(-0.5 * (torch.log(p) / 0.05) ** 2))
    errors = []
    for cells in (200, 400):
        stepper = ChangCooper(particles.law(), particles.grid(cells, 1e-6, 1e6))
        p, n = (v.reshape(-1) for v in number(stepper))
        above, below = slope(p, n, 20.0), slope(p, n, 0.05)
        errors.append(max(abs(above - 0.5 + math.sqrt(13) / 2), abs(below - 0.5 - math.sqrt(13) / 2)))
        # what comes in leaves: nu sums to tau times the source
        p = torch.exp(stepper.grid.coordinates()[0])
        assert torch.allclose(stepper.steady(LIKE).sum(), (p * particles.source(p, 0.0)).sum(), rtol=1e-12)
    print(f"hard spheres: slopes {above:.4f} (golden -1.303), {below:.4f} (golden 2.303)")
    assert above == pytest.approx(-1.303, abs=3e-3) and below == pytest.approx(2.303, abs=3e-3)
    assert errors[1] < 0.3 * errors[0]  # second order


def test_the_pile_up_vanishes_when_particles_leave_before_they_get_there():
    def bump(escape):
        particles = MomentumDiffusion(1.0, 5 / 3, 1.0, escape, source=lambda p, t: torch.exp(-0.5 * (torch.log(p / 0.1) / 0.1) ** 2))
        p, n = number(ChangCooper(particles.law(), particles.grid(300, 1e-3, 40.0)))
        return float(p[int(n.reshape(-1).argmax())])

    # the time to diffuse up to the peak is p^2/D = 1.2
    assert bump(100.0) == pytest.approx(1.682, rel=0.03) and bump(0.02) < 0.2


def test_gradients_reach_the_parameters():
    d0, q, b, tau = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (0.8, 1.7, 0.5, 2.0))

    def steady(d0, q, b, tau):
        particles = MomentumDiffusion(d0, q, b, tau, source=lambda p, t: torch.exp(-p))
        return ChangCooper(particles.law(), particles.grid(8, 0.1, 10.0)).steady(LIKE)

    assert torch.autograd.gradcheck(steady, (d0, q, b, tau))
