"""The parts of iPINNER by themselves (fronts, directions, niches), its analysis in a linear problem, and a round with a law."""

import math

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.ensemble_kalman import etkf, inflated
from physdiff.networks.mlp import MLP
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pinn.collocated import Collocated, Known
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.uq.ipinner import ipinner, niche_selection, pareto_fronts, reference_directions


@pytest.mark.parametrize(("k", "p"), [(1, 4), (2, 5), (3, 4), (4, 3)])
def test_directions_are_all_points_of_the_simplex_in_these_steps(k, p):
    rows = reference_directions(k, p)
    assert len(rows) == math.comb(p + k - 1, k - 1) == len({tuple(r) for r in rows.tolist()})
    torch.testing.assert_close(rows.sum(1), torch.ones(len(rows), dtype=torch.float64))
    torch.testing.assert_close(rows * p, (rows * p).round())


def test_fronts_are_those_of_the_definition():
    x = Rng(0).uniform((40, 3)).double()
    rank = pareto_fronts(x)

    def dominated(i, others):
        return any(bool((x[j] <= x[i]).all() and (x[j] < x[i]).any()) for j in others)

    left = set(range(40))
    for level in range(int(rank.max()) + 1):
        front = {i for i in left if not dominated(i, left)}
        assert front == set((rank == level).nonzero()[:, 0].tolist())
        left -= front
    assert not left
    # equal rows do not dominate each other
    assert pareto_fronts(torch.ones(3, 2)).tolist() == [0, 0, 0]


def test_a_front_that_does_not_fit_is_thinned_to_one_for_each_direction():
    directions = reference_directions(2, 4)
    on_front = directions.clone()
    crowd = torch.cat((on_front, on_front[2:3] + torch.tensor([[0.01, -0.01]]), on_front[2:3] + torch.tensor([[-0.02, 0.02]])))
    worse = on_front + 1.0
    kept = niche_selection(torch.cat((crowd, worse)), 5, directions=directions, rng=Rng(0))
    assert sorted(kept.tolist()) == [0, 1, 2, 3, 4]
    # whole fronts first
    seven = niche_selection(torch.cat((crowd, worse)), 8, directions=directions, rng=Rng(0)).tolist()
    assert set(range(7)) < set(seven) and seven[7] >= 7


class Interpolant:
    """A network of fixed features as many as readings, its last layer solved for them exactly: training without a law."""

    def __init__(self):
        torch.manual_seed(0)
        net = CoordinateNet(MLP(2, 1, width=3, depth=1), ("c",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
        with torch.no_grad():
            net.network.layers[0].weight.mul_(3)
        net.network.layers[0].requires_grad_(False)
        self.points = Rng(1).uniform((4, 2)).double()
        self.net = net

    def problem(self, known):
        with torch.no_grad():
            phi = torch.cat((torch.tanh(self.net.network.layers[0](2 * self.points - 1)), torch.ones(4, 1, dtype=torch.float64)), 1)
            w = torch.linalg.solve(phi, known.values["c"])
            torch.manual_seed(0)
            net = CoordinateNet(MLP(2, 1, width=3, depth=1), ("c",), lower=(0.0, 0.0), upper=(1.0, 1.0)).double()
            net.load_state_dict(self.net.state_dict())
            net.network.layers[0].requires_grad_(False)
            net.network.layers[1].weight.copy_(w[None, :3])
            net.network.layers[1].bias.copy_(w[3:])
        return Collocated(net, AdvectionDiffusion(diffusivity=0.1, velocity=(0.0,)), [known])


def test_after_a_round_members_are_the_analysis_of_their_predictions():
    case, y = Interpolant(), torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64)
    readings = Known(case.points, {"c": y}, scale=0.2)
    drawn = 0.4 * Rng(5).normal((8, 4)).double()
    asked = []

    def train(known, weights, start, key):
        asked.append(known)
        first = start is None
        k = len(asked) - 1
        return case.problem(Known(known.points, {"c": drawn[k]}, scale=0.2) if first else known)

    found = ipinner(train, lambda p: torch.zeros(1), readings, terms=1, members=8, rounds=2, inflation=1.1, rng=Rng(3))
    # all are equally good: niches keep four of them, each twice
    predicted = drawn
    heirs = torch.stack([a.values["c"] for a in asked[8:]])
    kept = niche_selection(torch.zeros(8, 1), 4, directions=reference_directions(1, 4), rng=Rng(3).child("round", 0).child("niche"))
    before = inflated(predicted[torch.cat((kept, kept))], 1.1)
    wanted = etkf(before, before, y, std=0.2, rng=Rng(3).child("round", 0).child("analysis"))
    torch.testing.assert_close(heirs, wanted, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(found.fields(case.points)["c"], wanted, rtol=1e-7, atol=1e-8)
    assert found.info["increments"].shape == (1,) and float(found.info["increments"][0]) > 0
    assert isinstance(found.module, nn.Module)


def test_bad_input_is_refused():
    known = Known(torch.zeros(2, 2), {"c": torch.zeros(2)}, scale=0.1)
    with pytest.raises(InputError, match="four members"):
        ipinner(lambda *a: None, lambda p: torch.zeros(2), known, members=2, rng=Rng(0))
    with pytest.raises(InputError, match="finite objectives"):
        pareto_fronts(torch.full((3, 2), float("nan")))
    with pytest.raises(InputError, match="1 to 3"):
        niche_selection(torch.zeros(3, 2), 4, directions=reference_directions(2, 2), rng=Rng(0))
    with pytest.raises(ShapeError, match="directions"):
        niche_selection(torch.zeros(3, 2), 1, directions=reference_directions(3, 2), rng=Rng(0))
    with pytest.raises(InputError, match="one objective"):
        reference_directions(0, 2)
    case = Interpolant()
    reading = Known(case.points, {"c": torch.zeros(4, dtype=torch.float64)}, scale=0.1)
    with pytest.raises(ShapeError, match="terms"):
        ipinner(lambda known, *a: case.problem(known), lambda p: torch.zeros(3), reading, members=4, rounds=1, rng=Rng(0))
