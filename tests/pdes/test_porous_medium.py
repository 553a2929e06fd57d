"""The generalised porous medium: conductivities and their integrals, the law at points and on a grid."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.spectral import Spectral
from physdiff.pdes.exact_porous import barenblatt, travelling_front
from physdiff.pdes.porous_medium import JumpConductivity, PorousMedium, PowerConductivity

KINDS = [
    PowerConductivity(0.0, 2.0),
    PowerConductivity(3.0),
    PowerConductivity(0.5, 0.1),
    JumpConductivity(0.5),
    JumpConductivity(-0.3, above=2.0, below=0.4),
]


@pytest.mark.parametrize("conductivity", KINDS)
def test_the_integral_starts_at_zero_and_has_the_conductivity_as_slope(conductivity):
    u = torch.tensor([-1.2, -0.1, 0.2, 0.7, 1.9], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(conductivity.integral(u).sum(), u)
    assert torch.allclose(slope, conductivity.at(u.detach()))
    assert float(conductivity.integral(torch.zeros(1, dtype=torch.float64))) == 0.0


def test_exact_solutions_satisfy_the_law_at_points_behind_the_front():
    x = (0.05 + 0.4 * torch.rand(40, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_()
    y = (0.3 - 0.9 * x).detach().requires_grad_()
    t = (0.7 + 0.2 * x.detach()).requires_grad_()
    for m in (1.0, 2.0, 3.5):
        law = PorousMedium(PowerConductivity(m))
        front = law.residual({"u": travelling_front(x, t, exponent=m)}, Autograd((x,), t), t)["u"]
        assert float(front.detach().abs().max()) < 1e-10  # rounding of second derivatives
        assert float(barenblatt(x, y, t, exponent=m).detach().min()) > 0.1
        blob = law.residual({"u": barenblatt(x, y, t, exponent=m)}, Autograd((x, y), t), t)["u"]
        assert float(blob.detach().abs().max()) < 1e-10
        wrong = PorousMedium(PowerConductivity(m, 1.1)).residual({"u": barenblatt(x, y, t, exponent=m)}, Autograd((x, y), t), t)["u"]
        assert float(wrong.detach().abs().max()) > 1e-3


def test_the_text_on_a_grid_is_the_divergence_form():
    grid = CartesianGrid((16, 20), extent=(1.0, 1.5))
    x, y = grid.coordinates()
    u = {"u": (2 + torch.cos(2 * torch.pi * x / 1.5) * torch.sin(2 * torch.pi * y))[None].repeat(2, 1, 1)}
    D, law = Spectral(grid), PorousMedium(PowerConductivity(torch.tensor([1.0, 2.0]), 0.3))
    k = law.bound(2, like=u["u"]).conductivity.at(u["u"])
    by_hand = D.div(tuple(k * g for g in D.grad(u["u"])))
    rate = law.rhs(u, D, 0.0)["u"]
    assert torch.allclose(rate, by_hand, atol=1e-9)
    assert float(law.expected_rates(u, D, 0.0, grid=grid)["mass"].abs().max()) == 0.0
    assert float(law.invariants({"u": rate}, grid)["mass"].abs().max()) < 1e-12


def test_wrong_input_is_named():
    with pytest.raises(InputError, match="expected a Conductivity"):
        PorousMedium(lambda u: u)
    with pytest.raises(InputError, match="exponent"):
        PowerConductivity(-1.0)
    with pytest.raises(InputError, match="below"):
        JumpConductivity(0.5, below=-1.0)
