"""Windows of trajectories as a LightningDataModule whose order depends on (seed, epoch) alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import lightning.pytorch as pl
import torch
import xarray as xr
from torch.utils.data import DataLoader, Dataset, Sampler

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.loader import chunked_order, load_batches, reads_itself, shared_chunks
from physdiff.data.windows import TrajectoryWindows
from physdiff.grids.field_spec import FieldSpec

__all__ = ["KeyedBatches", "KeyedLoader", "TrajectoryDataModule"]


class KeyedBatches(Sampler[list[int]]):
    """Shuffled batches of one epoch, beginning where training stands.

    The order of epoch e is a permutation keyed by (seed, e); the position follows from the number of optimiser steps done, so that a
    resumed run sees the batches an uninterrupted one would.

    Args:
        size: Number of windows.
        batch_size: Windows per batch; the last incomplete batch is left out, unless it is the only one.
        seed: Seed of the order.
        position: Given the number of batches of an epoch, returns (epoch, batches of it already done); always (0, 0) if None.
        share: (rank, processes): each process gets its part of every batch, so that all together see what one process would.
        block: Windows that share chunks of a compressed file; these stay near each other, see `chunked_order`.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        *,
        seed: int,
        position: Callable[[int], tuple[int, int]] | None = None,
        share: tuple[int, int] = (0, 1),
        block: int = 1,
    ) -> None:
        if size < 1 or batch_size < 1:
            raise InputError(f"KeyedBatches: expected at least one window and batch_size >= 1, got {size} and {batch_size}")
        self.rank, self.processes = share
        self.size, self.batch_size = size, min(batch_size, size)
        if self.batch_size % self.processes:
            wanted = f"a batch that {self.processes} processes can share evenly"
            raise InputError(f"KeyedBatches: expected {wanted}, got {self.batch_size} windows; take a multiple of {self.processes}")
        self.rng, self.position, self.block = Rng(seed).child("shuffle"), position, block

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of this epoch that are still to come."""
        epoch, first = (0, 0) if self.position is None else self.position(len(self))
        rng = self.rng.child(epoch)
        order = rng.permutation(self.size).numpy() if self.block == 1 else chunked_order(self.size, self.block, rng=rng)
        for k in range(first, len(self)):
            yield order[k * self.batch_size + self.rank : (k + 1) * self.batch_size : self.processes].tolist()


class KeyedLoader(DataLoader):
    """A loader of `KeyedBatches`, or of batches in order: resumable, for it has no state but the step of the training.

    Plain windows are read by threads (`load_batches`) in place of worker processes, which would copy every batch once more; they lie in
    page-locked memory where there is an accelerator. Of batches of more than 64 MiB one is alive at a time.
    """

    threads = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Yield the batches."""
        if not reads_itself(self.dataset):
            return super().__iter__()
        return load_batches(self.dataset, self.batch_sampler, workers=self.threads, pin=torch.cuda.is_available())  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Nothing: the position follows from the step."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class TrajectoryDataModule(pl.LightningDataModule):
    """Training and validation windows for any module.

    Args:
        train: Training data: a Dataset in house conventions, or windows made already (a wrapper of them will do if it has ``spec``).
        val: Validation data, likewise; None: no validation. Tests run on them too.
        history: Number of known frames of a window (ignored if `train` is windows).
        horizon: Number of frames to come.
        batch_size: Windows per batch, of all processes together (a plain Trainer of several wants ``use_distributed_sampler=False``).
        extras: Extra condition channels (``hour_sin``, ...).
        num_workers: Threads that read plain windows, or worker processes for wrapped ones.
        seed: Seed of the order.
    """

    def __init__(
        self,
        train: xr.Dataset | Dataset,
        val: xr.Dataset | Dataset | None = None,
        *,
        history: int = 2,
        horizon: int = 4,
        batch_size: int = 16,
        extras: tuple[str, ...] = (),
        num_workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < 1 or num_workers < 0:
            raise InputError(f"TrajectoryDataModule: expected batch_size >= 1 and num_workers >= 0, got {batch_size} and {num_workers}")

        def windows(source: xr.Dataset | Dataset) -> Dataset:
            if not isinstance(source, xr.Dataset):
                return source
            return TrajectoryWindows(source, history=history, horizon=horizon, extras=extras)

        self.train_windows = windows(train)
        self.val_windows = None if val is None else windows(val)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        for source in (self.train_windows, self.val_windows):
            if source is not None and len(source) == 0:  # type: ignore[arg-type]
                raise DataError(f"TrajectoryDataModule: expected at least one window of {history} + {horizon} frames, got none; use more data")
        self._resumed_at = 0
        self._limit_val_batches: int | float | None = None
        self._encoded: tuple[object, Dataset] | None = None

    @property
    def spec(self) -> FieldSpec:
        """What the windows are."""
        return self.train_windows.spec  # type: ignore[attr-defined, no-any-return]

    @property
    def cond_spec(self) -> FieldSpec | None:
        """What the condition windows are; None without history and extras."""
        return self.train_windows.cond_spec  # type: ignore[attr-defined, no-any-return]

    def setup(self, stage: str) -> None:
        """Forget where an earlier run was resumed; without validation data, have the trainer fit without validation."""
        self._resumed_at = 0
        if stage == "fit" and self.val_windows is None and self.trainer is not None:
            self._limit_val_batches, self.trainer.limit_val_batches = self.trainer.limit_val_batches, 0

    def teardown(self, stage: str) -> None:
        """Give the trainer its settings back."""
        if self._limit_val_batches is not None and self.trainer is not None:
            self.trainer.limit_val_batches, self._limit_val_batches = self._limit_val_batches, None

    def state_dict(self) -> dict[str, Any]:
        """The step; worker processes fetch their first batches before the trainer itself knows it again."""
        return {"step": 0 if self.trainer is None else int(self.trainer.global_step)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the step of a checkpoint."""
        self._resumed_at = int(state_dict["step"])

    def _position(self, batches: int) -> tuple[int, int]:
        """Epoch, and batches of it that are done; an epoch ends with an optimiser step, full accumulation or not."""
        trainer = self.trainer
        if trainer is None:
            return 0, 0
        limit = trainer.limit_train_batches
        used = max(1, min(batches, limit) if isinstance(limit, int) else int(batches * limit))
        every = int(trainer.accumulate_grad_batches)
        epoch, steps = divmod(max(int(trainer.global_step), self._resumed_at), math.ceil(used / every))
        return epoch, steps * every

    def train_dataloader(self) -> DataLoader:
        """Keyed, shuffled batches."""
        windows = self._encoded_windows()
        share = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        size, block = len(windows), shared_chunks(windows)  # type: ignore[arg-type]
        sampler = KeyedBatches(size, self.batch_size, seed=self.seed, position=self._position, share=share, block=block)
        return self._loader(windows, batch_sampler=sampler)

    def _encoded_windows(self) -> Dataset:
        """The windows as the module wants them: one that encodes does so once, if the loader works in this process and memory allows."""
        module = None if self.trainer is None else self.trainer.lightning_module
        encoded = getattr(module, "encoded", None)
        if encoded is None or self.num_workers:
            return self.train_windows
        if self._encoded is None or self._encoded[0] is not module:
            self._encoded = (module, encoded(self.train_windows))
        return self._encoded[1]

    def val_dataloader(self) -> DataLoader:
        """Batches in order.

        Raises:
            DataError: If there are no validation data.
        """
        if self.val_windows is None:
            raise DataError("TrajectoryDataModule: expected data to validate or test on, got none; pass val")
        return self._loader(self.val_windows, batch_size=self.batch_size)

    test_dataloader = val_dataloader

    def _loader(self, windows: Dataset, **batches: Any) -> DataLoader:  # noqa: ANN401 - arguments of torch's loader
        if reads_itself(windows):
            loader = KeyedLoader(windows, **batches)
            loader.threads = self.num_workers
            return loader
        workers: dict[str, Any] = {"persistent_workers": True, "worker_init_fn": _one_thread} if self.num_workers else {}
        # an own generator, so that loading leaves the caller's random numbers alone
        return KeyedLoader(windows, num_workers=self.num_workers, generator=torch.Generator().manual_seed(self.seed), **batches, **workers)


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
