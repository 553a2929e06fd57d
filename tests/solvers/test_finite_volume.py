"""Finite volumes: sums kept to rounding, symmetries, batches of parameters, gradients, walls, positivity, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import Diverged, GridMismatch, InputError, ShapeError, UnsupportedOperator
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler
from physdiff.pdes.kuramoto_sivashinsky import KuramotoSivashinsky
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL, WENO5, PiecewiseConstant
from physdiff.solvers.riemann import HLL, HLLC, Rusanov
from physdiff.solvers.runge_kutta import RK4, RungeKutta
from physdiff.solvers.solve import solve

PLANE = CartesianGrid((10, 14), extent=(1.5, 2.0), origin=(0.3, -0.4))
UNEVEN = CartesianGrid((5,), periodic=False, points=(torch.tensor([0.0, 1, 2, 4, 8]),))
TIMES = torch.tensor([0.0, 0.1], dtype=torch.float64)


def blobs(law, grid, batch=1):
    """A gas without any symmetry, periodic."""
    x, y = grid.coordinates()
    a, b = math.pi * x, 2 * math.pi / 1.5 * y
    density = 1 + 0.4 * torch.sin(a + 0.3) * torch.cos(b) + 0.2 * torch.cos(2 * b - a)
    pressure = 0.8 + 0.3 * torch.cos(a - b + 0.5)
    velocity = (0.6 * torch.sin(b + 0.2 * torch.cos(a)), 0.3 - 0.5 * torch.cos(a + b))
    density, pressure, *velocity = (v.expand(batch, *grid.shape) for v in (density, pressure, *velocity))
    return law.state(density, velocity, pressure)


@pytest.mark.parametrize("reconstruction", [PiecewiseConstant(), MUSCL(), WENO5()], ids=["constant", "muscl", "weno"])
@pytest.mark.parametrize("riemann", [Rusanov(), HLLC()], ids=["rusanov", "hllc"])
def test_sums_are_kept_to_rounding(reconstruction, riemann):
    for law in (Euler(ndim=2), CompressibleNavierStokes(0.02, 0.01, 0.03, ndim=2)):
        start = blobs(law, PLANE)
        out = solve(FiniteVolume(law, PLANE, reconstruction=reconstruction, riemann=riemann), start, TIMES)
        for name, f in out.items():
            change = (f[:, -1].sum() - f[:, 0].sum()).abs() / f.abs().sum()
            assert float(change) < 1e-14, name  # rounding
            assert float((f[:, -1] - f[:, 0]).abs().max()) > 0.01


def test_three_dimensions_keep_sums_and_agree_with_a_plane():
    cube = CartesianGrid((4, 10, 14), extent=(0.7, 1.5, 2.0), origin=(0.0, 0.3, -0.4))
    flat, solid = Euler(ndim=2), Euler(ndim=3)
    start = blobs(flat, PLANE)
    deep = {name: f[:, None].expand(1, 4, 10, 14) for name, f in start.items()}
    deep["momentum_z"] = torch.zeros_like(deep["density"])
    a = FiniteVolume(flat, PLANE, riemann=HLLC()).step(start, 0.0, 0.01)
    b = FiniteVolume(solid, cube, riemann=HLLC()).step(deep, 0.0, 0.01)
    for name in flat.fields:
        torch.testing.assert_close(b[name][:, 2], a[name], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("method", [MUSCL(), WENO5()], ids=["muscl", "weno"])
def test_exchange_of_axes_mirror_image_and_moving_frame(method):
    law, start = Euler(ndim=2), blobs(Euler(ndim=2), PLANE)
    after = FiniteVolume(law, PLANE, reconstruction=method, riemann=HLLC()).step(start, 0.0, 0.01)
    swap = {"momentum_x": "momentum_y", "momentum_y": "momentum_x"}
    tall = CartesianGrid((14, 10), extent=(2.0, 1.5))
    turned = FiniteVolume(law, tall, reconstruction=method, riemann=HLLC()).step({swap.get(n, n): f.mT for n, f in start.items()}, 0.0, 0.01)
    mirror = {n: (-f if n == "momentum_x" else f).flip(-1) for n, f in start.items()}
    mirrored = FiniteVolume(law, PLANE, reconstruction=method, riemann=HLLC()).step(mirror, 0.0, 0.01)
    for name in law.fields:
        torch.testing.assert_close(turned[swap.get(name, name)].mT, after[name], rtol=1e-12, atol=1e-13)
        torch.testing.assert_close((-1 if name == "momentum_x" else 1) * mirrored[name].flip(-1), after[name], rtol=1e-11, atol=1e-13)


def test_a_moving_frame_changes_the_flow_by_truncation_only():
    law, differences = Euler(ndim=2), []
    for n in (1, 2):
        grid = CartesianGrid((20 * n, 28 * n), extent=(1.5, 2.0))
        still = blobs(law, grid)
        u, v = law.velocity(still)
        # in a time of 1/28 the frame moves by n cells along x and by n cells back along y
        moving = law.state(still["density"], (u + 2.0, v - 2.1), law.pressure(still))
        times = torch.tensor([0.0, 1 / 28], dtype=torch.float64)
        a, b = (solve(FiniteVolume(law, grid, riemann=HLLC()), s, times, substeps=6 * n)["density"][:, -1] for s in (still, moving))
        differences.append(float((a.roll((-n, n), (-2, -1)) - b).abs().mean()))
    # far below the change by the frame itself (0.1), and falling at about order 2
    assert differences[0] < 0.01 and math.log2(differences[0] / differences[1]) > 1.4, differences


def test_batches_of_parameters_equal_single_runs():
    ratio, eta = torch.tensor([1.2, 1.4, 1.67], dtype=torch.float64), torch.tensor([0.0, 0.01, 0.05], dtype=torch.float64)
    many = CompressibleNavierStokes(eta, conductivity=0.01, heat_ratio=ratio, ndim=2)
    start = blobs(many, PLANE, 3)
    together = solve(FiniteVolume(many, PLANE, riemann=HLLC()), start, TIMES, substeps=4)
    for i in range(3):
        one = CompressibleNavierStokes(float(eta[i]), conductivity=0.01, heat_ratio=float(ratio[i]), ndim=2)
        alone = solve(FiniteVolume(one, PLANE, riemann=HLLC()), {n: f[i : i + 1] for n, f in start.items()}, TIMES, substeps=4)
        for name in many.fields:
            torch.testing.assert_close(together[name][i], alone[name][0], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("method", [MUSCL(), WENO5("Z")], ids=["muscl", "weno"])
def test_gradients_through_steps(method):
    grid = CartesianGrid(8, extent=2.0, periodic=False)
    (x,) = grid.coordinates()
    density, p = 1 + 0.3 * torch.sin(2 * x + 0.4)[None], 1 + 0.2 * torch.cos(3 * x)[None]

    def after(density, gamma, eta):
        law = CompressibleNavierStokes(eta, heat_ratio=gamma)
        stepper = FiniteVolume(law, grid, reconstruction=method, riemann=HLLC(), boundary={"x": (Outflow(), Reflecting())})
        u = law.state(density, (0.3 * torch.cos(x)[None],), p)
        for i in range(2):
            u = stepper.step(u, 0.02 * i, 0.02)
        return u["energy"]

    one = torch.tensor([1.4], dtype=torch.float64, requires_grad=True), torch.tensor([0.03], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(after, (density.requires_grad_(), *one))


def test_gradients_of_water_with_dry_ground_are_finite():
    grid = CartesianGrid(8, periodic=False)
    depth = torch.tensor([[1.0, 1.0, 1.0, 0.7, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    stepper = FiniteVolume(ShallowWater(1.0, ndim=1), grid, riemann=HLL(), boundary=Reflecting())
    u = {"depth": depth, "momentum_x": torch.zeros_like(depth)}
    for _ in range(3):
        u = stepper.step(u, 0.0, 0.01)
    (slope,) = torch.autograd.grad(u["depth"].square().sum() + u["momentum_x"].sum(), depth)
    assert bool(slope.isfinite().all()) and float(slope.abs().max()) > 1


def test_single_precision_follows_double():
    law = Euler(ndim=2)
    start = blobs(law, PLANE)
    stepper = FiniteVolume(law, PLANE, reconstruction=WENO5("Z"), riemann=HLLC())
    low = solve(stepper, {n: f.float() for n, f in start.items()}, TIMES, substeps=4)
    high = solve(stepper, start, TIMES, substeps=4)
    for name, f in low.items():
        assert f.dtype == torch.float32
        torch.testing.assert_close(f.double(), high[name], rtol=0, atol=2e-5)


def test_walls_keep_mass_and_energy():
    grid = CartesianGrid((10, 14), extent=(1.5, 2.0), periodic=(False, True))
    law = Euler(ndim=2)
    out = solve(FiniteVolume(law, grid, riemann=HLLC(), boundary=Reflecting()), blobs(law, grid), TIMES)
    for name in ("density", "energy", "momentum_x"):
        assert float((out[name][:, 1].sum() - out[name][:, 0].sum()).abs()) < 1e-11  # rounding of 140 cells; nothing passes the walls
    assert float((out["momentum_y"][:, 1].sum() - out["momentum_y"][:, 0].sum()).abs()) > 1e-3


def test_viscosity_between_walls_is_that_of_the_exact_mode():
    grid = CartesianGrid(40, extent=1.0, periodic=False)
    (x,) = grid.coordinates()
    for condition, shape in ((Dirichlet(0.0), torch.sin(math.pi * x)), (Neumann(0.0), torch.cos(math.pi * x))):
        # so small that it does not carry itself: a decaying mode
        out = solve(FiniteVolume(Burgers(0.3), grid, boundary=condition), {"u": 1e-6 * shape[None]}, TIMES)["u"][0, -1]
        decay = float((out * shape).sum() / (1e-6 * (shape * shape).sum()))
        # the second difference sees k^2 (1 - (k h)^2/12): 5e-4 of the exponent
        assert abs(decay - math.exp(-0.3 * math.pi**2 * 0.1)) < 3e-4


def test_a_given_state_flows_in():
    grid = CartesianGrid(30, periodic=False)
    boundary = {"u": {"x": (Dirichlet(lambda x, t: 1.0 + 0 * x + t), Outflow())}}
    u = {"u": torch.full((1, 30), 0.2, dtype=torch.float64)}
    out = solve(FiniteVolume(Burgers(0.0), grid, boundary=boundary), u, torch.linspace(0, 3, 13, dtype=torch.float64))["u"][0, -1]
    (x,) = grid.coordinates()
    # what left the wall at s is at x = (1 + s)(3 - s) and carries 1 + s; the state outside stands half a cell before the wall
    assert float((out - (2 + torch.sqrt(4 - x))).abs().max()) < 0.01


def test_a_fast_state_outside_shortens_the_step():
    grid = CartesianGrid(30, periodic=False)
    stepper = FiniteVolume(Burgers(0.0), grid, boundary={"x": (Dirichlet(5.0), Outflow())}, reconstruction=PiecewiseConstant())
    assert abs(stepper.limit({"u": torch.full((1, 30), 0.2, dtype=torch.float64)}) - 1 / 150) < 1e-12


def test_limit_is_the_time_waves_take_through_a_cell():
    law = Euler(ndim=2)
    one = torch.ones(1, *PLANE.shape, dtype=torch.float64)
    u = law.state(one, (0.5 * one, -2.0 * one), one / 1.4)
    hy, hx = PLANE.spacing
    assert abs(FiniteVolume(law, PLANE).limit(u) - 1 / (1.5 / hx + 3.0 / hy)) < 1e-12
    # diffusion: 2.51 over the largest eigenvalue 4 nu / h^2, estimated from below
    line = CartesianGrid(64)
    got = FiniteVolume(Burgers(0.1), line).limit({"u": torch.zeros(1, 64, dtype=torch.float64)})
    exact = 2.5127 / (4 * 0.1 * 64**2)
    assert exact * 0.99 < got < exact * 1.3


def test_density_that_falls_below_zero_is_named():
    grid = CartesianGrid(20, periodic=False)
    law = Euler()
    one = torch.ones(1, 20, dtype=torch.float64)
    u = law.state(one, (torch.linspace(-30, 30, 20, dtype=torch.float64)[None],), 0.01 * one)
    with pytest.raises(Diverged, match="is not positive at time 0.05: take shorter steps") as caught:
        FiniteVolume(law, grid, boundary=Outflow()).step(u, 0.0, 0.05)
    assert caught.value.field in ("density", "pressure")
    with pytest.raises(Diverged, match="field `pressure` is not positive at time 0"):
        FiniteVolume(law, grid, boundary=Outflow()).limit({**u, "energy": 0 * one})


@pytest.mark.parametrize(("make", "error", "words"), [
    (lambda: FiniteVolume(Euler(ndim=2), Spectral(PLANE)), InputError, "expected the grid itself, got Spectral operators"),
    (lambda: FiniteVolume(Euler(ndim=2), FiniteDifference(PLANE)), InputError, "got FiniteDifference operators"),
    (lambda: FiniteVolume(KuramotoSivashinsky(), CartesianGrid(32)), InputError, "expected a law with flux and speeds, got KuramotoSivashinsky"),
    (lambda: FiniteVolume(Burgers(0.0), CartesianGrid(32), riemann=HLLC()), InputError, "HLLC: expected a law of a gas"),
    (lambda: FiniteVolume(Euler(), CartesianGrid(32, periodic=False)), InputError, "the axis x is open and nothing is said about `density`"),
    (lambda: FiniteVolume(Burgers(0.0), UNEVEN), GridMismatch, "uniform CartesianGrid"),
])
def test_refusals(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_a_law_in_other_dimensions_or_fields_of_another_shape_are_refused():
    one = torch.ones(1, 16, dtype=torch.float64)
    u = {name: one for name in Euler(ndim=2).fields}
    with pytest.raises(ShapeError, match="Euler: expected operators in 2 directions .* set ndim=1"):
        FiniteVolume(Euler(ndim=2), CartesianGrid(16)).step({**u, "energy": 3 * one}, 0.0, 0.01)
    with pytest.raises(ShapeError, match="expected fields .batch, 16., got .1, 12."):
        FiniteVolume(Burgers(0.0), CartesianGrid(16)).step({"u": one[:, :12]}, 0.0, 0.01)


def test_a_flux_with_derivatives_is_refused():
    class Slippery(Burgers):
        def flux(self, u, D, t):
            return {"u": D.grad(u["u"])}

    with pytest.raises(UnsupportedOperator, match="move derivatives to `production`"):
        FiniteVolume(Slippery(0.0), CartesianGrid(16)).step({"u": torch.ones(1, 16)}, 0.0, 0.01)


def test_it_agrees_with_spectral_derivatives_on_a_smooth_flow():
    law = CompressibleNavierStokes(0.05, 0.02, 0.04, ndim=2)
    errors = []
    for n in (1, 2):
        grid = CartesianGrid((20 * n, 28 * n), extent=(1.5, 2.0), origin=(0.3, -0.4))
        u = blobs(law, grid)
        wanted = RungeKutta(law, Spectral(grid, dealias=False), RK4).rhs(u, 0.0)
        got = FiniteVolume(law, grid, riemann=HLLC()).rhs(u, 0.0)
        errors.append(max(float((got[n] - wanted[n]).abs().mean() / wanted[n].abs().mean()) for n in law.fields))
    print(errors)
    assert errors[0] < 0.15 and math.log2(errors[0] / errors[1]) > 1.5  # limiting at crests costs some of order 2


def test_steps_across_more_than_a_cell_are_refused_in_words():
    grid = CartesianGrid(40, periodic=True)
    stepper = FiniteVolume(Burgers(0.0), grid)
    start = {"u": 1 + 0.5 * torch.sin(2 * math.pi * grid.coordinates()[0])[None]}
    with pytest.raises(InputError, match="substeps=38"):
        solve(stepper, start, torch.tensor([0.0, 0.5], dtype=torch.float64), substeps=10)
    solve(stepper, start, torch.tensor([0.0, 0.1], dtype=torch.float64), substeps=8)
