"""Box and conditions from data: the first frame, walls at the first and last points, closed axes, times."""

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.pdes.advection_diffusion import AdvectionDiffusion
from physdiff.training.pinn_conditions import Conditions, box_and_known

LAW = AdvectionDiffusion(diffusivity=0.1, velocity=(1.0, 0.0))
GRID = CartesianGrid((3, 4), extent=(1.5, 4.0), origin=(0.0, 10.0), periodic=False)


def plane(times=4):
    x, y = GRID.coordinates()
    t = torch.arange(times, dtype=torch.float64) * 0.5
    values = x[None] + 100 * y[None] + 10000 * t[:, None, None]
    return to_dataset(values[None], FieldSpec(("c",), ("1",), GRID, 0.5), t.numpy())


def test_walls_and_start_are_where_the_data_are():
    box, known = box_and_known(plane(), LAW, Conditions())
    assert box.lower.tolist() == pytest.approx([10.5, 0.25, 0.0]) and box.upper.tolist() == pytest.approx([13.5, 1.25, 1.5])
    assert [len(k.points) for k in known] == [12, 16, 16, 12, 12]  # the start, two rows of four and two columns of three at four times
    for part in known:
        x, y, t = part.points.unbind(-1)
        torch.testing.assert_close(part.values["c"], x + 100 * y + 10000 * t, rtol=1e-6, atol=1e-2)
    assert (known[0].points[:, 2] == 0).all() and (known[1].points[:, 1] == 0.25).all() and (known[4].points[:, 0] == 13.5).all()


def test_choices():
    box, known = box_and_known(plane(), LAW, Conditions(walls="none", times=(0.5, 1.5), weight=3.0))
    assert len(known) == 1 and known[0].weight == 3 and (known[0].points[:, 2] == 0.5).all() and box.t == (0.5, 1.5)
    box, known = box_and_known(plane(), LAW, Conditions(periodic=True, initial=False))
    assert not known and box.grid.extent == pytest.approx((1.5, 4.0)) and box.grid.periodic == (True, True)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="0 to 1.5, got -1 to 1; shorten"):
        box_and_known(plane(), LAW, Conditions(times=(-1.0, 1.0)))
    with pytest.raises(InputError, match="next one is at 0.5"):
        box_and_known(plane(), LAW, Conditions(times=(0.3, 1.0)))
    with pytest.raises(InputError, match="increasing"):
        Conditions(times=(1.0, 1.0))
    with pytest.raises(DataError, match="expected the fields c of AdvectionDiffusion, got T"):
        box_and_known(plane().rename(c="T"), LAW, Conditions())
    gaps = plane()
    gaps["c"][0, 0, 0] = np.nan
    assert len(box_and_known(gaps, LAW, Conditions(walls="none"))[1][0].points) == 11
