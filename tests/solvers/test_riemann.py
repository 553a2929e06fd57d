"""Riemann fluxes: consistency, mirror images, upwind where all waves go one way, contacts at rest, the exact Burgers flux, refusals."""

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import Euler
from physdiff.pdes.exact_riemann import SOD, burgers_riemann, gas_riemann
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.solvers.point_operators import PointOperators
from physdiff.solvers.riemann import HLL, HLLC, Face, Godunov, Rusanov

N = 200
PLACES = (torch.zeros(N, dtype=torch.float64),) * 2
FACES = [Face(PointOperators(PLACES), 0.0, i) for i in range(2)]
GAS, WATER = Euler(1.4, ndim=2), ShallowWater(9.81)


def randoms(seed, *, ratio=3.0, speed=2.0):
    generator = torch.Generator().manual_seed(seed)
    a, b, c, d = torch.rand(4, 1, N, dtype=torch.float64, generator=generator)
    return 0.1 + ratio * a, (speed * (2 * b - 1), speed * (2 * c - 1)), 0.1 + ratio * d


def gas(seed, **kwargs):
    return GAS.state(*randoms(seed, **kwargs))


def water(seed):
    h, v, _ = randoms(seed)
    return {"depth": h, "momentum_x": h * v[0], "momentum_y": h * v[1]}


CASES = [(GAS, gas, flux) for flux in (Rusanov(), HLL(), HLLC())] + [(WATER, water, flux) for flux in (Rusanov(), HLL())]
ids = [f"{type(law).__name__}-{type(flux).__name__}" for law, _, flux in CASES]


@pytest.mark.parametrize(("law", "state", "flux"), CASES, ids=ids)
@pytest.mark.parametrize("face", FACES, ids=["x", "y"])
def test_equal_states_give_the_law_s_flux(law, state, flux, face):
    u = state(0)
    got, wanted = flux.through(law, u, u, face=face), law.flux(u, face.D, 0.0)
    for name in law.fields:
        torch.testing.assert_close(got[name], wanted[name][face.direction], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("law", "state", "flux"), CASES, ids=ids)
def test_mirror_image_and_exchange_of_axes(law, state, flux):
    left, right = state(1), state(2)

    def mirrored(u):
        return {name: -v if name == "momentum_x" else v for name, v in u.items()}

    def turned(u):
        swap = {"momentum_x": "momentum_y", "momentum_y": "momentum_x"}
        return {swap.get(name, name): v for name, v in u.items()}

    got = flux.through(law, left, right, face=FACES[0])
    reflected = flux.through(law, mirrored(right), mirrored(left), face=FACES[0])
    other = turned(flux.through(law, turned(left), turned(right), face=FACES[1]))
    for name in law.fields:
        sign = 1.0 if name == "momentum_x" else -1.0
        torch.testing.assert_close(got[name], sign * reflected[name], rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(got[name], other[name], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("flux", [HLL(), HLLC()])
def test_supersonic_flow_is_upwind(flux):
    density, (vx, vy), pressure = randoms(3)
    left, right = GAS.state(density, (vx + 12, vy), pressure), GAS.state(pressure, (vy + 12, vx), density)
    wanted = GAS.flux(left, FACES[0].D, 0.0)
    got = flux.through(GAS, left, right, face=FACES[0])
    for name in GAS.fields:
        torch.testing.assert_close(got[name], wanted[name][0])


def test_hllc_keeps_contacts_and_shear_at_rest_and_others_do_not():
    one = torch.ones(1, N, dtype=torch.float64)
    left, right = GAS.state(one, (0 * one, 1.3 * one), 0.7 * one), GAS.state(3 * one, (0 * one, -0.4 * one), 0.7 * one)
    got = HLLC().through(GAS, left, right, face=FACES[0])
    for name, wanted in (("density", 0.0), ("momentum_x", 0.7), ("momentum_y", 0.0), ("energy", 0.0)):
        torch.testing.assert_close(got[name], wanted * one, rtol=1e-14, atol=1e-14)
    assert float(HLL().through(GAS, left, right, face=FACES[0])["density"].abs().min()) > 0.1


def test_fluxes_of_sod_are_near_the_exact_one():
    law = Euler()
    (x,) = place = (torch.zeros(1, dtype=torch.float64),)
    face = Face(PointOperators(place), 0.0, 0)
    one = torch.ones(1, 1, dtype=torch.float64)
    left, right = (law.state(s.density * one, (0 * one,), s.pressure * one) for s in SOD)
    w = gas_riemann(x, 1.0)
    exact = law.flux(law.state(w["density"][None], (w["velocity_x"][None],), w["pressure"][None]), face.D, 0.0)
    got = {type(f).__name__: f.through(law, left, right, face=face)["density"] for f in (Rusanov(), HLL(), HLLC())}
    errors = {name: float((f - exact["density"][0]).abs()) for name, f in got.items()}
    # of an exact flux of 0.395; at rest the fastest waves run both ways alike, and HLL is Rusanov
    assert errors["HLLC"] < 0.04 and errors["HLLC"] < errors["HLL"] / 3 and abs(errors["HLL"] - errors["Rusanov"]) < 1e-14


def test_godunov_is_the_exact_burgers_flux():
    values = torch.linspace(-2, 2, 17, dtype=torch.float64)
    law, zero = Burgers(0.0), torch.zeros(1, dtype=torch.float64)
    face = Face(PointOperators((zero,)), 0.0, 0)
    for left in values.tolist():
        for right in values.tolist():
            states = ({"u": torch.full((1, 1), v, dtype=torch.float64)} for v in (left, right))
            got = float(Godunov().through(law, *states, face=face)["u"])
            # at a shock at rest both sides have the same flux
            assert abs(got - float(burgers_riemann(zero, 1.0, (left, right))) ** 2 / 2) < 1e-14


@pytest.mark.parametrize(("flux", "law", "words"), [
    (HLLC(), WATER, "HLLC: expected a law of a gas .* got ShallowWater; use HLL"),
    (HLLC(), Burgers(0.0), "got Burgers"),
    (HLL(), Burgers(0.0), "HLL: expected a law with momentum"),
    (Godunov(), GAS, "Godunov: expected Burgers"),
])
def test_laws_a_flux_is_not_made_for_are_refused(flux, law, words):
    with pytest.raises(InputError, match=words):
        flux.check(law)


@pytest.mark.parametrize("flux", [Rusanov(), HLL(), HLLC()])
def test_gradients_are_finite_where_the_sides_are_equal_and_at_rest(flux):
    one = torch.ones(1, N, dtype=torch.float64)
    u = {name: v.requires_grad_() for name, v in GAS.state(one, (0 * one, 0 * one), one).items()}
    got = flux.through(GAS, u, u, face=FACES[0])
    slopes = torch.autograd.grad(sum(v.sum() for v in got.values()), list(u.values()))
    assert all(bool(s.isfinite().all()) for s in slopes)
