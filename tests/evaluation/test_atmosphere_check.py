from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError, UnitError
from physdiff.data.open import open_dataset
from physdiff.evaluation.atmosphere_check import atmosphere_check, check_lines
from tests.evaluation.analyses import balanced

NORTH_ATLANTIC = "era5_natlantic_upper_2019-01-01_dims_lon_lat_lev_time.nc"


def test_an_exact_atmosphere_has_no_residual():
    check = atmosphere_check(balanced())
    # exact in the vertical; second-order differences of 1.25 degrees of a wave of 120 degrees
    assert check["hypsometric_500_600"].attrs["share"] < 1e-6 and check["geostrophic_500"].attrs["share"] < 0.01
    assert check["geostrophic_500"].attrs["units"] == "m s-1" and check.attrs["verdict"] == "all 3 relations hold"
    assert "geostrophic_600" in check_lines(check)


MISTAKES = [
    ({"v": lambda f: -f}, "v has the opposite sign"),
    ({"all": lambda f: f[::-1]}, "latitude of all fields is in the opposite order"),
    ({"t": lambda f: f - 273.15}, "t is in degrees Celsius"),
    ({"z": lambda f: f / 9.80665}, "z is a height in metres"),
    ({"u": lambda f: f / 0.514444, "v": lambda f: f / 0.514444}, "wind is in knots"),
]


@pytest.mark.parametrize(("changes", "words"), MISTAKES)
def test_a_mistake_is_named(changes, words):
    check = atmosphere_check(balanced(**changes))
    assert "do not hold" in check.attrs["verdict"] and words in check.attrs["verdict"].split("most likely")[1]


def test_a_wrong_unit_by_name_is_refused():
    ds = balanced()
    ds["t_500"].attrs["units"] = "degC"
    with pytest.raises(UnitError, match=r"t_500.*'K'.*'degC'"):
        atmosphere_check(ds)
    with pytest.raises(DataError, match="related"):
        atmosphere_check(balanced()[["t_500", "t_600"]])


@pytest.fixture(scope="module")
def north_atlantic(shared_data):
    return open_dataset(shared_data / "reanalysis" / NORTH_ATLANTIC).load()


def test_relations_hold_on_real_data(north_atlantic):
    check = atmosphere_check(north_atlantic)
    assert check.attrs["verdict"] == "all 14 relations hold"
    assert check["hypsometric_225_250"].attrs["share"] < 0.003 and check["geostrophic_250"].attrs["share"] < 0.2
    assert check["advection_q_300"].attrs["share"] < 0.5 and check["continuity_225_250"].attrs["share"] < 0.75


@pytest.mark.parametrize(
    ("chosen", "change", "words"),
    [
        ("northward", lambda x: -x, "v has the opposite sign"),
        ("", lambda x: x[:, ::-1], "latitude of all fields is in the opposite order"),
        ("lagrangian", lambda x: -x, "w has the opposite sign"),
    ],
)
def test_a_mistake_in_real_data_is_caught(north_atlantic, chosen, change, words):
    wrong = north_atlantic.copy()
    for name in wrong.data_vars:
        if chosen in name:
            wrong[name] = wrong[name].copy(data=np.ascontiguousarray(change(wrong[name].values)))
    assert words in atmosphere_check(wrong).attrs["verdict"].split("most likely")[1]
