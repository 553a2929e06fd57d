from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, UnsupportedOperator
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.latlon import LatLonGrid
from physdiff.operators.autograd import Autograd
from physdiff.operators.finite_difference import FiniteDifference
from physdiff.operators.spectral import Spectral
from physdiff.operators.sphere import Sphere
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.exact import plane_wave
from physdiff.solvers.semi_lagrangian import SemiLagrangian
from physdiff.solvers.solve import solve

TILT = 0.7


def globe(n, radius=1.0):
    return LatLonGrid(torch.linspace(90, -90, n + 1, dtype=torch.float64), torch.arange(2 * n, dtype=torch.float64) * (180.0 / n), radius)


def east(lon, lat, t):
    return torch.cos(lat) * math.cos(TILT) + torch.sin(lat) * torch.cos(lon) * math.sin(TILT)


def north(lon, lat, t):
    return -torch.sin(lon) * math.sin(TILT)


def hill(lon, lat):
    """A smooth hill on the equator, width half a radian, with a slope that tells its sides apart."""
    x, y, z = torch.cos(lat) * torch.cos(lon), torch.cos(lat) * torch.sin(lon), torch.sin(lat)
    return torch.exp(4 * (y - 1)) * (1 + 0.5 * z + 0.3 * x)


def mean_square(error, grid):
    return math.sqrt(float((error**2 * grid.weights()).sum()))


def around_the_sphere(n, method, steps):
    grid = globe(n)
    start = hill(*grid.coordinates())
    stepper = SemiLagrangian(AdvectionDiffusion(0.0, (east, north)), Sphere(grid), method)
    out = solve(stepper, {"c": start[None]}, torch.tensor([0.0, 2 * math.pi]), substeps=steps)["c"][0, -1]
    return mean_square(out - start, grid) / mean_square(start, grid), stepper, start, out


@pytest.mark.parametrize(("method", "order", "largest"), [("cubic", 2, 0.005), ("maccormack", 2, 0.06)])
def test_a_turn_over_the_poles_returns_to_itself(method, order, largest):
    # steps fall with the cells: of the two errors the path's, of second order, remains
    results = [around_the_sphere(n, method, n) for n in (24, 48)]
    slope = math.log2(results[0][0] / results[1][0])
    assert slope > order - 0.25 and results[1][0] < largest, (slope, [r[0] for r in results])
    stepper, start, out = results[1][1:]
    # nothing conserves, but the drift is told and small
    assert 0 < float(stepper.drift({"c": start[None]}, {"c": out[None]}).abs()) < 0.01


