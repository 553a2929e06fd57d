"""Windows encoded once and kept: what a training step would otherwise compute again in every epoch."""

from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from physdiff.diffusion.window_prior import WindowPrior

__all__ = ["EncodedWindows", "base_of", "encode_batch"]

_IN_MEMORY = 256 * 2**20
_BLOCK = 32


class EncodedWindows(Dataset[dict[str, Any]]):
    """Coefficients of all windows of a data set, in memory on the device of the prior.

    Item i is ``{"z": (C', T', *S'), "c": encoded condition, "weights": known shares, "base": where an
    interpolant starts, "index": i}``; "c" only with a condition, "base" only for priors that have one per window, "weights" only if values are
    missing somewhere. Windows are encoded in fixed blocks, so that every run gets the same bits.

    Args:
        windows: Windows as `TrajectoryWindows` yields them.
        prior: Encodes them.
    """

    def __init__(self, windows: Dataset[dict[str, Any]], prior: WindowPrior) -> None:
        size = len(windows)  # type: ignore[arg-type]
        self.spec, self.cond_spec = prior.spec, prior.cond_spec
        like = _anchor(prior)
        self._held: dict[str, Tensor] = {}
        self.size = size
        for start in range(0, size, _BLOCK):
            rows = slice(start, min(start + _BLOCK, size))
            batch = default_collate([windows[i] for i in range(rows.start, rows.stop)])
            moved = {k: v.to(like.device) for k, v in batch.items()}
            with torch.no_grad():
                z, c, weights = encode_batch(prior, moved["x"], moved.get("cond"), guess=moved.get("guess"))
                base = base_of(prior, moved.get("cond"), guess=moved.get("guess"))
            if weights is not None and "weights" not in self._held:
                self._held["weights"] = z.new_ones(size, *weights.shape[1:])
            for name, part in (("z", z), ("c", c), ("weights", weights), ("base", base)):
                if part is not None:
                    if name not in self._held:
                        self._held[name] = part.new_empty(size, *part.shape[1:])
                    self._held[name][rows] = part

    @staticmethod
    def fits(windows: Dataset[dict[str, Any]], prior: WindowPrior) -> bool:
        """Whether the coefficients of all windows take at most 256 MiB."""
        size = len(windows)  # type: ignore[arg-type]
        first = default_collate([windows[0]])
        like = _anchor(prior)
        moved = {k: v.to(like.device) for k, v in first.items()}
        with torch.no_grad():
            parts = encode_batch(prior, moved["x"], moved.get("cond"), guess=moved.get("guess"))
        return size * sum(p.numel() * p.element_size() for p in parts if p is not None) <= _IN_MEMORY

    def __len__(self) -> int:
        """Number of windows."""
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Coefficients of one window."""
        return {**{name: part[index] for name, part in self._held.items()}, "index": index}


def _anchor(prior: WindowPrior) -> Tensor:
    return next(chain(prior.parameters(), prior.buffers()), torch.zeros(()))


def base_of(prior: WindowPrior, cond: Tensor | None, *, guess: Tensor | None = None) -> Tensor | None:
    """Where an interpolant starts for each window of a batch, or None for priors whose windows share it."""
    base = prior.base(prior.complete(cond, guess)) if cond is not None else None
    return None if base is None or cond is None or len(base) != len(cond) else base


def encode_batch(
    prior: WindowPrior, x: Tensor, cond: Tensor | None, *, guess: Tensor | None = None
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Physical windows to what a training step needs.

    Args:
        prior: Encodes them.
        x: Windows (B, C, T, *S), NaN where missing.
        cond: Condition windows (B, C', T, *S) or None.
        guess: First guesses (B, C, T, *S) that have not seen the windows, or None.

    Returns:
        Coefficients (B, C', T', *S'), encoded condition or None, known share of each coefficient or None if all values are known.
    """
    completed = prior.complete(cond, guess)
    known = x.isfinite()
    weights = None if bool(known.all()) else prior.transform.weight(known.to(x))
    return prior.encode(x, completed), prior.encode_cond(completed), weights
