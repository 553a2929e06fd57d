"""Priors in patterns answer both tasks of a law they have learnt, in a second or two."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_tensor
from physdiff.data.tasks import task_condition
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.inference.control import control
from physdiff.networks.mode_network import ModeNetwork
from physdiff.networks.unet import UNet
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.pattern_prior import in_patterns, pattern_noise
from physdiff.training.recipe import Recipe, prepare
from physdiff.training.trajectories import prepare_trajectories
from tests.training.problems import line, tiny
from tests.training.test_trajectories import driven

SMALL = partial(UNet, width=4)
TASKS = ({"u": (0,)}, {"u": (0,), "force": "all"})


def test_both_tasks_are_learnt(tmp_path) -> None:  # noqa: ANN001
    like, windows = prepare_trajectories(driven(200), TASKS, network=SMALL, steps=12)
    prior = in_patterns(like, windows, 8, width=64)
    assert isinstance(prior.denoiser.network, ModeNetwork)
    assert prior.latent_shape == (2, 1, 1)  # the first value and the force: all there is
    fit(DiffusionModule(prior, 3e-3, 0.99, noise=pattern_noise(prior)), TrajectoryDataModule(windows, batch_size=64), max_steps=400, progress=False)
    x = to_tensor(driven(50), prior.spec)
    known = torch.full_like(x, torch.nan)
    known[:, 0, 0] = x[:, 0, 0]
    free = task_condition(prior.spec, known)
    known[:, 1] = x[:, 1]
    drawn = prior.sample(50, cond=task_condition(prior.spec, known), rng=Rng(0))
    assert float((drawn - x)[:, 0].square().mean() / x[:, 0].var()) < 0.05
    # u ends at u_0 + 3 f: steered to 6 the force follows, and is as wide as it was where nothing is wanted
    found = control(prior, lambda z: (z[:, 0, -1].mean(-1) - 6).square(), 50, cond=free, strength=20.0, rng=Rng(1))
    assert float((x[:, 0, 0, 0] + 3 * found[:, 1, 0, 0] - 6).abs().mean()) < 0.7
    wide = prior.sample(200, cond=free[:1], rng=Rng(2))[:, 1].mean((1, 2)).std()
    assert 0.8 < float(wide) < 1.2
    prior.save(tmp_path / "a.prior")
    again = DiffusionPrior.load(tmp_path / "a.prior")
    torch.testing.assert_close(again.sample(3, cond=free[:3], rng=Rng(3)), prior.sample(3, cond=free[:3], rng=Rng(3)))


def test_other_priors_are_refused() -> None:
    like, windows = prepare_trajectories(driven(6), TASKS, network=SMALL)
    with pytest.raises(InputError, match="expected a prior made by in_patterns"):
        pattern_noise(like)
    plain, _ = prepare(line(), Recipe(history=0, horizon=1, gaussian="no"), network=tiny)
    with pytest.raises(InputError, match="in_patterns: expected a prior of prepare_trajectories"):
        in_patterns(plain, windows)
