"""Perturbed inputs through a linear model: mean and covariance in closed form, pairs, times of day."""

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.evaluation.evaluate import evaluate
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.scores.crps import crps
from physdiff.uq.input_ensemble import input_ensemble

GRID = CartesianGrid((4,), extent=(1.0,), periodic=True)
SPEC = FieldSpec(("c",), ("1",), GRID, 1.0, time_unit="1")


def data(frames, seed=0):
    x = Rng(seed).normal((1, frames, 4)).double()
    x[..., 1] += x[..., 0]  # neighbours hang together
    return to_dataset(x, SPEC, np.arange(float(frames)))


def linear(states, steps):
    """Each step a shift by one cell and a factor."""
    x, frames = states[:, :, -1], []
    for _ in range(steps):
        x = 0.9 * x.roll(1, -1)
        frames.append(x)
    return torch.stack(frames, 2)


def test_mean_and_covariance_of_a_linear_model():
    train, m, size = data(200), 1500, 0.1
    found = input_ensemble(linear, train, data(3, seed=1).isel(time=[1, 2]), lead=2, members=m, size=size, rng=Rng(0))
    x = torch.from_numpy(found["c"].isel(init_time=0, lead_time=1).transpose("member", ...).values).double()
    control = linear(torch.from_numpy(data(3, seed=1)["c"].values[1])[None, None, None], 2)[0, 0, 1]
    # pairs cancel, to the rounding of float32
    torch.testing.assert_close(x.mean(0), control, rtol=0, atol=1e-6)
    # covariance of the two hundred states themselves, moved by two steps
    states = torch.from_numpy(train["c"].values)
    C = states.T.cov().roll((2, 2), (0, 1)) * (size * 0.9**2) ** 2
    # standard error over 750 independent pairs
    error = ((C.square() + C.diagonal()[:, None] * C.diagonal()) / (m / 2)).sqrt()
    assert bool((((x - control).T @ (x - control) / m - C).abs() < 4 * error).all())


def test_it_is_scored_like_any_forecast_and_size_zero_is_the_control():
    ds = data(8, seed=1)
    found = input_ensemble(linear, data(50), ds, lead=2, members=5, size=0.0, rng=Rng(0))
    assert found["c"].dims[:3] == ("init_time", "member", "lead_time")
    assert float((found["c"] - found["c"].isel(member=0)).std("member").max()) == 0.0
    assert evaluate(found, ds, {"c": crps})["c"].dims == ("variable", "lead_time")
    spread = input_ensemble(linear, data(50), ds, lead=2, members=5, size=0.1, rng=Rng(0))
    # the first of an odd number is the control, the others are pairs around it
    x = spread["c"].transpose("member", ...).values
    np.testing.assert_array_equal(x[0], found["c"].transpose("member", ...).values[0])
    np.testing.assert_allclose(x[1] + x[2], 2 * x[0], atol=1e-6)


def test_a_start_does_not_depend_on_the_others():
    ds, train = data(8, seed=1), data(50)
    every, one = (input_ensemble(linear, train, part, lead=1, members=4, size=0.3, rng=Rng(5)) for part in (ds, ds.isel(time=[3, 4])))
    np.testing.assert_array_equal(every["c"].sel(init_time=[3.0, 4.0]).values, one["c"].values)


def test_differences_are_of_one_time_of_day():
    # a field that is its hour: differences of one hour vanish
    times = np.datetime64("2020-01-01", "ns") + np.arange(48) * np.timedelta64(1, "h")
    spec = FieldSpec(("c",), ("1",), GRID, 3600.0)
    hour = torch.arange(48).double().remainder(24).reshape(1, 48, 1).expand(1, 48, 4)
    ds = to_dataset(hour, spec, times)
    found = input_ensemble(linear, ds, ds.isel(time=[5, 6]), lead=1, members=6, size=1.0, rng=Rng(0))
    assert float((found["c"] - found["c"].isel(member=0)).std("member").max()) == 0.0
    with pytest.raises(DataError, match="time of day"):
        input_ensemble(linear, ds.isel(time=slice(0, 24)), ds, lead=1, members=4, size=1.0, rng=Rng(0))


def test_bad_input_is_refused():
    with pytest.raises(ShapeError, match="advance"):
        input_ensemble(lambda x, steps: x, data(20), data(4), lead=2, members=4, size=0.1, rng=Rng(0))
    with pytest.raises(InputError, match="size"):
        input_ensemble(linear, data(20), data(4), lead=2, members=4, size=-0.1, rng=Rng(0))
