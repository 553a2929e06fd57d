from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings, strategies as st

from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import grid_of
from physdiff.data.open import open_dataset
from physdiff.data.regrid import regrid, subset
from physdiff.data.windows import TrajectoryWindows
from tests.data.files import box, earth, save, smooth


def sphere(ny: int, nx: int, *, poles: bool = False, north_first: bool = True, first: float = 0.0) -> xr.Dataset:
    latitude = np.linspace(-90, 90, ny) if poles else -90 + (np.arange(ny) + 0.5) * 180 / ny
    values = np.random.default_rng(0).standard_normal((2, ny, nx))
    return xr.Dataset(
        {"u": (("time", "latitude", "longitude"), values, {"units": "K"})},
        coords={
            "time": np.datetime64("2020-01-01", "ns") + np.arange(2) * np.timedelta64(1, "h"),
            "latitude": latitude[::-1] if north_first else latitude,
            "longitude": first + np.arange(nx) * 360 / nx,
        },
    )


def integral(ds: xr.Dataset) -> np.ndarray:
    """Mean over the sphere, with the areas of the grid itself."""
    return (ds["u"].values * grid_of(ds).weights().numpy()).sum((-2, -1))


@settings(max_examples=25)
@given(
    st.sampled_from([(18, 36, 2), (12, 24, 3), (8, 12, 4)]),
    st.booleans(),
    st.floats(-180, 180, allow_subnormal=False),
    st.sampled_from([15.0, 20.0, 22.5, 30.0]),
)
def test_integrals_over_the_sphere_are_kept(shape, north_first, first, resolution):
    """float64, some hundred cells: 1e-12 is rounding of sums. Bands of equal width have the same edges in both grids."""
    ny, nx, factor = shape
    ds = sphere(ny, nx, north_first=north_first, first=first)
    np.testing.assert_allclose(integral(regrid(ds, factor=factor)), integral(ds), rtol=0, atol=1e-12)
    coarse = regrid(sphere(2 * ny, 2 * nx, poles=False, north_first=north_first, first=first), resolution=45.0)
    assert coarse["u"].shape == (2, 4, 8)
    np.testing.assert_allclose(integral(coarse), integral(sphere(2 * ny, 2 * nx, north_first=north_first, first=first)), rtol=0, atol=1e-12)
    poles = sphere(37, 72, poles=True, north_first=north_first)
    coarse = regrid(poles, resolution=resolution)
    np.testing.assert_allclose(integral(coarse), integral(poles), rtol=0, atol=1e-12)
    assert bool((np.diff(coarse.latitude) < 0).all()) == north_first and abs(float(coarse.longitude[0])) < 1e-9


def test_cells_are_those_of_overlaps_one_by_one():
    """Brute force: the overlap of every source cell with every target cell, on the sphere, at the seam too."""
    ds = sphere(6, 9, first=-3.0, north_first=False)
    coarse = regrid(ds, resolution=60.0)["u"].values
    edges = np.radians(-90 + 30 * np.arange(7))
    for i, j in np.ndindex(3, 6):
        total = area = 0.0
        for k, m in np.ndindex(6, 9):
            low, high = max(edges[k], edges[2 * i]), min(edges[k + 1], edges[2 * i + 2])
            band = np.sin(high) - np.sin(low) if high > low else 0.0
            for turn in (-360, 0, 360):
                west, east = -3.0 + 40 * m - 20 + turn, -3.0 + 40 * m + 20 + turn
                sector = max(0.0, min(east, 60 * j + 30) - max(west, 60 * j - 30))
                total, area = total + band * sector * ds["u"].values[0, k, m], area + band * sector
        assert coarse[0, i, j] == pytest.approx(total / area, abs=1e-12)


def test_the_global_grid_of_weatherbench():
    coarse = regrid(sphere(121, 240, poles=True, north_first=False), resolution=5.625)
    np.testing.assert_allclose(coarse.latitude, np.linspace(-87.1875, 87.1875, 32))
    np.testing.assert_allclose(coarse.longitude, np.arange(64) * 5.625)


