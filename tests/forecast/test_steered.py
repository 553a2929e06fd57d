"""Whole trajectories steered: what is wanted is reached, effort is spared, what is known stays, draws do not depend on their neighbours."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.forecast import steered
from physdiff.forecast.steered import Wish, steer_trajectories
from physdiff.networks.unet import UNet
from physdiff.training.trajectories import prepare_trajectories
from tests.training.test_trajectories import TASKS, driven

DATA = driven(6)


def prior() -> DiffusionPrior:
    """Independent normal coefficients behind the transform of real windows: the law of what is steered is known."""
    made, _ = prepare_trajectories(DATA, TASKS, wavelet="haar", steps=12, network=partial(UNet, width=8))
    mean = torch.zeros(made.latent_shape)
    base = GaussianDenoiser(EDMSchedule(0.02, 20.0), mean, DiagonalCovariance(torch.ones_like(mean)))
    parts = {"cond_transform": made.cond_transform, "cond_spec": made.cond_spec}
    return DiffusionPrior(base, made.transform, made.spec, sampler=made.sampler, steps=12, **parts)


def test_the_goal_is_reached_and_what_is_known_stays() -> None:
    goal = DATA.isel(sample=[1, 2])
    start = DATA.isel(sample=[0, 5])
    found = steer_trajectories(prior(), {"u": (0,)}, Wish({"u": (-1,)}, 1e4), goal=goal, ds=start, members=2, rng=Rng(0))
    assert found["u"].dims == ("sample", "init_time", "member", "lead_time", "x")
    np.testing.assert_array_equal(found["u"].isel(lead_time=0, init_time=0, member=1), start["u"].isel(time=0).values.astype(np.float32))
    off = found["u"].isel(lead_time=-1, init_time=0).values - goal["u"].isel(time=-1).values[:, None]
    free = steer_trajectories(prior(), {"u": (0,)}, Wish({"u": (-1,)}, 1e-6), goal=goal, ds=start, members=2, rng=Rng(0))
    away = free["u"].isel(lead_time=-1, init_time=0).values - goal["u"].isel(time=-1).values[:, None]
    assert np.square(off).mean() < 0.02 * np.square(away).mean()
    # the second trajectory alone has another number, the first the same
    one = {"goal": goal.isel(sample=[0]), "ds": start.isel(sample=[0])}
    alone = steer_trajectories(prior(), {"u": (0,)}, Wish({"u": (-1,)}, 1e4), **one, members=2, rng=Rng(0))
    np.testing.assert_allclose(alone["u"].values[0], found["u"].values[0], atol=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_the_objective_is_that_of_the_formula(weight: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written out in numpy for arbitrary windows: the mean over wanted entries, the effort, both in standard deviations of the data."""
    goal, seen = DATA.isel(sample=[3]), []

    def watched(prior: DiffusionPrior, objective, n: int, **options) -> torch.Tensor:  # noqa: ANN001, ANN003
        x = 3 * torch.randn(n, *prior.spec.shape, generator=torch.Generator().manual_seed(0))
        seen.append((x.double().numpy(), objective(x).double().numpy(), options["strength"]))
        return x

    monkeypatch.setattr(steered, "control", watched)
    wish = Wish({"u": (0, -1)}, 7.0, {"force": weight})
    steer_trajectories(prior(), {}, wish, goal=goal, members=5, rng=Rng(0))
    x, found, strength = seen[0]
    wanted = goal["u"].isel(sample=0, time=[0, -1]).values
    expected = (((x[:, 0][:, [0, -1]] - wanted) / float(DATA["u"].std())) ** 2).mean((1, 2))
    expected += weight * ((x[:, 1] / float(DATA["force"].std())) ** 2).mean((1, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-4)  # float32
    assert strength == 7.0


def test_effort_is_spared() -> None:
    goal, start = DATA.isel(sample=[1]), DATA.isel(sample=[0])
    sizes = []
    for weight in (0.0, 100.0):
        wish = Wish({"u": (-1,)}, 10.0, {"force": weight})
        found = steer_trajectories(prior(), {"u": (0,)}, wish, goal=goal, ds=start, members=4, rng=Rng(0))
        sizes.append(float(np.square(found["force"]).mean()))
    assert sizes[1] < 0.5 * sizes[0]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="expected frames of a field"):
        Wish({})
    with pytest.raises(InputError, match="Wish effort of force"):
        Wish({"u": (0,)}, effort={"force": -1.0})
    wish = Wish({"u": (-1,)})
    with pytest.raises(DataError, match="expected one trajectory, or one for each of 3, got 2"):
        steer_trajectories(prior(), {"u": (0,)}, wish, goal=DATA.isel(sample=[0, 1]), ds=DATA.isel(sample=[0, 1, 2]), rng=Rng(0))
    with pytest.raises(InputError, match="members >= 1"):
        steer_trajectories(prior(), {}, wish, goal=DATA, members=0, rng=Rng(0))
