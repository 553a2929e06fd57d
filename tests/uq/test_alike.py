"""A new forecast that is not of the kind of the past ones is refused, whatever differs."""

import numpy as np
import pytest

from physdiff.base.errors import DataError, GridMismatch, InputError, UnitError
from physdiff.data.cases import matched
from physdiff.uq.alike import check_alike
from physdiff.uq.calibrate import calibrate
from physdiff.uq.post_process import post_process
from tests.uq.test_calibrate import world


def test_what_differs_is_named():
    pairs = matched(*world(10, seed=1))
    fc, _ = world(3, first=1000, seed=2)
    check_alike(fc, pairs, "x")
    check_alike(fc.isel(lead_time=[1]), pairs, "x")
    celsius = fc.copy()
    celsius["t2m"] = (fc["t2m"] - 273.15).assign_attrs(units="degC")
    moved = fc.assign_coords(x=("x", fc["x"].values + 0.1, fc["x"].attrs))
    for bad, error, said in (
        (celsius, UnitError, "x: t2m of the past forecasts: expected the unit 'degC', got 'K'"),
        (moved, GridMismatch, "x: the new forecast: expected CartesianGrid"),
        (fc.isel(x=slice(0, 4)), GridMismatch, "x: the new forecast"),
        (fc.rename(t2m="tas"), DataError, "variables t2m in the forecast, missing t2m"),
        (fc.isel(member=slice(4)), InputError, "as many members as in the pairs, 9, got 4"),
        (fc.assign_coords(lead_time=[1.0, 2.0, 7.0]), DataError, "lead_time that the pairs have, got 7"),
        (fc.assign_coords(lead_time=np.array([1, 2, 7], "timedelta64[h]").astype("timedelta64[ns]")), DataError, "the pairs have, got 1 h besides"),
        (fc.isel(lead_time=0, drop=True), DataError, "along lead_time"),
    ):
        with pytest.raises(error, match=said):
            check_alike(bad, pairs, "x")


@pytest.mark.parametrize("verb", [calibrate, post_process])
def test_bands_and_corrections_ask_for_it(verb):
    pairs = world(40, seed=1)
    fc, _ = world(3, first=1000, seed=2)
    celsius = fc.copy()
    celsius["t2m"] = fc["t2m"].assign_attrs(units="degC")
    with pytest.raises(UnitError, match=f"{verb.__name__}: t2m of the past"):
        verb(celsius, with_pairs=pairs)
    with pytest.raises(GridMismatch, match=f"{verb.__name__}: the new forecast"):
        verb(fc.assign_coords(y=("y", np.asarray(fc["y"].values) * 2, fc["y"].attrs)), with_pairs=pairs)
