"""GRIB: written by cfgrib, read back."""

from __future__ import annotations

import numpy as np
import pytest

from physdiff.base.errors import DataError
from physdiff.data.open import open_dataset

pytest.importorskip("cfgrib", reason="the package cfgrib is not installed")
eccodes = pytest.importorskip("eccodes")


NORTH, EAST = np.linspace(60.0, 50.0, 5), np.linspace(0.0, 9.0, 10)
VALUES = {n: np.random.default_rng(k).normal(size=(3, 2, 5, 10)) for k, n in enumerate(("t", "u"))}


def message(name: str, level: int, hour: int, values: np.ndarray, *, kind: str = "isobaricInhPa") -> bytes:
    handle = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
    keys = {
        "Ni": 10,
        "Nj": 5,
        "latitudeOfFirstGridPointInDegrees": NORTH[0],
        "latitudeOfLastGridPointInDegrees": NORTH[-1],
        "longitudeOfFirstGridPointInDegrees": EAST[0],
        "longitudeOfLastGridPointInDegrees": EAST[-1],
        "iDirectionIncrementInDegrees": 1.0,
        "jDirectionIncrementInDegrees": 2.5,
        "dataDate": 20200101,
        "dataTime": 100 * hour,
        "typeOfLevel": kind,
        "level": level,
        "shortName": name,
        "bitsPerValue": 16,
    }
    for key, value in keys.items():
        eccodes.codes_set(handle, key, value)
    eccodes.codes_set_values(handle, values.reshape(-1))
    found = eccodes.codes_get_message(handle)
    eccodes.codes_release(handle)
    return bytes(found)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two fields on two pressure levels, three times of six hours; and the same beside a field of the surface."""
    folder = tmp_path_factory.mktemp("grib")
    parts = [message(n, p, 6 * t, v[t, k]) for n, v in VALUES.items() for t in range(3) for k, p in enumerate((850, 500))]
    (folder / "levels.grib").write_bytes(b"".join(parts))
    below = [message("sp", 0, 6 * t, 1e5 + VALUES["t"][t, 0], kind="surface") for t in range(3)]
    (folder / "both.grib").write_bytes(b"".join(parts + below))
    return folder


def test_levels_become_names_and_values_are_those_written(written):
    folder = written
    found = open_dataset(folder / "levels.grib")
    assert sorted(found) == ["t_500", "t_850", "u_500", "u_850"] and found["u_500"].attrs["units"] == "m s-1"
    # 16 bits for the range of each message
    np.testing.assert_allclose(found["t_500"].values, VALUES["t"][:, 1], atol=1e-3)
    assert found["time"].values.tolist() == np.arange("2020-01-01", "2020-01-01T18", 6, dtype="datetime64[h]").astype("datetime64[ns]").tolist()
    assert found["u_850"].dims == ("time", "latitude", "longitude")
    assert found["latitude"].values.tolist() == np.linspace(60, 50, 5).tolist()
    assert sorted(p.name for p in folder.iterdir()) == ["both.grib", "levels.grib"], "no index is left beside the file"


def test_levels_of_two_types_and_damage_are_refused(written, tmp_path):
    folder = written
    with pytest.raises(DataError, match=r"expected levels of one type, got 2 .isobaricInhPa, surface.; split the file with grib_copy"):
        open_dataset(folder / "both.grib")
    (tmp_path / "cut.grib").write_bytes((folder / "levels.grib").read_bytes()[:100])
    with pytest.raises(DataError, match="cut.grib: expected"):
        open_dataset(tmp_path / "cut.grib")


def test_fields_at_different_times_are_refused_in_words(tmp_path):
    """`t` at three times, `u` at two: cfgrib makes two data sets of them, which do not fit."""
    parts = [message("t", 850, 6 * t, VALUES["t"][t, 0]) for t in range(3)] + [message("u", 850, 6 * t, VALUES["u"][t, 0]) for t in range(2)]
    (tmp_path / "a.grib").write_bytes(b"".join(parts))
    with pytest.raises(DataError, match="a.grib: expected all fields at the same times and places, got others .*; split the file with grib_copy"):
        open_dataset(tmp_path / "a.grib")
