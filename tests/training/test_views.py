"""Random crops and coarser resolutions in training: which boxes, which means, exact resuming, and what cannot be cropped."""

from __future__ import annotations

from functools import partial

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.networks.fno import FNO
from physdiff.networks.transformer import DiT
from physdiff.networks.transolver import Transolver
from physdiff.networks.unet import UNet
from physdiff.networks.wno import WNO
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.operator_module import OperatorModule
from physdiff.training.recipe import Recipe, prepare
from physdiff.training.views import Views

RECIPE = Recipe(history=1, horizon=1, anomaly="none", guess="none", wavelet="none")
small = partial(UNet, width=8, multipliers=(1,), dropout=0.0)


def smoothing(frames: int = 24, shape: tuple[int, int] = (12, 16), closed: bool = False):
    """Each frame is the last one, halved, and new smooth noise."""
    spec = FieldSpec(("u",), ("1",), CartesianGrid(shape, 1.0, periodic=(closed, False)), 1.0)
    g, x = torch.Generator().manual_seed(0), [torch.zeros(shape)]
    for _ in range(frames):
        x.append(0.5 * x[-1] + torch.randn(shape, generator=g))
    return to_dataset(torch.stack(x[1:])[None, None], spec, np.arange(float(frames)))


def test_crops_are_boxes_keyed_by_step_and_window():
    prior, _ = prepare(smoothing(), RECIPE, network=small)
    z = torch.arange(2 * 12 * 16.0).reshape(1, 2, 1, 12, 16).expand(3, -1, -1, -1, -1)
    c = -z
    views, rng = Views(crop=(4, 8)), Rng(0)
    found, condition, weights = views.of(prior, (z, c, None), index=[5, 6, 5], rng=rng)
    assert found.shape == (3, 2, 1, 4, 8) and weights is None and condition is not None
    assert torch.equal(condition, -found)  # the same box of what is told
    first = found[:, 0, 0, 0, 0].long().tolist()
    for row, corner in zip(found, first, strict=True):
        y, x = divmod(corner, 16)
        assert y <= 12 - 4 and x <= 16 - 8
        assert torch.equal(row, z[0, :, :, y : y + 4, x : x + 8])
    assert torch.equal(found[0], found[2])  # by the window, wherever it stands in the batch
    corners = {int(views.of(prior, (z[:1], None, None), index=[5], rng=rng.child(k))[0].flatten()[0]) for k in range(300)}
    assert {y for y, _ in (divmod(k, 16) for k in corners)} == set(range(9)) and {k % 16 for k in corners} == set(range(9))


def test_coarser_views_are_means_of_what_is_known():
    prior, _ = prepare(smoothing(), RECIPE, network=small)
    z, known = torch.randn(2, 1, 1, 12, 16), torch.rand(2, 1, 1, 12, 16).round()
    known[:, :, :, :2, :2] = 0
    views = Views(coarser=(2,))
    found, condition, share = views.of(prior, (z, z, known), index=[0, 1], rng=Rng(0))
    blocks = z.reshape(2, 1, 1, 6, 2, 8, 2).transpose(4, 5).flatten(5)
    there = known.reshape(2, 1, 1, 6, 2, 8, 2).transpose(4, 5).flatten(5)
    torch.testing.assert_close(condition, blocks.mean(-1))
    torch.testing.assert_close(share, there.mean(-1))
    some = there.sum(-1) > 0
    torch.testing.assert_close(found[some], ((blocks * there).sum(-1) / there.sum(-1).clamp_min(1))[some])
    assert bool((found[~some] == 0).all()) and bool((~some).any())
    drawn = [views.of(prior, (z, None, None), index=[0, 1], rng=Rng(0).child(k))[0].shape[-1] for k in range(2)]
    assert drawn == [8, 8]
    mixed = {Views(coarser=(1, 2, 4)).of(prior, (z, None, None), index=[0, 1], rng=Rng(0).child(k))[0].shape[-1] for k in range(30)}
    assert mixed == {16, 8, 4}


def trained(steps: int, out=None, **options):  # noqa: ANN001, ANN201
    prior, data = prepare(smoothing(), RECIPE, network=small, batch_size=4)
    module = DiffusionModule(prior, 1e-3, 0.9).with_views(Views(crop=(8, 8), coarser=(1, 2)))
    fit(module, data, max_steps=steps, out=out, save_every=1, progress=False, **options)
    return {k: v.clone() for k, v in prior.state_dict().items()}


