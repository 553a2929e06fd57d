"""Maps draw the values they are given, where their coordinates say."""

from __future__ import annotations

import math

import numpy as np
import pytest
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.data.open import open_dataset
from physdiff.plots.colours import MISSING
from physdiff.plots.maps import ensemble_frames, ensemble_maps, map_plot, sensor_marks
from physdiff.plots.style import figure_of, new_axes
from tests.plots.fields import lat_lon_field


def drawn(axes):
    """The values of the coloured cells."""
    return axes.collections[0].get_array()


def test_a_map_draws_the_field_where_it_is():
    field = lat_lon_field()
    axes = map_plot(field)
    np.testing.assert_array_equal(drawn(axes), field.values)
    mesh = axes.collections[0].get_coordinates()
    # latitude descends in the file: the first row of cells is the northernmost, 2 degrees high
    np.testing.assert_allclose(mesh[[0, -1], :, 1], np.array([[59.0], [49.0]]) * np.ones((1, 8)))
    assert mesh[0, 0, 0] == pytest.approx(-11.0)
    assert axes.get_ylim() == pytest.approx((49.0, 59.0))


def test_dims_are_found_by_name_not_by_order():
    field = lat_lon_field()
    np.testing.assert_array_equal(drawn(map_plot(field.transpose("longitude", "latitude"))), field.values)
    np.testing.assert_array_equal(drawn(map_plot(field.expand_dims(member=1))), field.values)


def test_aspect_and_labels_on_the_sphere():
    axes = map_plot(lat_lon_field())
    assert axes.get_aspect() == pytest.approx(1 / math.cos(math.radians(54)))
    figure_of(axes).canvas.draw()
    labels = {t.get_text() for a in (axes.xaxis, axes.yaxis) for t in a.get_ticklabels()}
    assert {"50°N", "58°N", "0°"} <= labels and any(t.endswith("°W") for t in labels)
    assert [a.get_ylabel() for a in axes.child_axes] == ["2 metre temperature (K)"]


def test_longitudes_beyond_180_are_west():
    field = xr.DataArray(np.zeros((3, 24)), dims=("latitude", "longitude"), coords={"latitude": [-60.0, 0, 60], "longitude": np.arange(0, 360, 15.0)})
    axes = map_plot(field)
    figure_of(axes).canvas.draw()
    labels = [t.get_text() for t in axes.get_xticklabels()]
    assert {"90°E", "180°", "90°W"} <= set(labels)


def test_signed_fields_are_white_at_zero_and_missing_cells_are_grey():
    values = np.linspace(-1, 2, 12).reshape(3, 4)
    values[1, 1] = np.nan
    field = xr.DataArray(values, dims=("y", "x"), coords={"y": [0.0, 1, 2], "x": [0.0, 1, 2, 3]}, attrs={"units": "s-1"}, name="vorticity")
    axes = map_plot(field)
    mesh = axes.collections[0]
    assert mesh.norm.vmin == -mesh.norm.vmax
    assert drawn(axes).mask.sum() == 1 and bool(drawn(axes).mask[1, 1])
    figure_of(axes).canvas.draw()
    grey = tuple(int(MISSING[k : k + 2], 16) / 255 for k in (1, 3, 5))
    assert mesh.get_facecolor().reshape(3, 4, 4)[1, 1, :3] == pytest.approx(grey)
    assert axes.get_aspect() == 1.0
    assert axes.get_xlabel() == "x"


def test_a_field_of_one_dimension_is_drawn_through_time():
    lead = np.arange(1, 4) * np.timedelta64(3600, "s")
    field = xr.DataArray(np.arange(12.0).reshape(4, 3), dims=("x", "lead_time"), coords={"x": np.arange(4.0), "lead_time": lead}, name="u")
    axes = map_plot(field)
    np.testing.assert_array_equal(drawn(axes), field.values.T)
    assert axes.get_ylabel() == "lead time (h)" and axes.get_aspect() == "auto"


def test_what_is_no_map_is_refused():
    with pytest.raises(InputError, match="two dims"):
        map_plot(lat_lon_field(3))
    with pytest.raises(InputError, match="finite value"):
        map_plot(lat_lon_field() * np.nan)


def test_an_ensemble_row_shows_truth_mean_members_and_spread():
    members, truth = lat_lon_field(3, members=6), lat_lon_field(3, seed=1)
    axes = ensemble_maps(members, truth)
    assert axes.shape == (3, 5)
    for row in range(3):
        ens = members.values[:, row]
        expected = [truth.values[row], ens.mean(0), ens[0], ens[1], ens.std(0, ddof=1)]
        for panel, values in zip(axes[row], expected, strict=True):
            np.testing.assert_allclose(drawn(panel), values, rtol=1e-12)
    assert [a.get_title() for a in axes[0]] == ["truth", "ensemble mean", "member 1", "member 2", "standard deviation"]
    assert [a.get_ylabel() for a in axes[:, 0]] == ["+1 h", "+2 h", "+3 h"]
    ranges = {(a.collections[0].norm.vmin, a.collections[0].norm.vmax) for a in axes[:, :4].reshape(-1)}
    assert len(ranges) == 1, "panels of one quantity share one scale"
    assert axes[0, 4].collections[0].norm.vmin == 0.0
    bars = {a.get_xlabel() for a in figure_of(axes).axes} - {""}
    assert bars == {"2 metre temperature (K)", "std. dev. (K)"}


