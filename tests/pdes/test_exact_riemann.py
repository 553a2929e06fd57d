"""Exact Riemann solutions: golden numbers of Sod, jump conditions, the equations inside fans, mirror images, vacuum refused."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.operators.autograd import Autograd
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import Euler
from physdiff.pdes.exact_compressible import DOUBLE_RAREFACTION
from physdiff.pdes.exact_riemann import SOD, GasState, burgers_riemann, gas_riemann, star_state

COLLISION = (GasState(6.0, 19.6, 460.9), GasState(6.0, -6.2, 46.1))
CASES = [(SOD, 1.4), ((GasState(1.0, 0.75, 1.0), SOD[1]), 1.4), (DOUBLE_RAREFACTION, 1.4), (COLLISION, 5 / 3)]


def test_golden_numbers_of_sod():
    p, v = star_state(*SOD)
    assert abs(p - 0.30313018) < 5e-9 and abs(v - 0.92745262) < 5e-9
    xi = torch.tensor([v - 1e-9, v + 1e-9, 1.75215573 - 1e-7, 1.75215573 + 1e-7], dtype=torch.float64)
    density = gas_riemann(xi, 1.0)["density"]
    for got, wanted in zip(density.tolist(), (0.42631943, 0.26557371, 0.26557371, 0.125), strict=True):
        assert abs(got - wanted) < 1e-8


@pytest.mark.parametrize(("states", "gamma"), CASES)
def test_shocks_obey_the_jump_conditions_and_fans_the_equations(states, gamma):
    law = Euler(gamma)
    x = torch.linspace(-30, 30, 200_001, dtype=torch.float64)
    w = gas_riemann(x, 1.0, states, heat_ratio=gamma)
    u = law.state(w["density"], (w["velocity_x"],), w["pressure"])
    flux = {n: f[0] for n, f in law.flux(u, Autograd((x.clone().requires_grad_(),)), 0.0).items()}
    jump = (u["density"].diff().abs() > 0.02) | (w["pressure"].diff().abs() > 0.02 * w["pressure"][:-1])
    for i in jump.nonzero()[:, 0].tolist():
        speed = float(x[i] + x[i + 1]) / 2
        for name in law.fields:
            moved = float(u[name][i + 1] - u[name][i])
            # the place of the jump is known to half a spacing
            assert abs(float(flux[name][i + 1] - flux[name][i]) - speed * moved) <= 2e-4 * abs(moved) + 1e-9
    place, time = (torch.linspace(a, b, 400, dtype=torch.float64).requires_grad_() for a, b in ((-7.9, 8.1), (0.5, 1.3)))
    w = gas_riemann(place, time, states, heat_ratio=gamma)
    left = law.residual(law.state(w["density"], (w["velocity_x"],), w["pressure"]), Autograd((place,), time), time)
    assert max(float(r.detach().abs().max()) for r in left.values()) < 1e-10  # rounding, energies up to 1e3


def test_mirror_image():
    left, right = (GasState(1.3, 0.4, 0.9), GasState(0.3, -0.6, 0.2))
    x = torch.linspace(-2, 2, 101, dtype=torch.float64) + 0.003
    a = gas_riemann(x, 0.7, (left, right), position=0.1)
    b = gas_riemann(-x, 0.7, (GasState(0.3, 0.6, 0.2), GasState(1.3, -0.4, 0.9)), position=-0.1)
    torch.testing.assert_close(a["density"], b["density"])
    torch.testing.assert_close(a["velocity_x"], -b["velocity_x"])


def test_time_zero_is_the_initial_state():
    x = torch.tensor([-0.1, 0.1], dtype=torch.float64)
    assert gas_riemann(x, 0.0)["density"].tolist() == [1.0, 0.125]
    assert burgers_riemann(x, 0.0, (2.0, 1.0)).tolist() == [2.0, 1.0] and burgers_riemann(x, 0.0, (-1.0, 1.0)).tolist() == [-1.0, 1.0]


def test_burgers():
    x = torch.tensor([-1.0, 0.55, 0.65, 2.0], dtype=torch.float64)
    assert burgers_riemann(x, 0.4, (2.0, 1.0)).tolist() == [2.0, 2.0, 1.0, 1.0]  # shock at 0.6
    torch.testing.assert_close(burgers_riemann(x, 0.4, (-1.0, 2.0)), torch.tensor([-1.0, 1.375, 1.625, 2.0], dtype=torch.float64))
    place, time = torch.linspace(-0.5, 0.9, 50, dtype=torch.float64).requires_grad_(), torch.full((50,), 0.6, dtype=torch.float64, requires_grad=True)
    residual = Burgers(0.0).residual({"u": burgers_riemann(place, time, (-1.0, 2.0))}, Autograd((place,), time), time)["u"]
    assert float(residual.detach().abs().max()) < 1e-13


def test_vacuum_and_bad_states_are_refused():
    with pytest.raises(InputError, match="a vacuum opens between them"):
        star_state(GasState(1.0, -5.0, 0.4), GasState(1.0, 5.0, 0.4))
    with pytest.raises(InputError, match="GasState pressure: expected a positive"):
        GasState(1.0, 0.0, -1.0)
    with pytest.raises(InputError, match="heat_ratio: expected a number above 1"):
        star_state(*SOD, heat_ratio=1.0)
