"""Time as channels, and windows whose first frames are known."""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.transforms.transform import Shape, Transform

__all__ = ["DropHistory", "FramesToChannels"]


class FramesToChannels(Transform):
    """(B, C, T, *S) -> (B, C T, 1, *S): the network sees all frames of a window as channels.

    Args:
        frames: Number of frames T of the windows.
    """

    def __init__(self, frames: int) -> None:
        super().__init__()
        if frames < 1:
            raise InputError(f"FramesToChannels: expected frames >= 1, got {frames}")
        self.frames = frames

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        if x.shape[2] != self.frames:
            raise ShapeError(f"FramesToChannels: expected windows of {self.frames} frames, got {tuple(x.shape)}")
        return x.flatten(1, 2).unsqueeze(2)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        if z.shape[2] != 1 or z.shape[1] % self.frames:
            raise ShapeError(f"FramesToChannels.decode: expected (batch, a multiple of {self.frames}, 1, *space), got {tuple(z.shape)}")
        return z.reshape(z.shape[0], -1, self.frames, *z.shape[3:])

    def out_shape(self, shape: Shape) -> Shape:
        """(C, T, *S) -> (C T, 1, *S)."""
        if shape[1] != self.frames:
            raise ShapeError(f"FramesToChannels: expected windows of {self.frames} frames, got {shape[1]}")
        return (shape[0] * shape[1], 1, *shape[2:])

    def weight(self, known: Tensor) -> Tensor:
        """Known shares follow the values."""
        return self._encode(known, None)


class DropHistory(Transform):
    """Leave out the first frames of a window, which the condition knows; decode puts them back from there.

    It stands FIRST in a chain, so that decode puts the known frames back last, in physical units; the parts after it align with the last
    frames of the condition window.

    Args:
        history: Number of known frames at the beginning of the window.
    """

    def __init__(self, history: int) -> None:
        super().__init__()
        if history < 0:
            raise InputError(f"DropHistory: expected history >= 0, got {history}")
        self.history = history

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        if x.shape[2] <= self.history:
            raise ShapeError(f"DropHistory: expected windows of more than {self.history} frames, got {tuple(x.shape)}")
        return x[:, :, self.history :]

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        if self.history == 0:
            return z
        if cond is None:
            raise InputError("DropHistory.decode: expected the condition window with the known frames, got none; pass cond")
        known = cond[:, : z.shape[1], : self.history].to(z)
        batch = max(known.shape[0], z.shape[0])
        return torch.cat([known.expand(batch, *known.shape[1:]), z.expand(batch, *z.shape[1:])], dim=2)

    def out_shape(self, shape: Shape) -> Shape:
        """(C, T, *S) -> (C, T - history, *S)."""
        if shape[1] <= self.history:
            raise ShapeError(f"DropHistory: expected windows of more than {self.history} frames, got {shape[1]}")
        return (shape[0], shape[1] - self.history, *shape[2:])

    def weight(self, known: Tensor) -> Tensor:
        """Known shares follow the values."""
        return known[:, :, self.history :]
