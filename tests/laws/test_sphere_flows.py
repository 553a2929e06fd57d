"""The standard tests of shallow water on the sphere (Williamson et al., 1992; Galewsky et al., 2004), on small grids."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.sphere import Sphere
from physdiff.pdes.exact_sphere import GRAVITY, RADIUS, ROTATION_RATE, mountain, rossby_haurwitz, zonal_flow, zonal_jet
from physdiff.pdes.pde import space_mean
from physdiff.pdes.shallow_water_sphere import ShallowWaterSphere
from physdiff.solvers.runge_kutta import RungeKutta
from physdiff.solvers.solve import solve

DAY = 86400.0


def earth(n, columns=None, *, poles=True):
    """Rows from pole to pole, north first, or half a step from them, south first; as many longitudes per row as steps, not twice as many."""
    m = columns or 3 * n // 2
    between = -90 + 180 / n * (torch.arange(n, dtype=torch.float64) + 0.5)
    latitude = torch.linspace(90, -90, n + 1, dtype=torch.float64) if poles else between
    return LatLonGrid(latitude, torch.arange(m, dtype=torch.float64) * (360 / m), RADIUS)


def start(flow, grid, **options):
    return {name: v[None] for name, v in flow(*grid.coordinates(), **options).items()}


def mean_square(f, grid):
    return math.sqrt(float((f**2 * grid.weights()).sum()))


def orders(errors):
    return [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]


def run(law, grid, u, time):
    with torch.no_grad():
        out = solve(RungeKutta(law, Sphere(grid, polar_filter=True)), u, torch.tensor([0.0, time], dtype=torch.float64), cfl=0.7)
    return {name: v[:, -1] for name, v in out.items()}


@pytest.mark.parametrize("poles", [True, False])
@pytest.mark.parametrize("tilt", [0.0, 0.4, 1.2])
def test_steady_zonal_flow_has_a_tendency_of_second_order(tilt, poles):
    law = ShallowWaterSphere(tilt=tilt)
    errors = {name: [] for name in law.fields}
    for n in (24, 48, 96):
        grid = earth(n, poles=poles)
        for name, rate in law.rhs(start(zonal_flow, grid, tilt=tilt), Sphere(grid), 0.0).items():
            errors[name].append(mean_square(rate, grid))
    for name, found in errors.items():
        if tilt == 0 and name != "velocity_y":
            assert found[-1] < 1e-16, (name, found)  # nothing varies along the flow
        elif name == "depth":
            # flow across a pole: of first order in the rows next to it, so the mean square reaches its second order slowly
            assert 1.7 < orders(found)[-1] < 2.25, (name, found)
        else:
            assert abs(orders(found)[-1] - 2) < 0.1, (name, found)
    # forces of 1e-3 m/s^2 cancel
    assert errors["velocity_y"][-1] < 2e-6


def test_steady_zonal_flow_stays_for_a_day_across_the_poles():
    law, errors = ShallowWaterSphere(tilt=0.4), []
    for n in (24, 48):
        grid = earth(n)
        u = start(zonal_flow, grid, tilt=0.4)
        end = run(law, grid, u, DAY)
        errors.append([mean_square(end[name] - u[name], grid) / mean_square(u[name], grid) for name in law.fields])
    for a, b in zip(*errors, strict=True):
        assert abs(math.log2(a / b) - 2) < 0.25, errors
    assert max(errors[1]) < 6e-3, errors


def test_rossby_haurwitz_wave_begins_to_turn_as_a_whole():
    """At first the flow has no divergence, so its vorticity turns rigidly at the rate of the formula and the depth keeps the divergence away."""
    r, rate = 4, 7.848e-6
    speed = (r * (3 + r) * rate - 2 * ROTATION_RATE) / ((1 + r) * (2 + r))
    turning, spreading = [], []
    for n in (48, 96):
        grid = earth(n)
        longitude, latitude = grid.coordinates()
        D = Sphere(grid)
        slope = ShallowWaterSphere().rhs(start(rossby_haurwitz, grid), D, 0.0)
        east, north = slope["velocity_x"][0], slope["velocity_y"][0]
        vorticity = -rate * torch.sin(latitude) * torch.cos(latitude) ** r * (r**2 + 3 * r + 2) * torch.cos(r * longitude)
        along = r * rate * torch.sin(latitude) * torch.cos(latitude) ** r * (r**2 + 3 * r + 2) * torch.sin(r * longitude)
        size = speed * mean_square(along, grid)
        assert mean_square(vorticity, grid) > 1e-5
        turning.append(mean_square(D.div((north, -east)) + speed * along, grid) / size)
        spreading.append(mean_square(D.div((east, north)), grid) / size)
    assert abs(orders(turning)[0] - 2) < 0.25 and abs(orders(spreading)[0] - 2) < 0.25, (turning, spreading)
    assert turning[-1] < 0.1 and spreading[-1] < 0.1, (turning, spreading)


def test_rossby_haurwitz_wave_for_a_day():
    law, grid = ShallowWaterSphere(), earth(48)
    u = start(rossby_haurwitz, grid)
    end = run(law, grid, u, DAY)
    first, last = law.invariants(u, grid), law.invariants(end, grid)
    drift = {name: abs(float(last[name] / first[name]) - 1) for name in first}
    assert drift["mass"] < 1e-14
    assert drift["energy"] < 1e-5 and drift["potential_enstrophy"] < 1e-3, drift
    waves = [torch.fft.rfft(f["velocity_y"][0])[:, 4] for f in (u, end)]
    turned = math.degrees(float(torch.angle((waves[0] * waves[1].conj()).sum()))) / 4
    formula = math.degrees((28 * 7.848e-6 - 2 * ROTATION_RATE) / 30 * DAY)
    # eastward; the formula is for water without divergence, which slows the wave by some percent, as do differences of second order
    assert 0.8 * formula < turned < formula, (turned, formula)


def test_jet_in_balance_stays_for_six_hours():
    law, errors = ShallowWaterSphere(), []
    for n in (96, 192):
        grid = earth(n, 8)
        u = start(zonal_jet, grid)
        end = run(law, grid, u, DAY / 4)
        errors.append([mean_square(end[name] - u[name], grid) for name in law.fields])
    for a, b in zip(*errors, strict=True):
        assert abs(math.log2(a / b) - 2) < 0.25, errors
    # metres per second and metres, of a jet of 80 m/s in 10 km of air
    assert errors[1][0] < 0.02 and errors[1][2] < 1.0, errors


@pytest.mark.parametrize("poles", [True, False])
def test_water_at_rest_around_a_mountain_stays_for_a_day(poles):
    """The filter cuts waves of the mountain's north side from the depth in every stage; the ground must lose the same."""
    law, grid = ShallowWaterSphere(topography=mountain), earth(36, poles=poles)
    still = torch.zeros(1, *grid.shape, dtype=torch.float64)
    u = {"velocity_x": still, "velocity_y": still, "depth": 5960 - mountain(*grid.coordinates())[None]}
    end = run(law, grid, u, DAY)
    # rounding of g h / dx over a day without damping: metres per second (measured: 4e-13) and metres (5e-12); with the ground unfiltered 2.7 and 19
    assert max(float(end[name].abs().max()) for name in ("velocity_x", "velocity_y")) < 1e-11
    assert float((end["depth"] - u["depth"]).abs().max()) < 1e-9


