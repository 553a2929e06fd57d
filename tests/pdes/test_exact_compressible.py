"""Exact flows of a gas: residuals by automatic differentiation vanish, and see a wrong number."""

import math

import pytest
import torch

from physdiff.operators.autograd import Autograd
from physdiff.pdes.compressible import Euler
from physdiff.pdes.exact_compressible import density_wave, isentropic_vortex, shu_osher, sound_damping, sound_wave
from physdiff.pdes.exact_riemann import GasState, star_state


def points(ndim, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple((4 * torch.rand(60, dtype=torch.float64, generator=generator)).requires_grad_() for _ in range(ndim + 1))


def left_over(law, w, places, time):
    names = [f"velocity_{x}" for x in "xyz"[: law.ndim]]
    u = law.state(w["density"], tuple(w[n] for n in names), w["pressure"])
    return max(float(r.detach().abs().max()) for r in law.residual(u, Autograd(places, time), time).values())


@pytest.mark.parametrize("gamma", [1.4, 5 / 3])
def test_vortex(gamma):
    x, y, t = points(2)
    w = isentropic_vortex((x, y), t, extent=(12.0, 10.0), centre=(2.0, 1.5), flow=(0.4, -0.3), heat_ratio=gamma)
    assert left_over(Euler(gamma, ndim=2), w, (x, y), t) < 1e-13
    # nothing is compressed along streamlines, so the heat ratio of the law is not seen; the balance of forces is
    assert left_over(Euler(gamma, ndim=2), {**w, "pressure": 1.1 * w["pressure"]}, (x, y), t) > 1e-2


def test_vortex_is_periodic():
    x, y = torch.tensor([1.0, 13.0]), torch.tensor([2.0, -8.0])
    w = isentropic_vortex((x, y), 0.0, extent=(12.0, 10.0), centre=(1.5, 2.5))
    torch.testing.assert_close(w["density"][0], w["density"][1])


def test_density_wave_in_three_dimensions():
    *places, t = points(3)
    w = density_wave(places, t, profile=lambda x, y, z: 1.5 + torch.sin(x + 2 * y - z), velocity=(0.3, -0.7, 0.2), pressure=0.8)
    assert left_over(Euler(1.3, ndim=3), w, tuple(places), t) < 1e-13


def test_sound_is_exact_to_first_order_in_its_amplitude():
    x, t = points(1)
    errors = [left_over(Euler(1.4), sound_wave(x, t, wave_number=2.0, amplitude=a, density=1.3, pressure=0.9), (x,), t) for a in (1e-3, 5e-4)]
    assert errors[0] < 2e-5 and abs(math.log2(errors[0] / errors[1]) - 2) < 0.05


def test_damping_by_its_formula():
    # 1/2 k^2 [(4/3 eta + zeta) / rho + (gamma - 1) lambda / (rho c_p)], c_p = gamma / (gamma - 1) = 3.5
    got = sound_damping(3.0, density=2.0, viscosity=0.3, bulk_viscosity=0.1, conductivity=0.7)
    assert abs(got - 4.5 * (0.5 / 2 + 0.4 * 0.7 / (2 * 3.5))) < 1e-14
    w = sound_wave(torch.tensor(math.pi / 4), 1.0, wave_number=2.0, amplitude=0.1, pressure=math.pi**2 / 1.4, damping=0.5)
    assert float(w["density"]) == pytest.approx(1 + 0.1 * math.exp(-0.5))


def test_shu_osher_begins_with_a_shock_of_mach_three():
    w = shu_osher(torch.tensor([-4.5, 0.0], dtype=torch.float64))
    behind = GasState(*(float(w[n][0]) for n in ("density", "velocity_x", "pressure")))
    p, v = star_state(behind, GasState(1.0, 0.0, 1.0))
    # one wave only: the state between the waves is the one behind; its numbers are given to seven digits
    assert abs(p / behind.pressure - 1) < 1e-6 and abs(v / behind.velocity - 1) < 1e-6
    assert float(w["density"][1]) == 1.0
