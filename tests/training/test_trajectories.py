"""Priors of whole trajectories: shapes, exact inverse, what is known is kept."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.tasks import task_condition
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.cascade import on_finer_grid
from physdiff.grids.blocks import coarsened, reconstructed
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.grids.points import PointGrid
from physdiff.networks.unet import UNet
from physdiff.training.trajectories import prepare_trajectories
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.mesh_autoencoder import MeshAutoencoder

TASKS = ({"u": (0,), "force": "all"}, {"u": (0, -1)})


def driven(samples: int, points: int = 8, frames: int = 4) -> xr.Dataset:
    """u grows by the force from frame to frame: u_t = u_0 + sum of the forces before."""
    spec = FieldSpec(("u", "force"), ("1", "1"), CartesianGrid(points, 1.0, periodic=False), 1.0, frames=frames)
    g = torch.Generator().manual_seed(samples)
    force = torch.randn(samples, 1, 1, generator=g).expand(samples, frames, points)
    first = torch.randn(samples, 1, 1, generator=g)
    u = first + torch.cat([torch.zeros(samples, 1, points), force[:, :-1].cumsum(1)], 1)
    return to_dataset(torch.stack([u, force], 1), spec, np.arange(float(frames)), batch="sample")


CHAINS = [("haar", 1, (8, 2, 4)), ("pixels", 1, (8, 2, 4)), ("db2", 1, (8, 2, 5)), ("haar", 0, (2, 4, 8))]


@pytest.mark.parametrize(("wavelet", "levels", "shape"), CHAINS)
def test_what_is_known_is_kept(wavelet: str, levels: int, shape: tuple[int, ...], tmp_path) -> None:  # noqa: ANN001
    prior, windows = prepare_trajectories(driven(6), TASKS, wavelet=wavelet, levels=levels, steps=2, network=partial(UNet, width=8))
    assert prior.latent_shape == shape
    z = torch.cat([prior.encode(windows[i]["x"][None]) for i in range(0, 12, 2)])
    torch.testing.assert_close(prior.decode(z), torch.stack([windows[i]["x"] for i in range(0, 12, 2)]), rtol=0, atol=1e-5)
    for i in (0, 1):
        item = windows[i]
        found = prior.sample(2, cond=item["cond"][None], rng=Rng(0))
        known = item["cond"][2:4].expand(2, -1, -1, -1) > 0.5
        assert torch.equal(found[known], item["x"].expand_as(found)[known])
    again = DiffusionPrior.load(prior.save(tmp_path / "prior.pt"))
    cond = windows[0]["cond"][None]
    assert torch.equal(again.sample(1, cond=cond, rng=Rng(1)), prior.sample(1, cond=cond, rng=Rng(1)))


@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 1), ("db2", 2), ("pixels", 1), ("haar", 0)])
def test_what_adds_resolution_starts_from_lines_in_coarse_cells(wavelet: str, levels: int, tmp_path) -> None:  # noqa: ANN001
    net = partial(UNet, width=8, attention=False)
    train = driven(6, 16)
    train = train + 0.3 * xr.apply_ufunc(np.sin, 9 * train["x"])  # straight lines leave something
    prior, windows = prepare_trajectories(train, [{"u": (0,)}], wavelet=wavelet, levels=levels, coarse=2, steps=2, network=net)
    x = torch.randn(3, 2, 4, 32)
    fine = on_finer_grid(prior, 2)
    for one, points in ((prior, 16), (fine, 32)):
        coarse = coarsened(x[..., :points], 2)
        cond = task_condition(one.spec, torch.full_like(x[..., :points], torch.nan), coarse)
        lines = reconstructed(coarse, 2, (False,))
        torch.testing.assert_close(one.centre(cond, like=x), lines, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.encode(lines, cond), torch.zeros(3, *one.latent_shape), rtol=0, atol=1e-4)
        torch.testing.assert_close(one.decode(one.encode(x[..., :points], cond), cond), x[..., :points], rtol=0, atol=1e-5)
        draws = one.sample(3, cond=cond, rng=Rng(2))
        torch.testing.assert_close(coarsened(draws, 2), coarse, rtol=0, atol=1e-5)
    batch = [torch.stack([windows[i][name] for i in range(6)]) for name in ("x", "cond")]
    assert float(prior.encode(*batch).square().mean()) == pytest.approx(1, abs=1e-4)
    again = DiffusionPrior.load(prior.save(tmp_path / "prior.pt"))
    one = windows[0]["cond"][None]
    assert torch.equal(again.sample(1, cond=one, rng=Rng(1)), prior.sample(1, cond=one, rng=Rng(1)))


def test_levels_that_no_axis_has_are_refused() -> None:
    with pytest.raises(InputError, match="levels >= 0"):
        prepare_trajectories(driven(3), TASKS, levels=-1)
    with pytest.raises(InputError, match="expected at most 2 for 4 points along time, got 3"):
        prepare_trajectories(driven(3), TASKS, levels=3)


@pytest.mark.parametrize("points", [False, True])
def test_in_the_latents_of_a_coder_what_is_known_is_kept(points: bool) -> None:
    ds = driven(6)
    if points:
        there = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
        spec = FieldSpec(("u", "force"), ("1", "1"), PointGrid(there), 1.0, frames=4, time_unit="1")
        ds = to_dataset(torch.randn(6, 2, 4, 1).expand(6, 2, 4, 40) + there[:, 0], spec, batch="sample")
    coder = MeshAutoencoder(8, 8.0, 4, width=0) if points else Autoencoder(2.0, 2, 0)
    prior, windows = prepare_trajectories(ds, TASKS, wavelet=coder, steps=2, network=partial(UNet, width=8, multipliers=(1, 1)))
    assert prior.latent_shape == ((4, 4, 2, 2) if points else (2, 4, 4))
    batch = torch.stack([windows[i]["cond"] for i in range(2)])
    draws = prior.sample(2, cond=batch, rng=Rng(0))
    known = prior.complete(batch)[:, 2:4] > 0.5
    assert torch.equal(draws[known], batch[:, :2][known]) and bool(draws.isfinite().all())
    z = prior.encode(torch.stack([windows[i]["x"] for i in range(len(windows))]))
    assert torch.allclose(z.std((0, *range(2, z.ndim))), torch.ones(z.shape[1]), atol=0.05)


def test_a_coder_that_is_not_trained_is_refused() -> None:
    with pytest.raises(InputError, match="fit_autoencoder"):
        prepare_trajectories(driven(6), TASKS, wavelet=Autoencoder(2.0, 2))
