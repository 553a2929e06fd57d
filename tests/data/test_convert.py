from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, strategies as st

from physdiff.base.errors import DataError, GridMismatch, InputError, ShapeError, UnitError
from physdiff.data.convert import grid_of, spec_of, to_dataset, to_tensor, value_mask
from physdiff.data.open import open_dataset
from physdiff.data.write import write_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from tests.data.files import HOUR, START, box, earth, smooth


def test_spec_of_a_regional_file_and_of_samples():
    spec = spec_of(earth(5))
    assert spec.names == ("t2m",) and spec.units == ("K",) and spec.dt == 3600 and spec.time_unit == "s"
    assert isinstance(spec.grid, LatLonGrid) and spec.grid.shape == (4, 6) and spec.grid.periodic == (False, False)
    plain = spec_of(box(), frames=3)
    assert plain.dt == 0.5 and plain.time_unit == "1" and plain.frames == 3
    assert isinstance(plain.grid, CartesianGrid) and plain.grid.extent == pytest.approx((1.0, 3.0)) and not any(plain.grid.periodic)


def test_longitude_closes_by_itself_and_axes_by_attribute_or_argument():
    ds = earth(3, nx=144)
    assert spec_of(ds.assign_coords(longitude=np.arange(144) * 2.5)).grid.periodic == (False, True)
    plain = box()
    plain.x.attrs["periodic"] = 1
    assert grid_of(plain).periodic == (False, True)
    assert grid_of(plain.assign_attrs(periodic="yes")).periodic == (True, True)
    assert grid_of(plain, periodic=(True, False)).periodic == (True, False)
    grid = grid_of(plain, periodic=True)
    assert grid.origin == pytest.approx((0, 0)) and grid.extent == pytest.approx((1.0, 3.0))


def test_an_uneven_axis_keeps_its_points():
    uneven = np.array([0.0, 0.1, 0.3, 0.6, 1.0, 1.5])
    grid = grid_of(box().assign_coords(x=uneven))
    assert not grid.uniform
    np.testing.assert_array_equal(grid.axes()[1], uneven)


def test_part_of_a_periodic_box_is_not_the_box():
    spec = FieldSpec(("u",), ("1",), CartesianGrid((4, 8), (1.0, 2.0)), 0.1)
    ds = to_dataset(torch.zeros(2, 1, 3, 4, 8), spec)
    half = grid_of(ds.isel(x=slice(0, 4)), periodic=(True, False))
    assert half.extent == pytest.approx((1.0, 1.0))


