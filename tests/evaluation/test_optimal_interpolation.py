"""Optimal interpolation against the exact conditional of a Gaussian."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.convert import spec_of, to_dataset
from physdiff.diffusion.sample_covariance import gaspari_cohn
from physdiff.evaluation.hour_mean import HourMean
from physdiff.evaluation.optimal_interpolation import FieldCovariance, distances, field_covariance, optimal_interpolation
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.interpolate import interpolation
from physdiff.grids.latlon import LatLonGrid
from tests.evaluation.processes import ar1, hourly, simulations

STD = 0.3


def law(shape=(3, 4)) -> FieldCovariance:
    """Two correlated fields with a mean that is not zero."""
    grid = CartesianGrid(shape, extent=(3.0, 4.0), periodic=False)
    spec = FieldSpec(("c", "d"), ("1", "m"), grid, 1.0)
    root = Rng(0).normal((2 * shape[0] * shape[1],) * 2, like=torch.zeros((), dtype=torch.float64)) / 3
    return FieldCovariance(spec, HourMean(torch.arange(24.0).reshape(1, 2, *shape)), root @ root.T, root)


def exact(field: FieldCovariance, points: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and covariance by precisions: (C^-1 + H^T H / s^2)^-1."""
    cells = math.prod(field.spec.grid.shape)
    one = interpolation(field.spec.grid, points)(torch.eye(cells, dtype=torch.float64).reshape(cells, *field.spec.grid.shape)).T
    look = torch.block_diag(one, one)
    there = y.flatten().isfinite()
    look, y = look[there], y.flatten()[there]
    mean = field.mean.table[0].double().flatten()
    covariance = torch.linalg.inv(torch.linalg.inv(field.covariance) + look.T @ look / STD**2)
    return mean + covariance @ look.T @ (y - look @ mean) / STD**2, covariance


def readings() -> tuple[torch.Tensor, torch.Tensor]:
    points = torch.tensor([[0.7, 0.9], [2.5, 2.2], [3.5, 0.5]], dtype=torch.float64)
    return points, torch.tensor([[2.0, 9.0, math.nan], [15.0, 20.0, 17.0]], dtype=torch.float64)


def test_mean_and_members_have_the_exact_posterior():
    field, (points, y) = law(), readings()
    mean, covariance = exact(field, points, y)
    found = optimal_interpolation(field, points, y, std=STD, members=4000, rng=Rng(1))
    stacked = np.concatenate([found.mean[n].values[0].ravel() for n in ("c", "d")])
    np.testing.assert_allclose(stacked, mean.numpy(), rtol=1e-8)
    draws = np.concatenate([found.members[n].values[:, 0].reshape(4000, -1) for n in ("c", "d")], axis=1)
    sd = covariance.diagonal().sqrt().numpy()
    # four standard errors: sd / sqrt(m) of a mean, sd_i sd_j sqrt(2 / m) of a covariance; of 600 entries a few lie beyond four, hence five
    assert (np.abs(draws.mean(0) - mean.numpy()) < 4 * sd / math.sqrt(4000)).all()
    assert (np.abs(np.cov(draws.T) - covariance.numpy()) < 5 * np.outer(sd, sd) * math.sqrt(2 / 4000)).all()
    assert found.members["c"].dims == ("member", "time", "y", "x") and found.mean["d"].attrs["units"] == "m"


def test_each_field_has_its_own_noise():
    field, (points, y) = law(), readings()
    one, far = (optimal_interpolation(field, points, y, std=s, members=2, rng=Rng(1)) for s in ((STD, STD), (STD, 1e6)))
    same = optimal_interpolation(field, points, y, std=STD, members=2, rng=Rng(1))
    assert one.mean.equals(same.mean) and one.members.equals(same.members)
    y[1] = math.nan  # readings without any worth are none
    without = optimal_interpolation(field, points, y, std=STD, members=2, rng=Rng(1))
    for name in ("c", "d"):
        np.testing.assert_allclose(far.mean[name].values, without.mean[name].values, rtol=1e-6)
    with pytest.raises(ShapeError, match="each of 2 fields, got 3"):
        optimal_interpolation(field, points, y, std=(1, 2, 3), rng=Rng(0))


def test_a_reading_that_is_missing_is_no_reading():
    field, (points, y) = law(), readings()
    y[:, 2] = math.nan
    one = optimal_interpolation(field, points, y, std=STD, members=2, rng=Rng(1))
    other = optimal_interpolation(field, points[:2], y[:, :2], std=STD, members=2, rng=Rng(1))
    assert one.mean.equals(other.mean) and one.members.equals(other.members)


