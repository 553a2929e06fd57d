"""Chains on weights: the closed Gaussian of a linear problem, and a posterior on a grid where it is not Gaussian."""

import copy

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.inference.mixing import split_rhat
from physdiff.networks.mlp import MLP
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.uq import weights_hmc as module
from physdiff.uq.weight_draws import WeightDraws
from physdiff.uq.weights_hmc import function_rhat, weight_chains

STD, PRIOR = 0.3, 1.5


def network(width=3):
    torch.manual_seed(0)
    return CoordinateNet(MLP(1, 1, width=width, depth=1), ("u",), lower=(0.0,), upper=(1.0,)).double()


@pytest.mark.parametrize(
    ("method", "n"), [("nuts", 60), pytest.param("nuts", 600, marks=pytest.mark.slow), pytest.param("hmc", 600, marks=pytest.mark.slow)]
)
def test_a_linear_problem_has_its_gaussian(method, n):
    net, points = network(), torch.linspace(0, 1, 10, dtype=torch.float64)[:, None]
    net.network.layers[0].requires_grad_(False)
    y = torch.sin(3 * points[:, 0])
    terms = lambda m: [(m.fields(points)["u"] - y) / STD]  # noqa: E731
    draws = weight_chains([net, net], terms, n, rng=Rng(0), prior_std=PRIOR, method=method, length=8, warmup=15)
    with torch.no_grad():
        phi = torch.cat((torch.tanh(net.network.layers[0](2 * points - 1)), torch.ones(10, 1, dtype=torch.float64)), 1)
    H = phi.T @ phi / STD**2 + torch.eye(4, dtype=torch.float64) / PRIOR**2
    C, mean = torch.linalg.inv(H), torch.linalg.solve(H, phi.T @ y / STD**2)
    ess = min(float(n), float(draws.info["ess_bulk"]))
    assert ess > 0.1 * n and float(draws.info["rhat"]) < 1.2
    # chi-squared of four over four, whose standard deviation is sqrt(1/2), in half of the draws
    assert abs(float(draws.info["below_mode"]) - 1) < 4 * (0.5 / (ess / 2)) ** 0.5
    # four standard errors of the effective number of draws
    assert bool(((draws.weights.mean(0) - mean).abs() < 4 * (C.diagonal() / ess).sqrt()).all())
    assert bool(((draws.weights.var(0) / C.diagonal() - 1).abs() < 4 * (2 / ess) ** 0.5).all())


@pytest.mark.slow
def test_a_law_that_is_not_gaussian_has_the_moments_of_its_density_on_a_grid():
    # u = v tanh(w (2 x - 1)), w and v free: the density on a grid of (w, v) is the truth
    net = network(width=1)
    first, last = net.network.layers
    with torch.no_grad():
        first.weight.fill_(0.8), first.bias.zero_(), last.weight.fill_(1.0), last.bias.zero_()
    first.bias.requires_grad_(False)
    last.bias.requires_grad_(False)
    points = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
    y = torch.tanh(0.8 * (2 * points[:, 0] - 1))
    std = 0.5
    draws = weight_chains(net, lambda m: [(m.fields(points)["u"] - y) / std], 1200, rng=Rng(1), prior_std=1.0, warmup=100)
    a = torch.linspace(-5, 5, 801, dtype=torch.float64)
    w, v = torch.meshgrid(a, a, indexing="ij")
    log = -0.5 * (w**2 + v**2)
    for x, target in zip(points[:, 0], y, strict=True):
        log = log - 0.5 * ((v * torch.tanh(w * (2 * x - 1)) - target) / std) ** 2
    # the chains stay at one of two mirror images (w, v) -> (-w, -v) mostly; products do not see which
    p = torch.softmax(log.reshape(-1), 0).reshape(w.shape)
    got, ess = draws.weights.prod(1), float(draws.info["ess_bulk"])
    mean = float((p * w * v).sum())
    spread = float((p * (w * v - mean) ** 2).sum()) ** 0.5
    print(f"product {float(got.mean()):.4f} +- {float(got.std()):.4f}, exact {mean:.4f} +- {spread:.4f}, ess {ess:.0f}")
    assert abs(float(got.mean()) - mean) < 4 * spread / max(ess, 50) ** 0.5
    assert float(got.std()) == pytest.approx(spread, rel=0.2)