GRIDS = st.one_of(
    st.builds(
        CartesianGrid,
        st.lists(st.integers(2, 5), min_size=1, max_size=3).map(tuple),
        st.floats(0.1, 100),
        st.floats(-50, 50),
        periodic=st.booleans(),
        length_unit=st.sampled_from(["m", "1", "km"]),
    ),
    st.builds(
        lambda ny, nx, up, start: LatLonGrid(torch.linspace(-60, 70, ny).double() * (1 if up else -1), torch.arange(nx).double() * 360 / nx + start),
        st.integers(2, 5),
        st.integers(3, 6),
        st.booleans(),
        st.sampled_from([0.0, -180.0]),
    ),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("round")


@given(GRIDS, st.integers(1, 3), st.integers(1, 2), st.integers(2, 4), st.booleans(), st.data())
def test_tensor_to_dataset_to_file_and_back(folder, grid, rows, channels, frames, calendar, data):
    names = ("t2m", "z_500")[:channels]
    spec = FieldSpec(names, ("K", "m2 s-2")[:channels], grid, 3600.0 if calendar else 0.25, frames=frames, time_unit="s" if calendar else "1")
    x = torch.from_numpy(smooth(rows, channels, frames, *grid.shape, seed=data.draw(st.integers(0, 99))))
    x[0, 0, 0].view(-1)[0] = torch.nan
    times = START + np.arange(frames) * HOUR if calendar else None
    ds = to_dataset(x, spec, times, batch=data.draw(st.sampled_from(["member", "sample"])))
    assert torch.equal(torch.nan_to_num(to_tensor(ds, spec)), torch.nan_to_num(x)) and bool(to_tensor(ds, spec)[0, 0, 0].view(-1)[0].isnan())
    found = spec_of(ds)
    assert found.grid.same_as(grid, rtol=1e-9) and found.names == names and found.units == spec.units
    assert found.grid.length_unit == grid.length_unit and found.dt == pytest.approx(spec.dt, rel=1e-12)
    back = open_dataset(write_dataset(ds, folder / "r.nc"))
    assert set(back.attrs) == {"Conventions", "history"}
    xr.testing.assert_identical(back.drop_attrs(deep=False).load(), ds.drop_attrs(deep=False))
    again = spec_of(back)
    assert again.grid.same_as(grid, rtol=1e-9) and again.grid.length_unit == grid.length_unit


def test_rows_run_over_samples_then_members_whatever_the_order():
    ds = earth(3).expand_dims(member=2, sample=3).transpose("latitude", "member", "time", "sample", "longitude")
    ds = ds.copy(data={"t2m": smooth(*ds.t2m.shape)})
    x = to_tensor(ds, spec_of(ds))
    assert x.shape == (6, 1, 3, 4, 6)
    np.testing.assert_array_equal(x[2 * 2 + 1, 0], ds.t2m.isel(sample=2, member=1).transpose("time", "latitude", "longitude"))


def test_to_dataset_takes_fields_several_batch_dimensions_and_masks():
    mask = torch.tensor([[True, False], [True, True]])
    spec = FieldSpec(("a", "b"), ("1", "K"), CartesianGrid((2, 2)), 1.0, mask=mask)
    ds = to_dataset(torch.ones(3, 5, 2, 4, 2, 2), spec, batch=("init_time", "member"), time_dim="lead_time")
    assert ds.a.dims == ("init_time", "member", "lead_time", "y", "x") and bool(ds.a.isnull()[..., 0, 1].all()) and int(ds.a.isnull().sum()) == 60
    fields = {"a": torch.zeros(3, 4, 2, 2), "b": torch.ones(3, 4, 2, 2)}
    assert float(to_dataset(fields, spec).b.sum()) == 3 * 4 * 3
    assert to_dataset(torch.zeros(2, 4, 2, 2), spec).a.dims == ("time", "y", "x")
    for x in (torch.zeros(3, 1, 4, 2, 2), torch.zeros(3, 2, 4, 2, 3), torch.zeros(2, 2, 2)):
        with pytest.raises(ShapeError, match="to_dataset: expected"):
            to_dataset(x, spec)
    with pytest.raises(ShapeError, match="expected 4 times"):
        to_dataset(torch.zeros(1, 2, 4, 2, 2), spec, [0.0, 1.0])


def test_names_get_cf_attributes():
    spec = FieldSpec(("z_500",), ("m2 s-2",), LatLonGrid([10.0, 0.0], [0.0, 1.0]), 3600.0)
    ds = to_dataset(torch.zeros(1, 1, 2, 2, 2), spec, ["2020-01-01T00", "2020-01-01T01"])
    assert ds.z_500.attrs == {"units": "m2 s-2", "standard_name": "geopotential", "long_name": "geopotential at 500 hPa"}
    assert ds.latitude.attrs["units"] == "degrees_north" and ds.time.dtype.kind == "M"


def test_the_mask_is_where_something_is_ever_known(shared_data):
    ds = earth(4)
    ds.t2m[:, 0, 0] = np.nan
    ds.t2m[1, 2, 3] = np.nan
    ds = ds.assign(u=ds.t2m.copy())
    ds.u[:, 1, 1] = np.nan
    mask = spec_of(ds, mask=True).mask
    assert mask is not None and int((~mask).sum()) == 1 and not bool(mask[0, 0])
    assert value_mask(earth(3)) is None
    wake = open_dataset(shared_data / "cfd" / "cylinder_re100_traj_t60_140_128x64.nc")
    spec = spec_of(wake, ["u", "v"], mask="mask_fluid")
    # the disc of diameter 1 has pi/4 / (1/8)^2 = 50.3 points
    assert spec.mask is not None and abs(int((~spec.mask).sum()) - 50) <= 6
    storm = open_dataset(shared_data / "reanalysis" / "northamerica_storm_6h_1996-01-05_15_missing.nc", variables=["u_sfc"])
    found = spec_of(storm, mask=True).mask
    # README.md of the shared data: 19 % missing, the same points at all times
    assert found is not None and float((~found).double().mean()) == pytest.approx(float(storm.u_sfc.isnull().mean()))


def nothing():
    return earth(3, t2m=np.full((3, 4, 6), np.nan))


def second_grid():
    return earth(3).assign(u=(("time", "y", "x"), smooth(3, 4, 6)))


@pytest.mark.parametrize(
    ("make", "names", "message"),
    [
        (lambda: earth(1), None, "at least two time steps, got 1"),
        (lambda: earth(4, hours=np.array([0, 1, 2, 4])), None, "got 1 gaps, the first of 1 frames after index 2"),
        (lambda: earth(4, hours=np.array([0, 2, 4, 5])), None, "uniform time step, got 3600 between 2020-01-01T04:00 and 2020-01-01T05:00"),
        (second_grid, None, r"got two grids: t2m on .*latitude.* and u on .*'y', 'x'"),
        (lambda: earth(3), ["sp"], "expected a variable 'sp', got only t2m"),
        (nothing, None, "t2m: expected values, got an all-NaN field"),
        (lambda: earth(3).isel(time=0), None, "time dimension"),
        (lambda: earth(3).drop_vars("latitude"), None, "got none along latitude"),
        (lambda: earth(3).expand_dims(band=2), None, "got also band"),
    ],
)
def test_bad_data_sets_are_refused_in_words(make, names, message):
    with pytest.raises(DataError, match=message):
        spec_of(make(), names)


def test_gaps_are_allowed_on_request():
    assert spec_of(earth(4, hours=np.array([0, 1, 2, 4])), gaps=True).dt == 3600


def test_to_tensor_guards_grid_units_and_values():
    spec = spec_of(earth(3))
    with pytest.raises(GridMismatch):
        to_tensor(earth(3, ny=5), spec)
    celsius = earth(3)
    celsius.t2m.attrs["units"] = "degC"
    with pytest.raises(UnitError, match="t2m: expected the unit 'K', got 'degC'"):
        to_tensor(celsius, spec)
    with pytest.raises(DataError, match="all-NaN"):
        to_tensor(nothing(), spec)
    with pytest.raises(DataError, match="expected a variable 't2m'"):
        to_tensor(earth(3).rename(t2m="d2m"), spec)
    with pytest.raises((DataError, InputError), match="cannot be periodic"):
        grid_of(box().assign_coords(x=[0.0, 0.1, 0.3, 0.6, 1.0, 1.5]), periodic=True)
