"""Randomness for a batch whose rows each have a key of their own.

A sampler asks for noise by the index of a row in its batch. `KeyedRows` answers with the stream of what stands in that row (a start, a member, a
block), so that a forecast depends neither on how rows are put together to batches nor on which others there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng

__all__ = ["KeyedRows"]


@dataclass(frozen=True)
class KeyedRows(Rng):
    """An Rng of which row i is the stream `rows[i]`.

    Args:
        seed: Not used for rows.
        path: Not used for rows.
        rows: One stream for each row of the batch.
    """

    rows: tuple[Rng, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Rng]) -> KeyedRows:
        """The batch of these streams."""
        return cls(0, (), tuple(rows))

    def child(self, *keys: int | str) -> KeyedRows:
        """The same child of every row."""
        return KeyedRows(self.seed, self.path, tuple(r.child(*keys) for r in self.rows))

    def only(self, rows: Sequence[int]) -> KeyedRows:
        """The batch of these rows, each with its own stream."""
        return KeyedRows(self.seed, self.path, tuple(self.rows[int(i)] for i in rows))

    def normal(self, shape: Sequence[int], *, like: Tensor | None = None) -> Tensor:
        """Standard normal numbers of `shape`, whose first dimension is the rows.

        Raises:
            ShapeError: If it is not.
        """
        if not shape or shape[0] != len(self.rows):
            raise ShapeError(f"KeyedRows: expected a shape with {len(self.rows)} rows first, got {tuple(shape)}")
        return self.normal_each(range(len(self.rows)), shape[1:], like=like)

    def normal_each(self, indices: Iterable[int], shape: Sequence[int], *, like: Tensor | None = None) -> Tensor:
        """Standard normal numbers (len(indices), *shape), row i from the stream of row indices[i]."""
        return torch.stack([self.rows[int(i)].normal(shape, like=like) for i in indices])
