"""Values that cannot be what they are called."""

from __future__ import annotations

from physdiff.data.inspect import inspect_file
from physdiff.data.plausible import implausible
from tests.data.files import earth, save


def test_known_quantities_in_known_units(tmp_path):
    assert implausible("2m_temperature", "K", 180.0, 330.0) == "" and implausible("t2m", "degC", -60.0, 50.0) == ""
    assert "t_500 has values from -30 to 20 K, expected 150 to 345" in implausible("t_500", "K", -30.0, 20.0)
    assert "msl has values from 0 to 1.02e+05 Pa" in implausible("msl", "Pa", 0.0, 102e3)
    # what is not known, or bears the name of something else, is not judged
    assert implausible("u", "1", -1e9, 1e9) == "" == implausible("tracer", "K", -1.0, 1.0) == implausible("t2m", None, -1.0, 1.0)
    ds = earth(3)
    ds["t2m"] -= 273.15
    ds["t2m"].attrs["units"] = "K"
    assert "is the unit right, or a fill value not named?" in inspect_file(save(ds, tmp_path / "a.nc"))


def test_real_files_are_plausible(shared_data):
    for path in sorted((shared_data / "reanalysis").glob("era5_*_hourly_*.nc")):
        assert "expected" not in inspect_file(path), path
