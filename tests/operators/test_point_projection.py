"""Velocities at points without divergence: against the pseudo-inverse of the divergence written out, with ends, obstacles and closed axes."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.point_projection import PointProjection

CASES = {
    "open": ((8, 11), (False, False)),
    "channel": ((9, 12), (False, True)),
    "closed": ((8, 10), (True, True)),
    "duct": ((6, 7, 8), (False, True, False)),
}


def fluid(shape):
    """A block, a lone solid point, and a bar from an end that leaves a dead end behind."""
    mask = torch.ones(shape, dtype=torch.bool)
    mask[..., 3:5, 3:5] = False
    mask[..., 6, -2] = False
    mask[..., 0:2, -4] = False
    return mask


def made(case, blocked, **options):
    shape, periodic = CASES[case]
    grid = CartesianGrid(shape, extent=tuple(0.1 * n * (1 + k) for k, n in enumerate(shape)), periodic=periodic)
    return PointProjection(grid, fluid(shape) if blocked else None, **options)


def noise(solver, batch=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(batch, *solver.grid.shape, dtype=torch.float64, generator=g) for _ in range(solver.grid.ndim))


def written_out(solver, order):
    """The divergence as a matrix: rows for points whose differences take fluid only, columns for the components at points of the fluid."""
    n, d = solver.grid.shape, solver.grid.ndim
    size = int(torch.tensor(n).prod())
    unit = torch.eye(d * size, dtype=torch.float64).reshape(d * size, d, *n)
    whole = FiniteDifference(solver.grid, order=order).div(tuple(unit[:, i] for i in range(d))).reshape(d * size, size).T
    wet = solver.fluid.reshape(-1)
    rows = wet & ~((whole != 0) & ~wet.repeat(d)).any(1)
    return whole[rows][:, wet.repeat(d)], rows.reshape(n)


@pytest.mark.parametrize("order", [2, 4])
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_nearest_velocity_without_divergence(case, blocked, order):
    matrix, rows = written_out(made(case, blocked, order=order), order)
    for dense in (True, False):
        solver = made(case, blocked, order=order, dense=dense)
        v = noise(solver)
        wet = solver.fluid
        assert torch.equal(solver.seen, rows)
        stacked = torch.cat([c[:, wet] for c in v], 1)
        expected = stacked - stacked @ (torch.linalg.pinv(matrix) @ matrix).T
        found = solver.project(v)
        torch.testing.assert_close(torch.cat([c[:, wet] for c in found], 1), expected, rtol=0, atol=1e-9)  # condition of A times rounding
        left = FiniteDifference(solver.grid, order=order).div(tuple(torch.where(wet, c, 0.0) for c in found))[:, rows]
        assert float(left.abs().max()) < 1e-10 * float(solver.divergence(v).abs().max())


@pytest.mark.parametrize("blocked", [False, True])
def test_streams_stay_and_twice_is_once(blocked):
    solver = made("channel", blocked)
    d = FiniteDifference(solver.grid)
    stream = noise(solver)[0]
    flow = (d.partial(stream, 1), -d.partial(stream, 0))  # differences along two axes commute
    for a, b in zip(solver.project(flow), flow, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
    once = solver.project(noise(solver, seed=1))
    for a, b in zip(solver.project(once), once, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


def test_what_is_no_fluid_stays_as_it_is():
    solver = made("open", True)
    dry = ~solver.fluid
    u, v = (torch.where(dry, w, c) for c, w in zip(noise(solver), (torch.nan, 7.0), strict=True))
    a, b = solver.project((u, v))
    assert bool(a[:, dry].isnan().all()) and bool((b[:, dry] == 7).all())
    assert bool(a[:, ~dry].isfinite().all()) and float((a - u)[:, ~dry].abs().max()) > 0.1
    single = solver.project((u.float(), v.float()))
    assert single[0].dtype == torch.float32
    torch.testing.assert_close(single[1].double(), b, rtol=0, atol=1e-5)


def test_gradients_pass():
    solver = made("open", True)
    u, v = (c.requires_grad_() for c in noise(solver, batch=1))
    a, b = solver.project((u, v))
    with torch.no_grad():
        wet = [torch.where(solver.fluid, c, 0.0) for c in (a, b)]
    (0.5 * (a[:, solver.fluid].square().sum() + b[:, solver.fluid].square().sum())).backward()
    # the gradient of |P v|^2 / 2 is P^T P v = P v
    torch.testing.assert_close(u.grad, wet[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(v.grad, wet[1], rtol=0, atol=1e-10)


def test_nonsense_is_refused():
    grid = CartesianGrid((8, 9), extent=(1.0, 1.0), periodic=False)
    with pytest.raises(InputError, match=r"write fluid > 0\.5"):
        PointProjection(grid, torch.ones(8, 9))
    with pytest.raises(ShapeError, match=r"expected the grid's shape \(8, 9\)"):
        PointProjection(grid, torch.ones(9, 8, dtype=torch.bool))
    with pytest.raises(InputError, match="expected points whose neighbours are fluid, got 0"):
        PointProjection(grid, torch.zeros(8, 9, dtype=torch.bool))
    with pytest.raises(UnsupportedOperator, match="uniform axes"):
        PointProjection(LatLonGrid(torch.linspace(58, 50, 9), torch.linspace(-10, 2, 13)))
    with pytest.raises(ShapeError, match="2 components"):
        PointProjection(grid).project((torch.zeros(8, 9),))
