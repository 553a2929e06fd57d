"""Values at scattered points from the command line: a prior of points, its forecast and page, latents on a grid, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from tests.cli.command import refuses, untouched, works
from tests.data.files import save

POINTS = "--network PointNetwork --network.width 8 --network.grid 8 --network.modes 2 --training.max_steps 2"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory):
    """A wave over 60 points of a plane, 24 frames."""
    g, t = np.random.default_rng(0), np.arange(24.0)
    x, y = g.uniform(0, 2, 60), g.uniform(-1, 1, 60)
    u = np.sin(3 * x + y - 0.5 * t[:, None]) + 0.05 * g.standard_normal((24, 60))
    places = {"x": ("point", x, {"units": "m"}), "y": ("point", y, {"units": "m"})}
    ds = xr.Dataset({"u": (("time", "point"), u.astype(np.float32), {"units": "m s-1"})}, coords={"time": t, **places})
    return save(ds, tmp_path_factory.mktemp("cloud") / "cloud.nc")


def test_a_prior_at_points_forecasts_and_is_scored(tmp_path, cloud):
    said = works("inspect", cloud)
    assert "PointGrid with 60 points" in said and "windows (1, time, 60)" in said
    assert "coefficients (4, 1, 60)" in works("fit", POINTS, "--data", cloud, "--out", tmp_path / "a.prior")
    works("forecast --lead 5 --members 2 --every 8 --prior", tmp_path / "a.prior", "--initial", cloud, "--out", tmp_path / "fc.nc")
    with xr.open_dataset(tmp_path / "fc.nc", decode_timedelta=False) as fc, xr.open_dataset(cloud) as data:
        assert fc["u"].dims == ("init_time", "member", "lead_time", "point") and bool(np.isfinite(fc["u"]).all())
        np.testing.assert_array_equal(fc["x"].values, data["x"].values)
    works("evaluate --forecast", tmp_path / "fc.nc", "--truth", cloud, "--out", tmp_path / "page")
    assert "each pixel the nearest of 60 points" in (tmp_path / "page" / "index.html").read_text()
    works("convert --data", cloud, "--out", tmp_path / "again.nc")
    with xr.open_dataset(tmp_path / "again.nc") as again, xr.open_dataset(cloud) as data:
        np.testing.assert_array_equal(again["u"].values, data["u"].values)
        assert again["u"].encoding["chunksizes"][1] == 60


def test_latents_of_points_lie_on_a_grid(tmp_path, cloud):
    words = "--transform MeshAutoencoder --transform.grid 8 --transform.width 4 --network UNet --network.width 8 --training.max_steps 2"
    assert "latents  1 channels on (4, 4)" in works("fit", words, "--transform.compression 4 --data", cloud, "--out", tmp_path / "a.prior")


def test_what_takes_a_list_for_an_array_is_refused(tmp_path, cloud, burgers):
    with untouched(tmp_path):
        rest = ("--training.max_steps 1 --data", cloud, "--out", tmp_path / "a.prior")
        cases = {
            "--network UNet": "expected PointNetwork for values at 60 scattered points, got UNet",
            "--transform Autoencoder": "expected MeshAutoencoder for PointGrid with 60 points",
            "--network PointNetwork --training.coarser [1,2]": "expected fields on a grid, got scattered points",
            "--coarse 2": "expected a coder of frames for trajectories at scattered points",
        }
        for words, said in cases.items():
            assert said in refuses("fit", words, *rest)
        said = refuses("fit", "--transform MeshAutoencoder --data", burgers, "--out", tmp_path / "a.prior")
        assert "expected Autoencoder for CartesianGrid" in said


def test_readings_at_places_among_the_points(tmp_path, cloud):
    works("fit", POINTS, "--recipe.history 0 --recipe.horizon 1 --data", cloud, "--out", tmp_path / "a.prior")
    with xr.open_dataset(cloud) as data:
        lines = [f"{data.x.values[k]},{data.y.values[k]},3,{data.u.values[3, k]}" for k in (4, 20, 33)]
    (tmp_path / "s.csv").write_text("\n".join(["x,y,time,u", *lines]) + "\n", encoding="utf-8")
    words = ("--members 3 --std 0.01 --against.truth", cloud, "--sensors", tmp_path / "s.csv")
    said = works("infer --prior", tmp_path / "a.prior", *words, "--out", tmp_path / "i.nc")
    assert "wrote 3 draws at 1 times, 3, from 3 readings" in said
    with xr.open_dataset(tmp_path / "i.nc") as found, xr.open_dataset(cloud) as data:
        off = found["u"].isel(time=0, point=[4, 20, 33]).mean("member") - data["u"].isel(time=3, point=[4, 20, 33])
        assert float(abs(off).max()) < 0.1
    assert "Readings and posterior at the sensors" in (tmp_path / "i.nc.report" / "index.html").read_text()
    # the same as netCDF along the prior's own points, gaps where nothing was read
    with xr.open_dataset(cloud) as data:
        kept = data.isel(time=[3]).load()
        kept["u"] = kept["u"].where(np.isin(np.arange(60), [4, 20, 33]))
        save(kept, tmp_path / "s.nc")
    works("infer --prior", tmp_path / "a.prior", "--members 3 --std 0.01 --sensors", tmp_path / "s.nc", "--out", tmp_path / "j.nc")
    with xr.open_dataset(tmp_path / "i.nc") as one, xr.open_dataset(tmp_path / "j.nc") as two:
        np.testing.assert_allclose(one["u"].values, two["u"].values, atol=1e-4)
    (tmp_path / "s.csv").write_text("x,y,time,u,fwhm\n1,0,3,0.5,0.2\n", encoding="utf-8")
    said = refuses("infer", "--prior", tmp_path / "a.prior", "--sensors", tmp_path / "s.csv", "--std 0.1 --out", tmp_path / "k.nc")
    assert "expected readings at places for a prior at scattered points, got beams" in said
