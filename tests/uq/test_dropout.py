"""Dropout of hidden units: masks in the weights are masks of the units, means are kept, training and draws are reproducible."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP
from physdiff.networks.modified_mlp import ModifiedMLP
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.uq.dropout import dropout_draws, masked_weights, train_with_dropout


def network(depth=2, width=6):
    torch.manual_seed(0)
    return CoordinateNet(MLP(2, 1, width=width, depth=depth), ("c",), lower=(-1.0, -1.0), upper=(1.0, 1.0)).double()


def test_a_mask_of_columns_is_a_mask_of_units():
    net, x = network(), Rng(0).uniform((5, 2)).double()
    weights = masked_weights(net, share=0.4, rng=Rng(1))
    got = torch.func.functional_call(net, weights, (x,))
    h, layers = x, net.network.layers
    for k, layer in enumerate(layers):
        if k:
            mask = (Rng(1).child(k - 1).uniform((6,), like=x) >= 0.4) / 0.6
            h = torch.tanh(h) * mask
        h = layer(h)
    torch.testing.assert_close(got, h)


def test_draws_of_one_hidden_layer_have_the_closed_mean_and_variance():
    # u = b + sum_j w_j h_j m_j/(1 - p): mean u without masks, variance p/(1 - p) sum (w_j h_j)^2
    net, x, p, n = network(depth=1, width=12), Rng(0).uniform((4, 2)).double(), 0.2, 1000
    fields = dropout_draws(net, n, share=p, rng=Rng(2)).fields(x)["c"]
    with torch.no_grad():
        hidden = torch.tanh(net.network.layers[0](x)) * net.network.layers[1].weight
        variance = p / (1 - p) * hidden.square().sum(1)
        assert bool(((fields.mean(0) - net.fields(x)["c"]).abs() < 4 * (variance / n).sqrt()).all())
    # four standard errors; the kurtosis of a sum of twelve is near the normal one, at most that of one unit, 1/(p (1 - p)) - 3
    assert bool(((fields.var(0) / variance - 1).abs() < 4 * ((2 + 1 / (p * (1 - p)) - 6 + 3) / n) ** 0.5).all())


def test_training_lowers_the_loss_and_is_reproducible():
    def run():
        net = network(width=16)
        points = Rng(3).uniform((40, 2)).double()
        known = Known(points, {"c": torch.sin(2 * points[:, 0])}, weight=10.0)
        problem = Collocated(net, AdvectionDiffusion(diffusivity=0.1, velocity=(0.0,)), [known])
        return train_with_dropout(problem, lambda step: points, share=0.05, steps=30, rate=1e-2, rng=Rng(4))

    losses = run()
    assert sum(losses[-10:]) < 0.5 * sum(losses[:3]) / 3 * 10
    assert run() == losses


def test_a_share_of_zero_changes_nothing_and_bad_input_is_refused():
    net = network()
    same = dropout_draws(net, 2, share=0.0, rng=Rng(0)).weights
    assert torch.equal(same[0], same[1])
    torch.testing.assert_close(same[0], torch.nn.utils.parameters_to_vector(net.parameters()).detach())
    with pytest.raises(InputError, match="share"):
        dropout_draws(net, 2, share=1.0, rng=Rng(0))
    with pytest.raises(InputError, match="n >= 1"):
        dropout_draws(net, 0, share=0.1, rng=Rng(0))
    other = CoordinateNet(ModifiedMLP(2, 1, width=4, depth=1), ("c",), lower=(0.0, 0.0), upper=(1.0, 1.0))
    with pytest.raises(InputError, match="MLP"):
        dropout_draws(other, 2, share=0.1, rng=Rng(0))
