"""Deep ensembles: with perturbed readings a linear problem gets the covariance of least squares; keys decide the members."""

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP
from physdiff.pinn.collocated import Known
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.levenberg_marquardt import Damped, levenberg_marquardt
from physdiff.uq.deep_ensemble import deep_ensemble, perturbed

STD = 0.1


def network(seed, width=3):
    torch.manual_seed(seed)
    net = CoordinateNet(MLP(1, 1, width=width, depth=1), ("u",), lower=(0.0,), upper=(1.0,)).double()
    with torch.no_grad():
        for p in net.network.layers[0].parameters():
            p.mul_(3).add_(0.2)
    return net.requires_grad_(False)


def test_perturbed_readings_give_the_covariance_of_least_squares():
    points = torch.linspace(0, 1, 15, dtype=torch.float64)[:, None]
    readings = Known(points, {"u": torch.sin(3 * points[:, 0])}, scale=STD)

    def member(key):
        net = network(0)  # one start: the noise alone decides
        net.network.layers[-1].requires_grad_(True)
        (known,) = perturbed([readings], rng=key)
        levenberg_marquardt(net, lambda step: [(net.fields(points)["u"] - known.values["u"]) / STD], steps=1, state=Damped(damping=1e-10))
        return net

    draws = deep_ensemble(member, 100, rng=Rng(0))
    net = network(0)
    hidden = torch.tanh(net.network.layers[0](2 * points - 1))
    phi = torch.cat((hidden, torch.ones(15, 1, dtype=torch.float64)), 1)
    C = phi @ torch.linalg.inv(phi.T @ phi) @ phi.T * STD**2
    fields = draws.fields(points)["u"]
    # four standard errors of a variance over 100 members
    assert bool(((fields.var(0) / C.diagonal() - 1).abs() < 4 * (2 / 100) ** 0.5).all())


def test_members_follow_from_their_keys_whatever_the_global_generator_did():
    def member(key):
        net = CoordinateNet(MLP(1, 1, width=4, depth=1), ("u",), lower=(0.0,), upper=(1.0,)).double()
        with torch.no_grad():
            net.network.layers[-1].bias.copy_(key.uniform((1,)))
        return net

    first = deep_ensemble(member, 3, rng=Rng(4))
    state = torch.random.get_rng_state()
    torch.manual_seed(99)
    again = deep_ensemble(member, 3, rng=Rng(4))
    assert torch.equal(first.weights, again.weights)
    assert len({tuple(w.tolist()) for w in first.weights}) == 3
    torch.random.set_rng_state(state)


def test_exact_conditions_are_not_perturbed():
    points = torch.zeros(4, 1, dtype=torch.float64)
    wall, reading = Known(points, {"u": torch.zeros(4)}), Known(points, {"u": torch.zeros(4)}, scale=0.5)
    a, b = perturbed([wall, reading], rng=Rng(0))
    assert a is wall and float(b.values["u"].abs().min()) > 0
    many = perturbed([Known(torch.zeros(5000, 1), {"u": torch.zeros(5000)}, scale=0.5)], rng=Rng(1))[0].values["u"]
    assert float(many.std()) == pytest.approx(0.5, abs=4 * 0.5 / 100)


def test_other_architectures_and_too_few_members_are_refused():
    with pytest.raises(InputError, match="n >= 2"):
        deep_ensemble(lambda key: network(0), 1, rng=Rng(0))
    with pytest.raises(InputError, match="one architecture"):
        deep_ensemble(lambda key: network(0, width=2 + int(key.integers(0, 50))).requires_grad_(True), 4, rng=Rng(0))
    assert isinstance(network(0), nn.Module)
