"""Draws of weights: fields, members on a grid, coefficients; deviations are what they say."""

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset
from physdiff.evaluation.evaluate import evaluate
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.mlp import MLP
from physdiff.pdes.burgers import Burgers
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.scores.crps import crps
from physdiff.uq.weight_draws import WeightDraws, deviations


def problem(scale=0.1):
    torch.manual_seed(0)
    net = CoordinateNet(MLP(2, 1, width=6, depth=2), ("u",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
    points = Rng(1).uniform((9, 2)).double()
    return Collocated(net, Burgers(0.05), [Known(points, {"u": points[:, 0]}, scale=scale)], unknown=("viscosity",))


def draws(n=5):
    p = problem()
    theta = nn.utils.parameters_to_vector(p.parameters()).detach()
    return p, WeightDraws(p, theta + 0.1 * Rng(2).normal((n, len(theta)), like=theta))


def test_every_draw_is_the_network_with_these_weights():
    p, found = draws()
    before = nn.utils.parameters_to_vector(p.parameters()).detach().clone()
    points = Rng(3).uniform((7, 2)).double()
    fields, coefficients = found.fields(points)["u"], found.coefficients()["viscosity"]
    assert torch.equal(nn.utils.parameters_to_vector(p.parameters()).detach(), before)
    for k, row in enumerate(found.weights):
        nn.utils.vector_to_parameters(row, list(p.parameters()))
        torch.testing.assert_close(fields[k], p.net.fields(points)["u"].detach(), rtol=0, atol=0)
        torch.testing.assert_close(coefficients[k], p.coefficients()["viscosity"].detach(), rtol=0, atol=0)


def test_members_on_a_grid_are_scored_like_every_ensemble():
    p, found = draws(20)
    grid, times = CartesianGrid(8, extent=1.0, periodic=False), torch.linspace(0, 1, 3)
    spec = FieldSpec(("u",), ("1",), grid, 0.5, frames=3)
    truth = to_dataset(p.net.on_grid(grid, times)[0], spec, times)
    members = to_dataset(found.on_grid(grid, times), spec_of(truth), times)
    assert members["u"].dims == ("member", "time", "x") and members.sizes["member"] == 20
    scored = evaluate(members, truth, {"crps": crps}, by=("time",))
    wanted = crps(found.on_grid(grid, times)[:, 0], p.net.on_grid(grid, times)[0, 0]).mean(-1)
    assert scored["crps"].values[0] == pytest.approx(wanted.numpy(), rel=1e-6)


def test_deviations_are_residuals_and_misfits_over_their_standard_deviations():
    p, points = problem(scale=0.2), Rng(3).uniform((7, 2)).double()
    law, readings = deviations(p, points, law_std=0.5)
    torch.testing.assert_close(law, p.law_residuals(points)["u"] / 0.5)
    known = p.known[0]
    torch.testing.assert_close(readings, (p.net.fields(known.points)["u"] - known.values["u"]) / 0.2)
    torch.testing.assert_close(deviations(p, points, law_std={"u": 0.5})[0], law)
    with pytest.raises(InputError, match="law_std of u"):
        deviations(p, points, law_std={"v": 0.5})


def test_wrong_weights_are_refused():
    p = problem()
    with pytest.raises(ShapeError, match="expected weights"):
        WeightDraws(p, torch.zeros(3, 4))
    total = sum(q.numel() for q in p.parameters())
    with pytest.raises(InputError, match="finite"):
        WeightDraws(p, torch.full((2, total), float("nan")))
    with pytest.raises(InputError, match="Collocated"):
        WeightDraws(p.net, torch.zeros(2, total - 1)).coefficients()
