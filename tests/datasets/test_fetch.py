"""What arrives is checked: sums, layouts, parts of stores. Offline, against small files of every kind."""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import xarray as xr

FOLDERS = Path(__file__).resolve().parents[2] / "datasets"
VALUES = np.random.default_rng(0).normal(size=(3, 5, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("datasets_fetch", FOLDERS / "fetch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def burgers(tmp_path: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "source" / "1D_Burgers_Sols_Nu0.01.hdf5"
    path.parent.mkdir()
    with h5py.File(path, "w") as file:
        file["tensor"], file["x-coordinate"] = VALUES, ((np.arange(8) + 0.5) / 8).astype(np.float32)
        file["t-coordinate"] = np.linspace(0, 1, 6).astype(np.float32)
        file.attrs["Nu"] = 0.01
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A few days in the layout of the regridded stores: longitude before latitude, south first."""
    pytest.importorskip("zarr")
    times = np.arange("2019-01-01", "2019-01-03", np.timedelta64(6, "h"), dtype="datetime64[ns]")
    values = np.arange(8 * 2 * 8 * 4, dtype=np.float32).reshape(8, 2, 8, 4)
    ds = xr.Dataset(
        {"geopotential": (("time", "level", "longitude", "latitude"), values, {"units": "m**2 s**-2"})},
        coords={
            "time": times,
            "level": [500, 850],
            "longitude": ("longitude", np.arange(8) * 45.0, {"units": "degrees_east"}),
            "latitude": ("latitude", np.linspace(-67.5, 67.5, 4), {"units": "degrees_north"}),
        },
    )
    ds.to_zarr(tmp_path / "store.zarr", zarr_format=2)
    return tmp_path / "store.zarr"


def test_a_file_with_its_sum_arrives_and_opens(tool: ModuleType, burgers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    md5 = hashlib.md5(burgers.read_bytes()).hexdigest()
    path = tool.fetch_file(burgers.as_uri(), tmp_path / "out" / burgers.name, md5=md5)
    ds = tool.check(path)
    assert ds["tensor"].shape == (3, 5, 8) and "sample" in capsys.readouterr().out
    assert tool.fetch_file("file:///not/there", path, md5=md5) == path  # not loaded again


def test_another_sum_is_refused_and_the_name_is_not_taken(tool: ModuleType, burgers: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / burgers.name
    with pytest.raises(SystemExit, match="expected MD5 e6d9a4f6.*got .*load again"):
        tool.main(["pdebench", burgers.name, "--address", burgers.as_uri(), "--out", str(out.parent)])
    assert not out.exists() and out.with_name(out.name + ".part").exists()


def test_what_is_no_data_is_refused(tool: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.nc"
    page.write_text("<html>too many requests</html>")
    with pytest.raises(SystemExit, match="page.nc came, but does not open"):
        tool.check(page)


def test_a_frame_without_numbers_is_refused(tool: ModuleType, store: Path, tmp_path: Path) -> None:
    field = xr.open_zarr(store).geopotential.sel(level=500, drop=True).transpose("time", "latitude", "longitude")
    field.where(field.time == field.time[3]).to_netcdf(tmp_path / "empty.nc")  # numbers in the middle only
    with pytest.raises(SystemExit, match="expected numbers in geopotential, got none in its first and last frame"):
        tool.check(tmp_path / "empty.nc")


def test_a_part_of_a_store(tool: ModuleType, store: Path, tmp_path: Path) -> None:
    """By name whatever the order: the box across the meridian of Greenwich, one level, north first, units as they were."""
    words = ["weatherbench2", "geopotential", "--level", "850", "--start", "2019-01-02", "--stop", "2019-01-02", "--box", "70", "-30", "-50", "50"]
    path = tool.main([*words, "--address", str(store), "--out", str(tmp_path / "z.nc")])
    with xr.open_dataset(path) as found, xr.open_zarr(store) as whole:
        field = found["geopotential"].load()
        assert field.dims == ("time", "latitude", "longitude") and field.shape == (4, 3, 3) and field.attrs["units"] == "m**2 s**-2"
        np.testing.assert_allclose(field.longitude, [-45, 0, 45])
        np.testing.assert_allclose(field.latitude, [67.5, 22.5, -22.5])
        expected = whole["geopotential"].sel(level=850, time=field.time, latitude=22.5, longitude=[315.0, 0.0, 45.0])
        np.testing.assert_array_equal(field.sel(latitude=22.5).values, expected.values)


@pytest.mark.parametrize(
    ("names", "level", "start", "told"),
    [
        (["wind"], 500, "2019-01-01", "expected variables of the store, got wind; there are geopotential"),
        (["geopotential"], None, "2019-01-01", "expected --level, one of 500, 850, got None"),
        (["geopotential"], 500, "2021-01-01", "expected times between 2019-01-01"),
    ],
)
def test_what_is_not_in_the_store_is_refused(tool: ModuleType, store: Path, tmp_path: Path, names, level, start, told) -> None:
    where = SimpleNamespace(start=start, stop="2021-01-02" if "2021" in start else start, box=None, level=level)
    with pytest.raises(SystemExit, match=told):
        tool.fetch_store(str(store), names, tmp_path / "z.nc", where=where)


def test_the_addresses_are_whole(tool: ModuleType) -> None:
    files = tool.pdebench_files()
    assert len(files) == 19 and len({md5 for _, md5 in files.values()}) == 19
    for name, (address, md5) in files.items():
        assert address.startswith("https://darus.uni-stuttgart.de/api/access/datafile/") and len(md5) == 32 and name.endswith((".hdf5", ".h5"))
    for name in ("era5", "weatherbench2", "pdebench", "the_well"):
        card = (FOLDERS / name / "README.md").read_text(encoding="utf-8")
        assert card.startswith(f"# {name}\n") and f"python datasets/fetch.py {name} " in card and "icence" in card
        assert tool.ADDRESSES.get(name, "darus").split("{")[0].removeprefix("https://") in card.lower() or name == "pdebench"


def test_the_climate_data_store_says_what_it_needs(tool: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, object] = {}

    class Client:
        def retrieve(self, kind: str, request: dict[str, object], target: str) -> None:
            asked.update(request, kind=kind, target=target)

    words = ["cds", "temperature", "--start", "2019-01-01", "--stop", "2019-01-02", "--level", "850", "--box", "58", "50", "-10", "2"]
    monkeypatch.setitem(sys.modules, "cdsapi", None)
    with pytest.raises(SystemExit, match="pip install cdsapi"):
        tool.main([*words, "--out", str(tmp_path / "a.nc")])
    monkeypatch.setitem(sys.modules, "cdsapi", SimpleNamespace(Client=Client))
    with pytest.raises(SystemExit, match="does not open"):
        tool.main([*words, "--out", str(tmp_path / "a.nc")])
    assert asked["kind"] == "reanalysis-era5-pressure-levels" and asked["area"] == [58, -10, 50, 2] and asked["pressure_level"] == ["850"]
