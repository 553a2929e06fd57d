"""Random fields: moments, covariance, keyed samples, refusals."""

import math

import pytest
import torch

from physdiff.base.errors import GridMismatch, InputError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.solvers.initial import RandomField, initial_fields

GRID = CartesianGrid((24, 40), extent=(1.5, 2.0))
WIDE = torch.zeros((), dtype=torch.float64)


@pytest.mark.parametrize("shape", [40, (24, 40), (8, 12, 10)])
def test_mean_and_standard_deviation(shape):
    grid = CartesianGrid(shape, extent=2.0)
    f = RandomField(length=0.2, mean=3.0, std=0.5, varying_mean=True).sample(grid, 400, Rng(0), like=WIDE)
    point = f.flatten(1)[:, 5]
    # Monte Carlo: 4 standard errors of 400 independent draws at one point
    assert abs(float(point.mean()) - 3.0) < 4 * 0.5 / 20
    assert abs(float(point.std()) / 0.5 - 1) < 4 / math.sqrt(800)


@pytest.mark.parametrize("axis", [-1, -2])
def test_covariance_is_gaussian_of_the_given_length_along_both_axes(axis):
    field = RandomField(length=0.15, varying_mean=True)
    f = field.sample(GRID, 600, Rng(1), like=WIDE)
    h = GRID.spacing[axis]
    for shift in (2, 4):
        got = (f * torch.roll(f, shift, axis)).mean((1, 2))
        error = float(got.std()) / math.sqrt(600)
        assert abs(float(got.mean()) - math.exp(-((shift * h) ** 2) / (2 * 0.15**2))) < 4 * error + 1e-4


def test_spectrum_falls_with_the_slope():
    grid = CartesianGrid(256, extent=2 * math.pi)
    f = RandomField(length=1.0, slope=4.0).sample(grid, 300, Rng(2), like=WIDE)
    power = torch.fft.rfft(f).abs().square().mean(0)
    k = torch.arange(1, 101, dtype=torch.float64)
    ratio = power[1:101] * (1 + k**2) ** 2
    # flat within 4 standard errors of the mean of 300 exponential variables, for each of 100 waves
    assert float((ratio / ratio.mean() - 1).abs().max()) < 4 / math.sqrt(300) + 0.05


def test_box_mean_is_the_mean_unless_it_may_vary():
    fixed = RandomField(length=0.3, mean=2.0).sample(GRID, 3, Rng(0), like=WIDE).mean((1, 2))
    assert float((fixed - 2).abs().max()) < 1e-12  # rounding
    free = RandomField(length=0.3, mean=2.0, varying_mean=True).sample(GRID, 3, Rng(0), like=WIDE).mean((1, 2))
    assert float(free.std()) > 0.01


def test_a_sample_depends_on_its_index_only():
    field = RandomField(length=0.2)
    all_of_them = field.sample(GRID, 5, Rng(3))
    assert all_of_them.shape == (5, 24, 40)
    assert torch.equal(field.sample(GRID, 2, Rng(3)), all_of_them[:2])
    assert torch.equal(field.sample(GRID, 2, Rng(3), start=3), all_of_them[3:])
    assert not torch.equal(field.sample(GRID, 1, Rng(4)), all_of_them[:1])


def test_every_name_has_its_own_stream():
    out = initial_fields(RandomField(length=0.2), ("a", "b"), GRID, n=2, rng=Rng(0))
    assert not torch.allclose(out["a"], out["b"])
    alone = initial_fields({"b": RandomField(length=0.2)}, ("b",), GRID, n=2, rng=Rng(0))
    assert torch.equal(alone["b"], out["b"])


def test_between_walls_the_ends_do_not_know_each_other():
    field, grid = RandomField(length=0.2, varying_mean=True), CartesianGrid(32, extent=1.0, periodic=False)
    u = field.sample(grid, 1000, Rng(0), like=WIDE)
    x = grid.axes()[0]
    expected = torch.exp(-((x - x[0]) ** 2) / (2 * 0.2**2))
    # 4 standard errors of a covariance of 1000 normal pairs; on a closed box the ends, a cell apart, would have 0.99
    assert float(((u[:, :1] * u).mean(0) - expected).abs().max()) < 4 * math.sqrt(2 / 1000)


def test_a_positive_field_has_its_mean_and_standard_deviation():
    u = RandomField(0.2, mean=2.0, std=1.0, positive=True, varying_mean=True).sample(CartesianGrid(16), 20000, Rng(0), like=WIDE)[:, 3]
    # log-normal with std/mean 1/2: kurtosis 8.04 by its formula, so the variance's relative standard error is sqrt(7.04 / 20000) = 0.019
    assert float(u.min()) > 0 and abs(float(u.mean()) - 2) < 4 / math.sqrt(20000) and abs(float(u.var()) - 1) < 4 * 0.019


def test_bad_input_is_refused():
    for kind in ({"length": 0.0}, {"length": 0.1, "slope": -1.0}, {"length": 0.1, "std": -1.0}, {"length": 0.1, "mean": float("nan")}):
        with pytest.raises(InputError, match="RandomField"):
            RandomField(**kind)
    with pytest.raises(GridMismatch, match="uniform CartesianGrid or a LatLonGrid"):
        RandomField(0.1).sample(CartesianGrid(3, points=(torch.tensor([0.0, 1.0, 3.0]),), periodic=False), 1, Rng(0))
    with pytest.raises(InputError, match="above zero for a positive field"):
        RandomField(0.1, positive=True)
    with pytest.raises(InputError, match="holds no wave"):
        RandomField(10.0).sample(CartesianGrid(16), 1, Rng(0))
    with pytest.raises(InputError, match="missing b"):
        initial_fields({"a": RandomField(0.1)}, ("a", "b"), GRID, n=1, rng=Rng(0))