@pytest.mark.slow
def test_chains_of_separate_trainings_agree_about_the_field_and_not_about_weights():
    # the mirror image (w, v) -> (-w, -v) of one unit is the same field
    net, points = network(width=1), torch.linspace(0, 1, 8, dtype=torch.float64)[:, None]
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        net.network.layers[0].weight.fill_(1.0), net.network.layers[1].weight.fill_(1.0)
    mirror = copy.deepcopy(net)
    with torch.no_grad():
        for p in mirror.parameters():
            p.neg_()
    y = torch.tanh(2 * points[:, 0] - 1)
    draws = weight_chains([net, mirror], lambda m: [(m.fields(points)["u"] - y) / 0.1], 480, rng=Rng(2), length=16, warmup=60)
    found = function_rhat(draws, points)["u"]
    print(f"R-hat of the field at most {float(found.max()):.3f}, of the weights {float(draws.info['rhat']):.3f}")
    # 240 draws of each chain, of which slow directions of a bent posterior leave some forty that are independent in the worst of
    # eight points: 1 + 3/40 (60 draws: eleven and 1.15)
    assert float(found.max()) < 1.08 and float(draws.info["rhat"]) > 1.5


def test_starts_are_draws_of_a_linear_problem_and_nearer_where_it_is_not():
    net, points = network(), torch.linspace(0, 1, 10, dtype=torch.float64)[:, None]
    z = Rng(3).normal((2, 10), like=points) * 3
    bent = module._Target(net, lambda m: [(m.fields(points)["u"] - points[:, 0]) / 0.05], 3.0)
    top = float(bent(torch.zeros_like(z[:1])).value)
    near = bent.near(z)
    rise = top - bent(near).value
    assert bool((rise <= z.square().sum(1)).all()) and bool((near.norm(dim=1) < z.norm(dim=1)).any())
    assert bool((bent(z).value < top - z.square().sum(1)).any()), "the case is one where draws of the Gaussian are too far"
    # the centre is the mode: the slope in coordinates of unit curvature is within half a standard deviation
    assert float(bent(torch.zeros_like(z[:1])).slope.norm()) < 0.5
    net.network.layers[0].requires_grad_(False)
    straight = module._Target(net, lambda m: [(m.fields(points)["u"] - points[:, 0]) / 0.05], 3.0)
    assert torch.equal(straight.near(z[:, :4]), z[:, :4])


