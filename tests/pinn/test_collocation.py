"""Points: evenness and faces, drawing by residual against its formula, R3's invariants, the causal gate's numbers."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pinn.collocation import (
    CausalGate,
    UniformPoints,
    add_by_residual,
    add_largest,
    in_time_order,
    redraw_by_residual,
    retain_resample,
)

BOX = CartesianGrid((4, 8), (1.0, 3.0), (10.0, -1.0), periodic=(True, False))  # y in [10, 11), x in [-1, 2]


@pytest.mark.parametrize(("kind", "most"), [("sobol", 1), ("latin", 1), ("uniform", 40)])
def test_points_are_even_along_every_axis(kind, most):
    points = UniformPoints(BOX, (2.0, 6.0), kind, torch.float64).draw(1024, Rng(0))
    assert points.shape == (1024, 3)
    for column, low, high in zip(points.T, (-1, 10, 2), (2, 11, 6), strict=True):
        counts = torch.histc((column - low) / (high - low), 16, 0, 1)
        # latin and sobol put exactly 64 in each sixteenth; independent ones have a spread of sqrt(64 * 15/16) = 8, four of them over 16 bins
        assert float((counts - 64).abs().max()) <= most
        assert low <= column.min() and column.max() <= high


def test_sobol_fills_the_plane_and_each_rng_scrambles_anew():
    points = UniformPoints(CartesianGrid((4, 4)), None, dtype=torch.float64)
    one, other = points.draw(256, Rng(1)), points.draw(256, Rng(2))
    cells = torch.bincount((one * 16).long() @ torch.tensor([1, 16]), minlength=256)
    assert one.shape == (256, 2) and bool((cells == 1).all())  # a (0, 8, 2) net: one point in each of 16 x 16 cells
    assert not torch.equal(one, other) and torch.equal(one, points.draw(256, Rng(1)))


def test_initial_points_are_at_the_first_time_and_sorting_keeps_space():
    uniform = UniformPoints(BOX, (2.0, 6.0))
    start = uniform.initial(50, Rng(0))
    assert bool((start[:, -1] == 2).all()) and start.dtype == torch.float32 and len(start[:, 0].unique()) == 50
    points = uniform.draw(64, Rng(3))
    ordered = in_time_order(points)
    assert torch.equal(ordered[:, :2], points[:, :2]) and torch.equal(ordered[:, 2], points[:, 2].sort().values)


def test_boundary_points_lie_on_the_walls_by_area():
    uniform = UniformPoints(BOX, (2.0, 6.0), dtype=torch.float64)
    points, face = uniform.boundary(101, Rng(0))
    assert uniform.faces == ("x lower", "x upper") and points.shape == (101, 3)
    assert torch.equal(points[:, 0], torch.tensor([-1.0, 2.0], dtype=torch.float64)[face])
    assert sorted(torch.bincount(face).tolist()) == [50, 51]
    walls = UniformPoints(CartesianGrid((4, 4), (1.0, 3.0), periodic=False), None, "latin", torch.float64)
    assert walls.faces == ("x lower", "x upper", "y lower", "y upper")
    counts = torch.zeros(4)
    for seed in range(200):
        points, face = walls.boundary(10, Rng(seed))
        assert len(points) == 10
        counts += torch.bincount(face, minlength=4)
        on = points[torch.arange(10), face // 2]
        assert torch.equal(on, torch.tensor([0.0, 3.0, 0.0, 1.0], dtype=torch.float64)[face])
    # x faces are 1 long and y faces 3: shares 1/8 and 3/8 of 10; each count is within 1 of 1.25 or 3.75, so the mean of 200 is within 4 * 1/14
    torch.testing.assert_close(counts / 200, torch.tensor([1.25, 1.25, 3.75, 3.75]), rtol=0, atol=0.28)


def test_drawing_by_residual_has_the_expected_counts():
    candidates = torch.arange(40.0).unsqueeze(1)
    r = torch.linspace(-1, 2, 40, dtype=torch.float64)
    p = r.abs() ** 1.5 / (r.abs() ** 1.5).mean() + 0.5
    p = p / p.sum()
    counts = torch.zeros(40, dtype=torch.float64)
    for seed in range(400):
        drawn = redraw_by_residual(candidates, r, 100, rng=Rng(seed), power=1.5, floor=0.5)
        once = torch.bincount(drawn[:, 0].long(), minlength=40)
        assert len(drawn) == 100 and float((once - 100 * p).abs().max()) < 1
        counts += once
    # a count is one of two neighbouring integers: spread at most 1/2 a draw
    torch.testing.assert_close(counts / 400, 100 * p, rtol=0, atol=4 * 0.5 / 400**0.5)


def test_equations_enter_by_their_norm_and_a_zero_residual_is_uniform():
    candidates, r = torch.arange(3.0).unsqueeze(1), torch.tensor([[3.0, 4.0], [0.0, 0.0], [5.0, 0.0]])
    drawn = redraw_by_residual(candidates, r, 1000, rng=Rng(0), floor=0.0)
    assert torch.bincount(drawn[:, 0].long(), minlength=3).tolist() == [500, 0, 500]
    drawn = redraw_by_residual(candidates, torch.zeros(3), 300, rng=Rng(0), floor=0.0)
    assert torch.bincount(drawn[:, 0].long()).tolist() == [100, 100, 100]


def test_adding_points_keeps_those_there_are():
    points, candidates = torch.full((2, 1), -1.0), torch.arange(5.0).unsqueeze(1)
    r = torch.tensor([0.1, -3.0, 0.2, 2.0, 0.0])
    assert add_largest(points, candidates, r, n=2).flatten().tolist() == [-1, -1, 1, 3]
    added = add_by_residual(points, candidates, r, n=1300, rng=Rng(0))
    assert torch.equal(added[:2], points)
    # 0.01 : 9 : 0.04 : 4 : 0 of 13.05
    torch.testing.assert_close(torch.bincount(added[2:, 0].long(), minlength=5).double(), 1300 / 13.05 * r.double() ** 2, rtol=0, atol=1)
    with pytest.raises(InputError, match="at most 5"):
        add_largest(points, candidates, r, n=6)


def test_r3_keeps_what_is_above_the_mean_and_replaces_the_rest():
    points, asked = torch.arange(6.0).unsqueeze(1), []

    def draw(n):
        asked.append(n)
        return torch.full((n, 1), -1.0)

    fitness = torch.tensor([0.0, 3.0, 2.0, 2.0, 5.0, 0.0], requires_grad=True)  # mean 2: a point at the mean is released
    new = retain_resample(points, fitness, draw)
    assert new.flatten().tolist() == [1, 4, -1, -1, -1, -1] and asked == [4]
    assert len(retain_resample(points, torch.full((6,), 2.0), draw)) == 6 and asked == [4, 6]


def test_r3_gathers_points_where_the_residual_stays_large():
    uniform = UniformPoints(CartesianGrid(8), None, "uniform")
    points = uniform.draw(500, Rng(0))
    for step in range(60):
        fitness = torch.exp(-((points[:, 0] - 0.3) / 0.05).square())
        points = retain_resample(points, fitness, lambda n, step=step: uniform.draw(n, Rng(1).child(step)))
        assert points.shape == (500, 1)
    # the threshold rises with the mean: kept points lie where the fitness is above a fixed level near the peak
    assert float(((points[:, 0] - 0.3).abs() < 0.1).float().mean()) > 0.7


def test_causal_gate_has_its_published_numbers():
    gate = CausalGate((1.0, 3.0))
    t = torch.tensor([1.0, 1.5, 3.0], dtype=torch.float64)
    expected = [0.5 * (1 - math.tanh(5 * (s + 0.5))) for s in (0.0, 0.25, 1.0)]
    assert expected[0] == pytest.approx(6.692850924284855e-3)  # 1/(1 + e^5)
    torch.testing.assert_close(gate(t), torch.tensor(expected, dtype=torch.float64))
    # a small residual: the step is cut to rate * most; a mean square of 0.2: exp(-4) = 0.0183
    assert gate.update(torch.zeros(5)).front == pytest.approx(-0.5 + 1e-4)
    assert gate.update(torch.full((5, 1), math.sqrt(0.2), dtype=torch.float64)).front == pytest.approx(-0.5 + 1e-3 * math.exp(-4))
    assert CausalGate((0.0, 1.0), front=1.5)(torch.tensor(1.0)) > 0.99


def test_refusals_say_what_was_expected():
    with pytest.raises(InputError, match="did you mean sobol"):
        UniformPoints(BOX, kind="sobel")
    with pytest.raises(InputError, match="increasing"):
        UniformPoints(BOX, (1.0, 1.0))
    with pytest.raises(InputError, match="steady"):
        UniformPoints(BOX, None).initial(3, Rng(0))
    with pytest.raises(InputError, match="periodic"):
        UniformPoints(CartesianGrid(4)).boundary(3, Rng(0))
    with pytest.raises(InputError, match="NaN"):
        retain_resample(torch.zeros(2, 1), torch.tensor([math.nan, 1.0]), lambda n: torch.zeros(n, 1))
    with pytest.raises(ShapeError, match="expected points"):
        redraw_by_residual(torch.zeros(3, 1), torch.zeros(2), 1, rng=Rng(0))
    with pytest.raises(InputError, match="steepness"):
        CausalGate((0.0, 1.0), steepness=0)
