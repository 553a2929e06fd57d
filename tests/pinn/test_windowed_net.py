"""Networks in boxes: windows add to one, jets pass, cuts are joined, a high frequency is learnt."""

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.networks.mlp import MLP
from physdiff.operators.taylor import Taylor
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.levenberg_marquardt import jacobian, levenberg_marquardt
from physdiff.pinn.windowed_net import WindowedNet, cut_conditions

T = torch.float64


class Ones(torch.nn.Module):
    def forward(self, x):
        return torch.stack([torch.ones_like(x[..., 0])], dim=-1)


def net(cells, overlap=0.6, **box):
    torch.manual_seed(0)
    inner = WindowedNet([MLP(len(cells), 1, width=4, depth=1) for _ in range(math.prod(cells))], cells, overlap=overlap)
    box = {"lower": (-1.0,) * len(cells), "upper": (1.0,) * len(cells)} | box
    return CoordinateNet(inner, ("c",), **box).double()


@pytest.mark.parametrize("overlap", [0.0, 0.5, 1.0])
def test_windows_add_to_one(overlap):
    points = torch.rand(200, 2, dtype=T, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = WindowedNet([Ones() for _ in range(12)], (3, 4), overlap=overlap)
    torch.testing.assert_close(made(points), torch.ones(200, 1, dtype=T))
    ends = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1 / 3, 0.0]], dtype=T)
    torch.testing.assert_close(made(ends), torch.ones(3, 1, dtype=T))


def test_a_network_alone_at_the_middle_of_its_cell():
    field = net((2, 4), overlap=0.5)
    middle = torch.tensor([[-0.5, 0.25]], dtype=T)  # cell (0, 2), whose box is [-1, 0.25] x [-0.125, 0.625]
    own = field.network.networks[2](torch.tensor([[0.5 / 1.25 * 2 - 1, 0.0]], dtype=T))
    torch.testing.assert_close(field(middle), own)


def test_derivatives_are_those_of_reverse_mode_and_smooth_over_the_edges_of_boxes():
    field = net((2, 3))
    edge = 1 / 3 + 0.6 / 3  # where a window ends
    x = torch.tensor([0.1, edge - 1e-9, edge + 1e-9, -0.9], dtype=T).requires_grad_()
    points = torch.stack((x.detach() * 0.3, x), dim=-1)
    D = Taylor((points[:, 0],), points[:, 1], orders=((2, 0), (0, 2)))
    u = field.fields(D.points())["c"]
    (ut,) = torch.autograd.grad(field(points).sum(), x, create_graph=True)
    (utt,) = torch.autograd.grad(ut.sum(), x)
    torch.testing.assert_close(D.value(D.dt(D.dt(u))), utt)
    assert abs(float(utt[1] - utt[2])) < 1e-6


def test_under_a_jacobian_all_take_all_points():
    field, points = net((2, 2)), torch.rand(9, 2, dtype=T)
    r, rows = jacobian(field, lambda: [field(points)[:, 0]])
    torch.testing.assert_close(r, field(points)[:, 0].detach())
    parameters = list(field.parameters())
    for i in (0, 5):
        wanted = torch.cat([g.flatten() for g in torch.autograd.grad(field(points)[i, 0], parameters, allow_unused=True, materialize_grads=True)])
        torch.testing.assert_close(rows[i], wanted)


def test_cuts_are_joined_where_the_two_sides_agree():
    field = net((1, 2), overlap=0.0, upper=(1.0, 3.0))
    pairs = cut_conditions(field, 5, Rng(0), what=("value", "slope", "residual"))
    assert [p.what for p in pairs] == ["value", "slope", "residual"]
    assert torch.allclose(pairs[0].points[:, 1], torch.full((5,), 1.0, dtype=T)) and (pairs[0].points[:, 1] < pairs[0].others[:, 1]).all()
    law = AdvectionDiffusion(diffusivity=0.1, velocity=(1.0,))
    terms = Collocated(field, law, pairs).known_terms()
    left, right = (field.network.networks[k](torch.stack((pairs[0].points[:, 0], torch.full((5,), s, dtype=T)), 1)) for k, s in ((0, 1), (1, -1)))
    torch.testing.assert_close(terms["matched 0 c"], (left - right)[:, 0] * math.sqrt(20 / 5), rtol=1e-6, atol=1e-7)
    with torch.no_grad():  # two networks of the same constant
        for p in field.parameters():
            p.zero_()
        for inner in field.network.networks:
            inner.layers[-1].bias.fill_(0.7)
    assert all(float(r.detach().abs().max()) < 1e-12 for r in Collocated(field, law, pairs).known_terms().values())
    with pytest.raises(InputError, match="overlap=0"):
        cut_conditions(net((1, 2)), 5, Rng(0))


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="6 in all, got 5"):
        WindowedNet([Ones()] * 5, (2, 3))
    with pytest.raises(InputError, match="from 0 to 1"):
        WindowedNet([Ones()], (1,), overlap=1.5)
    with pytest.raises(ShapeError, match="2\\) features"):
        WindowedNet([Ones()] * 2, (1, 2))(torch.zeros(4, 3))


