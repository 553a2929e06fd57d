"""Every kind of reading is the operator it says, with its unit, its noise law, and rows chosen at will."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, UnitError
from physdiff.base.rng import Rng
from physdiff.forecast.look import Errors, Look, derived_field, is_derived
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.mapped import vorticity, wind_speed
from physdiff.inference.noise import CorrelatedNoise, GaussianNoise, PoissonNoise, StudentNoise
from physdiff.inference.sensors import Sensors
from physdiff.inference.weighted_cells import block_means, footprints, line_integrals

GRID = CartesianGrid((8, 12), extent=(8.0, 12.0), length_unit="m")
SPEC = FieldSpec(("u", "v"), ("m s-1", "m s-1"), GRID, 1.0)
POINTS = torch.tensor([[4.0, 3.5], [6.5, 5.0]], dtype=torch.float64)
X = Rng(0).normal((2, *SPEC.shape), like=torch.zeros((), dtype=torch.float64))


def test_each_kind_is_its_operator() -> None:
    ends = POINTS + 1.5
    same = {
        Look(): Sensors(SPEC, POINTS),
        Look(fwhm=2.0): footprints(SPEC, POINTS, 2.0),
        Look(ends=ends): line_integrals(SPEC, POINTS, ends),
    }
    for look, operator in same.items():
        assert torch.equal(look.operator(SPEC, POINTS)(X), operator(X))
    blocks = block_means(SPEC, (2, 3))(X)
    cells = torch.tensor([5, 0, 5])
    torch.testing.assert_close(Look(block=(2, 3), cells=cells).operator(SPEC, POINTS)(X), blocks[..., cells])
    spin, wind = vorticity(SPEC), wind_speed(SPEC)
    torch.testing.assert_close(Look(derived="vorticity(u v)").operator(SPEC, POINTS)(X), Sensors(spin.derived, POINTS)(spin(X)))
    torch.testing.assert_close(Look(fwhm=2.0, derived="wind_speed").operator(SPEC, POINTS)(X), footprints(wind.derived, POINTS, 2.0)(wind(X)))


def test_units_and_rows() -> None:
    assert Look().units(SPEC) == ("m s-1", "m s-1") and Look(ends=POINTS).units(SPEC)[0] == "m s-1 m"
    assert Look(derived="vorticity").units(SPEC) == ("m s-1 m-1",)
    some = Look(ends=POINTS, cells=torch.tensor([3, 4])).rows(torch.tensor([1]))
    assert torch.equal(some.ends, POINTS[1:]) and some.cells.tolist() == [4]
    assert Look().plain and Look(fwhm=2.0).plain and not Look(ends=POINTS).plain and not Look(derived="vorticity").plain


def test_names_of_derived_fields() -> None:
    assert derived_field("divergence(v u)", SPEC).derived.names == ("divergence",)
    assert is_derived("wind_speed(u10 v10)") and is_derived("vorticity") and not is_derived("vorticity_of_u") and not is_derived("t2m")
    with pytest.raises(InputError, match="expected one of vorticity, divergence, wind_speed, as vorticity.u v., got 'spin.u v.'"):
        derived_field("spin(u v)", SPEC)
    with pytest.raises(InputError, match="w"):
        derived_field("vorticity(u w)", SPEC)
    with pytest.raises(UnitError, match="in one unit"):
        derived_field("wind_speed", FieldSpec(("u", "v"), ("m s-1", "K"), GRID, 1.0))


def test_laws_of_noise() -> None:
    std = torch.tensor([0.3, 0.5]).double().reshape(-1, 1, 1)
    r = Rng(1).normal((3, 2, 1, 2), like=X)
    plain, student = Errors().built(std, SPEC, POINTS), Errors(law="StudentNoise", dof=3.0).built(std, SPEC, POINTS)
    assert isinstance(plain, GaussianNoise) and isinstance(student, StudentNoise)
    assert isinstance(Errors(law="PoissonNoise").built(std, SPEC, None), PoissonNoise)
    torch.testing.assert_close(student.log_prob(r), StudentNoise(std, 3.0).log_prob(r))
    together = Errors(length=3.0, share=0.8).built(std, SPEC, POINTS)
    torch.testing.assert_close(together.log_prob(r), CorrelatedNoise.by_distance(GRID, POINTS, std=std, length=3.0, share=0.8).log_prob(r))
    # two readings 2.9 m apart: correlation of share exp(-d / length)
    away = math.dist(*POINTS.tolist())
    assert float(together.covariance[0, 1]) == pytest.approx(0.8 * math.exp(-away / 3.0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"law": "CauchyNoise"}, "std.law: .*got 'CauchyNoise'"),
        ({"dof": 0.0}, "std.dof: expected a positive"),
        ({"length": -1.0}, "std.length: expected a positive"),
        ({"law": "StudentNoise", "length": 1.0}, "expected it with GaussianNoise"),
        ({"scale": [0.3, 0.0]}, "std: expected a positive finite number, got 0.0"),
    ],
)
def test_laws_that_make_no_sense(arguments, message) -> None:
    with pytest.raises(InputError, match=message):
        Errors(**arguments)
    with pytest.raises(InputError, match="readings that have a place"):
        Errors(length=1.0).built(torch.ones(1).double(), SPEC, Look(ends=POINTS).places(POINTS))
