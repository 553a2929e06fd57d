"""Randomness as a value.

An `Rng` is a key, not a generator: asking twice gives the same numbers, and `child` derives an independent stream. Streams follow
numpy's `SeedSequence` (O'Neill's hashing of a seed and a spawn key) into Philox, a counter-based generator (Salmon et al., Parallel random
numbers: as easy as 1, 2, 3, 2011). Numbers are drawn on the CPU and moved, so that results depend neither on the device nor on the
number of processes.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from physdiff.base.errors import InputError

__all__ = ["Rng"]


def _words(value: int | str) -> tuple[int, ...]:
    """The key in words of 32 bits; a word stands for itself, anything longer for its hash, so that no two paths read alike."""
    if isinstance(value, str):
        return (_hash(value, 4),)
    try:
        number = operator.index(value)
    except TypeError:
        raise InputError(f"Rng.child: expected keys that are integers >= 0 or words, got {value!r}; do not key by a real number") from None
    if number < 0:
        raise InputError(f"Rng.child: expected keys >= 0 or strings, got {value!r}")
    # SeedSequence cuts a longer one into words: 2**32 would be the path (0, 1)
    return (number,) if number < 2**32 else divmod(_hash(f"integer {number}", 8), 2**32)


def _hash(text: str, size: int) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "little")


@dataclass(frozen=True)
class Rng:
    """A keyed, immutable source of random numbers.

    Args:
        seed: Non-negative integer.
        path: Keys of the children that led here; use `child` rather than this.

    Raises:
        InputError: If the seed is no integer >= 0.

    Example:
        ``rng.child("noise", step).normal((16, 64))`` is the same tensor whenever it is asked for.
    """

    seed: int
    path: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.seed, int) or isinstance(self.seed, bool) or self.seed < 0:
            raise InputError(f"Rng: expected a seed that is an integer >= 0, got {self.seed!r}")

    def child(self, *keys: int | str) -> Rng:
        """Return the independent stream named by `keys` (integers >= 0 or words)."""
        return Rng(self.seed, self.path + tuple(word for k in keys for word in _words(k)))

    def only(self, rows: Sequence[int]) -> Rng:
        """Randomness for some rows of a batch that are drawn apart from the others: a stream of their own."""
        return self.child("only", *map(int, rows))

    def generator(self) -> np.random.Generator:
        """Return a fresh numpy generator at the start of this stream."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=self.path)))

    def normal(self, shape: Sequence[int], *, like: Tensor | None = None) -> Tensor:
        """Standard normal numbers of `shape`; dtype and device of `like` (default float32 on the CPU)."""
        dtype = _dtype(like)
        draw = self.generator().standard_normal(tuple(shape), dtype=np.float64 if dtype == torch.float64 else np.float32)
        return _as(draw, like, dtype)

    def normal_each(self, indices: Iterable[int], shape: Sequence[int], *, like: Tensor | None = None) -> Tensor:
        """One stream per index (sample or particle): (len(indices), *shape), row i depends on indices[i] alone."""
        rows = [self.child(int(i)).normal(shape, like=like) for i in indices]
        return torch.stack(rows) if rows else _as(np.empty((0, *shape), dtype=np.float32), like, _dtype(like))

    def uniform(self, shape: Sequence[int] = (), *, like: Tensor | None = None) -> Tensor:
        """Uniform numbers in [0, 1) of `shape`; dtype and device of `like` (default float32 on the CPU)."""
        dtype = _dtype(like)
        draw = self.generator().random(tuple(shape), dtype=np.float64 if dtype == torch.float64 else np.float32)
        return _as(draw, like, dtype)

    def integers(self, low: int, high: int, shape: Sequence[int] = ()) -> Tensor:
        """Integers in [low, high) of `shape`, int64 on the CPU."""
        return torch.as_tensor(self.generator().integers(low, high, tuple(shape)))

    def permutation(self, n: int) -> Tensor:
        """A random order of 0 .. n-1, int64 on the CPU."""
        return torch.as_tensor(self.generator().permutation(n))


def _dtype(like: Tensor | None) -> torch.dtype:
    if like is not None and not like.is_floating_point():
        raise InputError(f"Rng: expected `like` of a floating-point dtype, got {like.dtype}; real numbers would be cut off")
    return torch.float32 if like is None else like.dtype


def _as(draw: np.ndarray | float, like: Tensor | None, dtype: torch.dtype) -> Tensor:
    tensor = torch.as_tensor(np.asarray(draw)).to(dtype)
    return tensor if like is None else tensor.to(like.device)