def test_boxes_regions_and_what_is_constant():
    ds = box(ny=4, nx=6)
    coarse = regrid(ds, factor={"x": 2})
    np.testing.assert_allclose(coarse["u"].values, ds["u"].values.reshape(3, 8, 4, 3, 2).mean(-1), atol=1e-6)
    np.testing.assert_allclose(coarse.x, [0.25, 1.25, 2.25])
    closed = box(ny=4, nx=6).assign_coords(x=box(nx=6).x.assign_attrs(periodic=1))
    np.testing.assert_allclose(regrid(closed, factor=2)["u"].values, ds["u"].values.reshape(3, 8, 2, 2, 3, 2).mean((3, 5)), atol=1e-6)
    region = earth(3, ny=9, nx=8)  # 50 to 40 N in steps of 1.25, 0 to 17.5 E in steps of 2.5
    coarse = regrid(region, resolution=5.0)
    np.testing.assert_allclose(coarse.latitude, [47.5, 42.5])
    np.testing.assert_allclose(coarse.longitude, [5.0, 10.0, 15.0])
    even = regrid(region.assign(t2m=region.t2m * 0 + 3), resolution=5.0)
    np.testing.assert_array_equal(even["t2m"].values, np.float32(3))


def test_missing_values_are_left_out_and_cells_less_than_half_known_are_missing():
    ds = box(ny=4, nx=4, samples=1, frames=3)
    values = smooth(1, 3, 4, 4)
    values[:, :, 0, :2] = np.nan  # half of the first cell
    values[:, :, 2:, 2:] = np.nan
    values[:, :, 3, 3] = 5.0  # a quarter of the last one
    got = regrid(ds.assign(u=ds["u"].copy(data=values)), factor=2)["u"].values
    np.testing.assert_allclose(got[..., 0, 0], values[:, :, 1, :2].mean(-1), rtol=1e-6)
    assert np.isnan(got[..., 1, 1]).all() and np.isfinite(got[..., 1, 0]).all()


def test_a_region_across_the_seam_is_one_piece():
    ds = sphere(18, 36)
    part = subset(ds, {"longitude": (-20, 20), "latitude": (0, 90)})
    np.testing.assert_allclose(part.longitude, [-20, -10, 0, 10, 20])
    assert float(part.latitude.min()) > 0
    np.testing.assert_array_equal(part["u"].values[..., 0], ds["u"].sel(longitude=340).values[:, :9])
    np.testing.assert_array_equal(subset(ds, {"longitude": (340, 380), "latitude": (0, 90)})["u"].values, part["u"].values)


def test_it_is_lazy_and_windows_read_it(tmp_path, monkeypatch):
    monkeypatch.setattr("physdiff.data.windows._IN_MEMORY", 0)
    path = save(earth(12, ny=8, nx=12), tmp_path / "a.nc")
    coarse = regrid(subset(open_dataset(path), {"latitude": (40, 50)}), factor=2)
    windows = TrajectoryWindows(coarse, history=1, horizon=1)
    np.testing.assert_array_equal(windows[3]["x"][0].numpy(), coarse["t2m"].values[3:5])
    assert coarse["t2m"].dtype == np.float32 and coarse["t2m"].attrs["units"] == "K"


def test_what_makes_no_sense_is_refused():
    ds = earth(3)
    for call, kind, message in (
        (lambda: regrid(ds), InputError, "either a factor, a resolution or data"),
        (lambda: regrid(ds, factor=4), InputError, "factor of the 6 points of longitude|factor of the 4 points"),
        (lambda: regrid(ds, factor={"x": 2}), InputError, "axes among latitude, longitude, got x"),
        (lambda: regrid(ds, resolution=0.5), InputError, "nothing is refined"),
        (lambda: regrid(ds, resolution=40.0), InputError, "got none 40 wide"),
        (lambda: regrid(sphere(18, 36), resolution=25.0), InputError, "divides the period 360"),
        (lambda: subset(ds, {"longitude": (100, 120)}), InputError, "within 100 to 120, got none"),
        (lambda: subset(ds, {"time": (0, 1)}), InputError, "got 'time'"),
        (lambda: regrid(xr.Dataset({"u": (("time", "point"), smooth(2, 3))}), factor=2), DataError, "scattered points"),
    ):
        with pytest.raises(kind, match=message):
            call()


def _overlap(one: tuple[float, float], other: tuple[float, float]) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


