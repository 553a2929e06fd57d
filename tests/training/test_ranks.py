"""A process knows its place from the environment before the group, from the group afterwards."""

from __future__ import annotations

import datetime

import pytest
import torch
import torch.distributed as dist

from physdiff.training.ranks import agreed, is_first_process

NAMES = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),  # torchrun, second node
        ({"SLURM_PROCID": "3"}, False),
        ({"LOCAL_RANK": "1"}, False),  # a child of Lightning
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
    ],
)
def test_by_the_environment(monkeypatch, environment, first) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first
    assert agreed(7) == 7


def other(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2, timeout=datetime.timedelta(seconds=200))
    torch.save((is_first_process(), agreed((rank, "x"))), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_by_the_group(tmp_path) -> None:
    torch.multiprocessing.spawn(other, (str(tmp_path),), nprocs=2)
    assert [torch.load(tmp_path / f"{r}.pt") for r in range(2)] == [(True, (0, "x")), (False, (0, "x"))]
