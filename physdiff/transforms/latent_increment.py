r"""Departures from a base, taken between latents: the increments of a lossy representation.

With a coder $z = E(x)$, decoder D and a base b that the condition knows (the last known frame, or the first guess for every frame to come),

$$ z = E(x) - E(b), \qquad \hat x = D(z + E(b)) + (b - D(E(b))). $$

Small structure that the coder cannot carry is kept as it stands in b: $z = 0$ gives b itself, not its reconstruction. A linear coder makes
`Increment` or `SubtractGuess` of it. Taking the increments in the fields first would have the coder spend its channels on structure of
changes, and would lose the amplitude that a nonlinear coder needs to know.
"""

from __future__ import annotations

from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.compose import Compose
from physdiff.transforms.transform import Shape, Transform

__all__ = ["LatentIncrement"]


class LatentIncrement(Transform):
    """Latents minus those of the last known frame, or of the first guess.

    Args:
        coder: Transform of each frame by itself, fitted: anomaly, normaliser, autoencoder.
        fields: Number C of fields.
        history: Number of known frames at the beginning of the condition window.
        guess: The base is the first guess of anomalies in the last C channels of the condition window, not the last known frame.
        detail: Whether what the coder loses of the base is added after decoding.
    """

    def __init__(self, coder: Transform, fields: int, history: int, *, guess: bool = False, detail: bool = True) -> None:
        super().__init__()
        if history < 1:
            raise InputError(f"LatentIncrement: expected history >= 1, got {history}; without known frames take the coder itself")
        self.coder, self.fields, self.history, self.guess, self.detail = coder, fields, history, guess, detail

    def _base(self, cond: Tensor | None, frames: int) -> tuple[Tensor, Tensor]:
        """The base in physical units, (B, C, 1 or T, *S), and the condition window whose last frame is its own."""
        if cond is None:
            raise InputError("LatentIncrement: expected the condition window with the known frames, got none; pass cond")
        if not self.guess:
            known = cond[:, :, : self.history]
            return known[:, : self.fields, -1:], known
        if cond.shape[1] <= 2 * self.fields:
            raise ShapeError(f"LatentIncrement: expected {self.fields} channels of first guess at the end, got {cond.shape[1]}; complete the window")
        base = cond[:, -self.fields :, -frames:]
        parts = list(self.coder) if isinstance(self.coder, Compose) else [self.coder]
        anomaly = next((p for p in parts if isinstance(p, Anomaly)), None)
        return (base if anomaly is None else base + anomaly.mean_at(cond, base)), cond

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        base, window = self._base(cond, x.shape[2])
        return self.coder._encode(x, cond) - self.coder._encode(base.to(x), window)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        base, window = self._base(cond, z.shape[2])
        base = base.to(z)
        start = self.coder._encode(base, window)
        x = self.coder._decode(z + start, cond)
        return x + (base - self.coder._decode(start, window)) if self.detail else x

    def out_shape(self, shape: Shape) -> Shape:
        """That of the coder."""
        return self.coder.out_shape(shape)

    def weight(self, known: Tensor) -> Tensor:
        """Known shares of the coder."""
        return self.coder.weight(known)

