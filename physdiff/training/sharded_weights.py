"""Training with gradients, optimiser and average shared out over processes (FSDP, the second of its kind), for networks that no device holds.

Each process keeps its part of every weight; the network's weights are gathered for a pass and let go after it (`torch.distributed.fsdp.fully_shard`).
Losses, averages and checkpoints are those of one process: checkpoints hold whole weights, so that a run may go on with another number of processes.
Reference: Zhao et al., PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, 2023.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from physdiff.base.errors import InputError
from physdiff.diffusion.window_prior import WindowPrior

__all__ = ["ShardedWeights", "own_part", "put_whole", "shard", "sharded_mesh", "unsharded_copy", "whole"]


class ShardedWeights(ModelParallelStrategy):
    """Lightning's strategy for `fully_shard` over all processes; the weights of ``module.prior.model`` are shared out."""

    def __init__(self) -> None:
        super().__init__(tensor_parallel_size=1, save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """As many parts as processes."""
        self._data_parallel_size = self.num_processes * self.num_nodes
        super().setup_environment()

    def setup(self, trainer: pl.Trainer) -> None:
        """Share out, then go on as Lightning does."""
        module = self.lightning_module
        assert module is not None
        shard(module, self.device_mesh["data_parallel"])
        module.configure_model = _nothing  # type: ignore[method-assign]  # which Lightning wants overridden: it is done
        super().setup(trainer)

    def load_checkpoint(self, checkpoint_path: str | Path, weights_only: bool | None = None) -> dict[str, Any]:
        """As Lightning does, which takes the weights out of what callbacks see."""
        found = super().load_checkpoint(checkpoint_path, weights_only)
        assert self.model is not None
        return {**found, "state_dict": {name: whole(value) for name, value in self.model.state_dict().items()}}


def _nothing() -> None:
    """What `configure_model` has left to do."""


def unsharded_copy(module: pl.LightningModule) -> pl.LightningModule:
    """A copy to be trained in the place of a module, which stays as it is.

    Raises:
        InputError: If it trains no prior, or a part of it is compiled or recomputes, which a copy would not.
    """
    if not isinstance(getattr(module, "prior", None), WindowPrior):
        raise InputError(f"fit strategy fsdp: expected a module that trains a prior, got {type(module).__name__}; take ddp")
    odd = [type(m).__name__ for m in module.modules() if "forward" in m.__dict__ or getattr(m, "_compiled_call_impl", None) is not None]
    if odd:
        raise InputError(f"fit strategy fsdp: expected a network that is neither compiled nor recomputes, got {odd[0]}; leave that out, or take ddp")
    return copy.deepcopy(module)


def shard(module: Any, mesh: DeviceMesh) -> None:  # noqa: ANN401 - of any class that has a prior
    """Share out the weights of a module's network, in place."""
    fully_shard(module.prior.model, mesh=mesh, reshard_after_forward=True)


def sharded_mesh(module: nn.Module) -> DeviceMesh | None:
    """Over which processes the weights are shared out; None if they are not."""
    found = next((p for p in module.parameters() if isinstance(p, DTensor)), None)
    return None if found is None else found.device_mesh


def own_part(value: Tensor) -> Tensor:
    """This process's part of a tensor, of the same memory."""
    return value.to_local().detach() if isinstance(value, DTensor) else value


def whole(value: Any) -> Any:  # noqa: ANN401 - whatever a state holds
    """A tensor with all its parts; every process must call it. Anything else as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value


@torch.no_grad()
def put_whole(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load whole tensors, the same in every process, into a module whose weights may be shared out."""
    for name, own in module.state_dict().items():
        given = state[name].to(own.device)
        own.copy_(distribute_tensor(given, own.device_mesh, own.placements, src_data_rank=None) if isinstance(own, DTensor) else given)
