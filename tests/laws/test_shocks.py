"""Shocks, bores, contacts and vacuum-near flows by finite volumes against exact solutions; golden errors of Sod's tube."""

import math

import pytest
import torch

from physdiff.grids.boundary import Outflow, Reflecting
from physdiff.grids.cartesian import CartesianGrid
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import CompressibleNavierStokes, Euler
from physdiff.pdes.exact_compressible import DOUBLE_RAREFACTION, isentropic_vortex, shu_osher, sound_damping, sound_wave
from physdiff.pdes.exact_riemann import SOD, burgers_riemann, gas_riemann
from physdiff.pdes.exact_shallow_water import ritter, stoker, water_vortex
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.solvers.finite_volume import FiniteVolume
from physdiff.solvers.reconstruction import MUSCL, WENO5, PiecewiseConstant, mc
from physdiff.solvers.riemann import HLL, HLLC, Godunov, Rusanov
from physdiff.solvers.solve import solve


def run(stepper, u, end, *, cfl=0.4):
    """To the end by steps of a share of the limit, measured anew at each."""
    t = 0.0
    while t < end - 1e-12:
        dt = min(cfl * stepper.limit(u, t), end - t)
        u, t = stepper.step(u, t, dt), t + dt
    return u


VAN_LEER, CONTACT = MUSCL(), HLLC()


def tube(n, states=SOD, *, end, reconstruction=VAN_LEER, riemann=CONTACT):
    """L1 error of the density from two states that meet in the middle, the fields, and the change of mass."""
    grid, law = CartesianGrid(n, periodic=False), Euler()
    (x,) = grid.coordinates()
    w = gas_riemann(x, 0.0, states, position=0.5)
    start = law.state(w["density"][None], (w["velocity_x"][None],), w["pressure"][None])
    u = run(FiniteVolume(law, grid, reconstruction=reconstruction, riemann=riemann, boundary=Outflow()), start, end)
    error = float((u["density"][0] - gas_riemann(x, end, states, position=0.5)["density"]).abs().mean())
    return error, u, float(u["density"].mean() - start["density"].mean())


GOLDEN = {100: 5.33e-3, 200: 2.83e-3, 400: 1.58e-3}


def check_sod(n):
    error, _, change = tube(n, end=0.2)
    print(f"Sod N = {n}: L1 of density {error:.4e}, golden {GOLDEN[n]:.2e}, mass {change:.1e}")
    assert abs(error / GOLDEN[n] - 1) < 0.02
    assert abs(change) < 2e-15  # rounding: the waves have not met the ends


def test_golden_error_of_sod():
    check_sod(100)


@pytest.mark.slow
@pytest.mark.parametrize("n", [200, 400])
def test_golden_errors_of_sod_on_finer_grids(n):
    check_sod(n)


@pytest.mark.slow
def test_other_methods_on_sod():
    # first order: golden 2.09e-2 and 1.33e-2
    for n, golden in ((100, 2.09e-2), (200, 1.33e-2)):
        assert abs(tube(n, end=0.2, reconstruction=PiecewiseConstant())[0] / golden - 1) < 0.02
    errors = {
        "WENO5": tube(100, end=0.2, reconstruction=WENO5("Z"))[0],
        "MUSCL mc": tube(100, end=0.2, reconstruction=MUSCL(mc))[0],
        "HLL": tube(100, end=0.2, riemann=HLL())[0],
        "Rusanov": tube(100, end=0.2, riemann=Rusanov())[0],
    }
    print(errors)
    assert errors["WENO5"] < errors["MUSCL mc"] < GOLDEN[100] < errors["HLL"] < errors["Rusanov"] < 1e-2


@pytest.mark.parametrize("reconstruction", [MUSCL(), WENO5()], ids=["muscl", "weno"])
def test_double_rarefaction_stays_positive(reconstruction):
    law = Euler()
    error, u, _ = tube(100, DOUBLE_RAREFACTION, end=0.15, reconstruction=reconstruction)
    # 0.0219 and 0.0019 in the middle of the exact flow
    assert 0 < float(u["density"].min()) < 0.05 and 0 < float(law.pressure(u).min()) < 0.01
    assert error < 0.02


