"""What ends a training run from outside, in words: memory, lost processes, dead workers, a loss that is not finite."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.distributed as dist

from physdiff.base.errors import Diverged, InputError, PhysdiffError, Stopped

__all__ = ["in_words"]

_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "CUDA out of memory", "Cannot allocate memory")
_LOST = ("Connection closed by peer", "Connection reset by peer", "Timed out waiting", "NCCL", "Broken pipe", "gloo/")


def in_words(error: BaseException, kept: Path | None) -> PhysdiffError | None:
    """The error to raise in place of another; None if that one says what it is, or is a bug.

    Args:
        error: What ended training.
        kept: The checkpoint, if one is written.
    """
    text = str(error)
    if isinstance(error, Diverged):
        if kept is not None and kept.is_file():
            remedy = "is of a step before: try a lower learning rate, full precision or a smaller clipping bound in a new folder"
            if error.field.startswith("residual of"):  # of a law: the sentence says what to look at
                remedy = "holds the last network that is finite"
            error.args = (f"{error}; {kept} {remedy}",)
        return None
    if isinstance(error, PhysdiffError):
        return None
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(words in text for words in _MEMORY):
        remedy = "take a smaller batch (accumulate_grad_batches keeps its effect), a narrower network, bf16-mixed precision or recomputed activations"
        return InputError(f"fit: expected a step that fits into memory, got {_short(error)}; {remedy}{_then(kept)}")
    if "DataLoader worker" in text:
        remedy = "fewer workers take less memory"
        return Stopped(f"fit: expected its loader processes to live, got {_short(error)}; {remedy}{_then(kept)}")
    lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and any(words in text for words in _LOST))
    if lost:
        return Stopped(f"fit: expected all processes of the run to answer, lost one of them ({_short(error)}); look at its messages{_then(kept)}")
    return None


def _then(kept: Path | None) -> str:
    if kept is None:
        return ""
    return f"; the same command goes on from {kept}" if kept.is_file() else "; there is no checkpoint yet"


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
