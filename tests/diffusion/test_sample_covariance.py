"""The taper, the distances, and the covariance of the formula entry by entry; real temperatures."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import Covariance, dense_covariance
from physdiff.diffusion.sample_covariance import gaspari_cohn, pairwise_distance, tapered_covariance
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.grid import Grid
from physdiff.grids.latlon import LatLonGrid
from physdiff.grids.points import PointGrid

LIKE = torch.zeros((), dtype=torch.float64)
GRID = CartesianGrid((3, 5), extent=(3.0, 5.0), periodic=False)


def matrix(covariance: Covariance, shape: tuple[int, ...]) -> Tensor:
    size = math.prod(shape)
    return covariance(torch.eye(size, dtype=torch.float64).reshape(size, *shape)).flatten(1)


def test_gaspari_cohn_is_the_self_convolution_of_a_cone() -> None:
    """In three dimensions: their definition, by quadrature over a lattice, normalised at zero."""
    axis = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis, axis)

    def cone(centre: float) -> Tensor:
        return (1 - 2 * (points - torch.tensor([centre, 0.0, 0.0], dtype=torch.float64)).norm(dim=1)).clamp_min(0)

    ratios = torch.tensor([0.0, 0.25, 0.5, 0.9], dtype=torch.float64)
    # support 1/2 of each cone: the correlation vanishes at distance 1, which is ratio 2
    quadrature = torch.stack([(cone(0.0) * cone(float(r))).sum() for r in ratios]) / (cone(0.0) ** 2).sum()
    # the kink at the tip limits a lattice of 0.05 to some 1e-3
    torch.testing.assert_close(gaspari_cohn(2 * ratios), quadrature, rtol=0, atol=3e-3)
    assert gaspari_cohn(torch.tensor([2.0, 2.5, 100.0])).abs().max() < 1e-6


def test_the_taper_is_close_to_a_gaussian_of_its_length() -> None:
    d = torch.linspace(0, 8, 81, dtype=torch.float64)
    assert float((gaspari_cohn(d / math.sqrt(10 / 3)) - torch.exp(-(d**2) / 2)).abs().max()) < 0.05


def test_distances() -> None:
    flat = pairwise_distance(CartesianGrid((2, 4), extent=(2.0, 8.0)))
    assert flat[0].tolist() == pytest.approx([0, 2, 4, 2, 1, math.sqrt(5), math.sqrt(17), math.sqrt(5)])
    assert float(pairwise_distance(CartesianGrid(4, extent=8.0, periodic=False))[0, 3]) == 6.0
    assert float(pairwise_distance(PointGrid(torch.tensor([[0.0, 1.0], [3.0, 5.0]])))[0, 1]) == 5.0
    globe = pairwise_distance(LatLonGrid([60.0, 0.0, -90.0], [0.0, 90.0, 180.0, 270.0]))
    assert float(globe[4, 6]) == pytest.approx(180.0) and float(globe[4, 5]) == pytest.approx(90.0)
    assert float(globe[0, 2]) == pytest.approx(60.0) and float(globe[8, 11]) == pytest.approx(0.0, abs=1e-9)
    assert float(globe[0, 4]) == pytest.approx(60.0)


@pytest.mark.parametrize("shrink", [0.0, 0.1, 1.0])
def test_every_entry_is_the_formula(shrink) -> None:
    samples = Rng(1).normal((40, 1, 1, *GRID.shape), like=LIKE).cumsum(-1)
    distance = pairwise_distance(GRID)
    c = torch.cov(samples.flatten(1).T)
    std = c.diagonal().sqrt()
    expected = (1 - shrink) * c * gaspari_cohn(distance / (1.5 * math.sqrt(10 / 3))) + shrink * torch.outer(std, std) * torch.exp(-distance / 2.0)
    got = matrix(tapered_covariance(samples, distance, shrink, length=1.5, stationary_length=2.0), (1, 1, *GRID.shape))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-10)
    # variances are the samples' own whatever the share
    torch.testing.assert_close(got.diagonal(), std**2, rtol=1e-10, atol=0)


def test_fields_and_frames_of_one_place_stay_correlated() -> None:
    common = Rng(2).normal((60, 1, 1, *GRID.shape), like=LIKE)
    samples = torch.cat([common, -2 * common + 0.1 * Rng(3).normal((60, 1, 1, *GRID.shape), like=LIKE)], 1)
    got = matrix(tapered_covariance(samples, pairwise_distance(GRID), length=1.0), (2, 1, *GRID.shape))
    assert float(torch.linalg.eigvalsh(got).min()) > -1e-10
    std = got.diagonal().sqrt()
    correlation = (got / std[:, None] / std)[:15, 15:]
    assert bool((correlation.diagonal() < -0.95).all()) and float(correlation.fill_diagonal_(0).abs().mean()) < 0.2


def test_few_samples_give_full_rank_and_the_dtype_stays() -> None:
    samples = Rng(4).normal((4, 1, 1, *GRID.shape), like=torch.zeros(()))
    covariance = tapered_covariance(samples, pairwise_distance(GRID), length=1.0)
    assert covariance.eigenvectors.dtype == torch.float32 and float(covariance.eigenvalues.min()) > 0


@pytest.mark.parametrize(
    ("samples", "arguments", "error", "message"),
    [
        (torch.zeros(1, 1, 1, 3, 5), {}, InputError, "two or more samples"),
        (torch.full((5, 1, 1, 3, 5), torch.nan), {}, InputError, "fill missing values first"),
        (torch.zeros(5, 1, 1, 3, 4), {}, ShapeError, "a distance for each pair of S"),
        (torch.zeros(5, 1, 1, 3, 5), {"length": 0.0}, InputError, "length: expected a positive"),
        (torch.zeros(5, 1, 1, 3, 5), {"shrink": 1.5}, InputError, "0 <= shrink <= 1"),
        (torch.zeros(2, 1000, 1, 3, 5), {}, InputError, "at most 10000 entries, got 15000"),
    ],
)
def test_worded_errors(samples, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        tapered_covariance(samples, pairwise_distance(GRID), **{"length": 1.0, **arguments})


def test_other_grids_are_refused() -> None:
    class Rings(Grid):
        dims, shape, periodic, length_unit = ("ring",), (3,), (True,), "m"

        def axes(self):
            return (torch.arange(3.0),)

        coordinates = axes

        def weights(self):
            return torch.full((3,), 1 / 3)

        def locate(self, points):
            return points

    with pytest.raises(InputError, match="a CartesianGrid or a PointGrid, got Rings"):
        pairwise_distance(Rings())


def test_it_fills_gaps_better_than_the_covariance_as_it_is() -> None:
    """Twenty samples of a known field on forty points: its conditional means from the estimate, against those from the raw one."""
    grid = CartesianGrid(40, extent=40.0)
    distance = pairwise_distance(grid)
    true = torch.exp(-((distance / 3) ** 2) / 2) + 1e-6 * torch.eye(40, dtype=torch.float64)
    draws = Rng(5).normal((240, 40), like=LIKE) @ torch.linalg.cholesky(true).T
    samples, test = draws[:20].reshape(20, 1, 1, 40), draws[40:]
    seen = torch.arange(0, 40, 6)
    errors = []
    for c in (matrix(tapered_covariance(samples, distance, length=4.0), (1, 1, 40)), torch.cov(samples.flatten(1).T), true):
        gain = torch.linalg.solve(c[seen][:, seen] + 0.01 * torch.eye(len(seen), dtype=torch.float64), c[seen]).T
        noise = 0.1 * Rng(6).normal((200, len(seen)), like=LIKE)
        errors.append(float(((test[:, seen] + noise) @ gain.T - test).square().mean().sqrt()))
    assert errors[2] < errors[0] < 0.85 * errors[1], errors


def test_it_is_the_base_of_a_denoiser() -> None:
    samples = Rng(7).normal((20, 1, 1, *GRID.shape), like=LIKE)
    covariance = tapered_covariance(samples, pairwise_distance(GRID), length=1.0)
    dense = dense_covariance(matrix(covariance, (1, 1, *GRID.shape)))
    x_t, t = Rng(8).normal((2, 1, 1, *GRID.shape), like=LIKE), torch.tensor(0.5)
    both = [GaussianDenoiser(EDMSchedule(), torch.zeros(1, 1, *GRID.shape).double(), c)(x_t, t) for c in (covariance, dense)]
    torch.testing.assert_close(*both, rtol=0, atol=1e-10)