def test_the_training_part_gives_mean_and_covariance():
    ds = hourly(24 * 4)
    field = field_covariance(ds, shrink=0.0, localisation=math.inf)
    hour, x = ds["time"].dt.hour.values, ds["t2m"].values
    anomaly = (x - np.stack([x[hour == k].mean(0) for k in range(24)])[hour]).reshape(96, -1)
    # float32 frames near 280
    np.testing.assert_allclose(field.covariance.numpy(), anomaly.T @ anomaly / 96, atol=2e-4)
    np.testing.assert_allclose((field.root @ field.root.T).numpy(), field.covariance.numpy(), atol=1e-9)
    points = torch.tensor([[-10.0, 58.0]])
    with pytest.raises(InputError, match="pass time="):
        optimal_interpolation(field, points, torch.tensor([280.0]), std=STD, rng=Rng(0))
    at = optimal_interpolation(field, points, torch.tensor([280.0]), std=1e6, time="2020-02-02T07:00", members=1, rng=Rng(0))
    # a reading of no weight leaves the mean of 7 o'clock
    np.testing.assert_allclose(at.mean["t2m"].values[0], x[hour == 7].mean(0), atol=1e-4)
    assert at.mean["time"].values[0] == np.datetime64("2020-02-02T07:00")


def test_full_shrinkage_is_the_mean_along_the_diagonals():
    spec = FieldSpec(("u",), ("1",), CartesianGrid(7, extent=7.0, periodic=False), 1.0)
    ds = to_dataset(ar1(40, 0.5, spec=spec)[0], spec)
    plain = field_covariance(ds, shrink=0.0, localisation=math.inf).covariance.numpy()
    full = field_covariance(ds, shrink=1.0, localisation=math.inf)
    toeplitz = np.array([[np.mean(np.diagonal(plain, abs(i - j))) for j in range(7)] for i in range(7)])
    np.testing.assert_allclose(full.covariance.numpy(), toeplitz, atol=1e-8)
    tapered = field_covariance(ds, shrink=1.0, localisation=1.5).covariance.numpy()
    lag = np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
    np.testing.assert_allclose(tapered, toeplitz * gaspari_cohn(torch.tensor(lag / (1.5 * math.sqrt(10 / 3)))).numpy(), atol=1e-8)


def test_the_taper():
    assert gaspari_cohn(torch.tensor([0.0, 1.0, 2.0, 5.0], dtype=torch.float64)).tolist() == pytest.approx([1.0, 5 / 24, 0.0, 0.0], abs=1e-15)
    r = torch.linspace(0, 2.5, 2001, dtype=torch.float64)
    values = gaspari_cohn(r)
    assert bool((values.diff() <= 1e-15).all()) and float(values.diff().abs().max()) < 2e-3
    # half-width L sqrt(10/3) is made to resemble a Gaussian of length L
    assert float((values - torch.exp(-((r * math.sqrt(10 / 3)) ** 2) / 2)).abs().max()) < 0.05
    places = Rng(0).uniform((60, 1), like=r) * 8
    assert float(torch.linalg.eigvalsh(gaspari_cohn((places - places.T).abs())).min()) > -1e-12


def test_distances_go_the_shorter_way_round():
    plane = CartesianGrid((2, 4), extent=(2.0, 8.0), periodic=(False, True))
    far = distances(plane)
    assert far.shape == (8, 8) and torch.equal(far, far.T)
    assert far[0, :4].tolist() == [0.0, 2.0, 4.0, 2.0] and float(far[0, 5]) == pytest.approx(math.hypot(1, 2))
    points = torch.tensor([[7.5, 0.5], [0.5, 1.5]])
    assert float(distances(plane, points)[0, 1]) == pytest.approx(math.hypot(1, 1))
    globe = LatLonGrid(latitude=[10.0, 0.0], longitude=[0.0, 90.0, 180.0, 270.0])
    assert distances(globe)[0, :4].tolist() == [0.0, 90.0, 180.0, 90.0]
    region = LatLonGrid(latitude=[10.0, 0.0], longitude=[350.0, 355.0, 360.0])
    assert float(distances(region)[0, 5]) == pytest.approx(math.hypot(10, 10))


def test_simulations_need_no_time():
    ds = simulations(8, 20)
    field = field_covariance(ds, localisation=0.3)
    found = optimal_interpolation(field, torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0], [2.0]]), std=0.1, members=3, rng=Rng(0))
    assert found.members["d"].shape == (3, 1, 5, 8) and np.isfinite(found.members["d"].values).all()
    assert spec_of(ds).names == field.spec.names


def test_wrong_arguments_are_refused():
    field, (points, y) = law(), readings()
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        optimal_interpolation(field, points, y[:1], std=STD, rng=Rng(0))
    with pytest.raises(InputError, match="none that is finite"):
        optimal_interpolation(field, points, y * math.nan, std=STD, rng=Rng(0))
    with pytest.raises(InputError, match="std"):
        optimal_interpolation(field, points, y, std=0.0, rng=Rng(0))
    with pytest.raises(InputError, match="shrink"):
        field_covariance(hourly(48), shrink=1.5)
    with pytest.raises(DataError, match="got one for each hour of the day; give two days"):
        field_covariance(hourly(16))
    with pytest.raises(InputError, match="localisation"):
        field_covariance(hourly(48), localisation=-1.0)
