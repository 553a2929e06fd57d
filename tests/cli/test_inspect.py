"""``physdiff inspect``: a description, and exit code 2 for what physdiff will refuse."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cli.command import physdiff, refuses, untouched, works
from tests.data.files import earth, save


def test_one_file_several_and_a_pattern(tmp_path):
    whole = earth(12)
    save(whole, tmp_path / "whole.nc")
    paths = [save(whole.isel(time=slice(i, i + 4)), tmp_path / f"part{i}.nc") for i in (0, 4, 8)]
    first = works("inspect", tmp_path / "whole.nc")
    assert "t2m" in first and "12 frames, 2020-01-01T00:00 to 2020-01-01T11:00, step 3600 s (1 h)" in first
    for text in (works("inspect", *paths), works("inspect", tmp_path / "part*.nc")):
        assert text.splitlines()[1:] == first.splitlines()[1:]


def uneven() -> xr.Dataset:
    hours = np.arange(10.0)
    hours[6] += 0.3
    times = np.datetime64("2020-01-01T00", "ns") + (hours * 3600e9).astype("timedelta64[ns]")
    return earth(10).assign_coords(time=times)


def two_grids() -> xr.Dataset:
    other = earth(12, nx=5, u10=np.zeros((12, 4, 5), "float32")).rename(longitude="longitude_2", latitude="latitude_2")
    return xr.merge([earth(12), other])


def holes() -> xr.Dataset:
    return earth(12, t2m=np.ones((12, 4, 6), "float32"), sst=np.full((12, 4, 6), np.nan, "float32"))


def repeated() -> xr.Dataset:
    return earth(hours=np.array([0, 1, 2, 2, 3]))


REFUSED = [
    (lambda: earth().isel(time=0), "expected a time dimension"),
    (lambda: earth().isel(time=0, drop=True), "expected a time dimension"),
    (lambda: earth(1), "expected at least two time steps, got 1"),
    (uneven, "expected a uniform time step, got 4680 between 2020-01-01T05:00 and 2020-01-01T06:18"),
    (repeated, "expected increasing times, got the same time twice at index 3"),
    (two_grids, "expected all variables on one grid, got two grids: t2m on"),
    (holes, "sst: expected values, got an all-NaN field"),
]


@pytest.mark.parametrize(("make", "said"), REFUSED, ids=[said[:30] for _, said in REFUSED])
def test_what_will_be_refused_ends_with_2(tmp_path, make, said):
    path = save(make(), tmp_path / "a.nc")
    with untouched(tmp_path):
        assert said in refuses("inspect", path)


def test_the_description_comes_before_the_refusal(tmp_path):
    done = physdiff("inspect", save(holes(), tmp_path / "a.nc"))
    assert done.code == 2 and "physdiff will refuse this: sst: expected values" in done.out and "grid    LatLonGrid" in done.out


def test_what_is_no_data_ends_with_2(tmp_path):
    (tmp_path / "text.nc").write_text("not data")
    (tmp_path / "empty.nc").touch()
    (tmp_path / "folder").mkdir()
    save(earth(40), tmp_path / "whole.nc")
    cut = (tmp_path / "whole.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(cut[: len(cut) // 2])
    with untouched(tmp_path):
        for name in ("text", "empty", "cut"):
            assert "a damaged" in refuses("inspect", tmp_path / f"{name}.nc")
        assert "found nothing there; check the path" in refuses("inspect", tmp_path / "none.nc")
        assert "expected files that match the pattern, found none" in refuses("inspect", tmp_path / "x*.nc")
        assert "expected a folder with files (netCDF, Zarr" in refuses("inspect", tmp_path / "folder")
        assert "check the address and the network" in refuses("inspect", "http://127.0.0.1:9/a.nc")  # nothing listens there


def test_a_gap_in_time_is_told_and_accepted(tmp_path):
    text = works("inspect", save(earth(hours=np.array([0, 1, 2, 5, 6, 7])), tmp_path / "a.nc"))
    assert "2 frames missing between 2020-01-01T02:00 and 2020-01-01T05:00" in text and "windows will not cross the gaps: of" in text


# Files of ../shared/data that are no trajectories on a grid, and what is said of them.
SAID = {
    "era5_global_tl31_37lev_1959-01-02T00.nc": "one time only",
    "era5_uv850_with_ncl_vo_div_sf_vp_2p5deg_2025-12-01T00.nc": "no time dimension",
    "cylinder_re100_steady_baseflow_256x128.nc": "no time dimension",
    "cylinder_re100_nek_pod_modes_256x128.h5": "no time dimension",
    "cylinder_nektar_vorticity_t0_points.nc": "no time dimension",  # clouds of points at one time
    "ns_backstep_no_obstacle.nc": "no time dimension",
    "lid_driven_re100_lidprofile_a2_a4_a8_a16.h5": "expected coordinates",
    "darcy_16.h5": "expected coordinates",
    "advection_operator_training.h5": "expected times",
}
TEXTS = (".md", ".csv", ".dat", ".json")  # no arrays; readings at places are for `infer --sensors.path`


@pytest.mark.slow
def test_every_file_of_the_real_data_is_described_or_refused_for_the_right_reason(shared_data):
    stores = list(shared_data.rglob("*.zarr"))
    files = [p for p in shared_data.rglob("*") if p.is_file() and not any(p.is_relative_to(store) for store in stores)]
    assert len(files) > 50 and {p.parent.name for p in files} >= {"tracer", "pde", "cfd", "reanalysis", "format_samples"}
    for path in sorted([*files, *stores]):
        if path.name in SAID or path.suffix in TEXTS:
            assert SAID.get(path.name, "expected netCDF, Zarr, GRIB, HDF5") in refuses("inspect", path), path.name
        else:
            assert "trajector" in works("inspect", path), path.name
