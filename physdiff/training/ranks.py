"""Which of several training processes this is, before and after they have met.

Lightning, torchrun and SLURM tell a process its place by the environment; before the group is there nothing else is known.
"""

from __future__ import annotations

import os
from typing import TypeVar

import torch.distributed as dist

__all__ = ["agreed", "is_first_process"]

Value = TypeVar("Value")


def is_first_process() -> bool:
    """Whether this is the process that prints and writes; the only one is."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    rank = next((os.environ[name] for name in ("RANK", "SLURM_PROCID") if name in os.environ), None)
    if rank is not None:
        return int(rank) == 0
    return int(os.environ.get("NODE_RANK", "0")) == 0 and int(os.environ.get("LOCAL_RANK", "0")) == 0


def agreed(value: Value) -> Value:
    """What the first process of the group has, in all of them; the value itself without a group."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return value
    held = [value]
    dist.broadcast_object_list(held, src=0)
    return held[0]
