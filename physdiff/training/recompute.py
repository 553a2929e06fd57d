"""Activation checkpointing: blocks of a network keep their inputs only and are computed again for the gradient.

Memory for the gradient falls from all that lies within the blocks to what lies between them, plus one block, for one more forward pass (Chen, Xu,
Zhang and Guestrin, Training deep nets with sublinear memory cost, 2016). Gradients are the same to the last bit, dropout included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from physdiff.base.errors import InputError

__all__ = ["recomputed"]


@contextmanager
def recomputed(module: nn.Module) -> Iterator[int]:
    """Have the outermost listed blocks (members of a ModuleList) of a network recompute; as before after the block. Gives their number.

    Args:
        module: The network.

    Raises:
        InputError: If it has no list of blocks.
    """
    blocks = list(_blocks(module))
    if not blocks:
        raise InputError(f"recompute: expected a network with lists of blocks, got {type(module).__name__} without; leave recompute out")
    for block in blocks:
        block.forward = _again(block.forward)
    try:
        yield len(blocks)
    finally:
        for block in blocks:
            del block.forward  # the instance's; the class's is there again


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    for child in module.children():
        if isinstance(child, nn.ModuleList):
            for member in child:
                yield from _blocks(nn.ModuleList([member])) if isinstance(member, nn.ModuleList) else [member]
        else:
            yield from _blocks(child)


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - a network's
        return checkpoint(forward, *args, use_reentrant=False, **kwargs) if torch.is_grad_enabled() else forward(*args, **kwargs)

    return run