def test_shock_that_hits_a_wall_doubles_back():
    """A gas that runs into a wall is brought to rest by a shock: as two equal streams that collide."""
    law, n = Euler(), 100
    grid = CartesianGrid(n, periodic=False)
    one = torch.ones(1, n, dtype=torch.float64)
    from_left = {"x": (Outflow(), Reflecting())}
    u = run(FiniteVolume(law, grid, riemann=HLLC(), boundary=from_left), law.state(one, (one,), one), 0.3)
    both = CartesianGrid(2 * n, extent=2.0, periodic=False)
    sign = torch.where(both.coordinates()[0] < 1, 1.0, -1.0).double()[None]
    twice = torch.ones(1, 2 * n, dtype=torch.float64)
    v = run(FiniteVolume(law, both, riemann=HLLC(), boundary=Outflow()), law.state(twice, (sign,), twice), 0.3)
    for name in law.fields:
        torch.testing.assert_close(u[name], v[name][:, :n], rtol=1e-11, atol=1e-12)
    assert float(u["density"].max()) > 1.8


@pytest.mark.slow
def test_shock_meets_density_waves():
    """Shu and Osher's problem on finer and finer grids; there is no closed form."""
    law, fields = Euler(), {}
    for n in (100, 200, 400):
        grid = CartesianGrid(n, extent=10.0, origin=-5.0, periodic=False)
        w = shu_osher(grid.coordinates()[0][None])
        stepper = FiniteVolume(law, grid, reconstruction=WENO5("Z"), riemann=HLLC(), boundary=Outflow())
        u = run(stepper, law.state(w["density"], (w["velocity_x"],), w["pressure"]), 1.8)
        fields[n] = u["density"][0].reshape(100, -1).mean(1)
    errors = [float((fields[n] - fields[400]).abs().mean()) for n in (100, 200)]
    print("Shu-Osher: off from 400 cells", errors, "crest of 0.1", float(fields[400].max()))
    # the waves behind the shock are some 0.4 long: 4, 8 and 16 cells, so 200 is only on the way; waves stand on a plateau of 3.9
    assert errors[1] < 0.8 * errors[0] and float(fields[100].max()) < float(fields[200].max()) < float(fields[400].max()) < 4.8
    assert float(fields[400].max()) > 4.4


def vortex_errors(reconstruction, sizes):
    law, errors = Euler(ndim=2), []
    for n in sizes:
        grid = CartesianGrid((5 * n, 6 * n), extent=(10.0, 12.0))
        x, y = grid.coordinates()

        def state(t, x=x, y=y):
            w = isentropic_vortex((x[None], y[None]), t, extent=(12.0, 10.0), centre=(6.0, 5.0), flow=(1.0, 0.5))
            return law.state(w["density"], (w["velocity_x"], w["velocity_y"]), w["pressure"])

        out = run(FiniteVolume(law, grid, reconstruction=reconstruction, riemann=HLLC()), state(0.0), 0.5)
        errors.append(float((out["density"] - state(0.5)["density"]).abs().mean()))
    return errors


def test_order_two_on_a_vortex():
    errors = vortex_errors(MUSCL(), (4, 8))
    print("vortex, MUSCL", errors, math.log2(errors[0] / errors[1]))
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.25


@pytest.mark.slow
def test_weno_in_the_plane_is_of_order_two_with_a_small_constant():
    weno, muscl = vortex_errors(WENO5("Z"), (8, 16)), vortex_errors(MUSCL(), (16,))
    print("vortex, WENO5-Z", weno, math.log2(weno[0] / weno[1]), "MUSCL", muscl)
    # values at centres for means, and fluxes at centres of faces: order 2, said so in the class; some four times nearer
    assert abs(math.log2(weno[0] / weno[1]) - 2) < 0.25 and weno[1] < muscl[0] / 3


@pytest.mark.parametrize("rotation", [(0.0, (0.8, -0.4)), (0.7, (0.0, 0.0))], ids=["carried", "rotating"])
def test_order_two_on_a_vortex_of_water(rotation):
    law, errors = ShallowWater(1.0, coriolis=rotation[0]), []
    for n in (4, 8):
        grid = CartesianGrid((5 * n, 6 * n), extent=(10.0, 12.0))

        def state(t, grid=grid):
            coordinates = tuple(c[None] for c in grid.coordinates())
            w = water_vortex(coordinates, t, extent=(12.0, 10.0), centre=(6.0, 5.0), strength=3.0, depth=2.0, rotation=rotation)
            return {"depth": w["depth"], "momentum_x": w["depth"] * w["velocity_x"], "momentum_y": w["depth"] * w["velocity_y"]}

        out = run(FiniteVolume(law, grid, reconstruction=MUSCL(mc), riemann=HLL()), state(0.0), 0.5)
        errors.append(float((out["depth"] - state(0.5)["depth"]).abs().mean()))
    print("vortex of water", errors, math.log2(errors[0] / errors[1]))
    # limiting at the crests blurs the order on grids as coarse as these
    assert 1.75 < math.log2(errors[0] / errors[1]) < 2.6


