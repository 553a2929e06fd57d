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
    (tmp_path / "s.csv").write_text("x,y,u\n1,0,0.5\n", encoding="utf-8")
    words = (POINTS, "--recipe.history 0 --recipe.horizon 1 --data", cloud, "--out", tmp_path / "a.prior")
    works("fit", *words)
    said = refuses("infer", "--prior", tmp_path / "a.prior", "--sensors", tmp_path / "s.csv", "--std 0.1 --out", tmp_path / "i.nc")
    assert "expected a prior on a grid for readings at places" in said
