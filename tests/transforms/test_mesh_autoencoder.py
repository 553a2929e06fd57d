"""Latents of points: what is exact before training, other points, missing ones, storage, a prior on top, training that gains."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import build, describe, read, write
from physdiff.data.convert import to_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.rollout import rollout
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.points import PointGrid
from physdiff.training.fit_autoencoder import AutoencoderTraining, fit_autoencoder
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.mesh_autoencoder import MeshAutoencoder
from physdiff.transforms.transform import Sample
from tests.training.problems import tiny


def cloud(n: int = 150, *, seed: int = 0) -> torch.Tensor:
    """Points of the plane, x and y, with the corners of their box."""
    points = torch.rand(n, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.cat([torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=torch.float64), points])


def waves(points: torch.Tensor, rows: int, frames: int = 1, *, seed: int = 1) -> torch.Tensor:
    """Sums of a few slow waves that travel: (rows, 1, frames, N)."""
    rng = torch.Generator().manual_seed(seed)
    k = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, -1.0]], dtype=torch.float64)
    a, phase = torch.randn(rows, 4, 1, 1, generator=rng).double(), 2 * math.pi * torch.rand(rows, 4, 1, 1, generator=rng).double()
    time = 0.4 * torch.arange(frames).reshape(-1, 1)
    return (a * torch.cos(math.pi * (k @ points.T)[:, None] + phase + time)).sum(1)[:, None].float()


def spec(points: torch.Tensor, frames: int = 1) -> FieldSpec:
    return FieldSpec(("u",), ("1",), PointGrid(points), 1.0, frames=frames, time_unit="1")


def fitted(width: int = 0, **options) -> MeshAutoencoder:
    points = cloud()
    coder = MeshAutoencoder(8, 4.0, 2, width=width, **options)
    return coder.fitted_from(lambda: iter([Sample(waves(points, 60))]), spec(points))


def test_sizes_and_what_is_lost_before_training():
    coder, x = fitted(), waves(cloud(), 20, 3, seed=5)
    assert (coder.channels, coder.latent, coder.coarse, coder.periodic) == (1, 1, (4, 4), (False, False))
    z = coder.encode(x)
    assert z.shape == (20, 1, 3, 4, 4) and tuple(z.shape[1:]) == coder.out_shape((1, 3, 152))
    lost = float((coder.decode(z) - x).norm() / x.norm())
    assert lost < 0.6, lost  # one number in four of 64 cells and cells without points; zero would lose 1


def test_with_all_latents_constants_stay_and_a_slope_is_read_between_cells():
    """Without compression the grid is kept whole: a constant is exact, and so is what interpolation makes of the averages."""
    points = cloud(400)
    x = torch.randn(300, 1, 1, 402)
    coder = MeshAutoencoder(4, 1.0, 2, width=0).fitted_from(lambda: iter([Sample(x)]), spec(points))
    constant = torch.full((1, 1, 1, 402), 2.5)
    torch.testing.assert_close(coder.decode(coder.encode(constant)), constant, rtol=1e-4, atol=1e-4)  # float32
    slope = points[:, 0].float()[None, None, None]
    inside = (points[:, 0] > 0.25) & (points[:, 0] < 0.75) & (points[:, 1] > 0.25) & (points[:, 1] < 0.75)
    off = (coder.decode(coder.encode(slope)) - slope)[..., inside].abs().max()
    assert off < 0.06, off  # the mean place of the points around a cell is not its centre; a quarter would be the size of a cell


def test_networks_begin_at_zero_and_other_points_are_other_places_of_the_same_field():
    linear, net = fitted(), fitted(8)
    x = waves(cloud(), 4)
    torch.testing.assert_close(net.decode(net.encode(x)), linear.decode(linear.encode(x)), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.05)
    fewer = net.at(net.points[:40])
    z = net.encode(x)
    torch.testing.assert_close(fewer.decode(z), net.decode(z)[..., :40], rtol=1e-4, atol=1e-5)
    order = torch.randperm(152)
    torch.testing.assert_close(net.at(net.points[order]).encode(x[..., order]), z, rtol=1e-4, atol=1e-5)


def test_shares_of_known_points():
    coder, known = fitted(), torch.ones(1, 2, 1, 152)
    torch.testing.assert_close(coder.shares(known), torch.ones(1, 2, 1, 4, 4))
    known[:, 1] = 0
    assert torch.equal(coder.shares(known)[:, 1], torch.zeros(1, 1, 4, 4)) and torch.allclose(coder.weight(known), torch.tensor(0.5))


def test_it_is_stored_and_refuses_what_does_not_fit(tmp_path):
    coder, x = fitted(8), waves(cloud(), 2)
    write(tmp_path / "coder", coder)
    torch.testing.assert_close(read(tmp_path / "coder")[0].encode(x), coder.encode(x), rtol=0, atol=0)
    with pytest.raises(ShapeError, match="other points"):
        coder.encode(x[..., :5])
    with pytest.raises(NotFitted, match="fitted"):
        MeshAutoencoder().encode(x)
    with pytest.raises(InputError, match="regular grids"):
        MeshAutoencoder().fitted_from(lambda: iter([]), FieldSpec(("u",), ("1",), CartesianGrid((4, 4)), 1.0))
    assert describe(build(describe(coder))) == describe(coder)


@pytest.mark.parametrize("guess", ["increment", "none"])
def test_a_latent_prior_on_points_draws_and_is_rolled_out(guess):
    points = cloud(60)
    ds = to_dataset(waves(points, 12, 6), spec(points, 6), batch="sample")
    recipe = Recipe(history=1, horizon=2, anomaly="none", guess=guess, steps=2)
    prior, data = prepare(ds, recipe, network=tiny, autoencoder=MeshAutoencoder(8, 4.0, 2, width=0))
    assert isinstance(prior, DiffusionPrior) and prior.latent_shape == (2, 1, 4, 4)
    cond = data.train_windows[0]["cond"][None]
    draws = prior.sample(2, cond=cond, rng=Rng(0))
    assert draws.shape == (2, 1, 3, 62) and torch.equal(draws[:, :, 0], cond[:, :1, 0].expand(2, -1, -1))
    done = rollout(prior, ds.isel(sample=[0]), lead=3, members=2, rng=Rng(0), starts=[0.0])
    assert done["u"].sizes["point"] == 62 and done["u"].notnull().all() and "x" in done.coords


@pytest.mark.slow
def test_training_gains_on_the_linear_coder():
    points = cloud(200)
    train, val = (to_dataset(waves(points, rows, 4, seed=s), spec(points, 4), batch="sample") for rows, s in ((60, 1), (20, 2)))
    recipe = Recipe(history=1, horizon=2, anomaly="none")
    plain = fit_autoencoder(train, recipe, MeshAutoencoder(16, 16.0, 4, width=0), val=val)
    training = AutoencoderTraining(max_steps=250, lr=3e-3, batch_size=8)
    made = fit_autoencoder(train, recipe, MeshAutoencoder(16, 16.0, 4, width=8), val=val, training=training)
    x = waves(points, 20, 3, seed=3)
    lost = [float((c.decode(c.encode(x)) - x).norm() / x.norm()) for c in (plain, made)]
    assert lost[1] < 0.6 * lost[0], lost
