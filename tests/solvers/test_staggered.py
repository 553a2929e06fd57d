"""Flow on staggered cells: exact flows, budgets, channels, obstacles, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.grids.boundary import Dirichlet, Neumann, Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.buoyant_flow import BuoyantFlow
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.solvers.runge_kutta import RK4
from physdiff.solvers.solve import solve
from physdiff.solvers.staggered import StaggeredFlow

DOUBLE = torch.float64
WALLS = {"velocity_x": Dirichlet(), "velocity_y": Dirichlet()}


def channel(profile=1.0, **more):
    return {
        "velocity_x": {"x": (Dirichlet(profile), Outflow()), "y": Dirichlet()},
        "velocity_y": {"x": (Dirichlet(), Outflow()), "y": Dirichlet()},
        **more,
    }


def noise(stepper, batch=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return stepper.from_centres({n: torch.randn(batch, *stepper.grid.shape, dtype=DOUBLE, generator=g) for n in stepper.pde.fields})


def still(stepper):
    return {n: torch.zeros(1, *stepper.grid.shape, dtype=DOUBLE) for n in stepper.pde.fields}


def last(solved):
    return {name: f[:, -1] for name, f in solved.items()}


def taylor_green(stepper, t, nu):
    (x, y), (p, q) = stepper.ends.points(0), stepper.ends.points(1)
    decay = math.exp(-2 * nu * t)
    flow = {"velocity_x": torch.sin(x) * torch.cos(y), "velocity_y": -torch.cos(p) * torch.sin(q)}
    return {name: decay * f.narrow(k, 1, f.shape[k] - 1)[None] for k, (name, f) in zip((1, 0), flow.items(), strict=True)}


@pytest.mark.parametrize(("boundary", "limited"), [(None, False), (Reflecting(), False), (None, True)])
def test_vortices_that_decay_are_of_second_order(boundary, limited):
    """Taylor and Green's vortices, in a periodic box or, between slip walls, in one of the cells of their pattern."""
    errors, pressures = [], []
    for n in (12, 24):
        grid = CartesianGrid((n, n), extent=math.pi if boundary else 2 * math.pi, periodic=boundary is None)
        stepper = StaggeredFlow(IncompressibleFlow(0.1), grid, boundary, limited=limited)
        end = last(solve(stepper, taylor_green(stepper, 0.0, 0.1), torch.tensor([0.0, 1.0], dtype=DOUBLE), substeps=n))
        exact = taylor_green(stepper, 1.0, 0.1)
        errors.append(max(float((end[k] - exact[k]).abs().mean()) for k in exact))
        x, y = grid.coordinates()
        # p = (cos 2x + cos 2y) / 4 for u = sin x cos y, v = -cos x sin y
        pressures.append(float((stepper.pressure(end)[0] - (torch.cos(2 * x) + torch.cos(2 * y)) / 4 * math.exp(-0.4)).abs().mean()))
        assert float(stepper.divergence(end).abs().max()) < 1e-13
    order = math.log2(errors[0] / errors[1])
    assert order > 1.7 if limited else order == pytest.approx(2, abs=0.15), errors
    assert limited or math.log2(pressures[0] / pressures[1]) == pytest.approx(2, abs=0.25), pressures


@pytest.mark.parametrize("ndim", [2, 3])
def test_without_viscosity_the_energy_stays_around_obstacles(ndim):
    shape = (10, 12) if ndim == 2 else (4, 10, 12)
    solid = torch.zeros(shape, dtype=torch.bool)
    solid[..., 3:6, 4:7] = True
    solid[..., 0, 9:11] = True
    grid = CartesianGrid(shape, extent=tuple(0.1 * (n + 1) for n in shape), periodic=(False,) * (ndim - 1) + (True,))
    stepper = StaggeredFlow(IncompressibleFlow(0.0, ndim=ndim), grid, Reflecting(), solid=solid, slip=True)
    u = noise(stepper)
    rates = stepper.rates.all(stepper._state(u, 0.0), 0.0)
    work = sum((u[n] * rates[n].narrow(-1 - i, 1, shape[-1 - i])).flatten(1).sum(1) for i, n in enumerate(u))
    size = sum(u[n].square().flatten(1).sum(1) for n in u)
    # rounding of some thousand terms; a flux that is off by a per cent gives 1e-2
    assert float((work / size).abs().max()) < 1e-12


