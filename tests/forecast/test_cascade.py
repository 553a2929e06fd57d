"""Zero-shot resolution: the same weights on finer grids, block means kept in sight, worded errors."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.data.tasks import task_condition
from physdiff.forecast.cascade import on_finer_grid, upscale
from physdiff.grids.blocks import coarsened
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.unet import UNet
from physdiff.training.trajectories import prepare_trajectories


def made(coarse: int = 2):  # noqa: ANN201
    spec = FieldSpec(("u",), ("1",), CartesianGrid(16, 1.0, periodic=False), 1.0, frames=4)
    x = torch.randn(6, 1, 4, 16, generator=torch.Generator().manual_seed(0))
    ds = to_dataset(x, spec, np.arange(4.0), batch="sample")
    return prepare_trajectories(ds, [{"u": (0,)}], coarse=coarse, steps=2, network=partial(UNet, width=8, attention=False))[0]


def test_a_finer_grid_shares_weights_and_answers_the_same_inside() -> None:
    prior = made()
    for parameter in prior.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(1))
    fine = on_finer_grid(prior, 2)
    assert fine.denoiser is prior.denoiser
    assert fine.spec.grid.shape == (32,)
    assert fine.spec.grid.extent == prior.spec.grid.extent
    x = torch.randn(1, 1, 4, 32)
    cond = task_condition(fine.spec, x, coarsened(x, 2))
    small = task_condition(prior.spec, x[..., :16], coarsened(x[..., :16], 2))
    torch.testing.assert_close(fine.decode(fine.encode(x, cond), cond), x, rtol=0, atol=1e-5)
    # what is encoded and told at one place is what the coarse prior would take there, but near the end, which three cells see
    torch.testing.assert_close(fine.encode(x, cond)[..., :5], prior.encode(x[..., :16], small)[..., :5], rtol=0, atol=1e-5)
    torch.testing.assert_close(fine.encode_cond(cond)[..., :5], prior.encode_cond(small)[..., :5], rtol=0, atol=1e-5)


def test_finer_cells_share_the_ground_of_the_cells_they_divide() -> None:
    spec = FieldSpec(("u",), ("1",), CartesianGrid((6, 8), (3.0, 2.0), (0.5, -1.0), periodic=(False, True)), 1.0, frames=4)
    ds = to_dataset(torch.randn(3, 1, 4, 6, 8, generator=torch.Generator().manual_seed(0)), spec, np.arange(4.0), batch="sample")
    prior = prepare_trajectories(ds, [{}], coarse=2, steps=2, network=partial(UNet, width=4, multipliers=(1,), attention=False))[0]
    for own, axis in zip(spec.grid.axes(), on_finer_grid(prior, 3).spec.grid.axes(), strict=True):
        torch.testing.assert_close(axis.reshape(-1, 3).mean(1), own, rtol=0, atol=1e-12)


def test_upscale_keeps_what_is_known() -> None:
    prior = made()
    known = torch.full((2, 1, 4, 64), torch.nan)
    known[:, :, 0] = torch.randn(2, 1, 64)
    found = upscale(prior, torch.randn(2, 1, 4, 32), known, rng=Rng(0))
    assert found.shape == (2, 1, 4, 64)
    assert torch.equal(found[:, :, 0], known[:, :, 0])
    assert bool(found.isfinite().all())


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="coarse=2"):
        upscale(made(1), torch.zeros(1, 1, 4, 16), torch.zeros(1, 1, 4, 32), rng=Rng(0))
    with pytest.raises(InputError, match="multiple of the prior's grid"):
        upscale(made(), torch.zeros(1, 1, 4, 12), torch.zeros(1, 1, 4, 24), rng=Rng(0))