def test_a_resumed_run_sees_the_same_views(tmp_path):
    whole = trained(6)

    class Cut(Exception):
        pass

    class Stop(pl.Callback):
        def on_train_batch_end(self, trainer, *_):  # noqa: ANN001, ANN002
            if trainer.global_step == 3:
                raise Cut

    with pytest.raises(Cut):
        trained(6, tmp_path / "a", callbacks=[Stop()])
    again = trained(6, tmp_path / "a")
    assert all(torch.equal(whole[k], again[k]) for k in whole)


def test_an_operator_learnt_on_coarser_views_runs_on_the_whole_grid():
    """Half of the last frame, on every resolution alike: the smallest error is that of the noise, whose variance is one."""

    class Scaled(torch.nn.Module):
        ndim = 2

        def __init__(self) -> None:
            super().__init__()
            self.factor = torch.nn.Parameter(torch.zeros(()))

        def forward(self, c: Tensor) -> Tensor:
            return self.factor * c[:, :1]

    def scaled(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...]) -> torch.nn.Module:
        return Scaled()

    prior, data = prepare(smoothing(200), Recipe(1, 1, "none", "none", "none", process="deterministic"), network=scaled, batch_size=16)
    fit(OperatorModule(prior, 2e-2, 0.0).with_views(Views((8, 0), (1, 2))), data, max_steps=150, progress=False)
    # mean and deviation are those of the whole grid, so that the factor is the law's; 200 frames of 192 values tell it to 0.5 %
    assert float(prior.map.network.factor.detach()) == pytest.approx(0.5, abs=0.03)


def test_what_cannot_be_viewed_is_refused():
    with pytest.raises(InputError, match="crop: expected points"):
        Views(crop=(0, 0))
    with pytest.raises(InputError, match="coarser: expected whole factors"):
        Views(coarser=(0,))
    ds = smoothing(closed=True)
    module = DiffusionModule(prepare(ds, RECIPE, network=small)[0])
    with pytest.raises(InputError, match="crop: expected 0 along y, which closes"):
        module.with_views(Views(crop=(4, 8)))
    with pytest.raises(InputError, match="crop: expected 2 numbers"):
        module.with_views(Views(crop=(4,)))
    with pytest.raises(InputError, match="a multiple of 1 points, at most 16"):
        module.with_views(Views(crop=(0, 17)))
    with pytest.raises(InputError, match="axes divisible by 5"):
        module.with_views(Views(coarser=(1, 5)))
    waves = Recipe(history=1, horizon=1, anomaly="none", guess="none", wavelet="haar")
    with pytest.raises(InputError, match="wavelet none"):
        DiffusionModule(prepare(ds, waves, network=small)[0]).with_views(Views(coarser=(1, 2)))
    with pytest.raises(InputError, match="a multiple of 2 points"):
        DiffusionModule(prepare(ds, waves, network=small)[0]).with_views(Views(crop=(0, 7)))
    based = Recipe(history=0, horizon=1, anomaly="all", guess="none", wavelet="none")
    with pytest.raises(InputError, match="on a Gaussian base"):
        DiffusionModule(prepare(ds, based, network=small)[0]).with_views(Views(crop=(0, 8)))
    bridge = Recipe(history=1, horizon=1, anomaly="none", guess="none", wavelet="none", process="bridge")
    with pytest.raises(InputError, match="got InterpolantPrior"):
        DiffusionModule(prepare(ds, bridge, network=small)[0]).with_views(Views(crop=(0, 8)))


def test_networks_that_know_how_long_axes_are_take_coarser_views_and_no_crops():
    """A wavenumber of a crop is another wave than that of the whole axis, and so is a place; as many points of the same axis are not."""
    recipe = Recipe(1, 1, "none", "none", "none", process="deterministic")
    prior, data = prepare(smoothing(), recipe, network=partial(FNO, width=8, modes=2))
    coarser = OperatorModule(prior).with_views(Views(None, (2,)))
    fit(coarser, TrajectoryDataModule(data.train_windows, batch_size=4), max_steps=2, progress=False)
    for network in (partial(FNO, width=8, modes=2), partial(Transolver, width=8, depth=1, slices=4), partial(WNO, width=8, levels=1)):
        known = prepare(smoothing(), recipe, network=network)[0]
        with pytest.raises(InputError, match=r"expected a network that acts alike everywhere \(UNet, DiT, AxialViT\), got (FNO|Transolver|WNO)"):
            OperatorModule(known).with_views(Views((8, 8)))
    DiffusionModule(prepare(smoothing(), RECIPE, network=partial(DiT, width=16, depth=1))[0]).with_views(Views((8, 8)))
