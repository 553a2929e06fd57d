from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.wall_operators import WallOperators

BOX = CartesianGrid((5, 7), extent=(1.0, 2.1), periodic=False)
CHANNEL = CartesianGrid((6, 8), extent=(1.0, 2.1), periodic=(False, True))
DUCT = CartesianGrid((4, 5, 6), extent=(1.0, 2.1, 1.3), periodic=(False, True, False))


def noise(grid, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(2, *grid.shape, generator=g, dtype=torch.float64) for _ in range(grid.ndim))


@pytest.mark.parametrize("grid", [BOX, CHANNEL, DUCT])
def test_faces_have_no_divergence_and_nothing_is_amplified(grid):
    D, v = WallOperators(grid, boundary=Reflecting()), noise(grid)
    faces = D.project_faces(v)
    # rounding of velocities near one over spacings near 0.1
    assert float(D.face_divergence(faces).abs().max()) < 1e-12
    projected = D.project(v)
    assert sum(float(c.square().sum()) for c in projected) < sum(float(c.square().sum()) for c in v)
    # the projection is symmetric: its quadratic form lies between 0 and 1
    share = sum((a * b).sum() for a, b in zip(v, projected, strict=True)) / sum((a * a).sum() for a in v)
    assert 0 <= float(share) <= 1
    other = noise(grid, 1)
    left = sum((a * b).sum() for a, b in zip(other, projected, strict=True))
    right = sum((a * b).sum() for a, b in zip(D.project(other), v, strict=True))
    torch.testing.assert_close(left, right)


def test_a_flow_along_the_walls_stays_and_gradients_go():
    D = WallOperators(CHANNEL, boundary=Reflecting())
    x, y = CHANNEL.coordinates()
    shear = (1 + y**2, torch.zeros_like(y))
    for got, wanted in zip(D.project(shear), shear, strict=True):
        torch.testing.assert_close(got, wanted, atol=1e-13, rtol=0)
    sizes = []
    for n in (16, 32, 64):
        grid = CartesianGrid((n, n + 8), extent=(1.0, 2.0), periodic=False)
        x, y = grid.coordinates()
        D = WallOperators(grid, boundary=Reflecting())
        k, l = math.pi / 2, math.pi  # noqa: E741
        slope = (-k * torch.sin(k * x) * torch.cos(l * y), -l * torch.cos(k * x) * torch.sin(l * y))
        whirl = (torch.sin(k * x) * torch.cos(l * y) * l, -k * torch.cos(k * x) * torch.sin(l * y))
        got = D.project(tuple(a + b for a, b in zip(slope, whirl, strict=True)))
        sizes.append(max(float((a - b).abs().max()) for a, b in zip(got, whirl, strict=True)))
    assert math.log2(sizes[1] / sizes[2]) == pytest.approx(2, abs=0.25), sizes


def test_derivatives_are_those_of_finite_differences():
    f = noise(BOX)[0]
    D = WallOperators(BOX, dt=0.1, boundary={"c": Dirichlet(2.0)}).of({"c": f}, 0.0)
    own = D.differences
    for got, wanted in zip((*D.grad(f), D.lap(f), D.partial(f, 0, 2)), (*own.grad(f), own.lap(f), own.partial(f, 0, 2)), strict=True):
        assert torch.equal(got, wanted)
    assert float((D.lap(f) - D.differences.of({}, 0.0).lap(f)).abs().max()) > 1


def test_walls_that_let_something_pass_are_refused():
    with pytest.raises(InputError, match="expected a boundary for the open axes"):
        WallOperators(BOX)
    for boundary in (Neumann(), {"x": Dirichlet(1.0), "y": Dirichlet()}, {"velocity_x": Dirichlet(), "velocity_y": {"y": Outflow()}}):
        with pytest.raises(InputError, match="which nothing passes"):
            WallOperators(BOX, boundary=boundary)
    lid = {"velocity_x": {"x": Dirichlet(), "y": (Dirichlet(), Dirichlet(1.0))}, "velocity_y": Dirichlet()}
    WallOperators(BOX, boundary=lid)
