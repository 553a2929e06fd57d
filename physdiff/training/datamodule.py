"""Windows of trajectories as a LightningDataModule whose order depends on (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import lightning.pytorch as pl
import torch
import xarray as xr
from torch.utils.data import DataLoader, Dataset, Sampler

from physdiff.base.errors import DataError
from physdiff.base.rng import Rng
from physdiff.data.windows import TrajectoryWindows
from physdiff.grids.field_spec import FieldSpec

__all__ = ["KeyedBatches", "TrajectoryDataModule"]


class KeyedBatches(Sampler[list[int]]):
    """Shuffled batches of one epoch, beginning where training stands.

    The order of epoch e is a permutation keyed by (seed, e); the position follows from the number of optimiser steps done, so that a
    resumed run sees the batches an uninterrupted one would.

    Args:
        size: Number of windows.
        batch_size: Windows per batch; the last incomplete batch is left out, unless it is the only one.
        seed: Seed of the order.
        batches_done: Returns the number of batches already trained on.
    """

    def __init__(self, size: int, batch_size: int, seed: int, batches_done: Callable[[], int]) -> None:
        self.size, self.batch_size = size, min(batch_size, size)
        self.rng, self.batches_done = Rng(seed).child("shuffle"), batches_done

    def __len__(self) -> int:
        """Batches per epoch."""
        return self.size // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the batches of this epoch that are still to come."""
        epoch, first = divmod(self.batches_done(), len(self))
        order = self.rng.child(epoch).permutation(self.size)
        for k in range(first, len(self)):
            yield order[k * self.batch_size : (k + 1) * self.batch_size].tolist()


class TrajectoryDataModule(pl.LightningDataModule):
    """Training and validation windows for any module.

    Args:
        train: Training data: a Dataset in house conventions, or windows made already (a wrapper of them will do if it has ``spec``).
        val: Validation data, likewise; None: no validation.
        history: Number of known frames of a window (ignored if `train` is windows).
        horizon: Number of frames to come.
        batch_size: Windows per batch.
        extras: Extra condition channels (``hour_sin``, ...).
        num_workers: Worker processes of the loaders.
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

        def windows(source: xr.Dataset | Dataset) -> Dataset:
            if not isinstance(source, xr.Dataset):
                return source
            return TrajectoryWindows(source, history=history, horizon=horizon, extras=extras)

        self.train_windows = windows(train)
        self.val_windows = None if val is None else windows(val)
        self.batch_size, self.num_workers, self.seed = batch_size, num_workers, seed
        if len(self.train_windows) == 0:  # type: ignore[arg-type]
            raise DataError(f"TrajectoryDataModule: expected at least one window of {history} + {horizon} frames, got none; use more data")

    @property
    def spec(self) -> FieldSpec:
        """What the windows are."""
        return self.train_windows.spec  # type: ignore[attr-defined, no-any-return]

    @property
    def cond_spec(self) -> FieldSpec | None:
        """What the condition windows are; None without history and extras."""
        return self.train_windows.cond_spec  # type: ignore[attr-defined, no-any-return]

    def _batches_done(self) -> int:
        if self.trainer is None:
            return 0
        return int(self.trainer.global_step) * int(self.trainer.accumulate_grad_batches)

    def train_dataloader(self) -> DataLoader:
        """Keyed, shuffled batches."""
        size = len(self.train_windows)  # type: ignore[arg-type]
        sampler = KeyedBatches(size, self.batch_size, self.seed, self._batches_done)
        return DataLoader(self.train_windows, batch_sampler=sampler, **self._loader())

    def val_dataloader(self) -> DataLoader | list:
        """Batches in order; an empty list without validation data."""
        if self.val_windows is None:
            return []
        return DataLoader(self.val_windows, batch_size=self.batch_size, **self._loader())

    test_dataloader = val_dataloader

    def _loader(self) -> dict:
        workers = {"persistent_workers": True, "worker_init_fn": _one_thread} if self.num_workers else {}
        return {"num_workers": self.num_workers, **workers}


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)
