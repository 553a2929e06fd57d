"""Self-scaled Broyden: the update's secant equation and definiteness, termination on quadratics, Rosenbrock, a small network, resumption."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.networks.mlp import MLP
from physdiff.pinn.broyden import SelfScaledBroyden, _choice, update_inverse

F64 = torch.float64


def spd(n, seed, spread=2.0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(n, n, dtype=F64, generator=generator)).Q
    return q @ torch.diag(torch.logspace(-spread, spread, n, dtype=F64)) @ q.T


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_the_update_meets_the_secant_equation_and_stays_positive(seed, first):
    torch.manual_seed(seed)
    n, inverse = 7, spd(7, seed, 1.0)
    g, y, step = torch.randn(n, dtype=F64), torch.randn(n, dtype=F64), 0.3
    s = -step * inverse @ g
    y = y if y @ s > 0 else -y
    bs = float(s @ torch.linalg.solve(inverse, s))
    assert bs == pytest.approx(-step * float(s @ g))
    # the formula of the card, term by term
    hy, rho = inverse @ y, 1 / (y @ s)
    h, b = float(rho * (y @ hy)), float(rho * bs)
    theta, tau, _ = _choice(h, b, n)
    a = h * b - 1
    tau = h / (1 + a * theta) if first else tau
    v = rho * s - hy / (y @ hy)
    phi = (1 - theta) / (1 + a * theta)
    expected = (inverse - torch.outer(hy, hy) / (y @ hy) + phi * (y @ hy) * torch.outer(v, v)) / tau + rho * torch.outer(s, s)
    new = update_inverse(inverse.clone(), s, y, bs=bs, first=first)
    torch.testing.assert_close(new, expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(new @ y, s, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(new, new.T)
    assert float(torch.linalg.eigvalsh(new).min()) > 0


def test_bfgs_is_its_product_form():
    torch.manual_seed(0)
    inverse, s, y = spd(5, 1, 1.0), torch.randn(5, dtype=F64), torch.randn(5, dtype=F64)
    y = y if y @ s > 0 else -y
    rho, one = 1 / (y @ s), torch.eye(5, dtype=F64)
    left = one - rho * torch.outer(s, y)
    torch.testing.assert_close(update_inverse(inverse.clone(), s, y, bs=1.0, scaled=False), left @ inverse @ left.T + rho * torch.outer(s, s))


def test_the_choice_by_hand():
    # h = 1, b = 2: a = 1, below = 1 - sqrt(1/2) = 0.2929, theta = max(-0.7071, min(3.414, -1/2)) = -1/2, sigma = 1/2, c = 1/2
    assert _choice(1.0, 2.0, 3) == pytest.approx((-0.5, min(0.5 * 0.5**-0.5, 0.5), 0.5))
    # h = 4, b = 1/2: a = 1, below = min(1, 1.1716) = 1, theta = max(0, min(1, 1)) = 1, sigma = 2, c = 1: tau = min(2^(-1/2), 1)
    assert _choice(4.0, 0.5, 3) == pytest.approx((1.0, 2**-0.5, 2.0))
    assert _choice(0.5, 2.0, 3) == (0.0, 0.5, 1.0)  # s along H y
    assert all(math.isfinite(v) and v != 0 for v in _choice(1e200, 1e100, 5))


def descend(function, x, steps, **settings):
    """Optimise and return the loss after each quasi-Newton step."""
    x = x.clone().requires_grad_()
    optimizer, losses = SelfScaledBroyden([x], 1, **settings), []

    def closure():
        optimizer.zero_grad()
        loss = function(x)
        loss.backward()
        return loss

    for _ in range(steps):
        losses.append(float(optimizer.step(closure)))
    return x.detach(), losses, optimizer


@pytest.mark.parametrize("kind", ["bfgs", "broyden"])
def test_quadratics_end_after_n_steps_with_exact_searches(kind):
    # with exact line searches all members of the class step along conjugate directions; one cubic is exact to rounding on a parabola
    n, matrix = 6, spd(6, 3, 1.0)
    centre = torch.linspace(-1, 2, n, dtype=F64)
    x, losses, _ = descend(lambda z: 0.5 * (z - centre) @ matrix @ (z - centre), torch.zeros(n, dtype=F64), n, kind=kind, curvature=2e-4)
    # a slope of 2e-4 may be left each time: its square of the energy
    assert losses[n - 2] > 1e-4 * losses[0] and losses[-1] < 1e-5 * losses[0]


def rosenbrock(z):
    return (100 * (z[1:] - z[:-1] ** 2) ** 2 + (1 - z[:-1]) ** 2).sum()


@pytest.mark.parametrize("kind", ["bfgs", "broyden"])
def test_rosenbrock_is_solved(kind):
    x, losses, optimizer = descend(rosenbrock, torch.tensor([-1.2, 1.0] * 3, dtype=F64), 150, kind=kind)
    assert losses[-1] < 1e-20 and not optimizer.stalled
    torch.testing.assert_close(x, torch.ones(6, dtype=F64), rtol=0, atol=1e-10)
    assert all(b <= a for a, b in zip(losses[:-1], losses[1:], strict=True))


def network_and_loss():
    torch.manual_seed(0)
    net = MLP(1, 1, width=8, depth=2).double()
    x = torch.linspace(-1, 1, 40, dtype=F64).unsqueeze(1)
    target = torch.sin(4 * x)
    return net, lambda: (net(x) - target).square().mean()


def run(net, loss, optimizer, calls):
    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    return [float(optimizer.step(closure)) for _ in range(calls)][-1]


def test_a_small_network_is_fitted_and_scaling_pays():
    ends = []
    for kind in ("broyden", "bfgs"):
        net, loss = network_and_loss()
        ends.append(run(net, loss, SelfScaledBroyden(net.parameters(), 200, kind=kind), 1))
    # measured: 7e-8 and 1.2e-5 after 200 steps, 1.4e-10 and 5e-7 after 400; Adam 1e-3 after 420
    assert ends[0] < 1e-6 and ends[0] < 0.1 * ends[1]


def test_resumption_is_exact():
    net, loss = network_and_loss()
    optimizer = SelfScaledBroyden(net.parameters(), 5)
    run(net, loss, optimizer, 2)
    twin, twin_loss = network_and_loss()
    twin.load_state_dict(net.state_dict())
    other = SelfScaledBroyden(twin.parameters(), 5)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert run(net, loss, optimizer, 3) == run(twin, twin_loss, other, 3)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), twin.parameters(), strict=True))


def test_a_wrong_gradient_stalls_and_says_so():
    x = torch.ones(3, dtype=F64, requires_grad=True)
    optimizer = SelfScaledBroyden([x])

    def closure():
        x.grad = -2 * x.detach()
        return x.detach().square().sum()

    assert float(optimizer.step(closure)) == 3 and optimizer.stalled and x.tolist() == [1, 1, 1]


def test_refusals():
    with pytest.raises(InputError, match="double"):
        SelfScaledBroyden([torch.zeros(2, requires_grad=True)])
    with pytest.raises(InputError, match="at most"):
        SelfScaledBroyden([torch.zeros(20_001, dtype=F64, requires_grad=True)])
    x = torch.zeros(2, dtype=F64, requires_grad=True)
    with pytest.raises(InputError, match="one group"):
        SelfScaledBroyden([{"params": [x]}, {"params": [x.detach().clone().requires_grad_()]}])
    with pytest.raises(InputError, match="finite loss"):
        descend(lambda z: z.log().sum(), torch.zeros(2, dtype=F64), 1)