def test_coordinates_made_anew_have_the_mean_hessian_of_what_was_seen():
    net, points = network(), torch.linspace(0, 1, 10, dtype=torch.float64)[:, None]
    terms = lambda m: [(m.fields(points)["u"] - points[:, 0]) / 0.05]  # noqa: E731
    target = module._Target(net, terms, 3.0)
    mode, top = target.centre.clone(), target.top
    images = mode + 0.3 * Rng(5).normal((2, 4, len(mode)), like=mode)
    z = target.renewed(images)
    flat, hessian = images.flatten(0, 1), torch.eye(len(mode), dtype=torch.float64) / 9
    for theta in flat:
        jacobian = torch.autograd.functional.jacobian(lambda v: _values(net, v, points) / 0.05, theta)
        hessian += jacobian.T @ jacobian / len(flat)
    torch.testing.assert_close(target.root @ target.root.mT, hessian, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(target.centre, flat.mean(0))
    # the chains stand where they stood, and the mode's density is still what shares are told by
    torch.testing.assert_close(target(z).image, images[:, -1])
    assert target.top == top and float(target._one(mode)[0]) == float(top)


def _values(net, vector, points):
    parts = vector.split([p.numel() for p in net.parameters()])
    named = {name: v.reshape(p.shape) for (name, p), v in zip(net.named_parameters(), parts, strict=True)}
    return torch.func.functional_call(net, named, (points,))[:, 0]


def test_a_long_warm_up_makes_coordinates_anew_and_counts_its_gradients(monkeypatch):
    net, points = network(width=2), torch.linspace(0, 1, 6, dtype=torch.float64)[:, None]
    seen, made = [], module._Target.renewed
    monkeypatch.setattr(module._Target, "renewed", lambda self, images: seen.append(images.shape[1]) or made(self, images))
    terms = lambda m: [(m.fields(points)["u"] - points[:, 0]) / 0.3]  # noqa: E731
    short = weight_chains([net, net], terms, 8, rng=Rng(0), method="hmc", length=2, warmup=39)
    assert seen == []
    found = weight_chains([net, net], terms, 8, rng=Rng(0), method="hmc", length=2, warmup=40)
    # an eighth, an eighth and a quarter of the warm-up, the later half of each
    assert seen == [3, 3, 5] * 2 and len(found) == 8
    assert int(found.info["gradient_calls"]) > 2 * 40 and float(found.info["acceptance"]) > 0.6
    assert abs(int(found.info["gradient_calls"]) / int(short.info["gradient_calls"]) - 1) < 0.7


def test_draws_of_chains_in_a_field_have_the_rhat_of_their_values():
    net, points = network(), torch.tensor([[0.2], [0.7]], dtype=torch.float64)
    weights = Rng(4).normal((12, 10), like=points)
    draws = WeightDraws(net, weights, {"chain": torch.arange(12) % 3})
    values = draws.fields(points)["u"]
    wanted = split_rhat(torch.stack([values[k::3] for k in range(3)]))
    torch.testing.assert_close(function_rhat(draws, points)["u"], wanted)
    for info in ({}, {"chain": torch.arange(12) % 5}, {"chain": torch.zeros(12, dtype=torch.long)}):
        with pytest.raises(InputError, match="four draws or more of each of two chains"):
            function_rhat(WeightDraws(net, weights, info), points)


def test_weights_that_the_law_refuses_have_no_density():
    net, points = network(width=1), torch.zeros(1, 1, dtype=torch.float64)

    def terms(m):
        (w,) = m.network.layers[0].weight.flatten()
        if float(w.detach()) > 2:
            raise InputError("a coefficient that is no coefficient")
        return [m.fields(points)["u"] + w]

    # weight_laplace would take this Jacobian; only the density is asked for here
    target = module._Target.__new__(module._Target)
    target.twin, target.deviations, target.precision, target.parameters = net, terms, 1.0, list(net.parameters())
    assert float(target._one(torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64))[0]) > -1e3
    value, slope = target._one(torch.tensor([3.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    assert value == -torch.inf and not slope.any()


def test_bad_input_is_refused():
    net, points = network(), torch.zeros(2, 1, dtype=torch.float64)

    def terms(m):
        return [m.fields(points)["u"]]

    with pytest.raises(InputError, match="method"):
        weight_chains(net, terms, 4, rng=Rng(0), method="gibbs")
    with pytest.raises(InputError, match="n >= 1"):
        weight_chains(net, terms, 0, rng=Rng(0))
    with pytest.raises(InputError, match="float64"):
        weight_chains(network().float(), terms, 4, rng=Rng(0))
    with pytest.raises(InputError, match="one architecture"):
        weight_chains([net, network(width=4)], terms, 4, rng=Rng(0))
    with pytest.raises(InputError, match="at most 5000 trainable weights, got 6001"):
        weight_chains(network(width=2000), terms, 4, rng=Rng(0))
    with pytest.raises(InputError, match="a module or more"):
        weight_chains([], terms, 4, rng=Rng(0))
    assert isinstance(net, nn.Module)
