"""Point sensors: exact on multilinear fields, adjoint, masks, units, tables of stations."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, strategies as st

from physdiff.base.errors import DataError, InputError, ShapeError, UnitError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.sensors import Sensors, Stations, read_stations

LIKE = torch.zeros((), dtype=torch.float64)
OPEN = CartesianGrid((5, 8), extent=(1.0, 2.0), origin=(0.0, -1.0), periodic=False)
GLOBE = LatLonGrid(torch.linspace(87.5, -87.5, 36), torch.arange(0, 360, 5.0))
REGION = LatLonGrid(torch.linspace(58, 50, 17), torch.linspace(-10, 2, 25))
GRIDS = {
    "open": (OPEN, (-1.0, 0.0), (1.0, 1.0)),
    "periodic": (CartesianGrid((5, 8), extent=(1.0, 2.0), origin=(0.0, -1.0)), (-1.0, 0.0), (1.0, 1.0)),
    "one axis": (CartesianGrid(7, extent=3.0), (0.0,), (3.0,)),
    "globe": (GLOBE, (-180.0, -90.0), (360.0, 90.0)),
    "region": (REGION, (-10.0, 50.0), (2.0, 58.0)),
    "box": (CartesianGrid((3, 4, 5), periodic=(False, True, False)), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


def spec(grid, frames: int = 3, mask=None) -> FieldSpec:
    return FieldSpec(("u", "v"), ("m/s", "m/s"), grid, 1.0, frames, mask)


@given(data=st.data())
def test_adjoint_on_every_grid(data) -> None:
    grid, low, high = GRIDS[data.draw(st.sampled_from(sorted(GRIDS)))]
    rng = Rng(data.draw(st.integers(0, 2**20)))
    n = data.draw(st.integers(1, 6))
    share = rng.child("points").uniform((n, grid.ndim), like=LIKE)
    points = torch.tensor(low).double() + share * (torch.tensor(high) - torch.tensor(low)).double()
    names = data.draw(st.sampled_from([None, ("u",), ("v",), ("v", "u")]))
    frames = data.draw(st.sampled_from([None, (0,), (-1, 1)]))
    sensors = Sensors(spec(grid), points, names, frames=frames)
    x = rng.child("x").normal((2, *spec(grid).shape), like=LIKE)
    readings = sensors(x)
    r = rng.child("r").normal(tuple(readings.shape), like=LIKE)
    # a few hundred products of numbers near one in float64
    torch.testing.assert_close((readings * r).sum(), (x * sensors.adjoint(r)).sum(), rtol=1e-11, atol=1e-12)


def test_reads_a_bilinear_field_exactly_in_the_right_channel_and_frame() -> None:
    x_axis, y_axis = OPEN.coordinates()
    field = 2 + 3 * x_axis - y_axis + 0.5 * x_axis * y_axis
    windows = torch.zeros(1, 2, 3, *OPEN.shape, dtype=torch.float64)
    windows[0, 1, 2] = field
    points = torch.tensor([[-0.6, 0.3], [0.55, 0.71]], dtype=torch.float64)
    expected = 2 + 3 * points[:, 0] - points[:, 1] + 0.5 * points[:, 0] * points[:, 1]
    assert Sensors(spec(OPEN), points)(windows).shape == (1, 2, 3, 2)
    torch.testing.assert_close(Sensors(spec(OPEN), points, ("v",), frames=(-1,))(windows)[0, 0, 0], expected, rtol=1e-13, atol=0)
    assert not Sensors(spec(OPEN), points, ("u",))(windows).any()
    assert not Sensors(spec(OPEN), points, frames=(0, 1))(windows).any()


def test_longitudes_of_either_branch_are_the_same_places() -> None:
    x = Rng(5).normal((1, 2, 3, *GLOBE.shape), like=LIKE)
    west, east = ([[lon, 12.3]] for lon in (-3.1, 356.9))
    torch.testing.assert_close(Sensors(spec(GLOBE), torch.tensor(west))(x), Sensors(spec(GLOBE), torch.tensor(east))(x), rtol=0, atol=1e-5)


def test_beyond_the_last_row() -> None:
    """A global grid without rows at the poles covers their caps with its last row, at the point's own longitude; nothing lies beyond the pole."""
    x = Rng(7).normal((1, 2, 3, *GLOBE.shape), like=LIKE)
    for pole, row in ((90.0, 87.5), (88.1, 87.5), (-90.0, -87.5), (-87.6, -87.5)):
        beyond, on = (Sensors(spec(GLOBE), torch.tensor([[33.0, lat]]))(x) for lat in (pole, row))
        torch.testing.assert_close(beyond, on, rtol=0, atol=1e-12)
    for grid, lon, lat, allowed in ((GLOBE, 0.0, 90.5, "-90 to 90"), (REGION, 0.0, 58.2, "50 to 58"), (REGION, 0.0, 49.9, "50 to 58")):
        with pytest.raises(InputError, match=f"point 1 has latitude {lat:g}, expected {allowed}; drop it or use a larger grid"):
            Sensors(spec(grid), torch.tensor([[0.0, 55.0], [lon, lat]]))
    with pytest.raises(InputError, match="point 0 has x = -1.01"):
        Sensors(spec(OPEN), torch.tensor([[-1.01, 0.5]]))


