from __future__ import annotations

import pytest

from physdiff.data.names import _QUANTITIES, _UNITS, cf_attributes, find_name, level_name, unknown_variable


@pytest.mark.parametrize(
    ("asked", "available", "expected"),
    [
        ("t2m", ["u10", "t2m"], "t2m"),
        ("t2m", ["2m_temperature"], "2m_temperature"),
        ("2m_temperature", ["t2m"], "t2m"),
        ("2t", ["t2m"], "t2m"),
        ("z_500", ["geopotential_850", "geopotential_500"], "geopotential_500"),
        ("geopotential_500", ["z_500"], "z_500"),
        ("u", ["eastward_wind"], "eastward_wind"),
        ("z", ["z_500"], None),
        ("z_500", ["z"], None),
        ("t", ["t2m"], None),
        ("z_500", ["z_5000", "z_50"], None),
    ],
)
def test_names_of_one_quantity_find_each_other(asked, available, expected):
    assert find_name(asked, available) == expected


def test_levels_become_names():
    assert level_name("z", 500.0, units="millibars") == "z_500"
    assert level_name("z", 50000.0, units="Pa") == "z_500"
    assert level_name("t", 137.0, units=None, model=True) == "t_ml137"
    assert level_name("t", 0.5, units="hPa") == "t_0.5"


def test_attributes_follow_cf_and_name_the_level():
    assert cf_attributes("z_500", unit="m**2 s**-2", on_sphere=True) == {"standard_name": "geopotential", "long_name": "geopotential at 500 hPa"}
    assert cf_attributes("2m_temperature", unit="K", on_sphere=True)["standard_name"] == "air_temperature"
    assert cf_attributes("my_field", unit="K", on_sphere=True) == {}


def test_a_name_alone_makes_no_wind():
    assert cf_attributes("u", unit="m/s", on_sphere=True)["standard_name"] == "eastward_wind"
    assert cf_attributes("u", unit="m s-1", on_sphere=False) == {} and cf_attributes("u", unit="1", on_sphere=True) == {}
    assert cf_attributes("q", unit="kg kg-1", on_sphere=True)["standard_name"] == "specific_humidity"
    assert cf_attributes("t", unit="1", on_sphere=True) == {}
    assert set(_QUANTITIES) == set(_UNITS)


def test_an_unknown_variable_names_what_is_there():
    error = unknown_variable("t3m", ["t2m", "u10"], "a.nc")
    assert "t2m" in str(error) and "u10" in str(error) and "did you mean t2m" in str(error)
