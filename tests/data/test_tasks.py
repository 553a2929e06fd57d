"""Tasks: what is known of which field, coarse windows, worded errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from physdiff.base.errors import InputError, ShapeError
from physdiff.data.convert import to_dataset
from physdiff.data.tasks import TaskWindows, task_condition, task_spec
from physdiff.data.windows import TrajectoryWindows
from physdiff.grids.blocks import coarsened, refined
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec

SPEC = FieldSpec(("u", "force"), ("1", "1"), CartesianGrid(8, 1.0, periodic=False), 1.0, frames=4)


def trajectories(samples: int = 3) -> xr.Dataset:
    x = torch.arange(samples * 2 * 4 * 8, dtype=torch.float32).reshape(samples, 2, 4, 8)
    return to_dataset(x, SPEC, np.arange(4.0), batch="sample")


def windows() -> TrajectoryWindows:
    return TrajectoryWindows(trajectories(), history=0, horizon=4)


def test_each_task_shows_what_it_knows_and_nothing_else() -> None:
    found = TaskWindows(windows(), [{"u": (0,), "force": "all"}, {"u": (0, -1)}])
    assert len(found) == 6
    assert found.cond_spec.names == ("u", "force", "known_u", "known_force", "place_time", "place_x")
    for i, masks in ((2, ([1, 0, 0, 0], [1, 1, 1, 1])), (3, ([1, 0, 0, 1], [0, 0, 0, 0]))):
        item = found[i]
        assert torch.equal(item["x"], found[2]["x"])  # both are of the second trajectory
        for c, mask in enumerate(masks):
            known = torch.tensor(mask, dtype=torch.float32)[:, None].expand(4, 8)
            assert torch.equal(item["cond"][2 + c], known)
            assert torch.equal(item["cond"][c][known > 0], item["x"][c][known > 0])
    hidden = found[3]["cond"][1]
    assert torch.equal(hidden, torch.zeros(4, 8))  # nothing of an unknown field leaks into its filling


def test_the_unknown_lies_between_what_is_known_and_places_are_told() -> None:
    known = torch.full((1, 2, 4, 8), torch.nan)
    first, last = torch.randn(8), torch.randn(8)
    known[0, 0, 0], known[0, 0, 3], known[0, 1, 2] = first, last, last
    found = task_condition(SPEC, known)[0]
    for t in range(4):
        torch.testing.assert_close(found[0, t], first + t / 3 * (last - first))
        torch.testing.assert_close(found[1, t], last)  # before the first known frame and after it
        torch.testing.assert_close(found[4, t], torch.full((8,), -1 + 2 * t / 3))
    torch.testing.assert_close(found[5, 1], torch.linspace(-1, 1, 8))
    assert torch.equal(found[2:4].sum((1, 2)), torch.tensor([16.0, 8.0]))


def test_coarse_windows_are_block_means() -> None:
    x = torch.randn(2, 2, 4, 8)
    assert torch.equal(coarsened(refined(x, 2), 2), x)
    torch.testing.assert_close(coarsened(x, 4)[..., 1], x[..., 4:].mean(-1))
    item = TaskWindows(windows(), [{"u": (0,)}], coarse=2)[0]
    assert item["cond"].shape == (6, 4, 8)
    torch.testing.assert_close(coarsened(item["cond"][None, 4:], 2), coarsened(item["x"][None], 2))
    assert task_spec(SPEC, coarse=True).names[-2:] == ("coarse_u", "coarse_force")


def test_errors_say_what_to_do() -> None:
    with pytest.raises(InputError, match="expected 'all' or frames of 4 for u, got"):
        TaskWindows(windows(), [{"u": (4,)}])
    with pytest.raises(InputError, match="history=0"):
        TaskWindows(TrajectoryWindows(trajectories(), history=1, horizon=3), [{"u": (0,)}])
    with pytest.raises(ShapeError, match="divisible by 3"):
        coarsened(torch.zeros(1, 1, 1, 8), 3)
    with pytest.raises(ShapeError, match="whole factor"):
        task_condition(SPEC, torch.zeros(1, 2, 4, 8), torch.zeros(1, 2, 4, 3))