@pytest.mark.parametrize("north_first", [False, True])
def test_another_grid_that_was_given_uneven_and_across_the_seam(north_first):
    """Brute force by overlaps of cells in sin(latitude) and longitude; the target has an order, a turn and spacings of its own. 1e-12: rounding."""
    ds = sphere(9, 24, first=0.0, north_first=north_first)
    latitude, longitude = np.array([50.0, 20.0, -30.0, -65.0]), np.array([-30.0, -12.0, 10.0, 41.0])
    like = xr.Dataset(coords={"latitude": latitude, "longitude": longitude, "time": ds.time}).assign(
        u=(("time", "latitude", "longitude"), np.zeros((2, 4, 4)))
    )
    found = regrid(ds, like=like)
    np.testing.assert_array_equal(found.latitude, latitude)
    np.testing.assert_array_equal(found.longitude, longitude)
    rows = [(65.0, 35.0), (35.0, -5.0), (-5.0, -47.5), (-47.5, -82.5)]
    columns = [(-39.0, -21.0), (-21.0, -1.0), (-1.0, 25.5), (25.5, 56.5)]
    for i, j in np.ndindex(4, 4):
        south, north = np.sin(np.radians(rows[i][1])), np.sin(np.radians(rows[i][0]))
        total = area = 0.0
        for a, b in np.ndindex(9, 24):
            middle = float(ds.latitude[a])
            tall = _overlap((south, north), (np.sin(np.radians(middle - 10)), np.sin(np.radians(middle + 10))))
            wide = sum(_overlap(columns[j], (15 * b - 7.5 + turn, 15 * b + 7.5 + turn)) for turn in (-360, 0, 360))
            total, area = total + tall * wide * ds["u"].values[0, a, b], area + tall * wide
        assert abs(float(found["u"][0, i, j]) - total / area) < 1e-12


def test_a_given_grid_half_outside_is_missing_there_and_elsewhere_is_refused():
    ds = sphere(18, 36).sel(latitude=slice(60, 0)).isel(longitude=slice(0, 12))
    like = sphere(9, 18)
    found = regrid(ds, like=like)
    assert found["u"].shape == (2, 9, 18)
    known = np.isfinite(found["u"][0])
    assert bool(known.sel(latitude=40, longitude=40).all()) and not bool(known.sel(latitude=-40).any()) and not bool(known.sel(longitude=200).any())
    turned = like.isel(longitude=slice(0, 6)).assign_coords(longitude=like.longitude[:6] - 360)
    np.testing.assert_array_equal(regrid(ds, like=turned)["u"].values, found["u"].isel(longitude=slice(0, 6)).values)
    shifted = like.isel(longitude=slice(0, 8)).assign_coords(longitude=like.longitude[:8] - 9)  # the source begins at -5: 0.3 and then all of a cell
    beyond = like.isel(longitude=slice(0, 8)).assign_coords(longitude=like.longitude[:8] - 1)  # 0.7 of its first cell, which begins at -11
    firsts = [np.isfinite(regrid(ds, like=other)["u"][0].sel(latitude=40, method="nearest")[:2]).values.tolist() for other in (shifted, beyond)]
    assert firsts == [[False, True], [True, True]]
    with pytest.raises(InputError, match="no finer than 10, got 5"):
        regrid(ds, like=sphere(36, 72))
    with pytest.raises(InputError, match="within 0 to 60"):
        regrid(ds, like=like.sel(latitude=slice(-30, -90)))
    with pytest.raises(InputError, match="axes latitude, longitude, got y, x"):
        regrid(ds, like=box(2))
    with pytest.raises(InputError, match="either a factor, a resolution or data"):
        regrid(ds, like=like, factor=2)


def test_part_of_an_axis_that_closes_does_not_close():
    x = xr.DataArray((np.arange(8) / 8).astype("float64"), dims="x", attrs={"periodic": "true", "origin": 0.0, "extent": 1.0})
    ds = xr.Dataset({"u": (("time", "x"), np.zeros((3, 8), "float32"))}, coords={"x": x, "time": np.arange(3.0)})
    assert grid_of(ds[["u"]]).periodic == (True,)
    part = grid_of(subset(ds, {"x": (0.2, 0.7)})[["u"]])
    assert part.shape == (4,) and part.periodic == (False,) and part.extent == pytest.approx((0.5,))
    assert grid_of(subset(ds, {"x": (0.0, 1.0)})[["u"]]).periodic == (True,)
