from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from physdiff.base.errors import UnitError
from physdiff.data.units import check_unit, normal_unit, same_unit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m s**-1", "m s-1"),
        ("m s-1", "m s-1"),
        ("m/s", "m s-1"),
        ("s-1 m", "m s-1"),
        ("m s^-1", "m s-1"),
        ("m.s-1", "m s-1"),
        ("m*s**-1", "m s-1"),
        ("m**2 s**-2", "m2 s-2"),
        ("m2/s2", "m2 s-2"),
        ("kg kg**-1", "1"),
        ("(0 - 1)", "1"),
        ("1", "1"),
        ("", "1"),
        ("1/s", "s-1"),
        ("s**-1", "s-1"),
        ("kg m-2 s-1", "kg m-2 s-1"),
        ("J m**-2", "J m-2"),
        ("m/s/s", "m s-2"),
        ("Kelvin", "K"),
        ("millibars", "hPa"),
        ("mb", "hPa"),
        ("%", "%"),
        ("m of water equivalent", "m"),
        ("hours since 1900-01-01", "hours since 1900-01-01"),
    ],
)
def test_spellings(text, expected):
    assert normal_unit(text) == expected


@given(st.dictionaries(st.sampled_from(["m", "s", "kg", "K", "Pa", "J", "W", "mol"]), st.integers(-4, 4).filter(bool), min_size=1))
def test_every_spelling_of_a_product_is_one_unit_and_normal_form_is_stable(powers):
    cf = " ".join(f"{k}{v}" for k, v in powers.items())
    ecmwf = " ".join(f"{k}**{v}" for k, v in reversed(powers.items()))
    caret = "*".join(f"{k}^{v}" for k, v in powers.items())
    assert normal_unit(cf) == normal_unit(ecmwf) == normal_unit(caret)
    assert normal_unit(normal_unit(cf)) == normal_unit(cf)
    assert not same_unit(cf, cf + " A")


def test_case_tells_units_apart():
    assert not same_unit("Pa", "hPa")
    assert not same_unit("K", "degC")
    assert not same_unit("mm", "m")


def test_a_missing_or_wrong_unit_is_named():
    check_unit("m s**-1", "m/s", "u")
    with pytest.raises(UnitError, match=r"t2m: expected the unit 'K', got 'degC'"):
        check_unit("degC", "K", "t2m")
    with pytest.raises(UnitError, match="no unit at all"):
        check_unit(None, "K", "t2m")