@pytest.mark.slow
def test_sound_decays_by_viscosity_and_conduction():
    eta, zeta, conductivity = torch.tensor([0.002, 0.0]), 0.001, torch.tensor([0.0, 0.006])
    law = CompressibleNavierStokes(eta.double(), zeta, conductivity.double())
    grid = CartesianGrid(48, extent=2.0)
    (x,) = grid.coordinates()
    k, end = math.pi, 2 * 2.0 / math.sqrt(1.4)
    w = sound_wave(x.expand(2, -1), 0.0, wave_number=k, amplitude=1e-4)
    u = run(FiniteVolume(law, grid, reconstruction=WENO5("Z"), riemann=HLLC()), law.state(w["density"], (w["velocity_x"],), w["pressure"]), end)
    # after two periods: only the decay is left to see
    decay = (u["density"] - 1) @ torch.sin(k * x) / (1e-4 * 24)
    for i in range(2):
        rate = sound_damping(k, viscosity=float(eta[i]), bulk_viscosity=zeta, conductivity=float(conductivity[i]))
        print("decay of sound", -math.log(float(decay[i])) / end, rate)
        # the scheme's own damping, amplitude and the square of the decay per radian: below 1 %
        assert abs(-math.log(float(decay[i])) / end / rate - 1) < 0.01


@pytest.mark.parametrize("riemann", [Rusanov(), HLL()])
def test_dam_breaks(riemann):
    law = ShallowWater(1.0, ndim=1)
    cases = {
        "wet": lambda x, t: stoker(x, t, depths=(1.0, 0.2), gravity=1.0),
        "dry": lambda x, t: ritter(x, t, depth=1.0, gravity=1.0),
    }
    for name, exact in cases.items():
        errors = []
        for n in (50, 100):
            grid = CartesianGrid(n, extent=4.0, origin=-2.0, periodic=False)
            (x,) = grid.coordinates()
            depth = exact(x, 0.0)["depth"][None]
            u = run(FiniteVolume(law, grid, riemann=riemann, boundary=Outflow()), {"depth": depth, "momentum_x": 0 * depth}, 0.5)
            errors.append(float((u["depth"][0] - exact(x, 0.5)["depth"]).abs().mean()))
            assert float((u["depth"].sum() - depth.sum()).abs()) < 1e-12 and float(u["depth"].min()) >= 0
        print(f"dam before {name} ground, {type(riemann).__name__}", errors)
        # shocks and the kinks of fans are of first order in the mean
        assert errors[1] < 5.5e-3 and 0.75 < math.log2(errors[0] / errors[1]) < 1.25


@pytest.mark.parametrize("reconstruction", [PiecewiseConstant(), MUSCL(), WENO5()], ids=["constant", "muscl", "weno"])
def test_a_lake_at_rest_stays_at_rest(reconstruction):
    grid = CartesianGrid((12, 20), extent=(3.0, 4.0), periodic=(False, True))

    def ground(x, y, t):
        return -1 + 0.4 * torch.exp(-((y - 1.2) ** 2) - 4 * torch.sin(math.pi * x / 4) ** 2) + 0.2 * torch.cos(math.pi * x / 2)

    law = ShallowWater(9.81, coriolis=0.3, bathymetry=ground, drag=0.1)
    depth = (0.05 - ground(*grid.coordinates(), 0.0))[None]
    start = {"depth": depth, "momentum_x": 0 * depth, "momentum_y": 0 * depth}
    for boundary in (Reflecting(), Outflow()):
        stepper = FiniteVolume(law, grid, reconstruction=reconstruction, riemann=HLL(), boundary=boundary)
        out = solve(stepper, start, torch.tensor([0.0, 0.3], dtype=torch.float64))
        # rounding of some 30 steps of g h^2 / h_x dt
        assert max(float((f[:, 1] - f[:, 0]).abs().max()) for f in out.values()) < 1e-13
    # and a small wave on it moves
    start["depth"] = depth + 1e-3 * torch.cos(math.pi * grid.coordinates()[0] / 2)
    out = solve(stepper, start, torch.tensor([0.0, 0.3], dtype=torch.float64))
    assert 1e-4 < float((out["depth"][:, 1] - out["depth"][:, 0]).abs().max()) < 4e-3


