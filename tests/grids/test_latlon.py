"""The sphere: areas, the closing meridian, branches of longitude, finding points."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from physdiff.base.errors import InputError
from physdiff.base.saved import build, describe
from physdiff.grids.latlon import EARTH_RADIUS, LatLonGrid

EQUATOR_FREE = [-75.0, -45.0, -15.0, 15.0, 45.0, 75.0]


def float64(values: list) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def regular(n: int, *, poles: bool, descending: bool = False) -> LatLonGrid:
    step = 180 / n
    latitude = np.linspace(-90, 90, n + 1) if poles else -90 + step * (np.arange(n) + 0.5)
    return LatLonGrid(latitude[::-1].copy() if descending else latitude, np.arange(2 * n) * step)


@pytest.mark.parametrize("poles", [True, False])
@pytest.mark.parametrize("descending", [True, False])
def test_integrals_over_the_sphere(poles: bool, descending: bool) -> None:
    """The mean of 1 is 1 exactly; those of sin^2 (1/3) and of sin^2 cos^2(longitude) (1/6) to second order."""
    errors = []
    for n in (12, 24, 48):
        grid = regular(n, poles=poles, descending=descending)
        longitude, latitude = grid.coordinates()
        weights = grid.weights()
        assert float(weights.sum()) == pytest.approx(1, abs=1e-14)
        s = torch.sin(latitude) ** 2
        mixed = float((weights * s * torch.cos(longitude) ** 2).sum())
        error = float((weights * s).sum()) - 1 / 3
        # the longitudes integrate cos^2 exactly
        assert mixed - 1 / 6 == pytest.approx(error / 2, abs=1e-14)
        errors.append(abs(error))
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_bands_are_areas_between_edges() -> None:
    """Uneven rows: the band between 0 and 45 degrees north holds half of sin 45 of the whole."""
    grid = LatLonGrid([-60.0, -30.0, 30.0, 60.0], [0.0, 120.0, 240.0])
    expected = float64([1 - math.sin(math.pi / 4), math.sin(math.pi / 4), math.sin(math.pi / 4), 1 - math.sin(math.pi / 4)]) / 2
    # the outermost edges lie at 75 degrees
    expected[[0, 3]] -= (1 - math.sin(math.radians(75))) / 2
    torch.testing.assert_close(grid.weights().sum(1), expected / expected.sum())


def test_a_regional_grid_weighs_uneven_meridians() -> None:
    grid = LatLonGrid([0.0], [0.0, 1.0, 4.0])
    torch.testing.assert_close(grid.weights()[0], float64([1.0, 2.0, 3.0]) / 6)


@pytest.mark.parametrize(
    ("longitude", "closes"),
    [
        (np.arange(0, 360, 2.5), True),
        (np.arange(-180, 180, 2.5), True),
        (np.arange(0, 360, 0.1, dtype=np.float32), True),
        ([0.0, 120.0, 240.0], True),
        ([0.0, 180.0], False),
        (np.arange(0, 350, 2.5), False),
        ([0.0, 100.0, 240.0], False),
        ([10.0], False),
    ],
)
def test_periodic_if_and_only_if_it_closes(longitude: np.ndarray, closes: bool) -> None:
    assert LatLonGrid([0.0, 10.0], longitude).periodic == (False, closes)


@given(data=st.data())
def test_locate_inverts_the_axes(data: st.DataObject) -> None:
    descending, west = data.draw(st.booleans()), data.draw(st.sampled_from([0.0, -180.0, 13.0]))
    latitude = EQUATOR_FREE[::-1] if descending else EQUATOR_FREE
    grid = LatLonGrid(latitude, (west + torch.arange(0, 360, 20)).tolist())
    row, column = data.draw(st.floats(0, 5)), data.draw(st.floats(0, 17.999))
    turns = data.draw(st.integers(-2, 2))
    place = [west + 20 * column + 360 * turns, (-75 + 30 * row) * (-1 if descending else 1)]
    found = grid.locate(float64([place]))[0]
    assert float(found[0]) == pytest.approx(row, abs=1e-9)
    # 0 and 18 are the same meridian
    assert abs((float(found[1]) - column + 9) % 18 - 9) < 1e-9
    assert 0 <= float(found[1]) < 18


@pytest.mark.parametrize("first", [0.0, -180.0, 0.1, 123.456])
def test_the_first_meridian_is_index_zero_whatever_rounding_does(first: float) -> None:
    grid = LatLonGrid(EQUATOR_FREE, (first + torch.arange(0, 360, 30).double()).tolist())
    for nudge in (0.0, 360.0, -360.0, 1e-12, -1e-12, -1e-17):
        index = float(grid.locate(float64([[first + nudge, 0.0]]))[0, 1])
        assert min(index, 12 - index) < 1e-12
        assert index < 12


@pytest.mark.parametrize("turn", [0.0, 360.0, -360.0])
def test_a_regional_grid_takes_any_branch(turn: float) -> None:
    grid = LatLonGrid([40.0, 50.0, 60.0], [350.0, 355.0, 358.0])
    assert grid.locate(float64([[352.5 + turn, 45.0], [356.5 + turn, 60.0]])).tolist() == [[0.5, 0.5], [2.0, 1.5]]
    across = LatLonGrid([40.0, 50.0], [-10.0, 0.0, 10.0])
    torch.testing.assert_close(across.locate(float64([[355.0 + turn, 50.0]])), float64([[1.0, 0.5]]))


def test_stations_at_the_edge_in_float32() -> None:
    """10.1 as a float32 number lies 4e-7 outside; it is no other place."""
    grid = LatLonGrid([45.1, 48.3], [10.1, 12.4, 178.9])
    corners = torch.tensor([[10.1, 45.1], [178.9, 48.3], [10.1, 48.3]], dtype=torch.float32)
    torch.testing.assert_close(grid.locate(corners), float64([[0.0, 0.0], [1.0, 2.0], [1.0, 0.0]]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((355.0, 71.0), "point 1 has latitude 71, expected 40 to 70"),
        ((355.0, 39.0), "point 1 has latitude 39"),
        ((0.0, 50.0), "point 1 has longitude 0, expected 350 to 358"),
        ((349.0, 50.0), "point 1 has longitude 349"),
        ((float("nan"), 50.0), "point 1 has longitude nan"),
        ((355.0, float("nan")), "point 1 has latitude nan"),
    ],
)
@pytest.mark.parametrize("latitude", [[40.0, 55.0, 70.0], [70.0, 55.0, 40.0]])
def test_points_outside_are_named(point: tuple[float, float], message: str, latitude: list[float]) -> None:
    with pytest.raises(InputError, match=message + ".*drop it"):
        LatLonGrid(latitude, [350.0, 355.0, 358.0]).locate(float64([[352.0, 45.0], list(point)]))


def test_nan_is_outside_a_global_grid_too() -> None:
    with pytest.raises(InputError, match="point 0 has longitude nan"):
        regular(6, poles=False).locate(float64([[float("nan"), 0.0]]))


def test_a_global_grid_without_pole_rows_covers_the_caps() -> None:
    grid = regular(12, poles=False, descending=True)
    assert grid.locate(float64([[0.0, 90.0], [0.0, 83.0], [0.0, -90.0]]))[:, 0].tolist() == [0.0, 0.0, 11.0]
    with pytest.raises(InputError, match="latitude 89"):
        LatLonGrid([60.0, 65.0, 70.0], [0.0, 120.0, 240.0]).locate(float64([[0.0, 89.0]]))


def test_coordinates_are_radians_longitude_first() -> None:
    longitude, latitude = LatLonGrid([90.0, -45.0], [0.0, 90.0, 180.0]).coordinates()
    torch.testing.assert_close(longitude, float64([[0, 0.5, 1]] * 2) * math.pi)
    torch.testing.assert_close(latitude, float64([[0.5] * 3, [-0.25] * 3]) * math.pi)


def test_built_from_arrays_of_a_file() -> None:
    """Files hand out read-only, big-endian, float32 axes."""
    latitude = np.array([60.0, 30.0], dtype=">f4")
    latitude.flags.writeable = False
    grid = LatLonGrid(latitude, np.array([0.0, 10.0, 20.0]))
    assert grid.radius == EARTH_RADIUS
    assert grid.length_unit == "m"
    assert build(describe(grid)).same_as(grid)


@pytest.mark.parametrize(
    ("latitude", "longitude", "message"),
    [
        ([0.0, 10.0, 5.0], [0.0, 1.0], "monotonic"),
        ([0.0, 0.0], [0.0, 1.0], "monotonic"),
        ([0.0, 91.0], [0.0, 1.0], r"within \[-90, 90\], got 91"),
        ([0.0, 1.0], [10.0, 0.0], "increasing axis"),
        ([0.0, 1.0], [0.0, 180.0, 360.0], "repeated meridian"),
        ([0.0, float("nan")], [0.0, 1.0], "latitude: expected at least one finite"),
        ([0.0], [], "longitude: expected at least one finite"),
    ],
)
def test_axes_that_make_no_sense(latitude: list[float], longitude: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LatLonGrid(latitude, longitude)


def test_the_radius_is_positive() -> None:
    with pytest.raises(InputError, match="radius"):
        LatLonGrid([0.0], [0.0], radius=0.0)


def test_the_solid_angle_of_a_grid() -> None:
    """The sphere has 4 pi; a region between latitudes a and b and across an angle has that angle times sin b - sin a."""
    for latitude in (torch.linspace(-90, 90, 19), torch.linspace(85, -85, 18)):
        assert LatLonGrid(latitude, torch.arange(0, 360, 10.0)).solid_angle == pytest.approx(4 * math.pi, rel=1e-12)
    region = LatLonGrid(torch.linspace(11, 29, 10), torch.linspace(1, 19, 10))
    assert region.solid_angle == pytest.approx(math.radians(20) * (math.sin(math.radians(30)) - math.sin(math.radians(10))), rel=1e-12)
