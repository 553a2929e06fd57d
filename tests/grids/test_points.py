"""Points as a grid: sizes, places, the way through a data set and back."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.data.convert import spec_of, to_dataset, to_tensor
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.points import PointGrid, place_axes

POINTS = torch.tensor([[0.0, 1.0], [2.0, 1.5], [4.0, 3.0]], dtype=torch.float64)


def test_what_it_says_of_itself():
    grid = PointGrid(POINTS, torch.tensor([1.0, 1.0, 2.0]), "m")
    assert grid.shape == (3,) and grid.dims == ("point",) and grid.ndim == 1
    assert torch.equal(torch.stack(grid.coordinates(), 1), POINTS) and grid.weights().tolist() == [0.25, 0.25, 0.5]
    assert grid.shares().tolist() == [[0.0, 0.0], [0.25, 0.5], [1.0, 1.0]]  # y before x
    assert grid.locate(torch.tensor([[1.9, 1.4], [4.0, 3.0]])).tolist() == [[1.0], [2.0]]
    assert build(describe(grid)).same_as(grid) and not PointGrid(POINTS + torch.tensor([0.1, 0.0])).same_as(grid)
    with pytest.raises(GridMismatch, match="3 points"):
        grid.check_same(PointGrid(POINTS[:2]), "a")
    with pytest.raises(InputError, match="within the box"):
        grid.locate(torch.tensor([[5.0, 1.0]]))


@pytest.mark.parametrize("area", [None, torch.tensor([1.0, 2.0, 3.0])])
def test_through_a_data_set_and_back(area):
    spec = FieldSpec(("u", "p"), ("m s-1", "Pa"), PointGrid(POINTS, area, "m"), 0.5, frames=2, time_unit="1")
    x = torch.randn(4, 2, 2, 3)
    ds = to_dataset(x, spec, batch="sample")
    assert ds["u"].dims == ("sample", "time", "point") and ds["y"].values.tolist() == [1.0, 1.5, 3.0]
    found = spec_of(ds, frames=2)
    assert found.grid.same_as(spec.grid) and found.names == spec.names and torch.equal(found.grid.weights(), spec.grid.weights())
    assert torch.equal(to_tensor(ds, spec), x)


def test_what_are_no_points_is_refused():
    for points, area in ((POINTS[0], None), (POINTS[:1], None), (POINTS, torch.ones(2))):
        with pytest.raises(ShapeError, match="PointGrid"):
            PointGrid(points, area)
    with pytest.raises(InputError, match="differ along"):
        PointGrid(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    with pytest.raises(InputError, match="areas"):
        PointGrid(POINTS, torch.tensor([-1.0, 1.0, 1.0]))


def test_places_have_the_names_of_their_coordinates():
    assert place_axes(PointGrid(torch.rand(5, 2, generator=torch.Generator().manual_seed(0)))) == ("x", "y")
    assert place_axes(CartesianGrid((4, 5), 1.0)) == ("x", "y")
