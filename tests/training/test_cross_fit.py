"""Cross-fitting: no frame seen twice, errors of the right network, the mean of all, a spread that memory does not shrink."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.centred import around_residuals, residual_noise
from physdiff.diffusion.forecaster import Forecaster
from physdiff.networks.fno import FNO
from physdiff.training.cross_fit import ResidualWindows, cross_fit, residual_part, unseen_blocks
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.encoded import encode_batch
from physdiff.training.fit import fit
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import line

RECIPE = Recipe(history=1, horizon=1, anomaly="none", guess="increment", wavelet="none", process="deterministic")


class Constant(Saved, nn.Module):
    """One number everywhere."""

    ndim = 1

    def __init__(self, out_channels: int) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(out_channels))

    def forward(self, c: Tensor) -> Tensor:
        return self.level[:, None].expand(len(c), -1, c.shape[-1])


def constant(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...]) -> Constant:
    return Constant(o)


def noise(frames: int = 41):
    """Frames that nothing foretells, one trajectory."""
    ds = line(1, frames).isel(sample=0)
    values = torch.randn(ds["u"].shape, generator=torch.Generator().manual_seed(1))
    return ds.assign(u=(ds["u"].dims, values.numpy()))


def build(ds, network, seed: int) -> Forecaster:  # noqa: ANN001
    made = prepare(ds, RECIPE, network=network, seed=seed)[0]
    assert isinstance(made, Forecaster)
    return made


def targets(mean: Forecaster, windows) -> Tensor:  # noqa: ANN001
    batch = default_collate([windows[i] for i in range(len(windows))])
    return encode_batch(mean, batch["x"], batch["cond"])[0]


def learn_level(mean: Forecaster, seen, unseen, fold: int) -> None:  # noqa: ANN001
    mean.map.network.level.data.fill_(targets(mean, seen).mean())


def test_blocks_cover_all_windows_and_share_no_frame() -> None:
    blocks = unseen_blocks(37, 4, 5)
    assert sorted(i for block, _ in blocks for i in block) == list(range(37))
    for block, seen in blocks:
        frames = {i + k for i in block for k in range(5)}
        assert not frames & {i + k for i in seen for k in range(5)}
        # and no window is left out that shares none
        assert all({i + k for k in range(5)} & frames for i in range(37) if i not in seen)
    with pytest.raises(InputError, match="two folds"):
        unseen_blocks(37, 1, 5)
    with pytest.raises(DataError, match="share no frame"):
        unseen_blocks(8, 2, 5)


def test_each_error_is_that_of_the_network_that_has_not_seen_it() -> None:
    ds = noise()
    windows = prepare(ds, RECIPE, network=constant)[1].train_windows
    mean, left = cross_fit(windows, partial(build, ds, constant), learn_level, folds=4)
    z = targets(mean, windows)
    levels = []
    for block, seen in unseen_blocks(len(windows), 4, 2):
        levels.append(z[seen].mean())
        torch.testing.assert_close(left.held["z"][list(block)], z[list(block)] - levels[-1])
    told = torch.stack([left.held["c"][i, -1].mean() for i in (0, len(windows) - 1)])
    torch.testing.assert_close(told, torch.stack([levels[0], levels[-1]]))  # the mean is the last channel of what the denoiser is told
    level = mean.map(z, z.new_zeros(()), torch.zeros(1, 2, 1, z.shape[-1]))
    torch.testing.assert_close(level.mean(), torch.stack(levels).mean())


def test_copies_are_shifted_windows() -> None:
    ds = noise(12)
    windows = prepare(ds, RECIPE, network=constant)[1].train_windows
    _, left = cross_fit(windows, partial(build, ds, constant), lambda *_: None, folds=2, roll=("x",), copies=2)
    z = left.held["z"]
    assert len(z) == 3 * len(windows)
    half = unseen_blocks(len(windows), 2, 2)[0][0].stop
    for copy in (1, 2):  # nothing was learnt, so that the error is the increment itself
        for i in range(half):
            assert any(torch.allclose(z[copy * half + i], z[i].roll(k, -1), atol=1e-5) for k in range(16))


def test_a_network_that_remembers_does_not_narrow_the_spread() -> None:
    ds = noise(33)
    windows = prepare(ds, RECIPE, network=constant)[1].train_windows
    net = partial(_fno, width=32)

    def learn(mean: Forecaster, seen, unseen, fold: int) -> None:  # noqa: ANN001
        optimiser = torch.optim.Adam(mean.map.parameters(), 1e-2)
        batch = default_collate([seen[i] for i in range(len(seen))])
        z, c, _ = encode_batch(mean, batch["x"], batch["cond"])
        for _ in range(120):
            optimiser.zero_grad()
            (mean.map(z, z.new_zeros(()), c) - z).square().mean().backward()
            optimiser.step()
        inside.append(float((mean.map(z, z.new_zeros(()), c) - z).detach().square().mean()))

    inside: list[float] = []
    mean, left = cross_fit(windows, partial(build, ds, net), learn, folds=2)
    outside = float(left.held["z"].square().mean())
    # the known frame foretells half of the variance of an increment of white noise, about 1: memory goes below that, unseen errors do not
    assert max(inside) < 0.3 and outside > 0.5
    prior = around_residuals(mean, left.held["z"], network=_fno_noise)
    assert float(residual_noise(prior).mean) > -0.5 + 0.5 * torch.log(torch.tensor(0.5))
    # the part that is trained is the part that draws
    fit(DiffusionModule(residual_part(prior), noise=residual_noise(prior)), TrajectoryDataModule(left, batch_size=8), max_steps=2, progress=False)
    item = default_collate([windows[0]])
    assert bool(prior.sample(3, cond=item["cond"], rng=Rng(0)).isfinite().all())
    with pytest.raises(InputError, match="made by around_residuals"):
        residual_part(residual_part(prior))


def _fno(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...], width: int = 8) -> FNO:
    return FNO(i, o, ndim=ndim, periodic=periodic, width=width, modes=8, layers=1)


def _fno_noise(i: int, o: int, *, ndim: int, periodic: tuple[bool, ...]) -> nn.Module:
    from physdiff.networks.unet import UNet

    return UNet(i, o, ndim=ndim, periodic=periodic, width=4, attention=False)


def test_what_residual_windows_hold() -> None:
    ds = noise(12)
    windows = prepare(ds, RECIPE, network=constant)[1].train_windows
    _, left = cross_fit(windows, partial(build, ds, constant), learn_level, folds=2)
    assert isinstance(left, ResidualWindows) and set(left[3]) == {"z", "c", "index"} and left[3]["index"] == 3
