"""Clamping: known coefficients are clean before and after the network, and nothing else changes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.diffusion.clamped import clamped
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.unet import UNet
from physdiff.training.trajectories import prepare_trajectories


def made(wavelet: str = "haar", levels: int = 1):  # noqa: ANN201
    spec = FieldSpec(("u", "force"), ("1", "1"), CartesianGrid(16, 1.0, periodic=False), 1.0, frames=4)
    x = 3 + 2 * torch.randn(6, 2, 4, 16, generator=torch.Generator().manual_seed(0))
    ds = to_dataset(x, spec, np.arange(4.0), batch="sample")
    return prepare_trajectories(ds, [{"u": (0,), "force": "all"}], wavelet=wavelet, levels=levels, steps=2, network=partial(UNet, width=8))


@pytest.mark.parametrize("wavelet", ["haar", "pixels", "db2"])
def test_known_coefficients_are_those_of_the_data(wavelet: str, tmp_path) -> None:  # noqa: ANN001
    prior, windows = made(wavelet)
    held = clamped(prior).eval()
    for parameter in held.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(1))
    item = windows[1]
    cond = held.encode_cond(held.complete(item["cond"][None]))
    z = held.encode(item["x"][None])
    known = held.transform.weight(held.transform.decode(torch.zeros_like(z)) * 0 + item["cond"][None, 2:4]) > 1 - 1e-6
    assert bool(known[:, 1::2].all())  # the force is known everywhere, so all of its coefficients are
    t = torch.tensor(0.5, dtype=torch.float64)
    one, two = (held.denoiser(noisy, t, cond) for noisy in (z, torch.where(known, torch.randn_like(z), z)))
    torch.testing.assert_close(one[known], z[known], rtol=0, atol=1e-5)
    assert torch.equal(one, two)  # whatever stood at the known entries of x_t
    assert bool((one - held.denoiser(z + (~known) * 1.0, t, cond)).abs().max() > 0)
    again = DiffusionPrior.load(held.save(tmp_path / "prior.pt"))
    cond = item["cond"][None]
    assert torch.equal(again.sample(1, cond=cond, rng=Rng(0)), held.sample(1, cond=cond, rng=Rng(0)))


def test_other_priors_are_refused() -> None:
    with pytest.raises(InputError, match="prepare_trajectories"):
        clamped(made(levels=0)[0])