def test_sensors_beside_the_mask_are_refused() -> None:
    mask = torch.ones(OPEN.shape, dtype=torch.bool)
    mask[0] = False
    inside, beside = torch.tensor([[0.0, 0.5]]), torch.tensor([[0.0, 0.5], [0.0, 0.25]])
    Sensors(spec(OPEN, mask=mask), inside)
    with pytest.raises(InputError, match="got point 1 at .* beside the mask"):
        Sensors(spec(OPEN, mask=mask), beside)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"points": [[0.0, 5.0]]}, InputError, "point 0 has y = 5"),
        ({"points": [[0.0, 0.5], [torch.nan, 0.5]]}, InputError, "for point 1; drop it"),
        ({"points": [[0.0]]}, InputError, r"expected points \(n, 2\)"),
        ({"names": ("w",)}, InputError, "expected one of the fields u, v; got 'w'"),
        ({"names": ("u", "u")}, InputError, "one or more names, each once"),
        ({"names": ()}, InputError, "one or more names, each once"),
        ({"frames": (0, -3)}, InputError, "one or more frames, each once"),
        ({"frames": (3,)}, InputError, "expected frames within 0 to 2, got 3"),
        ({"names": ("u",), "units": ("knots",)}, UnitError, "expected readings of u in m/s, got knots"),
        ({"units": ("m/s",)}, UnitError, "one unit for each of u, v"),
    ],
)
def test_worded_errors(arguments, error, message) -> None:
    points = torch.tensor(arguments.pop("points", [[0.0, 0.5]]))
    with pytest.raises(error, match=message):
        Sensors(spec(OPEN), points, **arguments)


def test_windows_of_another_length_are_refused() -> None:
    sensors = Sensors(spec(OPEN), torch.tensor([[0.0, 0.5]]), frames=(2,))
    with pytest.raises(ShapeError, match="expected windows of 3 frames, got 2"):
        sensors(torch.zeros(1, 2, 2, *OPEN.shape))


def test_points_outside_a_region_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="point 0 has longitude 3, expected -10 to 2"):
        Sensors(spec(REGION), torch.tensor([[3.0, 55.0]]))


def test_a_table_of_stations(tmp_path) -> None:
    path = tmp_path / "stations.csv"
    path.write_text("name, Lat,lon ,t2m\nOban,56.4,-5.5,280.5\nCork,51.9,-8.5,\nBath,51.4,-2.4,nan\n")
    stations = read_stations(path)
    points, columns = read_stations(path, REGION)
    assert torch.equal(points, stations.points)
    assert torch.equal(points, torch.tensor([[-5.5, 56.4], [-8.5, 51.9], [-2.4, 51.4]], dtype=torch.float64))
    assert columns["name"] == ["Oban", "Cork", "Bath"] and set(columns) == {"name", "t2m"}
    readings = stations.readings("t2m")
    assert readings[0] == 280.5 and bool(readings[1:].isnan().all())
    x = Rng(6).normal((1, 2, 3, *REGION.shape), like=LIKE)
    sensors = Sensors(spec(REGION), stations)
    assert torch.equal(sensors(x), Sensors(spec(REGION), points)(x))
    assert torch.equal(build(describe(sensors))(x), sensors(x))
    with pytest.raises(DataError, match="column 'name', station 1: expected a number, got 'Oban'"):
        stations.readings("name")
    with pytest.raises(DataError, match="expected a column 'u10', got name, t2m"):
        stations.readings("u10")


def test_a_table_of_box_places(tmp_path) -> None:
    path = tmp_path / "probes.csv"
    path.write_text("y,x,u\n0.25,-0.5,1.5\n")
    assert torch.equal(read_stations(path).points, torch.tensor([[-0.5, 0.25]], dtype=torch.float64))
    assert isinstance(read_stations(path, OPEN), Stations)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "found no file"),
        ("lat,lon\n", "at least one station"),
        ("lat,name\n50,a\n", "expected a column 'longitude', got lat, name"),
        ("lat,lon\n50,1\n51,east\n", "line 3, column 'lon': expected a number, got 'east'"),
        ("lat,lon\n50\n", "line 2, column 'lon'"),
    ],
)
def test_broken_tables_are_named(tmp_path, text, message) -> None:
    path = tmp_path / "stations.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_stations(path, REGION)
