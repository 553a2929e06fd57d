from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from tests.operators.fields import GRIDS, relative, waves

ORDERS = (2, 4, 6, 8)

CASES = {  # operators, coordinates, two fields: what is got and what is wanted
    "grad x": lambda D, x, f, g: (D.grad(f(x))[0], f.grad(x)[0]),
    "grad y": lambda D, x, f, g: (D.grad(f(x))[1], f.grad(x)[1]),
    "lap": lambda D, x, f, g: (D.lap(f(x)), f.lap(x)),
    "div": lambda D, x, f, g: (D.div((f(x), g(x))), f.grad(x)[0] + g.grad(x)[1]),
    "third y": lambda D, x, f, g: (D.partial(f(x), 1, 3), f(x, 0, 3)),
}


def order_of(errors, ratio=1.5):
    return [math.log(a / b) / math.log(ratio) for a, b in zip(errors[:-1], errors[1:], strict=True)]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("periodic", [True, False, (True, False)])
@pytest.mark.parametrize("operator", CASES)
def test_measured_order_of_convergence(order, periodic, operator):
    # sizes 1.5 apart; smooth waves of the box, seen through open ends as through closed ones
    errors = []
    sizes = [(32, 40), (48, 60), (72, 90), (108, 135)] if order < 6 else [(48, 60), (72, 90), (108, 135)]
    for shape in sizes:
        grid = CartesianGrid(shape, extent=(1.7, 3.1), origin=(0.3, -1.0), periodic=periodic)
        errors.append(relative(*CASES[operator](FiniteDifference(grid, order=order), grid.coordinates(), waves(grid), waves(grid, shift=0.9))))
    # one-sided ends of high order come down to their slope late and from above: the finest pair counts
    assert abs(order_of(errors)[-1] - order) < 0.25, errors


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("periodic", [True, False])
def test_polynomials_are_exact_away_from_the_seam(order, periodic):
    grid = CartesianGrid((14, 17), extent=(1.4, 3.4), origin=(-0.7, 0.5), periodic=periodic)
    ops, (x, y) = FiniteDifference(grid, order=order), grid.coordinates()
    f = x**order - 2 * y**order + x * y
    d_x, d_y = ops.grad(f)
    inside = (slice(5, -5), slice(5, -5)) if periodic else (slice(None), slice(None))
    # 1e-8: one-sided weights of order eight are near 10^3, values near 4^8
    assert relative(d_x[inside], (order * x ** (order - 1) + y)[inside]) < 1e-8
    assert relative(d_y[inside], (-2 * order * y ** (order - 1) + x)[inside]) < 1e-8
    wanted = order * (order - 1) * (x ** (order - 2) - 2 * y ** (order - 2))
    assert relative(ops.lap(f)[inside], wanted[inside]) < 1e-8


@pytest.mark.parametrize("ndim", GRIDS)
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_any_dimension_batch_and_precision(ndim, precision):
    grid = CartesianGrid(tuple(4 * n for n in GRIDS[ndim].shape), extent=GRIDS[ndim].extent)
    ops, x, f = FiniteDifference(grid, order=4), grid.coordinates(), waves(grid)
    field = f(x).to(precision).expand(2, 3, *grid.shape)
    # 40 points and more, at most three waves per axis, order four: 1e-2 at the worst
    for got, wanted in zip(ops.grad(field), f.grad(x), strict=True):
        assert got.dtype == precision and got.shape == field.shape
        assert relative(got, wanted) < 1e-2
    assert relative(ops.lap(field), f.lap(x)) < 1e-2
    v = tuple(waves(grid, shift=i)(x) for i in range(ndim))
    wanted = sum(a * b for a, b in zip(v, ops.grad(field.double()), strict=True))
    assert relative(ops.advect(v, field), wanted) < 1e-4


def test_second_order_equals_the_textbook():
    grid = CartesianGrid((5, 7), extent=(1.0, 2.1), periodic=(False, True))
    ops = FiniteDifference(grid)
    f = torch.randn(5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    h_x, h_y = 0.3, 0.2
    d_x, d_y = ops.grad(f)
    for j in range(5):
        for i in range(7):
            east, west = f[j, (i + 1) % 7], f[j, (i - 1) % 7]
            assert float(d_x[j, i]) == pytest.approx(float((east - west) / (2 * h_x)), abs=1e-12)
    assert float(d_y[2, 3]) == pytest.approx(float((f[3, 3] - f[1, 3]) / (2 * h_y)), abs=1e-12)
    assert float(d_y[0, 3]) == pytest.approx(float((-3 * f[0, 3] + 4 * f[1, 3] - f[2, 3]) / (2 * h_y)), abs=1e-12)
    assert float(d_y[4, 3]) == pytest.approx(float((3 * f[4, 3] - 4 * f[3, 3] + f[2, 3]) / (2 * h_y)), abs=1e-12)
    wanted = (f[2, 4] - 2 * f[2, 3] + f[2, 2]) / h_x**2 + (f[3, 3] - 2 * f[2, 3] + f[1, 3]) / h_y**2
    assert float(ops.lap(f)[2, 3]) == pytest.approx(float(wanted), abs=1e-10)


@pytest.mark.parametrize("order", ORDERS)
def test_periodic_differences_conserve_the_integral(order):
    grid = GRIDS[2]
    ops = FiniteDifference(grid, order=order)
    g = torch.Generator().manual_seed(1)
    v = tuple(torch.randn(grid.shape, generator=g, dtype=torch.float64) for _ in range(2))
    assert abs(float(ops.div(v).mean())) < 1e-12 * float(ops.div(v).abs().max())
    assert abs(float(ops.lap(v[0]).mean())) < 1e-12 * float(ops.lap(v[0]).abs().max())


@pytest.mark.parametrize("frames", [3, 4, 6])
def test_time_derivative_takes_the_axis_before_space(frames):
    grid = GRIDS[2]
    t = 0.5 * torch.arange(frames, dtype=torch.float64)
    shape = waves(grid)(grid.coordinates())
    got = FiniteDifference(grid, dt=0.5).dt((t**2)[:, None, None] * shape)
    assert relative(got, 2 * t[:, None, None] * shape) < 1e-12


def test_gradients_flow_through_the_ends():
    grid = CartesianGrid((6, 7), periodic=False)
    ops = FiniteDifference(grid, order=4)
    f = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.lap, (f,))


def test_refusals():
    with pytest.raises(InputError, match="order: expected one of"):
        FiniteDifference(GRIDS[2], order=3)
    with pytest.raises(InputError, match="at least 10 points along y, got 8"):
        FiniteDifference(CartesianGrid((8, 40)), order=8)
    uneven = CartesianGrid((2, 3), points=(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0, 4.0])), periodic=False)
    with pytest.raises(UnsupportedOperator, match="uniform"):
        FiniteDifference(uneven)
    ops = FiniteDifference(GRIDS[2])
    with pytest.raises(UnsupportedOperator, match="FiniteDifference cannot give `inv_lap`: use Spectral"):
        ops.inv_lap(torch.zeros(GRIDS[2].shape))
    with pytest.raises(UnsupportedOperator, match="`project`"):
        ops.project((torch.zeros(GRIDS[2].shape),) * 2)
    with pytest.raises(ShapeError, match="20, 33"):
        ops.grad(torch.zeros(33, 20))
