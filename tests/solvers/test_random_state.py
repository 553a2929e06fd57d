"""Random states: each law's demands on its first state hold to rounding, and single variables are as asked."""

import math

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.operators.spectral import Spectral
from physdiff.pdes.burgers import Burgers
from physdiff.pdes.compressible import Euler
from physdiff.pdes.fokker_planck import FokkerPlanck
from physdiff.pdes.incompressible import IncompressibleFlow
from physdiff.pdes.shallow_water import ShallowWater
from physdiff.solvers.chang_cooper import ChangCooper
from physdiff.solvers.initial import RandomField, initial_fields
from physdiff.solvers.random_state import RandomState

LINE, PLANE = CartesianGrid(32), CartesianGrid((12, 16), extent=(0.9, 1.2))
WIDE = torch.empty((), dtype=torch.float64)


def drawn(law, grid, state=None, *, n=4, start=0):
    state = state or RandomState(RandomField(0.2))
    return state.sample(law, Spectral(grid), grid=grid, indices=range(start, start + n), rng=Rng(3), like=WIDE)


def test_a_plain_law_gets_its_fields_as_they_are_drawn():
    field = RandomField(0.2, std=2.0)
    assert torch.equal(drawn(Burgers(0.1), LINE, RandomState(field))["u"], initial_fields(field, ("u",), LINE, n=4, rng=Rng(3), like=WIDE)["u"])


def test_a_sample_depends_on_its_index_alone():
    assert all(torch.equal(a, b[2:]) for a, b in zip(drawn(Euler(), LINE, n=2, start=2).values(), drawn(Euler(), LINE).values(), strict=True))


def test_gas_and_water_are_positive_however_wild():
    wild = RandomState(RandomField(0.2, std=8.0))
    gas, water = drawn(Euler(ndim=2), PLANE, wild), drawn(ShallowWater(), PLANE, wild)
    assert float(gas["density"].min()) > 0 and float(Euler(ndim=2).pressure(gas).min()) > 0 and float(water["depth"].min()) > 0


def test_flow_without_divergence_and_density_of_integral_one():
    flow = drawn(IncompressibleFlow(0.1), PLANE)
    # rounding of derivatives of fields of size one
    assert float(Spectral(PLANE).div((flow["velocity_x"], flow["velocity_y"])).abs().max()) < 1e-11
    box = CartesianGrid((12, 16), extent=(0.9, 1.2), periodic=False)
    law = FokkerPlanck((0.1, 0.2), 0.05)
    state = RandomState(RandomField(0.2)).sample(law, ChangCooper(law, box).operators, grid=box, indices=range(3), rng=Rng(0), like=WIDE)
    p = state["density"]
    assert float(p.min()) > 0 and float((p.sum((1, 2)) * math.prod(box.spacing) - 1).abs().max()) < 1e-14


def test_named_variables_are_in_their_own_units():
    state = RandomState(RandomField(0.2), {"pressure": RandomField(0.2, mean=7.0, std=0.0)})
    gas = drawn(Euler(), LINE, state)
    assert float((Euler().pressure(gas) - 7).abs().max()) < 1e-13 and float(gas["momentum_x"].std()) > 0.1


@pytest.mark.parametrize(
    ("law", "named", "said"),
    [
        (Euler(), {"energy": RandomField(0.2)}, "initial variables of Euler: expected one of density, pressure, velocity_x"),
        (Euler(), {"density": RandomField(0.2)}, "expected a density above zero"),
        (ShallowWater(ndim=1), {"depth": RandomField(0.2)}, "draw them with positive=True"),
        (FokkerPlanck((0.1,), 0.1), {"density": RandomField(0.2)}, "draw it with positive=True"),
        (Burgers(0.1), {"u": 3.0}, "expected a RandomField, got float"),
    ],
)
def test_what_a_law_does_not_allow_is_refused(law, named, said):
    with pytest.raises(InputError, match=said):
        drawn(law, LINE, RandomState(RandomField(0.2), named))
