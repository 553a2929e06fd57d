"""Distances to sensors: those between grid points where sensors stand on them; great circles; the short way round."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.diffusion.sample_covariance import pairwise_distance
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.latlon import LatLonGrid
from physdiff.inference.localisation import distances_to, window_taper

GRIDS = {
    "box": CartesianGrid((3, 4), extent=(1.5, 4.0), origin=(0.0, -1.0), periodic=(False, True)),
    "line": CartesianGrid(5, extent=2.0, periodic=True),
    "sphere": LatLonGrid(torch.linspace(60, -60, 5), torch.arange(8.0) * 45),
}


@pytest.mark.parametrize("name", GRIDS)
def test_sensors_on_grid_points_are_as_far_apart_as_these(name) -> None:
    """1e-12 of the extent: the same formula but for rounding of the coordinates."""
    grid = GRIDS[name]
    here = torch.stack([c.double().flatten() for c in grid.coordinates()], 1)
    points = torch.rad2deg(here) if name == "sphere" else here
    torch.testing.assert_close(distances_to(grid, points), pairwise_distance(grid).double(), rtol=0, atol=1e-5 if name == "sphere" else 1e-12)


def test_a_quarter_of_a_great_circle_and_the_short_way_round() -> None:
    grid = LatLonGrid(torch.tensor([0.0, 30.0]), torch.tensor([0.0, 10.0]))
    found = distances_to(grid, torch.tensor([[90.0, 0.0], [0.0, 90.0]], dtype=torch.float64))
    assert found[0].tolist() == pytest.approx([90, 90], abs=1e-10) and found[2].tolist() == pytest.approx([90, 60], abs=1e-10)
    line = distances_to(CartesianGrid(4, extent=4.0, periodic=True), torch.tensor([[3.9]]))
    assert line[0, 0].item() == pytest.approx(0.1) or line[0, 0].item() == pytest.approx(0.6)


def test_weights_are_the_same_for_all_fields_and_frames_of_a_place() -> None:
    spec = FieldSpec(("a", "b"), ("1", "1"), GRIDS["box"], 1.0, 3)
    points = torch.tensor([[0.5, 0.25], [2.0, 1.2]])
    taper = window_taper(spec, points, 0.7).reshape(2, 3, 12, 2)
    assert taper.shape == (2, 3, 12, 2) and bool((taper == taper[:1, :1]).all())
    far = distances_to(spec.grid, points) >= 1.4
    assert bool(far.any()) and bool((taper[0, 0][far] == 0).all()) and bool((taper[0, 0][~far] > 0).all())


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"points \(n, 2\)"):
        distances_to(GRIDS["box"], torch.zeros(3))
    with pytest.raises(InputError, match="localisation radius"):
        window_taper(FieldSpec(("a",), ("1",), GRIDS["line"], 1.0), torch.zeros(1, 1), 0.0)