def test_a_channel_develops_from_its_inflow():
    n, nu = 8, 0.1
    grid = CartesianGrid((n, 2 * n), extent=(1.0, 3.0), periodic=False)
    stepper = StaggeredFlow(IncompressibleFlow(nu), grid, channel())
    with torch.no_grad():
        end = last(solve(stepper, still(stepper), torch.tensor([0.0, 5.0], dtype=DOUBLE), substeps=120))
    flow, y = stepper.faces(end, 5.0), grid.axes()[0]
    torch.testing.assert_close(flow[0].mean(1), torch.ones(1, 2 * n + 1, dtype=DOUBLE), atol=1e-13, rtol=0)  # what comes in goes through and out
    assert float(stepper.divergence(end, 5.0).abs().max()) < 1e-12
    # the parabola that the differences have: mirrored at the walls, so h^2 / 4 higher before it is scaled to the flux
    profile = y * (1 - y) + 1 / (4 * n * n)
    # the entrance has died out to exp(-2.5 * 3 / 1) of the plug
    torch.testing.assert_close(flow[0][0, :, -1], profile / profile.mean(), atol=2e-4, rtol=0)
    torch.testing.assert_close(flow[0][0, :, -1], 6 * y * (1 - y), atol=1.5 / n**2, rtol=0)
    slope = stepper.pressure(end, 5.0)[0].mean(0).diff() / grid.spacing[1]
    # -2 nu / (mean of the profile before scaling): -12 nu as h goes to zero
    assert float(slope[-3]) == pytest.approx(-2 * nu / float(profile.mean()), rel=1e-3)


@pytest.mark.parametrize("turned", [False, True])
def test_either_end_may_be_the_open_one(turned):
    grid = CartesianGrid((6, 10), extent=(1.0, 2.0), periodic=False)
    solid = torch.zeros(6, 10, dtype=torch.bool)
    solid[2:4, 4:6] = True
    ends = (Dirichlet(lambda x, y, t: 6 * y * (1 - y) * (1 + t)), Outflow())
    if turned:
        ends = (Outflow(), Dirichlet(lambda x, y, t: -6 * y * (1 - y) * (1 + t)))
        solid = solid.flip(1)
    boundary = {"velocity_x": {"x": ends, "y": Dirichlet()}, "velocity_y": {"x": Dirichlet(), "y": Dirichlet()}}
    stepper = StaggeredFlow(IncompressibleFlow(0.1), grid, boundary, solid=solid)
    with torch.no_grad():
        both = solve(stepper, still(stepper), torch.tensor([0.0, 0.2, 0.4], dtype=DOUBLE), substeps=8)
        once = last(solve(stepper, still(stepper), torch.tensor([0.0, 0.4], dtype=DOUBLE), substeps=16))
    end = last(both)
    for name, f in once.items():  # nothing is lost by stopping between
        torch.testing.assert_close(end[name], f, atol=1e-12, rtol=0)
    flow = stepper.faces(end, 0.4)[0][0]
    sign = -1.0 if turned else 1.0
    torch.testing.assert_close(
        sign * flow.mean(0), torch.full((11,), float(flow[:, -1 if turned else 0].mean() * sign), dtype=DOUBLE), atol=1e-13, rtol=0
    )
    assert bool((flow[2:4, 4:7].abs() == 0).all())
    if turned:
        boundary["velocity_x"]["x"] = (Dirichlet(lambda x, y, t: 6 * y * (1 - y) * (1 + t)), Outflow())
        mirror = StaggeredFlow(IncompressibleFlow(0.1), grid, boundary, solid=solid.flip(1))
        with torch.no_grad():
            other = last(solve(mirror, still(mirror), torch.tensor([0.0, 0.4], dtype=DOUBLE), substeps=16))
        torch.testing.assert_close(flow, -mirror.faces(other, 0.4)[0][0].flip(1), atol=1e-12, rtol=0)


def test_a_sliding_wall_and_a_slip_wall():
    """Couette's start-up flow under a lid, above a slip wall: u = 1 + sum of cosines."""
    n, nu, t = 8, 0.3, 0.7
    grid = CartesianGrid((n, 4), periodic=(False, True))
    stepper = StaggeredFlow(IncompressibleFlow(nu), grid, {"velocity_x": {"y": (Neumann(0.0), Dirichlet(1.0))}, "velocity_y": {"y": Dirichlet()}})
    with torch.no_grad():
        end = last(solve(stepper, still(stepper), torch.tensor([0.0, t], dtype=DOUBLE), substeps=30))
    y, exact = grid.axes()[0], 1.0
    for k in range(40):
        m = (k + 0.5) * math.pi
        exact = exact - 2 * (-1) ** k / m * torch.cos(m * y) * math.exp(-nu * m * m * t)
    # second order: the slowest wave, 0.76 high, decays at a rate lower by the share (pi / 2 / n)^2 / 12
    torch.testing.assert_close(end["velocity_x"][0, :, 0], exact, atol=5e-3, rtol=0)


