"""Batches of windows, read ahead by threads into memory that is used again.

The threads of a loader fill one batch together, and one batch ahead; files are read and packed numbers unpacked with Python's lock released,
so that they run side by side, and nothing is copied from process to process. Memory stays at the batches in use: the caller's, and one or
two that are being filled. A batch of more than 64 MiB is filled when it is asked for, where the one before was, so that one is alive.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.windows import TrajectoryWindows, WindowRange

__all__ = ["chunked_order", "load_batches", "reads_itself", "shared_chunks"]

_KEPT, _PATIENCE = 3, 0.02
_BIG = 64 * 2**20  # bytes of a batch that is alive alone
_PROBE = [np.empty(0)]
_ALONE = sys.getrefcount(_PROBE[0])  # references to what only a list holds, as this Python counts them


class _Room:
    """Memory for batches, handed out again when no tensor of the last one is left; or in turn, `turns` arrays, whoever still has one."""

    def __init__(self, turns: int = 0) -> None:
        self._held: list[np.ndarray] = []
        self._turns = turns
        self._lock = threading.Lock()

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        """An array (shape) float32 that nothing else refers to."""
        if self._turns:
            if len(self._held) == self._turns and self._held[0].shape == shape:
                self._held.append(self._held.pop(0))
            else:
                self._held = [*self._held[1 - self._turns :], np.empty(shape, dtype=np.float32)] if self._turns > 1 else [np.empty(shape, np.float32)]
            return self._held[-1]
        until = time.monotonic() + _PATIENCE
        while True:
            with self._lock:
                for k in range(len(self._held)):
                    if self._held[k].shape == shape and sys.getrefcount(self._held[k]) <= _ALONE:
                        return self._held[k]
                if len(self._held) < _KEPT - 1 or time.monotonic() > until:
                    made = np.empty(shape, dtype=np.float32)
                    self._held = [*self._held[1 - _KEPT :], made]  # what a caller keeps for long is forgotten
                    return made
            time.sleep(0.0005)  # the caller is about to let one go


class _Batch(dict[str, Any]):
    """A batch whose tensors are taken out of it when the next is asked for; whoever asks for them afterwards is told so."""

    gone: tuple[str, ...] = ()

    def let_go(self) -> None:
        """Take the tensors of windows out; those that somebody else keeps stay as they are."""
        self.gone = tuple(n for n in self if n != "index")
        for name in self.gone:
            del self[name]

    def __missing__(self, name: str) -> Any:  # noqa: ANN401 - as a dictionary has it
        self._check(name)
        raise KeyError(name)

    def __contains__(self, name: object) -> bool:
        self._check(name)
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - as a dictionary has it
        """As a dictionary has it; an error if it was let go."""
        self._check(name)
        return super().get(name, default)

    def _check(self, name: object) -> None:
        if name not in self.gone:
            return
        told = f"got a batch of more than {_BIG // 2**20} MiB, which was let go when the next was asked for"
        raise DataError(f"expected {name!r} of a batch, {told}; keep tensors, not batches, or take load_batches(..., reuse=False)")


def load_batches(
    windows: Dataset[dict[str, Any]], order: Iterable[Sequence[int]], *, workers: int = 0, pin: bool = False, reuse: bool | None = None
) -> Iterator[dict[str, Any]]:
    """Batches as torch's loader gives them: ``{"x": (B, C, T, *S), "cond": ..., "index": (B,)}``.

    Args:
        windows: Windows of trajectories, or another data set of dictionaries.
        order: Indices of each batch.
        workers: Threads that read; 0: the caller reads when it asks.
        pin: Whether the tensors lie in page-locked memory, from which accelerators copy at once.
        reuse: None: nothing is overwritten; a batch whose ``x`` has more than 64 MiB is read when it is asked for, by all workers, and tensors are
            taken out of the one before (a tensor that is kept stays as it is), so that one is alive and not two (with workers three). False:
            batches stay whole, and workers read the next ahead. True: ``x`` is overwritten once the next is asked for, for loops that keep none.

    Raises:
        InputError: If the number of workers is negative, or memory cannot be locked for there is no accelerator.
        DataError: If windows cannot be read, or a tensor is asked for of a batch that was let go.
    """
    if workers < 0:
        raise InputError(f"load_batches: expected workers >= 0, got {workers}")
    if pin and not torch.accelerator.is_available():
        raise InputError("load_batches: expected an accelerator to copy from page-locked memory, found none; leave pin out")
    size = 4 * math.prod(windows.spec.shape) if reuse is None and reads_itself(windows) else 0  # type: ignore[attr-defined]
    room = _Room((2 if workers else 1) if reuse else 0)
    with ThreadPoolExecutor(1, "batch") as ahead, ThreadPoolExecutor(max(workers, 1), "window") as threads:
        readers = threads if workers else None
        waiting: Future[dict[str, Any]] | None = None
        given: _Batch | None = None
        try:
            for indices in order:
                if given is not None:
                    given.let_go()
                    given = None
                big = len(indices) * size > _BIG
                ready, waiting = waiting, None if big or not workers else ahead.submit(_batch, windows, list(indices), room, readers)
                if ready is not None:
                    yield _pinned(ready.result(), pin)
                    del ready
                if big:
                    given = _Batch(_pinned(_batch(windows, indices, room, readers), pin))
                    yield given
                elif not workers:
                    yield _pinned(_batch(windows, indices, room), pin)
            if waiting is not None:
                yield _pinned(waiting.result(), pin)
        finally:
            if waiting is not None:
                waiting.cancel()


def reads_itself(windows: Dataset[dict[str, Any]]) -> bool:
    """Whether these are windows that threads can read, a range of them among these."""
    return isinstance(windows, TrajectoryWindows) or (isinstance(windows, WindowRange) and reads_itself(windows.windows))


def _batch(windows: Dataset[dict[str, Any]], indices: Sequence[int], room: _Room, readers: ThreadPoolExecutor | None = None) -> dict[str, Any]:
    plain, places = windows, list(indices)
    while isinstance(plain, WindowRange):
        places = [plain.place(i) for i in places]
        plain = plain.windows
    if not isinstance(plain, TrajectoryWindows):
        return default_collate([windows[i] for i in indices])  # type: ignore[no-any-return]
    x = room.take((len(places), *plain.spec.shape))
    if readers is None:
        for place, out in zip(places, x, strict=True):
            plain.read_into(place, out)
    else:
        list(readers.map(plain.read_into, places, x))
    return plain.item_of(places, torch.from_numpy(x))


def _pinned(batch: dict[str, Any], pin: bool) -> dict[str, Any]:
    return {n: v.pin_memory() if isinstance(v, torch.Tensor) else v for n, v in batch.items()} if pin else batch


def shared_chunks(windows: Dataset[dict[str, Any]]) -> int:
    """How many windows in a row share the chunks of their file that cost most to read, see `WindowReader.block`; 1 where it does not matter."""
    while isinstance(windows, WindowRange):
        windows = windows.windows
    return windows.block if isinstance(windows, TrajectoryWindows) else 1


def chunked_order(count: int, block: int, *, rng: Rng, mix: int = 4) -> np.ndarray:
    """A permutation whose neighbours lie near each other in the file: blocks in random order, windows shuffled among `mix` blocks at a time.

    Args:
        count: Number of windows.
        block: Windows that share chunks of the file.
        rng: Keyed by seed and epoch.
        mix: Blocks that are shuffled together; a batch then holds windows of so many places, whose chunks stay in HDF5's cache.

    Returns:
        (count,) int64.
    """
    blocks = np.array_split(np.arange(count), max(1, -(-count // max(block, 1))))
    order = rng.child("blocks").permutation(len(blocks)).tolist()
    parts = []
    for k in range(0, len(order), mix):
        together = np.concatenate([blocks[i] for i in order[k : k + mix]])
        parts.append(together[rng.child("windows", k).permutation(together.size).numpy()])
    return np.concatenate(parts)
