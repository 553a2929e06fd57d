"""Values that cannot be what they are called."""

from __future__ import annotations

from physdiff.data.inspect import inspect_file
from physdiff.data.plausible import implausible
from tests.data.files import earth, save


def test_known_quantities_in_known_units(tmp_path):
    assert implausible("2m_temperature", "K", low=180.0, high=330.0) == "" and implausible("t2m", "degC", low=-60.0, high=50.0) == ""
    assert "t_500 has values from -30 to 20 K, expected 150 to 345" in implausible("t_500", "K", low=-30.0, high=20.0)
    assert "msl has values from 0 to 1.02e+05 Pa" in implausible("msl", "Pa", low=0.0, high=102e3)
    # what is not known, or bears the name of something else, is not judged
    for name, unit in (("u", "1"), ("tracer", "K"), ("t2m", None)):
        assert implausible(name, unit, low=-1e9, high=1e9) == ""
    ds = earth(3)
    ds["t2m"] -= 273.15
    ds["t2m"].attrs["units"] = "K"
    assert "is the unit right, or a fill value not named?" in inspect_file(save(ds, tmp_path / "a.nc"))


def test_real_files_are_plausible(shared_data):
    for path in sorted((shared_data / "reanalysis").glob("era5_*_hourly_*.nc")):
        assert "expected" not in inspect_file(path), path
