"""Coast lines: where they lie in either convention of longitudes, and what is said without cartopy or its files."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from physdiff.base.errors import InputError
from physdiff.plots.coasts import coast_lines

ISLAND = np.array([[-10.0, 50.0], [0.0, 58.0], [5.0, 52.0]])
FAR = np.array([[-170.0, -10.0], [-160.0, 10.0]])


@pytest.fixture
def cartopy(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in with one shape of two lines and one alone."""
    line = lambda coords: SimpleNamespace(coords=coords)  # noqa: E731
    shapes = [SimpleNamespace(geoms=[line(ISLAND), line(FAR)]), line(ISLAND + 1)]
    opened = lambda path: SimpleNamespace(geometries=lambda: iter(shapes))  # noqa: E731
    reader = SimpleNamespace(natural_earth=lambda **asked: str(asked["resolution"]), Reader=opened)
    io = ModuleType("cartopy.io")
    io.shapereader = reader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cartopy", ModuleType("cartopy"))
    monkeypatch.setitem(sys.modules, "cartopy.io", io)
    return reader


@pytest.mark.parametrize(("limits", "shifts"), [((-180, 180), (0,)), ((-20, 20), (0,)), ((0, 359), (0, 360)), ((-30, 330), (0, 360))])
def test_lines_lie_where_the_map_counts_its_longitudes(cartopy: SimpleNamespace, limits, shifts) -> None:
    figure, axes = plt.subplots()
    axes.set(xlim=limits, ylim=(60, 40))  # a reversed axis stays reversed
    assert coast_lines(axes) is axes
    (drawn,) = axes.collections
    paths = [p.vertices for p in drawn.get_paths()]
    seen = [p for p in paths if p[:, 0].max() >= limits[0] and p[:, 0].min() <= limits[1]]
    for shift in shifts:
        for line in (ISLAND, FAR):
            moved = line + [shift, 0.0]
            if moved[:, 0].max() >= limits[0] and moved[:, 0].min() <= limits[1]:
                assert any(np.array_equal(p, moved) for p in seen)
    assert axes.get_xlim() == limits and axes.get_ylim() == (60, 40)
    plt.close(figure)


def test_cells_at_the_poles_reach_beyond_them(cartopy: SimpleNamespace) -> None:
    figure, axes = plt.subplots()
    axes.set(xlim=(-1.25, 358.75), ylim=(-91.25, 91.25))  # a map of a grid of 2.5 degrees with points at the poles
    assert len(coast_lines(axes).collections) == 1
    plt.close(figure)


def test_errors_say_what_to_do(cartopy: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, axes = plt.subplots()
    axes.set(xlim=(0, 6e6), ylim=(0, 1e6))
    with pytest.raises(InputError, match="expected axes in degrees"):
        coast_lines(axes)
    axes.set(xlim=(0, 90), ylim=(0, 45))
    with pytest.raises(InputError, match="coast_lines scale"):
        coast_lines(axes, scale="5m")

    def offline(**_: object) -> str:
        raise OSError("no route")

    monkeypatch.setattr(cartopy, "natural_earth", offline)
    with pytest.raises(InputError, match=r"could not load the lines \(no route\)"):
        coast_lines(axes)
    monkeypatch.setitem(sys.modules, "cartopy.io", None)
    with pytest.raises(InputError, match=r"pip install 'physdiff\[maps\]'"):
        coast_lines(axes)
    plt.close(figure)
