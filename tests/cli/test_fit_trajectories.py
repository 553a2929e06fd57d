"""``physdiff fit --tasks``: a prior of whole trajectories that keeps what is known, and what it refuses."""

from __future__ import annotations

import torch

from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.data.open import open_dataset
from physdiff.data.tasks import TaskWindows
from physdiff.data.windows import TrajectoryWindows
from tests.cli.command import refuses, untouched, works

TASKS = ("--tasks", '[{"u":[0]},{"u":[0,-1]}]', "--network UNet --network.width 8 --network.multipliers [1,1] --training.max_steps 2")


def test_it_trains_and_draws_trajectories_through_what_is_known(tmp_path, burgers):
    said = works("fit", *TASKS, "--levels 1 --data", burgers, "--out", tmp_path / "a.prior")
    assert "wrote the prior" in said
    prior, card = read(tmp_path / "a.prior")
    ds = open_dataset(burgers)
    assert prior.spec.frames == ds.sizes["time"] and card["seed"] == 0
    windows = TaskWindows(TrajectoryWindows(ds, history=0, horizon=ds.sizes["time"], spec=prior.spec), [{"u": (0, -1)}])
    item = windows[0]
    draws = prior.sample(2, cond=item["cond"][None], rng=Rng(0))
    assert torch.equal(draws[:, :, [0, -1]], item["x"][None, :, [0, -1]].expand(2, -1, -1, -1))
    # the same command again goes on and changes nothing
    works("fit", *TASKS, "--levels 1 --data", burgers, "--out", tmp_path / "a.prior")
    again = read(tmp_path / "a.prior")[0]
    assert all(torch.equal(a, b) for a, b in zip(prior.state_dict().values(), again.state_dict().values(), strict=True))


def test_tasks_that_name_what_is_not_there_are_refused(tmp_path, burgers):
    with untouched(tmp_path):
        rest = ("--data", burgers, "--out", tmp_path / "a.prior")
        assert "expected one of the fields u" in refuses("fit", "--tasks", '[{"rain":[0]}]', *rest)
        assert "expected 'all' or frames" in refuses("fit", "--tasks", '[{"u":[99]}]', *rest)
        assert "expected 'all' or frames" in refuses("fit", "--tasks", '[{"u":"some"}]', *rest)