@pytest.mark.slow
def test_flow_over_a_mountain_for_five_days():
    """Test 5 of Williamson et al.: no closed form, but budgets, and the pull of the mountain on the flow's angular momentum."""
    law, surfaces, gaps = ShallowWaterSphere(topography=mountain), [], []
    for n in (24, 48):
        grid = earth(n)
        longitude, latitude = grid.coordinates()
        ground, arm = mountain(longitude, latitude), RADIUS * torch.cos(latitude)
        u = start(zonal_flow, grid, speed=20.0, geopotential=5960 * GRAVITY)
        u["depth"] = u["depth"] - ground
        times = torch.linspace(0, 5 * DAY, 121, dtype=torch.float64)
        D = Sphere(grid, polar_filter=True)
        with torch.no_grad():
            out = solve(RungeKutta(law, D), u, times, cfl=0.7)
        h, east = out["depth"][0], out["velocity_x"][0]
        momentum = space_mean(h * arm * (east + ROTATION_RATE * arm), grid)
        pulled = torch.trapezoid(-GRAVITY * space_mean(h * arm * D.grad(ground)[0], grid), times)
        # no other force turns the sphere's water about its axis; the mountain takes 5.7 % of the flow's relative angular momentum
        assert -0.07 < float(pulled / space_mean(h * arm * east, grid)[0]) < -0.05
        gaps.append(abs(float((momentum[-1] - momentum[0]) / pulled) - 1))
        surfaces.append((h + ground)[-1, :: n // 24, :: n // 24])
    # the cone's rim and tip are kinks, so first order: measured 2.3 and 1.2 %, and 0.24 % with 96 rows
    assert gaps[0] < 0.04 and gaps[1] < 0.02, gaps
    first, last = law.invariants(u, grid), law.invariants({name: v[:, -1] for name, v in out.items()}, grid)
    drift = {name: float(last[name] / first[name]) - 1 for name in first}
    assert abs(drift["mass"]) < 1e-14
    # measured 1.9e-6 in five days, of an energy of which 0.5 % moves; per day below 1e-6. Potential enstrophy 4e-5
    assert abs(drift["energy"]) < 5e-6 and abs(drift["potential_enstrophy"]) < 2e-4, drift
    # Bernoulli: the surface starts between 4992 and 5960 m; 20 to 40 m/s bend it by u^2/2g = 20 to 80 m
    assert 4990 - 80 < float((h + ground).min()) and float((h + ground).max()) < 5960 + 80
    # between 48 and 96 rows 9.6 m, between 24 and 48 here 32: of second order where the flow is smooth
    assert mean_square(surfaces[0] - surfaces[1], earth(24)) < 45


def test_filter_lengthens_the_step():
    law, grid = ShallowWaterSphere(tilt=0.4), earth(48)
    u = start(zonal_flow, grid, tilt=0.4)
    plain, filtered = (RungeKutta(law, Sphere(grid, polar_filter=on)).limit(u) for on in (False, True))
    # the narrowest cells are 15 times narrower than those of the equator
    assert filtered > 4 * plain, (plain, filtered)
    with pytest.raises(InputError, match="take substeps="):
        solve(RungeKutta(law, Sphere(grid)), u, torch.tensor([0.0, DAY], dtype=torch.float64), substeps=20)