def test_flow_beside_an_obstacle_is_that_beside_a_wall():
    """Poiseuille flow over a solid layer is that over a wall half a cell below the first faces, stuck or sliding."""
    n = 8
    solid = torch.zeros(n + 2, 4, dtype=torch.bool)
    solid[:2] = True
    law = IncompressibleFlow(0.5, forcing=(1.0, 0.0))
    for slip in (False, True):
        bottom = Neumann(0.0) if slip else Dirichlet()
        top = {"velocity_x": {"y": (bottom, Dirichlet())}, "velocity_y": {"y": Dirichlet()}}
        over = StaggeredFlow(law, CartesianGrid((n + 2, 4), extent=((n + 2) / n, 0.5), periodic=(False, True)), top, solid=solid, slip=slip)
        plain = StaggeredFlow(law, CartesianGrid((n, 4), extent=(1.0, 0.5), periodic=(False, True)), top)
        u, v = (last(solve(s, still(s), torch.tensor([0.0, 0.1], dtype=DOUBLE), substeps=20)) for s in (over, plain))
        torch.testing.assert_close(u["velocity_x"][:, 2:], v["velocity_x"], atol=1e-13, rtol=0)
        assert bool((u["velocity_x"][:, :2] == 0).all())


def test_what_is_carried_keeps_its_bounds_and_its_sum():
    grid = CartesianGrid((12, 20), extent=(1.2, 2.0), periodic=False)
    solid = torch.zeros(12, 20, dtype=torch.bool)
    solid[4:8, 8:11] = True
    no_flux = {"x": (Dirichlet(0.0), Outflow()), "y": Reflecting()}
    law = BuoyantFlow(0.01, 0.0, lift=2.0)
    stepper = StaggeredFlow(law, grid, channel(buoyancy=no_flux), solid=solid)
    u = still(stepper)
    u["buoyancy"][:, 3:9, 2:6] = 1.0
    times = torch.linspace(0, 0.4, 3, dtype=DOUBLE)
    with torch.no_grad():
        got = solve(stepper, u, times, substeps=8)
    b = got["buoyancy"]
    assert float(b.min()) > -1e-14 and float(b.max()) < 1 + 1e-14
    assert float(b[:, -1][:, solid].abs().max()) == 0.0
    total = b.flatten(2).sum(-1)[0]
    torch.testing.assert_close(total, torch.full_like(total, 24.0), atol=1e-11, rtol=0)  # nothing has reached the end yet
    closed = StaggeredFlow(BuoyantFlow(0.02, 0.03), grid, {**WALLS, "buoyancy": Neumann(0.0)}, solid=solid)
    end = last(solve(closed, u, torch.tensor([0.0, 0.5], dtype=DOUBLE), substeps=20))["buoyancy"]
    assert float(end.sum()) == pytest.approx(24.0, abs=1e-11) and float(end[:, solid].abs().max()) == 0.0


def test_a_slab_warms_up_between_its_walls():
    """Heat alone: between walls at 0 and 1 from 0, as a series."""
    n, kappa, t = 16, 0.2, 0.5
    grid = CartesianGrid((n, 4), periodic=(False, True))
    still_walls = {"velocity_x": {"y": Dirichlet()}, "velocity_y": {"y": Dirichlet()}}
    stepper = StaggeredFlow(BuoyantFlow(0.1, kappa, lift=0.0), grid, {**still_walls, "buoyancy": {"y": (Dirichlet(), Dirichlet(1.0))}})
    end = last(solve(stepper, still(stepper), torch.tensor([0.0, t], dtype=DOUBLE), substeps=50))["buoyancy"][0, :, 0]
    y = grid.axes()[0]
    exact = y + sum(2 * (-1) ** k / (k * math.pi) * torch.sin(k * math.pi * y) * math.exp(-kappa * (k * math.pi) ** 2 * t) for k in range(1, 30))
    torch.testing.assert_close(end, exact, atol=3e-3, rtol=0)


def test_buoyancy_drives_as_stratification_takes():
    """A standing wave of a stratified fluid: its frequency is N k / |k|."""
    grid = CartesianGrid((32, 32), extent=2 * math.pi)
    stepper = StaggeredFlow(BuoyantFlow(0.0, 0.0, stratification=4.0), grid, tableau=RK4)
    u = still(stepper)
    x, y = grid.coordinates()
    u["buoyancy"][0] = 1e-6 * torch.cos(x + y)
    half = math.pi / (2 / math.sqrt(2))
    end = last(solve(stepper, u, torch.tensor([0.0, half], dtype=DOUBLE), substeps=60))["buoyancy"]
    # differences over a cell see sin(h / 2) / (h / 2) of each wave number and the mean over one its cosine: half a per cent of the phase pi
    torch.testing.assert_close(end[0], -1e-6 * torch.cos(x + y), atol=2.5e-8, rtol=0)