@pytest.mark.parametrize("riemann", [Rusanov(), Godunov()])
def test_burgers_shock_and_fan(riemann):
    grid = CartesianGrid(100, extent=4.0, origin=-1.0, periodic=False)
    (x,) = grid.coordinates()
    for left, right, largest in ((2.0, -0.5, 0.03), (-0.5, 2.0, 0.02)):
        start = burgers_riemann(x, 0.0, (left, right))[None]
        u = run(FiniteVolume(Burgers(0.0), grid, riemann=riemann, boundary=Outflow()), {"u": start}, 0.8)["u"]
        exact = burgers_riemann(x, 0.8, (left, right))
        assert float((u[0] - exact).abs().mean()) < largest
        # where the shock is: what came in less what went out, to rounding; the start has its jump on a face
        assert abs(float(u.sum() - start.sum()) * 0.04 - 0.8 * (left**2 - right**2) / 2) < 1e-12
        assert float(u.max()) < max(left, right) + 1e-12 and float(u.min()) > min(left, right) - 1e-12


def test_entropy_falls_by_a_twelfth_of_the_cube_of_the_jump():
    grid = CartesianGrid(200, extent=4.0, origin=-1.0, periodic=False)
    (x,) = grid.coordinates()
    stepper, law_u = FiniteVolume(Burgers(0.0), grid, boundary=Outflow()), {"u": burgers_riemann(x, 0.0, (2.0, -0.5))[None]}
    early = run(stepper, law_u, 0.3)
    late = run(stepper, early, 0.5)
    change = float((late["u"] ** 2 - early["u"] ** 2).sum() / 2) * 0.02 / 0.5
    through_the_ends = (2.0**3 + 0.5**3) / 3  # u^3/3 in on the left, in on the right
    # the shock passes cells: its profile breathes at the size of one cell's energy over the time
    assert abs(through_the_ends - change - 2.5**3 / 12) < 0.02


@pytest.mark.slow
def test_a_sine_becomes_a_sawtooth():
    grid = CartesianGrid(200)
    (x,) = grid.coordinates()
    u = run(FiniteVolume(Burgers(0.0), grid, riemann=Godunov()), {"u": torch.sin(2 * math.pi * x)[None]}, 3.0)["u"][0]
    # long after breaking (t = 1/2 pi): characteristics from x0 give u = sin(2 pi x0) at x = x0 + u t, up to the shock at 1/2
    foot = torch.linspace(0, 0.5, 100_001, dtype=torch.float64)
    reached = foot + 3.0 * torch.sin(2 * math.pi * foot)
    inside = reached <= 0.5
    first = int((~inside).double().argmax())
    at = torch.searchsorted(reached[:first], x[:98])
    wanted = torch.sin(2 * math.pi * foot[at])
    assert float((u[:98] - wanted).abs().max()) < 2e-3
    # sawtooth: amplitudes fall like 1/k
    amplitudes = torch.fft.rfft(u).abs()
    for k in (2, 4, 8):
        assert abs(float(amplitudes[k] * k / amplitudes[1]) - 1) < 0.03


@pytest.mark.slow
def test_viscous_shock_stands():
    nu, jump = 0.02, 1.0
    errors = []
    for n in (60, 120):
        grid = CartesianGrid(n, extent=2.0, origin=-1.0, periodic=False)
        (x,) = grid.coordinates()
        exact = -jump * torch.tanh(jump * x / (2 * nu))[None]
        u = run(FiniteVolume(Burgers(nu), grid, boundary=Outflow()), {"u": exact}, 0.5)["u"]
        errors.append(float((u - exact).abs().mean()))
    print("viscous shock", errors, math.log2(errors[0] / errors[1]))
    assert errors[1] < 2e-3 and math.log2(errors[0] / errors[1]) > 1.5
