"""Kriging: the fit is that of largest likelihood, the estimate the best linear one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.evaluation.hour_mean import HourMean
from physdiff.evaluation.kriging import _fit, kriging
from physdiff.evaluation.optimal_interpolation import FieldCovariance, distances
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec

STD, VARIANCE, LENGTH = 0.1, 4.0, 0.5
GRID = CartesianGrid((12, 15), extent=(4.0, 5.0), periodic=False)


def field() -> FieldCovariance:
    spec = FieldSpec(("u",), ("m",), GRID, 1.0)
    nothing = torch.eye(180, dtype=torch.float64)
    return FieldCovariance(spec, HourMean(torch.full((1, 1, 12, 15), 3.0)), nothing, nothing)


def readings() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Exponential field on the grid, read at 60 of its points."""
    covariance = VARIANCE * torch.exp(-distances(GRID) / LENGTH)
    truth = 3.0 + torch.linalg.cholesky(covariance) @ Rng(0).normal((180,), like=covariance)
    x, y = GRID.coordinates()
    some = Rng(1).permutation(180)[:60]
    points = torch.stack([x.flatten(), y.flatten()], dim=1)[some]
    return points, truth[some] + STD * Rng(2).normal((60,), like=covariance), truth


def test_the_fit_has_the_largest_likelihood():
    points, y, _ = readings()
    far = distances(GRID, points)

    def likelihood(variance: float, length: float) -> float:
        covariance = variance * (torch.exp(-far / length) + 1) + STD**2 * torch.eye(60, dtype=torch.float64)
        return float(torch.distributions.MultivariateNormal(torch.zeros(60, dtype=torch.float64), covariance).log_prob(y - 3.0))

    variance, length = _fit(y - 3.0, far, STD)
    best = likelihood(variance, length)
    around = [likelihood(variance * a, length * b) for a in np.geomspace(0.1, 10, 41) for b in np.geomspace(0.1, 10, 41)]
    assert best > max(around) - 0.1  # the last grid has steps of 7 %
    assert best >= likelihood(VARIANCE, LENGTH) - 0.1
    assert VARIANCE / 2.5 < variance < 2.5 * VARIANCE and LENGTH / 2.5 < length < 2.5 * LENGTH


def test_the_estimate_is_the_conditional_mean_and_honest():
    points, y, truth = readings()
    found = kriging(field(), points, y, std=STD, members=200, rng=Rng(3))
    variance, length = _fit(y - 3.0, distances(GRID, points), STD)
    every = torch.cat([torch.stack([c.flatten() for c in GRID.coordinates()], dim=1), points])
    joint = variance * (torch.exp(-distances(GRID, every) / length) + 1)
    inner = joint[180:, 180:] + STD**2 * torch.eye(60, dtype=torch.float64)
    mean = 3.0 + joint[:180, 180:] @ torch.linalg.solve(inner, y - 3.0)
    np.testing.assert_allclose(found.mean["u"].values.ravel(), mean.numpy(), atol=1e-5)
    error = float((mean - truth).square().mean())
    spread = float(np.var(found.members["u"].values, axis=0).mean())
    assert error < 0.6 * VARIANCE and 0.6 < error / spread < 1.6  # some 50 free cells: a spread of sqrt(2 / 50) = 0.2, twice


def test_wrong_arguments_are_refused():
    points, y, _ = readings()
    with pytest.raises(ShapeError, match="as many readings"):
        kriging(field(), points, y[:5], std=STD, rng=Rng(0))
    with pytest.raises(InputError, match="three readings"):
        kriging(field(), points, torch.where(torch.arange(60) < 2, y, math.nan), std=STD, rng=Rng(0))