def test_gradients_and_a_viscosity_for_each_sample():
    grid = CartesianGrid((5, 6), extent=(1.0, 1.2), periodic=False)
    solid = torch.zeros(5, 6, dtype=torch.bool)
    solid[1:3, 2:4] = True
    inflow = torch.tensor([1.0, 0.5], dtype=DOUBLE, requires_grad=True)
    scalar = {"x": (Dirichlet(1.0), Outflow()), "y": Reflecting()}
    viscosity = torch.tensor([0.1, 0.3], dtype=DOUBLE, requires_grad=True)

    def advanced(viscosity, inflow, *fields):
        law = BuoyantFlow(viscosity, 0.05, lift=2.0)
        stepper = StaggeredFlow(law, grid, channel(inflow, buoyancy=scalar), solid=solid)
        return tuple(stepper.step(dict(zip(law.fields, fields, strict=True)), 0.0, 0.02).values())

    start = StaggeredFlow(BuoyantFlow(0.1, 0.05), grid, channel(inflow.detach(), buoyancy=scalar), solid=solid)
    fields = tuple(f.requires_grad_() for f in noise(start).values())
    assert torch.autograd.gradcheck(advanced, (viscosity, inflow, *fields), fast_mode=True)
    alone = advanced(0.3, 0.5, *(f[1:].detach() for f in fields))
    for both, one in zip(advanced(viscosity, inflow, *fields), alone, strict=True):
        torch.testing.assert_close(both[1:], one, atol=1e-12, rtol=0)


def test_centres_and_faces():
    grid = CartesianGrid((8, 8), extent=2 * math.pi)
    stepper = StaggeredFlow(IncompressibleFlow(0.1), grid)
    x, y = grid.coordinates()
    centres = {"velocity_x": torch.sin(y)[None] + 0.3, "velocity_y": torch.cos(x)[None]}
    back = stepper.at_centres(stepper.from_centres(centres))
    # means over neighbours along the direction in which nothing changes lose nothing
    torch.testing.assert_close(back["velocity_x"], centres["velocity_x"], atol=1e-13, rtol=0)
    limit = stepper.limit(stepper.from_centres(centres))
    assert 0.1 < limit < stepper.unstable_beyond(stepper.from_centres(centres)) < 10


def test_refusals():
    grid = CartesianGrid((4, 6), periodic=False)
    with pytest.raises(UnsupportedOperator, match="it knows IncompressibleFlow and BuoyantFlow"):
        StaggeredFlow(Burgers(0.1), grid, Dirichlet())
    with pytest.raises(InputError, match="CartesianGrid of 3 dimensions"):
        StaggeredFlow(IncompressibleFlow(0.1, ndim=3), grid, Dirichlet())
    with pytest.raises(InputError, match="nothing is said about `velocity_x`"):
        StaggeredFlow(IncompressibleFlow(0.1), grid)
    with pytest.raises(ShapeError, match="mask of the grid's shape"):
        StaggeredFlow(IncompressibleFlow(0.1), grid, Dirichlet(), solid=torch.zeros(6, 4, dtype=torch.bool))
    with pytest.raises(InputError, match="leave no fluid|True everywhere"):
        StaggeredFlow(IncompressibleFlow(0.1), grid, Dirichlet(), solid=torch.ones(4, 6, dtype=torch.bool))
    pushed = StaggeredFlow(
        IncompressibleFlow(0.1), grid, {"velocity_x": {"x": (Dirichlet(1.0), Dirichlet(0.9)), "y": Dirichlet()}, "velocity_y": Dirichlet()}
    )
    with pytest.raises(InputError, match="got 0.1 too much"):
        pushed.step(still(pushed), 0.0, 0.01)
    stopped = torch.zeros(4, 6, dtype=torch.bool)
    stopped[:, 3] = True
    with pytest.raises(InputError, match="balance where no end is open"):
        shut = StaggeredFlow(IncompressibleFlow(0.1), grid, channel(), solid=stopped)
        shut.step(still(shut), 0.0, 0.01)