@pytest.mark.parametrize("joined", [True, False])
def test_two_networks_joined_on_a_cut_solve_what_two_apart_do_not(joined):
    """c = exp(-k pi^2 t) sin(pi x), a cut at 1/3 of the line; values are known at the start of the left cell alone where the parts are not joined."""
    torch.manual_seed(0)
    box = UniformPoints(CartesianGrid(8, extent=1.0, periodic=False), t=(0.0, 1.0), dtype=T)
    inner = WindowedNet([MLP(2, 1, width=6, depth=1) for _ in range(3)], (3, 1), overlap=0.0)
    field = CoordinateNet(inner, ("c",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
    start, (walls, _) = box.initial(48, Rng(0)), box.boundary(30, Rng(1))

    def exact(points):
        return torch.exp(-0.1 * math.pi**2 * points[:, 1]) * torch.sin(math.pi * points[:, 0])

    known = [Known(p, {"c": exact(p)}, weight=20.0) for p in (start, walls)]
    pairs = cut_conditions(field, 16, Rng(2), what=("value", "slope")) if joined else []
    problem, points = Collocated(field, AdvectionDiffusion(diffusivity=0.1, velocity=(0.0,)), [*known, *pairs]), box.draw(80, Rng(3))
    levenberg_marquardt(problem, lambda step: problem.residuals(points), steps=15)
    test = box.draw(500, Rng(4))
    error = float((field(test)[:, 0].detach() - exact(test)).norm() / exact(test).norm())
    # apart, the middle has no walls: what it holds is up to its start
    assert error < 0.01 if joined else error > 0.05, error


@pytest.mark.slow
def test_a_high_frequency_is_learnt_in_boxes_and_not_by_one_network():
    """u' = w cos(w t), w = 15, thirty waves (the first case of Moseley and others): thirty networks of 8 units, one of 3 x 20, the same steps."""
    w, span = 15.0, 2 * math.pi
    errors = []
    for boxes in (True, False):
        torch.manual_seed(0)
        inner = WindowedNet([MLP(2, 1, width=8, depth=1) for _ in range(30)], (1, 30)) if boxes else MLP(2, 1, width=20, depth=3)
        field = CoordinateNet(inner, ("c",), lower=(0.0, -span), upper=(1.0, span)).double()
        box = UniformPoints(CartesianGrid(8, extent=1.0, periodic=False), t=(-span, span), dtype=T)
        law = AdvectionDiffusion(diffusivity=0.0, velocity=(0.0,), source=lambda x, t: w * torch.cos(w * t))
        middle = torch.tensor([[0.2, 0.0], [0.5, 0.0], [0.8, 0.0]], dtype=T)
        problem, points = Collocated(field, law, [Known(middle, {"c": torch.zeros(3, dtype=T)}, weight=10.0)], weight=1 / w**2), box.draw(600, Rng(0))
        levenberg_marquardt(problem, lambda step: problem.residuals(points), steps=20)  # noqa: B023 - used at once
        test = torch.stack((torch.full((2000,), 0.5, dtype=T), torch.linspace(-span, span, 2000, dtype=T)), 1)
        errors.append(float((field(test)[:, 0].detach() - torch.sin(w * test[:, 1])).norm() / torch.sin(w * test[:, 1]).norm()))
    # 0.10 and 1.29 when this was written; the one network has not left zero
    assert errors[0] < 0.2 and errors[1] > 0.9, errors