def test_linear_interpolation_is_of_first_order_and_never_overshoots():
    errors = []
    for n in (32, 64):
        grid = CartesianGrid((n, 2 * n), extent=(1.0, 2.0), periodic=True)
        x, y = grid.coordinates()
        law = AdvectionDiffusion(0.0, (0.37, -0.21))
        start = torch.sin(2 * math.pi * (x + y))[None]
        out = solve(SemiLagrangian(law, FiniteDifference(grid), "linear"), {"c": start}, torch.tensor([0.0, 1.0]), substeps=n // 2)["c"][:, -1]
        exact = torch.sin(2 * math.pi * (x - 0.37 + y + 0.21))
        errors.append(float((out - exact).abs().max()))
        assert float(out.abs().max()) <= 1.0
    assert abs(math.log2(errors[0] / errors[1]) - 1) < 0.25


@pytest.mark.parametrize(("method", "order"), [("cubic", 3), ("maccormack", 2)])
def test_order_on_the_periodic_plane_at_courant_number_five(method, order):
    # not across extrema: the clamp of MacCormack's correction is of first order there, so the mean error is measured
    errors = []
    for n in (24, 48, 96):
        grid = CartesianGrid((n, 2 * n), extent=(1.0, 2.0), periodic=True)
        x, y = grid.coordinates()
        law = AdvectionDiffusion(0.0, (3.7, -2.1))
        stepper = SemiLagrangian(law, FiniteDifference(grid), method)
        out = solve(stepper, {"c": torch.sin(2 * math.pi * (x + y))[None]}, torch.tensor([0.0, 1.0]), substeps=n)["c"][0, -1]
        errors.append(float((out - torch.sin(2 * math.pi * (x - 3.7 + y + 2.1))).abs().mean()))
    assert abs(math.log2(errors[1] / errors[2]) - order) < 0.3, errors


def test_order_in_time_in_a_wind_that_turns_and_changes():
    grid = CartesianGrid((96, 120), extent=(2.0, 2.5), origin=(-1.0, -1.25), periodic=True)
    x, y = grid.coordinates()
    w = 2 * math.pi

    def u(x, y, t):
        return 0.3 * torch.sin(w * y / 2) * math.cos(3 * t)

    def v(x, y, t):
        return 0.4 * torch.cos(w * x / 2.5) + 0.1 * t

    start = torch.exp(torch.cos(w * x / 2.5) + torch.sin(w * y / 2))[None]
    stepper = SemiLagrangian(AdvectionDiffusion(0.0, (u, v)), Spectral(grid))
    times = torch.tensor([0.0, 1.0])
    ends = [solve(stepper, {"c": start}, times, substeps=k)["c"][:, -1] for k in (5, 10, 20)]
    slope = math.log2(float((ends[0] - ends[1]).abs().max()) / float((ends[1] - ends[2]).abs().max()))
    assert abs(slope - 2) < 0.4


def test_diffusion_reaction_and_batched_parameters_on_a_decaying_wave():
    grid = CartesianGrid((24, 32), extent=(1.0, 1.5), periodic=True)
    k = (2 * math.pi / 1.5, 4 * math.pi)
    kappa, speed, rate = torch.tensor([0.002, 0.004]).double(), torch.tensor([0.6, -0.3]).double(), torch.tensor([-0.5, 0.2]).double()
    law = AdvectionDiffusion(kappa, (speed, 0.25), reaction=rate)
    stepper = SemiLagrangian(law, Spectral(grid))
    made = [
        [
            plane_wave(grid.coordinates(), t, wave_vector=k, diffusivity=float(kappa[i]), velocity=(float(speed[i]), 0.25), reaction=float(rate[i]))
            for i in range(2)
        ]
        for t in (0.0, 0.5)
    ]
    start, wanted = (torch.stack(m) for m in made)
    out = solve(stepper, {"c": start}, torch.tensor([0.0, 0.5]), substeps=4)["c"][:, -1]
    # cubic interpolation at six points per half wave; four steps
    torch.testing.assert_close(out, wanted, atol=0.02, rtol=0)
    assert 0 < stepper.limit({"c": start}) < float("inf")
    assert SemiLagrangian(AdvectionDiffusion(0.0, (1.0, 0.0)), Spectral(grid)).limit({"c": start}) == float("inf")


def test_a_source_is_collected_on_the_way():
    grid = CartesianGrid(64, extent=2.0, periodic=True)
    (x,) = grid.coordinates()
    law = AdvectionDiffusion(0.0, (1.3,), source=lambda x, t: torch.cos(math.pi * x) + 0.0 * t)
    errors = []
    for steps in (8, 16):
        start = {"c": torch.zeros(1, 64, dtype=torch.float64)}
        out = solve(SemiLagrangian(law, FiniteDifference(grid)), start, torch.tensor([0.0, 1.0]), substeps=steps)
        wanted = (torch.sin(math.pi * x) - torch.sin(math.pi * (x - 1.3))) / (1.3 * math.pi)
        errors.append(float((out["c"][0, -1] - wanted).abs().max()))
    assert abs(math.log2(errors[0] / errors[1]) - 2) < 0.25, errors


def test_any_step_is_stable_and_maccormack_stays_within_bounds():
    grid = globe(16)
    box = (hill(*grid.coordinates()) > 0.5).double()[None]
    for method in ("linear", "maccormack"):
        stepper = SemiLagrangian(AdvectionDiffusion(0.0, (east, north)), Sphere(grid), method)
        c = {"c": box}
        for i in range(12):
            c = stepper.step(c, i * 0.9, 0.9)
        assert 0 <= float(c["c"].min()) and float(c["c"].max()) <= 1


def test_gradients_flow_through_the_step():
    grid = CartesianGrid((5, 6), periodic=True)
    generator = torch.Generator().manual_seed(0)
    c = torch.randn(2, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    speed = torch.tensor([0.33, -0.42], dtype=torch.float64, requires_grad=True)
    kappa = torch.tensor([0.01, 0.02], dtype=torch.float64, requires_grad=True)

    def end(c, speed, kappa):
        return SemiLagrangian(AdvectionDiffusion(kappa, (speed, 0.1)), FiniteDifference(grid)).step({"c": c}, 0.0, 0.2)["c"]

    assert torch.autograd.gradcheck(end, (c, speed, kappa), fast_mode=True)
    half = end(c.detach().float(), speed.detach(), kappa.detach())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), end(c, speed, kappa).detach(), atol=1e-5, rtol=1e-5)


def test_refusals():
    plane = Spectral(CartesianGrid((8, 8), periodic=True))
    with pytest.raises(InputError, match="conservative"):
        SemiLagrangian(AdvectionDiffusion(0.0, (1.0, 1.0), conservative=True), plane)
    with pytest.raises(InputError, match="name of a field"):
        SemiLagrangian(AdvectionDiffusion(0.0, ("u", "v")), plane)
    with pytest.raises(InputError, match="2 components"):
        SemiLagrangian(AdvectionDiffusion(0.0, (1.0,)), plane)
    with pytest.raises(InputError, match="maccormack"):
        SemiLagrangian(AdvectionDiffusion(0.0, (1.0, 1.0)), plane, "mac")
    with pytest.raises(UnsupportedOperator, match="Burgers"):
        SemiLagrangian(Burgers(0.1), plane)  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOperator, match="on a grid"):
        SemiLagrangian(AdvectionDiffusion(0.0, (1.0, 1.0)), Autograd(tuple(torch.zeros(3, requires_grad=True) for _ in range(2))))


def test_diffusion_by_direction_is_spread_as_the_law_says():
    grid = CartesianGrid((24, 40), extent=(1.5, 2.0))
    kind = {"wave_vector": (math.pi, 4 * math.pi / 1.5), "velocity": (0.0, 0.0), "diffusivity": 0.0}
    start = plane_wave(grid.coordinates(), 0.0, **kind)[None]
    out = solve(SemiLagrangian(AdvectionDiffusion((0.1, 0.02), (0.0, 0.0)), Spectral(grid)), {"c": start}, torch.tensor([0.0, 0.2]), substeps=40)
    decay = math.exp(-0.2 * (0.1 * math.pi**2 + 0.02 * (4 * math.pi / 1.5) ** 2))
    # second order: (rate dt)^2 of 5e-5
    torch.testing.assert_close(out["c"][:, -1], decay * start, rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="first order"):
        SemiLagrangian(AdvectionDiffusion(0.1, (0.0, 0.0), lambda c: c * (1 - c)), Spectral(grid))