def test_smoke_from_a_source_and_a_field_of_lifts():
    """What a source gives is there, none of it inside obstacles; and a lift in parts is one number along each direction."""
    grid = CartesianGrid((8, 10), extent=(0.8, 1.0), periodic=False)
    solid = torch.zeros(8, 10, dtype=torch.bool)
    solid[4:6, 4:7] = True
    ends = {**WALLS, "buoyancy": Reflecting()}
    made = []
    for lift in (1.5, (0.0, lambda x, y, t: 1.5 + 0 * x)):
        law = BuoyantFlow(0.01, 0.0, lift=lift, source=lambda x, y, t: (x < 0.35).double() * (1 + t))
        stepper = StaggeredFlow(law, grid, ends, solid=solid)
        made.append(last(solve(stepper, still(stepper), torch.tensor([0.0, 0.4], dtype=DOUBLE), substeps=8)))
    torch.testing.assert_close(made[0]["velocity_y"], made[1]["velocity_y"], atol=1e-14, rtol=0)
    b = made[0]["buoyancy"]
    # 24 cells of fluid to the left of 0.35, for 0.4 + 0.08
    assert float(b.sum()) == pytest.approx(24 * 0.48, abs=1e-12) and float(b[:, solid].abs().max()) == 0.0
    assert float(made[0]["velocity_y"][0, :, 1].max()) > 0.01


def unsteady(implicit, *, solid=None):
    """Warm fluid pulsates into a channel under a sliding wall."""
    pulse = Dirichlet(lambda x, y, t: 6 * y * (1 - y) * (1 + 0.5 * math.sin(3 * t)))
    ends = channel(buoyancy={"x": (Dirichlet(1.0), Outflow()), "y": Reflecting()})
    ends["velocity_x"] = {"x": (pulse, Outflow()), "y": (Dirichlet(), Dirichlet(0.5))}
    grid = CartesianGrid((8, 10), extent=(1.0, 2.0), periodic=False)
    return StaggeredFlow(BuoyantFlow(0.3, 0.0, lift=1.0), grid, ends, solid=solid, implicit=implicit)


@pytest.mark.parametrize("blocked", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_implicit_viscosity_meets_the_explicit_one(blocked):
    solid = torch.zeros(8, 10, dtype=torch.bool)
    solid[2:5, 3:5] = blocked
    explicit, implicit = (unsteady(kind, solid=solid if blocked else None) for kind in (False, True))
    with torch.no_grad():
        u = last(solve(explicit, still(explicit), torch.tensor([0.0, 0.3], dtype=DOUBLE), substeps=25))
        span = torch.tensor([0.3, 0.45], dtype=DOUBLE)
        wanted = last(solve(explicit, u, span, substeps=25))
        errors = []
        for n in (5, 10):
            got = last(solve(implicit, u, span, substeps=n))
            errors.append(max(float((got[k] - wanted[k]).square().mean().sqrt()) for k in ("velocity_x", "velocity_y")))
            assert float(implicit.divergence(got, 0.45).abs().max()) < 1e-12
    # second order; next to walls the largest error falls a little more slowly (the wall's value holds before the projection, not after it)
    assert math.log2(errors[0] / errors[1]) > 1.6 and errors[1] < 1e-3, errors


def test_implicit_steps_are_limited_by_advection_alone():
    explicit, implicit = (unsteady(kind) for kind in (False, True))
    u = still(explicit)
    assert implicit.limit(u) > 2 * explicit.limit(u)
    grid = CartesianGrid((12, 4), periodic=(False, True))
    stepper = StaggeredFlow(IncompressibleFlow(1.0, forcing=(2.0, 0.0)), grid, {name: {"y": Dirichlet()} for name in WALLS}, implicit=True)
    end = last(solve(stepper, still(stepper), torch.tensor([0.0, 20.0], dtype=DOUBLE), substeps=40))
    y = grid.axes()[0]
    # steps a hundred times beyond the explicit limit; Crank and Nicolson's short waves turn their sign and die slowly: 0.97 to the 40th
    torch.testing.assert_close(end["velocity_x"][0, :, 0], y * (1 - y) + 1 / (4 * 144), atol=2e-3, rtol=0)


def test_gradients_through_implicit_steps():
    solid = torch.zeros(8, 10, dtype=torch.bool)
    solid[2:4, 3:5] = True
    stepper = unsteady(True, solid=solid)
    fields = tuple(f[:1].requires_grad_() for f in noise(stepper, batch=1).values())

    def advanced(*fields):
        return tuple(stepper.step(dict(zip(stepper.pde.fields, fields, strict=True)), 0.1, 0.02).values())

    assert torch.autograd.gradcheck(advanced, fields, fast_mode=True, atol=1e-4)
