"""Gauss-Newton steps: the Jacobian row by row, linear problems in one step, laws and their coefficients."""

import math

import pytest
import torch
from torch import nn

from physdiff.base.errors import Diverged, InputError
from physdiff.networks.mlp import MLP
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.levenberg_marquardt import Damped, LevenbergMarquardt, jacobian, levenberg_marquardt


def grid(n, m):
    x, t = torch.meshgrid(torch.linspace(0, 1, n, dtype=torch.float64), torch.linspace(0, 1, m, dtype=torch.float64), indexing="ij")
    return torch.stack((x.reshape(-1), t.reshape(-1)), dim=-1)


def test_the_jacobian_is_that_of_every_residual_by_itself():
    torch.manual_seed(0)
    names = ("velocity_x", "velocity_y", "pressure")
    net = CoordinateNet(MLP(3, 3, width=5, depth=2), names, lower=(0.0,) * 3, upper=(1.0,) * 3).double()
    points = torch.rand(7, 3, dtype=torch.float64)
    walls = Known(points[:3], {"velocity_x": torch.zeros(3, dtype=torch.float64)}, weight=2.0)
    problem = Collocated(net, IncompressibleFlow(viscosity=0.03), [walls], unknown=("viscosity",))
    r, J = jacobian(problem, lambda: problem.residuals(points))
    parameters = list(problem.parameters())
    for i, value in enumerate(torch.cat(problem.residuals(points))):
        row = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
        wanted = torch.cat([torch.zeros_like(p).reshape(-1) if g is None else g.reshape(-1) for p, g in zip(parameters, row, strict=True)])
        torch.testing.assert_close(J[i], wanted, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(r[i], value.detach())


@pytest.mark.parametrize("n", [5, 40])
def test_a_linear_problem_takes_one_step_whichever_side_is_longer(n):
    torch.manual_seed(1)
    layer, x = nn.Linear(8, 1).double(), torch.randn(n, 8, dtype=torch.float64)
    y = torch.sin(x.sum(-1))
    state = levenberg_marquardt(layer, lambda step: [layer(x)[:, 0] - y], steps=1, state=Damped(damping=1e-12))
    A = torch.cat((x, torch.ones(n, 1, dtype=torch.float64)), dim=1)
    best = (A @ torch.linalg.lstsq(A, y[:, None], driver="gelsd").solution)[:, 0] - y
    # the damping of 1e-12 leaves as much of the residual
    assert state.losses[0] == pytest.approx(float(best @ best), abs=1e-8)


def test_a_solution_and_its_diffusivity_from_readings():
    # exact: exp(-k^2 D t) sin(k x), k = pi; readings over the box tell D
    D, points = 0.07, grid(12, 10)
    u = torch.exp(-(math.pi**2) * D * points[:, 1]) * torch.sin(math.pi * points[:, 0])
    torch.manual_seed(0)
    net = CoordinateNet(MLP(2, 1, width=8, depth=1), ("c",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
    law = AdvectionDiffusion(diffusivity=0.5, velocity=(0.0,))
    problem = Collocated(net, law, [Known(points, {"c": u}, scale=0.1)], unknown=("diffusivity",))
    levenberg_marquardt(problem, lambda step: problem.residuals(grid(10, 10)), steps=80)
    assert float(problem.coefficients()["diffusivity"].detach()) == pytest.approx(D, rel=2e-3)
    with torch.no_grad():
        assert float((net(points)[:, 0] - u).norm() / u.norm()) < 1e-3


def test_the_loss_never_rises_on_fixed_points_and_a_run_goes_on():
    def run(*lengths):
        torch.manual_seed(0)
        net = CoordinateNet(MLP(2, 1, width=6, depth=2), ("u",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
        start = grid(9, 1)
        problem = Collocated(net, Burgers(0.05), [Known(start, {"u": torch.sin(2 * math.pi * start[:, 0])}, weight=10.0)])
        state = None
        for steps in lengths:
            state = levenberg_marquardt(problem, lambda step: problem.residuals(grid(8, 8)), steps=steps, state=state)
        return state.losses

    losses = run(12)
    assert all(b <= a for a, b in zip(losses, losses[1:], strict=False)) and losses[-1] < 0.2 * losses[0]
    assert run(5, 7) == losses


def test_it_stops_when_told_and_refuses_other_parameters():
    layer, x = nn.Linear(2, 1).double(), torch.randn(6, 2, dtype=torch.float64)
    assert len(levenberg_marquardt(layer, lambda step: [layer(x)[:, 0] - 1], steps=9, after=lambda step, loss: step == 1).losses) == 2
    with pytest.raises(InputError, match="linear layers and at most 16 numbers, got 0.weight"):
        norm = nn.Sequential(nn.LayerNorm(2), nn.Linear(2, 1)).double()
        levenberg_marquardt(norm, lambda step: [norm(x)[:, 0]])
    with pytest.raises(InputError, match="entry i of the residuals to belong to point i"):
        levenberg_marquardt(layer, lambda step: [layer(x)[:, 0].sum().reshape(1)])


def test_a_residual_that_is_not_finite_is_named_and_the_weights_stay():
    torch.manual_seed(0)
    layer, x = nn.Linear(2, 1).double(), torch.ones(5, 2, dtype=torch.float64)
    x[3] = float("nan")
    before = layer.weight.detach().clone()
    with pytest.raises(Diverged, match="residual 3 of 5` is not finite at time 0: look at the law"):
        levenberg_marquardt(layer, lambda step: [layer(x)[:, 0]], steps=2)
    torch.testing.assert_close(layer.weight.detach(), before, rtol=0, atol=0)
    # sqrt(0): a value, but no derivative
    zero = torch.zeros(4, 2, dtype=torch.float64)
    zero[0] = 1.0
    with torch.no_grad():
        layer.bias.zero_()
    with pytest.raises(Diverged, match="derivative of residual 1 of 4"):
        levenberg_marquardt(layer, lambda step: [layer(zero)[:, 0].abs().sqrt()], steps=1)


def test_the_optimiser_takes_the_same_steps_and_its_state_goes_on():
    def made():
        torch.manual_seed(0)
        net = CoordinateNet(MLP(2, 1, width=6, depth=1), ("u",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
        start = grid(9, 1)
        return Collocated(net, Burgers(0.05), [Known(start, {"u": torch.sin(2 * math.pi * start[:, 0])}, weight=10.0)])

    one, points = made(), grid(6, 6)
    wanted = levenberg_marquardt(one, lambda step: one.residuals(points), steps=4).losses
    two = made()
    first = LevenbergMarquardt(two)
    losses = [first.step(lambda: two.residuals(points)) for _ in range(2)]
    second = LevenbergMarquardt(two)
    second.load_state_dict(first.state_dict())
    losses += [second.step(lambda: two.residuals(points)) for _ in range(2)]
    assert tuple(losses) == wanted


@pytest.mark.slow
def test_burgers_shock_to_three_per_mille():
    """The usual problem, nu = 0.01 / pi, against Cole and Hopf's golden values (method card of physics)."""
    torch.manual_seed(0)
    net = CoordinateNet(MLP(2, 1, width=20, depth=3), ("u",), lower=(-1.0, 0.0), upper=(1.0, 1.0)).double()
    x0, tb = torch.linspace(-1, 1, 161, dtype=torch.float64), torch.linspace(0, 1, 41, dtype=torch.float64)[1:]
    initial = Known(torch.stack((x0, 0 * x0), dim=-1), {"u": -torch.sin(math.pi * x0)}, weight=20.0)
    ends = torch.cat([torch.stack((s * torch.ones_like(tb), tb), dim=-1) for s in (-1.0, 1.0)])
    problem = Collocated(net, Burgers(0.01 / math.pi), [initial, Known(ends, {"u": torch.zeros(80, dtype=torch.float64)}, weight=20.0)])
    draw, kept = torch.Generator().manual_seed(0), {}

    def candidates(n):
        return torch.rand(n, 2, generator=draw, dtype=torch.float64) * torch.tensor([2.0, 1.0]) - torch.tensor([1.0, 0.0])

    def residuals(step):
        if step % 5 == 0 and step not in kept:
            points = candidates(1500)
            if step:
                many = candidates(6000)
                with torch.no_grad():
                    size = problem.law_residuals(many)["u"].abs()
                points = many[torch.multinomial(size / size.mean() + 1, 1500, generator=draw)]
            kept.clear()
            kept[step] = points
        return problem.residuals(next(iter(kept.values())))

    levenberg_marquardt(problem, residuals, steps=150)
    times = torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64)
    for x, wanted in ((0.02, (-0.24612563, -0.97990587, -0.85235890, -0.70608168)), (0.5, (-0.80319842, -0.59276953, -0.46141330, -0.37618140))):
        got = net(torch.stack((torch.full_like(times, x), times), dim=-1))[:, 0].detach()
        # the shock is 0.006 wide: 0.02 is right behind it, where the error is largest
        assert float((got - torch.tensor(wanted, dtype=torch.float64)).abs().max()) < 0.02
