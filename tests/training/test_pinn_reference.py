"""Reference values at points, and a network as a data set."""

import pytest
import torch

from physdiff.base.errors import DataError, InputError
from physdiff.data.convert import spec_of
from physdiff.training.pinn_reference import Reference, points_of, seconds_of, trained_dataset
from tests.training.heat import BOX, GRID, exact, problem, reference


def test_the_error_is_the_relative_norm_and_gaps_are_left_out():
    ds, trained = reference(), problem()
    ds["c"][3, 4] = float("nan")
    found = Reference.of(ds, trained, BOX)
    there = found.values["c"].isfinite()
    assert int((~there).sum()) == 1
    torch.testing.assert_close(found.values["c"][there], exact(found.points)[there], rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        off = (trained.net.fields(found.points)["c"] - exact(found.points))[there]
    assert found.error(trained.net) == pytest.approx(float(off.norm() / exact(found.points)[there].norm()), rel=1e-5)
    with pytest.raises(DataError, match="one trajectory, got 2"):
        Reference.of(ds.expand_dims(sample=2), trained, BOX)


def test_a_network_on_a_grid_keeps_it_and_its_times():
    net, times = problem().net, torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    ds = trained_dataset(net, GRID, times, units=("kg m-3",), time_unit="s")
    assert ds["c"].attrs["units"] == "kg m-3"
    GRID.check_same(spec_of(ds).grid, "written")
    torch.testing.assert_close(seconds_of(ds), times)
    with torch.no_grad():
        wanted = net.fields(points_of(GRID, times))["c"].reshape(5, 20)
    torch.testing.assert_close(torch.from_numpy(ds["c"].values).double(), wanted, rtol=1e-6, atol=1e-7)
    with pytest.raises(InputError, match="train on a longer span"):
        trained_dataset(net, GRID, times + 1)
