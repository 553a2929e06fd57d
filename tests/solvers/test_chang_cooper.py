"""Chang and Cooper's method: positive, conserving, exact at equilibrium, boundaries, what varies in time, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact_diffusion import OrnsteinUhlenbeck, double_well, double_well_drift, gibbs_density
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.solvers.chang_cooper import ChangCooper, bernoulli
from physdiff.solvers.solve import solve

F64 = torch.float64
WELL = CartesianGrid(60, extent=5.0, origin=-2.6, periodic=False)
SIZES, EXTENTS, ORIGINS = (6, 10, 14), (3.0, 4.0, 5.0), (-1.4, -2.1, -2.6)
BOXES = {n: CartesianGrid(SIZES[3 - n :], extent=EXTENTS[3 - n :], origin=ORIGINS[3 - n :], periodic=False) for n in (1, 2, 3)}


def potential(x, *others):
    """A double well along x, tilted by the other coordinates and coupled to them."""
    return double_well(x) + sum(((0.7 + i) * (y - 0.3 * x) ** 2 for i, y in enumerate(others)), torch.zeros_like(x))


def slope(direction):
    """Minus the derivative of the potential along one direction."""

    def drift(*coordinates_and_time):
        x, *others = coordinates_and_time[:-1]
        if direction:
            return -2 * (direction - 0.3) * (others[direction - 1] - 0.3 * x)
        return x - x**3 + sum((0.6 * (0.7 + i) * (y - 0.3 * x) for i, y in enumerate(others)), torch.zeros_like(x))

    return drift


def circling(x, y, t):
    return 3 * y + torch.sin(2 * x + t)


def mass(u, grid):
    return u["density"].sum(tuple(range(1, grid.ndim + 1))) * math.prod(grid.spacing)


def spike(grid, dtype=F64):
    p = torch.zeros(2, *grid.shape, dtype=dtype)
    p[(0, *(n // 3 for n in grid.shape))], p[(1, *(0 for _ in grid.shape))] = 1.0, 3.0
    return {"density": p}


def run(stepper, u, steps, dt):
    for i in range(steps):
        u = stepper.step(u, i * dt, dt)
    return u


def test_bernoulli_function():
    w = torch.cat([torch.zeros(1, dtype=F64), torch.logspace(-12, 2.9, 60, dtype=F64)])
    # the seam of the series and the quotient lies inside; both against higher precision by a product of halves: B(w) = B(w/2) 2 / (e^(w/2) + 1)
    torch.testing.assert_close(bernoulli(w), bernoulli(w / 2) * 2 / (torch.exp(w / 2) + 1), rtol=1e-14, atol=1e-290)
    assert float(bernoulli(w[:1])) == 1.0
    assert float(bernoulli(torch.tensor(1e9, dtype=F64))) < 1e-290
    w = torch.tensor([0.0, 1e-3, 1e-2, 0.5, 50.0], dtype=F64, requires_grad=True)
    (slopes,) = torch.autograd.grad(bernoulli(w).sum(), w)
    e = torch.expm1(w.detach()[3:])
    torch.testing.assert_close(slopes[3:], 1 / e - w.detach()[3:] * (e + 1) / e**2)
    torch.testing.assert_close(slopes[:2], torch.tensor([-0.5, -0.5 + 1e-3 / 6], dtype=F64), rtol=1e-9, atol=0)


@pytest.mark.parametrize("dt", [1e-3, 0.3, 50.0, 1e9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_positive_and_conserving_for_any_step(dt, dtype):
    grid = CartesianGrid((9, 14), extent=(3.0, 5.0), origin=(-1.4, -2.6), periodic=False)
    stepper = ChangCooper(FokkerPlanck((circling, lambda x, y, t: -9 * x + 0 * y), (0.02, 0.3)), grid)
    start = spike(grid, dtype)
    u = run(stepper, start, 5, dt)
    assert u["density"].dtype == dtype
    assert bool((u["density"] >= 0).all())  # no tolerance
    # a few roundings a step
    torch.testing.assert_close(mass(u, grid), mass(start, grid), rtol=100 * torch.finfo(dtype).eps, atol=0)
    assert float(u["density"].std()) > 0


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_equilibrium_of_a_gradient_drift_stays_to_rounding(ndim, order):
    grid = BOXES[ndim]
    law = FokkerPlanck(tuple(slope(i) for i in range(ndim)), 0.3)
    still = {"density": gibbs_density(potential, grid, diffusion=0.3)[None]}
    u = run(ChangCooper(law, grid, order=order), still, 20, 0.5)
    if order == 1:
        # roundings of w, whose sums reach 30 here, and of the solves
        torch.testing.assert_close(u["density"], still["density"], rtol=1e-12, atol=0)
    else:
        # two stages are subtracted: rounding of the largest entry
        torch.testing.assert_close(u["density"], still["density"], rtol=0, atol=1e-12)
    moved = run(ChangCooper(law, grid, order=order), {"density": still["density"].flip(-1)}, 3, 0.5)
    assert float((moved["density"] - still["density"]).abs().max()) > 1e-2


@pytest.mark.parametrize("periodic", [False, True])
def test_equilibrium_with_a_diffusivity_that_varies(periodic):
    grid = CartesianGrid(48, extent=2.0, periodic=periodic)
    (x,) = grid.coordinates()
    spread = lambda x, t: 0.3 + 0.1 * torch.cos(math.pi * x)  # noqa: E731
    law = FokkerPlanck((lambda x, t: spread(x, t) * 3 * math.pi * torch.cos(math.pi * x + 0.4),), spread)
    still = torch.exp(3 * torch.sin(math.pi * x + 0.4)) / spread(x, 0.0)
    u = run(ChangCooper(law, grid), {"density": still[None]}, 20, 0.5)["density"][0]
    # A / D is a plain wave: four Gauss points err by (pi h)^9 / 3e9, below rounding
    torch.testing.assert_close(u, still, rtol=1e-12, atol=0)


def test_free_energy_falls():
    law = FokkerPlanck((slope(0), slope(1)), 0.3)
    still = gibbs_density(potential, BOXES[2], diffusion=0.3)
    u, energies = {"density": torch.ones(1, *BOXES[2].shape, dtype=F64)}, []
    for dt in (1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0):
        p = u["density"] / mass(u, BOXES[2])
        energies.append(float((p * torch.log(p / still)).sum()))
        u = ChangCooper(law, BOXES[2]).step(u, 0.0, dt)
    assert all(b < a for a, b in zip(energies, energies[1:], strict=False)), energies
    assert energies[-1] < 1e-3 * energies[0]


@pytest.mark.parametrize("shape", [WELL, CartesianGrid((16, 30), extent=(3.0, 5.0), origin=(-1.4, -2.6), periodic=(True, False))])
def test_second_order_is_positive_up_to_its_limit_and_not_far_beyond(shape):
    law = FokkerPlanck((double_well_drift, 0.5)[: shape.ndim], 0.4, loss=0.2)
    stepper = ChangCooper(law, shape, order=2)
    limit = stepper.limit(spike(shape))
    assert bool((run(stepper, spike(shape), 3, limit)["density"] >= -1e-18).all())  # rounding of entries that should be zero
    assert float(stepper.step(spike(shape), 0.0, 20 * limit)["density"].min()) < -1e-2
    assert ChangCooper(law, shape).limit(spike(shape)) == math.inf


def test_absorbing_walls_give_the_known_decay():
    # dp/dt = D p'' - A p' between walls at 0 and L: the slowest rate is D pi^2 / L^2 + A^2 / (4 D)
    d, a, length = 0.3, 0.5, 1.7
    errors = []
    for n in (20, 40, 80):
        grid = CartesianGrid(n, extent=length, origin=0.4, periodic=False)
        stepper = ChangCooper(FokkerPlanck((lambda x, t: a + 0 * x,), d), grid, "absorbing")
        u = run(stepper, {"density": torch.ones(1, n, dtype=F64)}, 12, 10.0)
        left = (u["density"].sum() / stepper.step(u, 0.0, 10.0)["density"].sum() - 1) / 10.0  # backward Euler: 1 / (1 + rate dt)
        errors.append(abs(float(left) - (d * math.pi**2 / length**2 + a**2 / (4 * d))))
    rates = [math.log2(x / y) for x, y in zip(errors, errors[1:], strict=False)]
    assert all(abs(rate - 2) < 0.25 for rate in rates), (errors, rates)


def test_periodic_cells_equal_the_exact_wave():
    grid = CartesianGrid((8, 64), extent=(1.0, 2.0))
    x, _ = grid.coordinates()
    wave = lambda t: 1 + 0.5 * math.exp(-0.1 * math.pi**2 * t) * torch.cos(math.pi * (x - 0.7 * t))[None]  # noqa: E731
    stepper = ChangCooper(FokkerPlanck((0.7, -0.2), (0.1, 0.3)), grid, "periodic", order=2)
    out = solve(stepper, {"density": wave(0.0)}, torch.tensor([0.0, 1.0]), substeps=100)
    # second order: (pi h)^2 / 12 of the wave's speed and decay
    assert float((out["density"][:, -1] - wave(1.0)).abs().max()) < 2e-3


def test_loss_and_source_reach_their_balance_and_rate():
    law = FokkerPlanck((double_well_drift,), 0.2, loss=0.4, source=lambda x, t: 1 + 0.5 * torch.cos(x))
    (x,) = WELL.coordinates()
    gain = float((1 + 0.5 * torch.cos(x)).sum())
    for order in (1, 2):
        u = run(ChangCooper(law, WELL, order=order), spike(WELL), 40, 2.0)
        torch.testing.assert_close(u["density"].sum(1), torch.full((2,), gain / 0.4, dtype=F64), rtol=1e-6, atol=0)
    times = torch.tensor([0.0, 1.0], dtype=F64)
    # the sum m over the cells obeys m' = gain - 0.4 m
    exact = gain / 0.4 + (1 - gain / 0.4) * math.exp(-0.4)
    ends = (solve(ChangCooper(law, WELL, order=2), spike(WELL), times, substeps=n)["density"][0, -1] for n in (10, 20))
    errors = [abs(float(end.sum()) - exact) for end in ends]
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.25, errors


@pytest.mark.parametrize("order", [1, 2])
def test_what_depends_on_time_is_not_kept(order):
    grid = CartesianGrid(160, extent=6.0, origin=-2.5, periodic=False)
    (x,) = grid.coordinates()
    # D = 0.2 + 0.1 t, A = cos 3t: a Gaussian of mean sin(3t)/3 and variance 0.1 + 0.4 t + 0.1 t^2
    law = FokkerPlanck((lambda x, t: math.cos(3 * t) + 0 * x,), lambda x, t: 0.2 + 0.1 * t + 0 * x)
    gauss = lambda m, v: torch.exp(-((x - m) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)  # noqa: E731
    exact = gauss(math.sin(3) / 3, 0.6)
    times, start = torch.tensor([0.0, 1.0], dtype=F64), {"density": gauss(0.0, 0.1)[None]}

    def end(steps, order):
        return solve(ChangCooper(law, grid, order=order), start, times, substeps=steps)["density"][0, -1]

    best = end(320, 2)
    assert float((best - exact).abs().max()) < 1e-2 * float(exact.max())  # what these cells leave
    errors = [float((end(n, order) - best).abs().max()) for n in (20, 40)]
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.25, errors


def test_drift_without_diffusion_is_upwind_and_a_mixture_converges():
    # Klein and Kramers with a harmonic force: no diffusion along x
    process = OrnsteinUhlenbeck(((0.0, -1.0), (1.0, 0.8)), (0.0, 0.4), (0.5, 0.0), ((0.2, 0.0), (0.0, 0.3)))
    errors = []
    for n in (1, 2, 4):
        grid = CartesianGrid((20 * n, 24 * n), extent=(7.0, 8.0), origin=(-3.6, -3.9), periodic=False)
        p = {"density": process.density(*grid.coordinates(), 0.0)[None]}
        u = run(ChangCooper(FokkerPlanck(process.drift, process.diffusion), grid, order=2), p, 5 * n, 0.5 / (5 * n))
        torch.testing.assert_close(mass(u, grid), mass(p, grid), rtol=1e-13, atol=0)
        errors.append(float((u["density"][0] - process.density(*grid.coordinates(), 0.5)).abs().max()))
    assert errors[0] / errors[2] > 2.5, errors  # first order: towards 4


def test_diffusion_that_vanishes_somewhere():
    # D = max(x, 0) / 2, drift 1/2 - x / 2: zero to the left of the origin, where all is blown to the right
    law = FokkerPlanck((lambda x, t: 0.5 - x / 2,), lambda x, t: x.clamp(min=0) / 2)
    grid = CartesianGrid(80, extent=9.0, origin=-1.0, periodic=False)
    (x,) = grid.coordinates()
    u = run(ChangCooper(law, grid), {"density": torch.ones(1, 80, dtype=F64)}, 200, 0.5)
    assert bool((u["density"] >= 0).all())
    torch.testing.assert_close(u["density"].sum(), torch.tensor(80.0, dtype=F64))
    inside = x > 0.2
    # zero current: D p = exp(int A/D) = x e^(-x), so p falls like e^(-x); the cells at the edge are first order
    ratio = u["density"][0, inside] / torch.exp(-x[inside])
    assert float(ratio.std() / ratio.mean()) < 0.05
    assert float(u["density"][0, x < -0.2].sum()) < 1e-6


def test_a_uniform_density_spreads_by_the_differences_of_the_diffusivity():
    # D = max(x, 0): on both sides of its end, and where it ends, the rate is the second difference of D
    grid = CartesianGrid(20, extent=2.0, origin=-1.03, periodic=False)
    (x,) = grid.coordinates()
    dt, d = 1e-7, x.clamp(min=0)
    p = ChangCooper(FokkerPlanck((0.0,), lambda x, t: x.clamp(min=0)), grid).step({"density": torch.ones(1, 20, dtype=F64)}, 0.0, dt)["density"][0]
    rate = ((p - 1) / dt)[1:-1]
    expected = (d[2:] - 2 * d[1:-1] + d[:-2]) / 0.1**2
    # first order in dt, relative to rates of 100
    torch.testing.assert_close(rate, expected, rtol=1e-3, atol=1e-2)
    assert float(expected.max()) > 1


def test_batch_of_parameters_equals_single_runs():
    both = FokkerPlanck((lambda x, t: -x,), torch.tensor([0.1, 0.4], dtype=F64), loss=torch.tensor([0.0, 0.3], dtype=F64))
    u = run(ChangCooper(both, WELL, order=2), spike(WELL), 3, 0.05)["density"]
    for i, (d, loss) in enumerate(((0.1, 0.0), (0.4, 0.3))):
        single = {"density": spike(WELL)["density"][i : i + 1]}
        single = run(ChangCooper(FokkerPlanck((lambda x, t: -x,), d, loss=loss), WELL, order=2), single, 3, 0.05)["density"]
        torch.testing.assert_close(u[i : i + 1], single, rtol=1e-13, atol=1e-15)


def test_a_step_of_another_length_is_solved_anew():
    stepper, fresh = (ChangCooper(FokkerPlanck((double_well_drift,), 0.2), WELL) for _ in range(2))
    stepper.step(spike(WELL), 0.0, 0.5)
    assert torch.equal(stepper.step(spike(WELL), 0.0, 0.1)["density"], fresh.step(spike(WELL), 0.0, 0.1)["density"])


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_with_respect_to_parameters(order):
    p = {"density": Rng(0).uniform((1, 60), like=torch.empty((), dtype=F64))}

    def end(d, speed):
        stepper = ChangCooper(FokkerPlanck((lambda x, t: -speed * x,), d), WELL, order=order)
        return run(stepper, p, 2, 0.1)["density"].square().sum()

    assert torch.autograd.gradcheck(end, tuple(torch.tensor(v, dtype=F64, requires_grad=True) for v in (0.2, 0.7)))


def test_bad_input_is_refused_in_words():
    law = FokkerPlanck((double_well_drift,), 0.2)
    with pytest.raises(InputError, match="expected a density of at least zero, got -1"):
        ChangCooper(law, WELL).step({"density": -spike(WELL)["density"].clamp(max=1.0)}, 0.0, 0.1)
    with pytest.raises(InputError, match="initial density"):
        solve(ChangCooper(law, WELL), {"density": torch.full((1, 60), math.nan)}, torch.tensor([0.0, 1.0]))
    with pytest.raises(InputError, match="expected diffusion along x with finite values of at least 0 in every cell, got -"):
        ChangCooper(FokkerPlanck((0.1,), lambda x, t: x), WELL).step(spike(WELL), 0.0, 0.1)
    with pytest.raises(InputError, match="expected drift along x with finite values in every cell, got"):
        ChangCooper(FokkerPlanck((lambda x, t: torch.log(x),), 0.1), WELL).step(spike(WELL), 0.0, 0.1)
    with pytest.raises(InputError, match="expected source with finite values of at least 0"):
        ChangCooper(FokkerPlanck((0.1,), 0.1, source=lambda x, t: x), WELL).step(spike(WELL), 0.0, 0.1)
    with pytest.raises(ShapeError, match="expected a drift of 2 components as the grid has axes, got 1"):
        ChangCooper(law, BOXES[2])
    with pytest.raises(InputError, match="expected a FokkerPlanck law, got Burgers"):
        ChangCooper(Burgers(0.1), WELL)
    with pytest.raises(InputError, match="order: expected 1 or 2"):
        ChangCooper(law, WELL, order=3)
    with pytest.raises(InputError, match="boundary along x: expected one of absorbing, periodic, reflecting"):
        ChangCooper(law, WELL, "reflective")
    with pytest.raises(GridMismatch, match="got 'periodic', but the grid's axis is open"):
        ChangCooper(law, WELL, "periodic")
    with pytest.raises(GridMismatch, match="expected a uniform CartesianGrid"):
        ChangCooper(law, CartesianGrid(5, points=(torch.tensor([0.0, 1.0, 3.0, 4.0, 5.0]),), periodic=False))


def test_open_grids_need_no_values_beyond_the_walls():
    # the drift is not a number outside [0, 2]
    law = FokkerPlanck((lambda x, t: torch.sqrt(x) - torch.sqrt(2 - x),), lambda x, t: 0.1 + torch.sqrt(x * (2 - x)))
    for boundary in ("reflecting", "absorbing"):
        grid = CartesianGrid(10, extent=2.0, periodic=False)
        assert bool(ChangCooper(law, grid, boundary).step(spike(grid), 0.0, 0.1)["density"].isfinite().all())


def test_steady_states_that_do_not_exist_are_refused():
    like = torch.zeros((), dtype=torch.float64)
    line = CartesianGrid(10, extent=2.0, periodic=False)
    for law, boundary in ((FokkerPlanck((0.0,), 0.1, loss=1.0), None), (FokkerPlanck((0.0,), 0.1), "absorbing")):
        with pytest.raises(InputError, match="expected a loss in every cell and a source, or neither"):
            ChangCooper(law, line, boundary).steady(like)
    with pytest.raises(InputError, match="a line or a plane"):
        ChangCooper(FokkerPlanck((0.0,) * 3, 0.1), CartesianGrid((4, 4, 5), periodic=False)).steady(like)
