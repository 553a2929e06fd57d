"""Weights of a forecaster: the last layer's posterior is Bayesian linear regression, chains and SWAG take the same task, all end in forecasts."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.weight_ensemble import WeightEnsemble
from physdiff.uq.deep_ensemble import deep_ensemble
from physdiff.uq.operator_weights import last_layer_laplace, operator_task
from physdiff.uq.swag import descent_iterates, swag
from physdiff.uq.weights_hmc import weight_chains
from tests.diffusion.small_priors import SPEC, condition_windows, forecaster


def task(prior, count=12, **options):
    x = Rng(6).normal((count, 1, SPEC.frames, 4, 5))
    cond = condition_windows(count)
    return operator_task(prior, x, cond, **options)


def hidden(prior, made):
    """Features (N cells, width) with a one behind them, and errors (N cells, 2)."""
    net = prior.model.network
    with torch.no_grad():
        h = torch.tanh(net.first(made.cond.squeeze(2))).movedim(1, -1).reshape(-1, 4)
        errors = made.errors(prior.model).squeeze(2).movedim(1, -1).reshape(-1, 2)
    return torch.cat([h, torch.ones(len(h), 1)], 1).double(), errors.double()


def test_the_last_layer_has_the_posterior_of_linear_regression():
    prior = forecaster()
    made = task(prior, readings=10.0)
    phi, errors = hidden(prior, made)
    assert made.std == pytest.approx(float(errors.square().mean().sqrt()), rel=1e-5) and made.power == pytest.approx(10 / 40)
    found = last_layer_laplace(made, prior_std=0.7)
    H = made.power / made.std**2 * phi.T @ phi + torch.eye(5, dtype=torch.float64) / 0.7**2
    # the outputs share features and not weights: two blocks, weights of both before both biases
    order = torch.tensor([0, 1, 2, 3, 8, 4, 5, 6, 7, 9])
    wanted = torch.block_diag(torch.linalg.inv(H), torch.linalg.inv(H))
    torch.testing.assert_close(found.covariance()[order][:, order], wanted, rtol=1e-4, atol=1e-6)
    draws = found.draw(3000, rng=Rng(0)).weights
    assert torch.equal(draws[0, : len(draws[0]) - 10], nn.utils.parameters_to_vector(prior.model.parameters())[:-10].detach().double())
    torch.testing.assert_close(draws[:, -10:].T.cov(), found.covariance(), rtol=0, atol=6 * float(wanted.diagonal().max()) * (2 / 3000) ** 0.5)
    # MacKay's number of weights that are told: P - trace of the covariance over s^2
    assert float(found.effective) == pytest.approx(10 - 2 * float(torch.linalg.inv(H).trace()) / 0.7**2, rel=1e-4)


def test_one_reading_for_each_map_is_the_default():
    made = task(forecaster())
    # two coming frames are two maps of 20 cells
    assert made.power == pytest.approx(2 / 40)


@pytest.mark.slow
def test_chains_of_the_last_layer_have_its_gaussian():
    prior = forecaster()
    prior.model.network.first.requires_grad_(False)
    made = task(prior)
    exact = last_layer_laplace(made, prior_std=1.0)
    draws = weight_chains(copy.deepcopy(prior.model).double(), made.double().deviations, 200, rng=Rng(1), method="hmc", length=8, warmup=60)
    # the prior of chains is around zero, Laplace's around the training: H is the same, the mean is that of the ridge
    ess = min(200.0, float(draws.info["ess_bulk"]))
    spread = exact.covariance().diagonal()
    print(f"variances over exact {(draws.weights.var(0) / spread).tolist()}, ess {ess:.0f}, R-hat {float(draws.info['rhat']):.3f}")
    assert bool(((draws.weights.var(0) / spread - 1).abs() < 4.5 * (2 / ess) ** 0.5).all())


def test_every_source_of_weights_forecasts_through_sample():
    prior, cond = forecaster(), condition_windows(1)
    made = task(prior)
    going = copy.deepcopy(prior.model)
    steps = descent_iterates(going, made.loss(going, rng=Rng(0), batch=4), steps=20, every=2, rate=0.05)
    sources = {
        "swag": swag(going, steps).draw(4, rng=Rng(1)),
        "laplace": last_layer_laplace(made).draw(4, rng=Rng(1)),
        "trainings": deep_ensemble(lambda key: forecaster(seed=int(key.integers(0, 1000))).model, 4, rng=Rng(2)),
    }
    for name, draws in sources.items():
        drawn = WeightEnsemble(prior, draws.weights).sample(4, cond=cond, rng=Rng(0))
        spread = drawn[:, :, 2:].std(0)
        assert drawn.shape == (4, 1, 4, 4, 5) and bool((spread > 0).all()), name
        with pytest.raises(InputError, match="network of the coordinates, got NetworkMap; forecast with WeightEnsemble"):
            draws.fields(torch.zeros(1, 3))


def test_house_networks_with_convolutions_and_tokens_at_their_end():
    from physdiff.networks.transformer import DiT
    from physdiff.networks.unet import UNet

    for net in (UNet(4, 2, ndim=2, periodic=True, width=4, multipliers=(1,)), DiT(4, 2, ndim=2, periodic=True, width=32, depth=1, patch=1)):
        prior = forecaster()
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(0.1 * Rng(8).normal(p.shape))
        prior.map.network = net.eval()
        made = task(prior, 3)
        found = last_layer_laplace(made, prior_std=0.5)
        # moments of predictions against draws through the whole network: it is linear in the last layer
        draws = found.draw(200, rng=Rng(1)).weights.float()
        network, at = copy.deepcopy(prior.model), slice(0, 1)
        base = made.errors(prior.model)[at]
        moved = []
        for row in draws:
            nn.utils.vector_to_parameters(row, network.parameters())
            with torch.no_grad():
                moved.append(made.errors(network)[at] - base)
        spread = torch.stack(moved)
        # the mean of the variance of outputs over all cells of all windows is tr(H^-1 phi phi^T), that of one window near it; draws fix it to
        # sqrt(2/200) times a few directions
        assert float(spread.mean(0).square().mean() / spread.var(0).mean()) < 0.05
        power = made.power / made.std**2
        # below the prior's: what the data tell; summed over all entries at most the number of free weights
        assert 0 < power * float(spread.var(0).sum()) * len(made.z) < 2.5 * len(found.free)


def test_what_does_not_end_in_a_linear_layer_is_refused():
    prior = forecaster()
    net = prior.model.network
    whole = net.forward
    net.forward = lambda x, noise=None: torch.tanh(whole(x))
    with pytest.raises(InputError, match="ends in a layer linear in its weights, got one whose last layer, Conv2d"):
        last_layer_laplace(task(prior))
    wide = forecaster(width=2100)
    with pytest.raises(InputError, match="at most 4000 weights, got 4202"):
        last_layer_laplace(task(wide, 2))
    with pytest.raises(ShapeError, match="as many conditions"):
        operator_task(prior, torch.zeros(3, 1, 4, 4, 5), condition_windows(2))
    with pytest.raises(InputError, match="readings"):
        task(forecaster(), readings=0.0)
