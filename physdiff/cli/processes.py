"""A verb on several processes: ``torchrun --nproc-per-node 2 -m physdiff infer ...``, of which the first one writes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

__all__ = ["joined_processes", "processes"]


def processes() -> int:
    """How many torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined_processes() -> Iterator[bool]:
    """Join the processes that torchrun started to a group; tells whether this is the one that writes. Without torchrun nothing is done."""
    if processes() == 1:
        yield True
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    dist.init_process_group()  # gloo for tensors of the CPU, nccl for those of a GPU
    try:
        yield dist.get_rank() == 0
    finally:
        dist.destroy_process_group()
