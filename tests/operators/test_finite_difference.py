from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting, Robin
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


def smooth(x, y, t):
    return torch.sin(2.3 * x + 0.4) * torch.exp(-0.3 * y) + 0.3 * torch.cos(1.7 * x - 2.1 * y)


def slope_along(direction):
    def slope(x, y, t):
        v = (x if direction == 0 else y).clone().requires_grad_(True)
        f = smooth(v, y, t) if direction == 0 else smooth(x, v, t)
        return torch.autograd.grad(f.sum(), v)[0].detach()

    return slope


D_X, D_Y = slope_along(0), slope_along(1)
CONDITIONS = {
    "Dirichlet": {"x": Dirichlet(smooth), "y": Dirichlet(smooth)},
    "Neumann": {"x": (Neumann(lambda *p: -D_X(*p)), Neumann(D_X)), "y": (Neumann(lambda *p: -D_Y(*p)), Neumann(D_Y))},
    "Robin": {
        "x": (Robin(1.0, 0.5, lambda *p: smooth(*p) - 0.5 * D_X(*p)), Robin(0.4, 2.0, lambda *p: 0.4 * smooth(*p) + 2 * D_X(*p))),
        "y": (Dirichlet(smooth), Robin(1.0, 0.1, lambda *p: smooth(*p) + 0.1 * D_Y(*p))),
    },
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("condition", CONDITIONS)
@pytest.mark.parametrize("derivative", [1, 2])
def test_measured_order_up_to_the_wall(order, condition, derivative):
    errors = {0: [], 1: []}
    for shape in [(32, 40), (48, 60), (72, 90)]:
        grid = CartesianGrid(shape, extent=(3.1, 3.6), origin=(0.2, -0.3), periodic=False)
        ops, (x, y) = FiniteDifference(grid, order=order, boundary=CONDITIONS[condition]), grid.coordinates()
        f = smooth(x, y, 0.0)
        for i, points in enumerate((x, y)):
            v = points.clone().requires_grad_(True)
            (wanted,) = torch.autograd.grad(smooth(v, y, 0.0).sum() if i == 0 else smooth(x, v, 0.0).sum(), v, create_graph=True)
            if derivative == 2:
                (wanted,) = torch.autograd.grad(wanted.sum(), v)
            got = ops.of({"f": f}, 0.0).partial(f, i, derivative)
            errors[i].append(float((got - wanted.detach()).abs().max()))
    for i in errors:  # the largest error, which sits at the walls; sizes 1.5 apart
        # the better pair: order 8 meets rounding on the finest; 0.35: the next term is still seen, a formula one order lower would miss by 1
        assert max(order_of(errors[i])) > order - 0.35, errors


def matrix(ops, n, direction=0, derivative=2):
    return ops.partial(torch.eye(n, dtype=torch.float64), direction, derivative).mT


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("n", [13, 40])
def test_diffusion_between_walls_decays(order, n):
    kinds = {"D": Dirichlet(), "N": Neumann(), "R": Robin(1.0, 0.3)}
    grid = CartesianGrid(n, extent=2.0, periodic=False)
    for ends in ("DD", "NN", "RR", "DN", "NR", "RD"):
        lap = matrix(FiniteDifference(grid, order=order, boundary={"x": (kinds[ends[0]], kinds[ends[1]])}), n)
        eigenvalues = torch.linalg.eigvals(lap)
        # the slowest decay: -(pi/2)^2 between fixed ends of distance 2, none for a constant between closed ones; 1e-9: rounding of 1/h^2
        slowest = {"DD": (math.pi / 2) ** 2, "NN": 0.0, "DN": (math.pi / 4) ** 2}.get(ends)
        assert float(eigenvalues.real.max()) < 1e-9
        assert slowest is None or float(eigenvalues.real.max()) == pytest.approx(-slowest, rel=0.02, abs=1e-9)


@pytest.mark.parametrize("order", [2, 4])
def test_advection_from_an_inflow_to_an_outflow_decays(order):
    for n in (15, 40):
        grid = CartesianGrid(n, periodic=False)
        ops = FiniteDifference(grid, order=order, boundary={"x": (Dirichlet(), Outflow())})
        assert float(torch.linalg.eigvals(-matrix(ops, n, derivative=1)).real.max()) < 0
        # the same as a flux: the eigenvalues of u -> -(u)_x in conservation form
        rows = torch.eye(n, dtype=torch.float64)
        slope = ops.of({"c": rows}, 0.0).div_flux(lambda u, D: {"c": (u["c"],)}, {"c": rows})["c"].mT
        assert float(torch.linalg.eigvals(-slope).real.max()) < 0


def test_a_flux_sees_the_field_at_the_wall_and_not_beyond():
    # c = 2 at the left wall and a velocity sqrt(x), which has no value beyond it
    errors = []
    for n in (64, 128, 256):
        grid = CartesianGrid(n, extent=1.5, periodic=False)
        (x,) = grid.coordinates()
        c = 2 + torch.sin(3 * x)[None]
        ops = FiniteDifference(grid, order=4, boundary=Dirichlet(lambda x, t: 2 + torch.sin(3 * x))).of({"c": c}, 0.0)
        flux = ops.div_flux(lambda u, D: {"c": (D.coordinates_as(u["c"])[0] ** 4.5 * u["c"] ** 2,)}, {"c": c})["c"]
        wanted = 4.5 * x**3.5 * c**2 + x**4.5 * 2 * c * 3 * torch.cos(3 * x)
        errors.append(float((flux - wanted).abs().max()))
    assert order_of(errors, 2)[-1] > 3.75, errors


def test_products_are_one_sided_and_periodic_axes_close():
    grid = CartesianGrid((12, 16), extent=(1.0, 2.0), periodic=(False, True))
    f = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    plain, walls = FiniteDifference(grid), FiniteDifference(grid, boundary=Dirichlet(5.0)).of({"c": f}, 0.0)
    assert torch.equal(walls.lap(2 * f), plain.lap(2 * f))
    assert torch.equal(walls.grad(f)[0], plain.grad(f)[0])
    assert not torch.allclose(walls.grad(f)[1], plain.grad(f)[1])
    assert torch.equal(walls.grad(f)[1][:, 1:-1], plain.grad(f)[1][:, 1:-1])


def test_gradients_flow_through_the_ends():
    grid = CartesianGrid((6, 7), periodic=False)
    ops = FiniteDifference(grid, order=4)
    f = torch.randn(2, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ops.lap, (f,))
    value = torch.tensor([0.3, -1.0], dtype=torch.float64, requires_grad=True)

    def with_walls(f, value):
        boundary = {"x": Robin(1.0, 0.2, value), "y": (Dirichlet(value), Outflow())}
        D = FiniteDifference(grid, boundary=boundary).of({"f": f}, 0.0)
        return D.lap(f), D.div_flux(lambda u, points: {"f": (u["f"] ** 2, u["f"] ** 3)}, {"f": f})["f"]

    assert torch.autograd.gradcheck(with_walls, (f, value))


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_walls_keep_the_precision(precision):
    grid = CartesianGrid((8, 9), periodic=False)
    f = torch.ones(2, 8, 9, dtype=precision)
    ops = FiniteDifference(grid, order=4, boundary=Dirichlet(torch.tensor([1.0, 1.0])))
    assert ops.lap(f).dtype == precision
    # 1e-2: 9^2 spacings^-2 and weights near 30, in float32
    assert float(ops.lap(f).abs().max()) < (1e-2 if precision == torch.float32 else 1e-10)


def test_refusals_at_walls():
    grid = CartesianGrid((8, 9), periodic=(False, True))
    with pytest.raises(InputError, match="'x', a periodic axis"):
        FiniteDifference(grid, boundary={"x": Dirichlet()})
    with pytest.raises(InputError, match="has no ends; leave the boundary out"):
        FiniteDifference(GRIDS[2], boundary=Dirichlet())
    with pytest.raises(InputError, match="Reflecting turns the component"):
        FiniteDifference(grid, boundary=Reflecting()).lap(torch.zeros(8, 9))
    with pytest.raises(InputError, match="order: expected 1 or more"):
        FiniteDifference(grid).partial(torch.zeros(8, 9), 0, 0)


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