def test_without_truth_on_given_axes_with_sensors_per_row():
    grid = new_axes(2, 3)
    places = [np.array([[-5.0, 52.0]]), np.array([[0.0, 55.0], [1.0, 51.0]])]
    axes = ensemble_maps(lat_lon_field(2, members=3), None, grid, shown=1, sensors=places)
    assert axes[0, 0] is grid[0, 0]
    for row in range(2):
        np.testing.assert_array_equal(axes[row, 0].collections[1].get_offsets(), places[row])
        assert len(axes[row, 1].collections) == 1


def test_frames_are_the_rows_of_an_ensemble_one_after_another():
    rng = np.random.default_rng(3)
    shape, coords = (4, 3, 6, 8), {"latitude": np.arange(58.0, 46.0, -2), "longitude": np.arange(8.0)}
    dims = ("member", "lead_time", "latitude", "longitude")
    members = xr.DataArray(rng.normal(280, 3, shape), coords={**coords, "lead_time": [6.0, 12.0, 18.0]}, dims=dims, name="t", attrs={"units": "K"})
    truth = members.isel(member=0, drop=True) + 1
    whole = ensemble_maps(members, truth)
    norm = whole[0, 0].collections[0].norm
    for k, row in enumerate(ensemble_frames(members, truth)):
        assert row.shape == (1, 5)
        for panel, wanted in zip(row[0], whole[k], strict=True):
            np.testing.assert_array_equal(drawn(panel), drawn(wanted))
        # one colour scale for all times
        assert (row[0, 0].collections[0].norm.vmin, row[0, 3].collections[0].norm.vmax) == (norm.vmin, norm.vmax)
        assert row[0, 0].get_ylabel() == f"+{6 * (k + 1)}"
    with pytest.raises(InputError, match="space-time pictures"):
        next(ensemble_frames(members.isel(latitude=0, drop=True).rename(longitude="x")))


def test_missing_members_are_not_averaged_over():
    members = lat_lon_field(members=3)
    members[0, 2, 3] = np.nan
    axes = ensemble_maps(members)
    assert bool(np.ma.getmaskarray(drawn(axes[0, 0]))[2, 3]) and np.ma.getmaskarray(drawn(axes[0, 0])).sum() == 1


def test_what_does_not_fit_is_refused():
    members = lat_lon_field(2, members=3)
    with pytest.raises(InputError, match="two or more members"):
        ensemble_maps(members.isel(member=0))
    with pytest.raises(InputError, match="expected a truth on"):
        ensemble_maps(members, lat_lon_field())
    with pytest.raises(InputError, match="select one entry"):
        ensemble_maps(members.expand_dims(sample=2))


def test_marks_keep_the_limits_of_a_map_and_do_not_freeze_those_of_a_fresh_axis():
    """Of a map: from half a cell before the first centre to half a cell after the last, drawn already or not."""
    field = lat_lon_field()
    undisturbed = map_plot(field)
    limits = (undisturbed.get_xlim(), undisturbed.get_ylim())
    far = np.array([[500.0, 300.0]])
    marked = sensor_marks(far, map_plot(field))
    assert (marked.get_xlim(), marked.get_ylim()) == limits
    fresh = sensor_marks(np.array([[10.0, 20.0], [30.0, 45.0]]), new_axes()[0, 0])
    assert fresh.get_xlim()[0] < 10 < 30 < fresh.get_xlim()[1] and fresh.get_ylim()[0] < 20 < 45 < fresh.get_ylim()[1]


def test_sensor_marks_go_where_the_sensors_are():
    axes = sensor_marks(np.array([[1.0, 2.0], [3.0, 4.0]]), new_axes()[0, 0])
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), [[1, 2], [3, 4]])


def test_a_real_wake_with_a_hole(shared_data):
    ds = open_dataset(shared_data / "cfd" / "cylinder_re100_traj_t60_140_128x64.nc", variables=["vorticity", "mask_fluid"])
    frame = ds["vorticity"].isel(time=100).where(ds["mask_fluid"] != 0).load()
    axes = map_plot(frame)
    assert np.ma.getmaskarray(drawn(axes)).sum() == int(np.isnan(frame.values).sum()) == 48
    assert axes.collections[0].norm.vmin == -axes.collections[0].norm.vmax
