"""Taylor mode against reverse mode: every law on points, all orders, gradients of the weights, refusals."""

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.networks.mlp import ACTIVATIONS, MLP, FourierMLP
from physdiff.operators.autograd import Autograd
from physdiff.operators.taylor import Taylor, derivatives_needed
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.allen_cahn import AllenCahn
from physdiff.pdes.burgers import Burgers, VectorBurgers
from physdiff.pdes.compressible import Euler
from physdiff.pdes.fisher_kpp import FisherKPP
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pdes.korteweg_de_vries import KortewegDeVries
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes
from physdiff.pdes.reaction_diffusion import GrayScott
from physdiff.pdes.schroedinger import NonlinearSchroedinger
from physdiff.pdes.shallow_water import ShallowWater

LAWS = [
    (AdvectionDiffusion(diffusivity=0.3, velocity=(lambda x, y, t: torch.sin(x * y + t), lambda x, y, t: x + torch.exp(-t))), 2),
    (AllenCahn(1e-2), 1),
    (Burgers(0.02, forcing=lambda x, t: torch.cos(3 * x) * t), 1),
    (VectorBurgers(0.02), 2),
    (Euler(), 1),
    (FisherKPP(0.1, 2.0), 2),
    (FokkerPlanck(drift=(lambda x, y, t: -x, lambda x, y, t: x * y), diffusion=0.2), 2),
    (IncompressibleFlow(viscosity=torch.tensor(0.03, dtype=torch.float64)), 2),
    (KortewegDeVries(), 1),
    (KuramotoSivashinsky(), 1),
    (NavierStokes(viscosity=0.01, forcing=KolmogorovForcing(0.5, 2)), 2),
    (GrayScott(), 2),
    (NonlinearSchroedinger(), 1),
    (ShallowWater(), 2),
]


def points(n, count=15):
    generator = torch.Generator().manual_seed(1)
    return tuple((0.2 + torch.rand(count, generator=generator, dtype=torch.float64)).requires_grad_() for _ in range(n))


def both(net, names, inputs, orders):
    """Fields and operators in Taylor and in reverse mode."""
    *x, t = inputs
    taylor, reverse = Taylor(tuple(x), t, orders=orders), Autograd(tuple(x), t)
    jets = dict(zip(names, net(taylor.points()).unbind(-1), strict=True))
    plain = dict(zip(names, net(torch.stack(inputs, dim=-1)).unbind(-1), strict=True))
    return (jets, taylor), (plain, reverse)


@pytest.mark.parametrize(("law", "ndim"), LAWS, ids=[type(law).__name__ for law, _ in LAWS])
def test_a_law_has_the_residual_and_the_gradients_of_reverse_mode(law, ndim):
    torch.manual_seed(0)
    names = (*law.fields, *law.diagnostics)
    # softplus at the end keeps densities and depths positive
    net = nn.Sequential(MLP(ndim + 1, len(names), width=9, depth=2), nn.Softplus()).double()
    inputs = points(ndim + 1)
    (u, D), (v, E) = both(net, names, inputs, derivatives_needed(law.residual, names, ndim=ndim))
    got, wanted = law.residual(u, D, D.time), law.residual(v, E, inputs[-1])
    assert got.keys() == wanted.keys()
    for name in wanted:
        # float64 and fewer than a thousand terms
        torch.testing.assert_close(D.value(got[name]), wanted[name], rtol=1e-10, atol=1e-11)
    grads = [
        torch.autograd.grad(sum(value.square().sum() for value in loss), list(net.parameters()), allow_unused=True)
        for loss in ([D.value(r) for r in got.values()], wanted.values())
    ]
    for one, other in zip(*grads, strict=True):
        if other is not None:
            torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", [MLP, FourierMLP])
