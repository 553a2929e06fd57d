"""Coordinate networks: derivatives of second order against finite differences, storage, and what they can learn."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.mlp import ACTIVATIONS, MLP, FourierMLP


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("kind", [MLP, FourierMLP])
def test_second_derivatives_exist_and_are_right(kind, activation):
    torch.manual_seed(0)
    net = kind(2, 1, width=6, depth=2, activation=activation).double()
    x = torch.tensor([[0.3, -0.4], [0.1, 0.8]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))
    assert torch.autograd.gradgradcheck(net, (x,))
    (first,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first[:, 0].sum(), x)
    h = 1e-4
    step = torch.tensor([h, 0.0], dtype=torch.float64)
    central = (net(x + step) - 2 * net(x) + net(x - step))[:, 0] / h**2
    # truncation h^2 f''''/12 and rounding 4 eps/h^2 are both of order 1e-7
    torch.testing.assert_close(second[:, 0], central, rtol=1e-4, atol=1e-5)
    assert second.abs().max() > 1e-3


@pytest.mark.parametrize("net", [MLP(3, 2, width=5, depth=1, activation="sin"), FourierMLP(3, 2, waves=8, scale=3.0)])
def test_described_and_built_again(net):
    twin = build(describe(net))
    twin.load_state_dict(net.state_dict())
    x = torch.randn(7, 3)
    assert type(twin) is type(net) and torch.equal(twin(x), net(x))
    assert net(x).shape == (7, 2)


def test_all_parameters_receive_gradients():
    for net in (MLP(2, 1), FourierMLP(2, 1)):
        net(torch.randn(16, 2)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_waves_learn_fine_structure_faster():
    # sin(40 x) at the same cost: the spectral bias of Tancik et al. (2020), figure 2, in small
    x = torch.linspace(-1, 1, 128).unsqueeze(1)
    truth, errors = torch.sin(40 * x), []
    for make in (
        lambda: MLP(1, 1, width=32, depth=2),
        lambda: FourierMLP(1, 1, width=32, depth=2, scale=30.0),
    ):
        torch.manual_seed(0)
        net = make()
        optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
        for _ in range(150):
            optimizer.zero_grad()
            loss = (net(x) - truth).square().mean()
            loss.backward()
            optimizer.step()
        errors.append(loss.item())
    assert errors[0] > 0.3 and errors[1] < 0.05


def test_refuses_unknown_activations_and_wrong_points():
    with pytest.raises(InputError, match="did you mean tanh"):
        MLP(1, 1, activation="tan")
    with pytest.raises(InputError, match="depth"):
        MLP(1, 1, depth=0)
    for net in (MLP(2, 1), FourierMLP(2, 1)):
        with pytest.raises(ShapeError, match="got"):
            net(torch.zeros(4, 3))
