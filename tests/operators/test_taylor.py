"""Taylor mode against reverse mode: values, mixed derivatives, laws, trainable gradients, refusals."""

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.networks.mlp import ACTIVATIONS, MLP
from physdiff.operators.autograd import Autograd
from physdiff.operators.taylor import taylor_fields


def network(activation="tanh", inputs=3):
    torch.manual_seed(0)
    return MLP(inputs, 2, width=12, depth=3, activation=activation).double()


def points(n=3):
    generator = torch.Generator().manual_seed(1)
    return tuple((2 * torch.rand(20, generator=generator, dtype=torch.float64) - 1).requires_grad_() for _ in range(n))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_values_and_pure_derivatives_to_order_four(activation):
    x, y, t = points()
    net = network(activation)
    fields, taylor = taylor_fields(net.chain(), ("a", "b"), (x, y), time=t, order=4)
    out, reverse = net(torch.stack((x, y, t), dim=-1)), Autograd((x, y), t)
    for i, name in enumerate(("a", "b")):
        torch.testing.assert_close(fields[name], out[:, i])
        f = out[:, i]
        for direction in (0, 1):
            for order in (1, 2, 3, 4):
                got, wanted = taylor.partial(fields[name], direction, order), reverse.partial(f, direction, order)
                # rounding: derivatives of order four are sums of some hundred terms
                assert float((got - wanted).detach().abs().max()) < 1e-11 * max(1.0, float(wanted.detach().abs().max()))
        torch.testing.assert_close(taylor.dt(fields[name]), reverse.dt(f))
        torch.testing.assert_close(taylor.lap(fields[name]), reverse.lap(f))


def test_mixed_derivatives_and_what_is_not_carried():
    x, y, t = points()
    net = network()
    out, reverse = net(torch.stack((x, y, t), dim=-1)), Autograd((x, y), t)
    fields, taylor = taylor_fields(net.chain(), ("a", "b"), (x, y), time=t, mixed=True)
    f, g = fields["a"], out[:, 0]
    wanted = reverse.grad(reverse.grad(g)[0])[1]
    for first, second in ((0, 1), (1, 0)):
        torch.testing.assert_close(taylor.grad(taylor.grad(f)[first])[second], wanted, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(taylor.dt(taylor.grad(f)[1]), reverse.dt(reverse.grad(g)[1]), rtol=1e-10, atol=1e-12)
    # a product, and a third mixed derivative: reverse mode
    torch.testing.assert_close(taylor.div((f * fields["b"], f**2)), reverse.div((g * out[:, 1], g**2)))
    torch.testing.assert_close(taylor.grad(taylor.lap(f))[0], reverse.grad(reverse.lap(g))[0], rtol=1e-10, atol=1e-12)


def test_no_backward_pass_is_made_for_what_is_carried(monkeypatch):
    x, y, t = points()
    fields, taylor = taylor_fields(network().chain(), ("a", "b"), (x, y), time=t)
    monkeypatch.setattr(torch.autograd, "grad", None)
    taylor.lap(fields["a"]), taylor.dt(fields["b"]), taylor.grad(fields["a"]), taylor.partial(fields["b"], 1, 2)


def test_trained_gradients_are_those_of_reverse_mode():
    x, y, t = points()
    grads = []
    for carried in (True, False):
        net = network()
        if carried:
            fields, ops = taylor_fields(net.chain(), ("a", "b"), (x, y), time=t)
        else:
            fields, ops = dict(zip("ab", net(torch.stack((x, y, t), dim=-1)).unbind(-1), strict=True)), Autograd((x, y), t)
        a = fields["a"]
        residual = ops.dt(a) + ops.advect((a, fields["b"]), a) - 0.1 * ops.lap(a)
        residual.square().mean().backward()
        grads.append([p.grad for p in net.parameters()])
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-13)


def test_plain_modules_of_torch():
    x, t = points(2)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.SiLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 8), nn.Softplus(), nn.Linear(8, 1)).double()
    fields, taylor = taylor_fields(net, ("u",), (x,), time=t, order=3)
    reverse, f = Autograd((x,), t), net(torch.stack((x, t), dim=-1))[:, 0]
    torch.testing.assert_close(taylor.partial(fields["u"], 0, 3), reverse.partial(f, 0, 3), rtol=1e-9, atol=1e-12)


def test_refusals():
    x, y, t = points()
    with pytest.raises(InputError, match="order: expected 1 to 4"):
        taylor_fields(network().chain(), ("a", "b"), (x, y), time=t, order=5)
    with pytest.raises(InputError, match="got ReLU"):
        taylor_fields([nn.Linear(3, 2).double(), nn.ReLU()], ("a", "b"), (x, y), time=t)
    with pytest.raises(InputError, match="exact form"):
        taylor_fields([nn.Linear(3, 2).double(), nn.GELU(approximate="tanh")], ("a", "b"), (x, y), time=t)
    with pytest.raises(ShapeError, match="2 names"):
        taylor_fields(network().chain(), ("a",), (x, y), time=t)
    with pytest.raises(InputError, match="orders along 3 inputs"):
        Autograd((x, y), t).learn(x * y, {(1, 0): y})