def test_pure_and_mixed_derivatives_up_to_order_four(kind, activation):
    torch.manual_seed(0)
    net = kind(3, 2, width=8, depth=2, activation=activation).double()
    (u, D), (v, E) = both(net, "ab", points(3), [(4, 0, 0), (0, 3, 0), (1, 1, 1), (2, 2, 0)])
    f, g = u["a"], v["a"]
    for i, order in ((0, 4), (1, 3)):
        torch.testing.assert_close(D.value(D.partial(f, i, order)), E.partial(g, i, order), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(D.value(D.dt(D.grad(D.grad(f)[0])[1])), E.dt(E.grad(E.grad(g)[0])[1]), rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(D.value(D.partial(D.partial(f, 1, 2), 0, 2)), E.partial(E.partial(g, 1, 2), 0, 2), rtol=1e-9, atol=1e-9)
    product, plain = D.grad(f * u["b"] / (2 + f**2))[0], E.grad(g * v["b"] / (2 + g**2))[0]
    torch.testing.assert_close(D.value(product), plain, rtol=1e-10, atol=1e-11)


def test_only_what_a_law_asks_for_is_carried():
    assert derivatives_needed(Burgers(0.1).residual, ("u",), ndim=1) == ((0, 0), (1, 0), (0, 1), (2, 0))
    assert derivatives_needed(KuramotoSivashinsky().residual, ("u",), ndim=1)[-1] == (4, 0)
    assert derivatives_needed(lambda u, D, t: {"u": D.value(u["u"])}, ("u",), ndim=2) == ((0, 0, 0),)
    assert derivatives_needed(lambda u, D, t: {"u": D.dt(D.grad(u["u"])[0] * u["u"])}, ("u",), ndim=1)[-1] == (1, 1)
    assert derivatives_needed(lambda u, D, t: {"u": D.lap(u["u"])}, ("u",), ndim=2, timed=False) == ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2))


def test_a_second_backward_pass_is_right():
    torch.manual_seed(0)
    net = MLP(2, 1, width=4, depth=1, activation="silu").double()
    weight = net.layers[0].weight.detach().clone().requires_grad_()
    x, t = points(2, count=3)

    def residual(w):
        D = Taylor((x.detach(),), t.detach(), orders=[(2, 0), (0, 1)])
        hidden = nn.functional.silu(nn.functional.linear(D.points(), w, net.layers[0].bias))
        u = nn.functional.linear(torch.tanh(hidden), net.layers[1].weight, net.layers[1].bias)[..., 0]
        return D.value(D.dt(u) + u * D.grad(u)[0] - D.lap(u))

    assert torch.autograd.gradcheck(residual, (weight,))
    assert torch.autograd.gradgradcheck(residual, (weight,))


def test_what_does_not_fit_is_refused_in_words():
    x, y, t = points(3)
    with pytest.raises(InputError, match="totals from 0 to 4"):
        Taylor((x,), t, orders=[(5, 0)])
    with pytest.raises(InputError, match="expected 3 numbers each"):
        Taylor((x, y), t, orders=[(2, 0)])
    with pytest.raises(ShapeError, match="one shape"):
        Taylor((x,), t[:3], orders=[(1, 0)])
    D = Taylor((x,), t, orders=[(1, 1)])
    with pytest.raises(UnsupportedOperator, match=r"relu.*smooth functions"):
        nn.functional.relu(D.points())
    with pytest.raises(AttributeError, match="smooth functions"):
        D.time.relu()
    with pytest.raises(UnsupportedOperator, match="approximate"):
        nn.GELU(approximate="tanh")(D.points())
    with pytest.raises(UnsupportedOperator, match="orders up to 4"):
        derivatives_needed(lambda u, D, t: {"u": D.partial(u["u"], 0, 5)}, ("u",), ndim=1)
    with pytest.raises(UnsupportedOperator, match="times of the points"):
        Taylor((x,), orders=[(1,)]).dt(x)


def test_the_flow_into_a_corner_by_its_angle():
    """Taylor's flow beside a scraper, psi = B y + (C x + D y) atan(y / x): biharmonic, still at the wall x = 0, of unit speed at y = 0."""
    c = 1 / (torch.pi**2 / 4 - 1)
    x, y = torch.tensor([[0.3, 0.02, 1e-7, 0.4], [0.1, 0.5, 0.2, 1e-7]], dtype=torch.float64)
    D = Taylor((x, y), orders=[(4, 0), (2, 2), (0, 4)])
    right, up = D.coordinates
    psi = -c * torch.pi**2 / 4 * up + c * (right + torch.pi / 2 * up) * torch.atan(up / right)
    twice = D.value(D.lap(D.lap(psi)))
    assert float(twice[:2].abs().max()) < 1e-9 * float(D.value(D.partial(psi, 0, 4))[:2].abs().max())
    slope_x, slope_y = (D.value(f) for f in D.grad(psi))
    assert float(slope_x[2].abs()) < 1e-5 and float(slope_y[2].abs()) < 1e-5 and float((slope_y[3] + 1).abs()) < 1e-5
