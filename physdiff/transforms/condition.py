r"""What the network is told: from the physical condition window to channels on the coefficient grid.

A condition window holds, in this order, the C fields with unknown entries filled, one channel ``known`` (1 known, 0 filled; or one per
field), and extras (time of day, static fields). It takes the same way as the fields: anomaly, normalisation with statistics of its own,
the same wavelet on the same axes; the mask becomes the known share of each coefficient's cell. It is concatenated to the noisy
coefficients and never noised.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, NotFitted
from physdiff.base.saved import Saved
from physdiff.transforms.anomaly import Anomaly
from physdiff.transforms.frame_coder import FrameCoder
from physdiff.transforms.linear_forecast import Guess
from physdiff.transforms.normalizer import Moments, guarded
from physdiff.transforms.transform import Batches, Shape
from physdiff.transforms.wavelet import POLYPHASE, WaveletTransform, pack_known

__all__ = ["ConditionTransform"]


class ConditionTransform(Saved, nn.Module):
    """Complete a condition window with a first guess and encode it for the network.

    Args:
        fields: Number C of fields (the first channels of the window).
        anomaly: Removed from the fields, if given; the same as in the transform of the prior.
        wavelet: The prior's wavelet transform, or its autoencoder, which takes the fields of each frame by themselves (with the statistics it was
            trained with: give them as mean and std); the mask and the extras go to its grid by box means. None: pixels.
        guess: A first guess of the anomalies (`LinearForecast`, `ZonalForecast`), appended as the last C channels, or None.
        history: Number of known frames if frames become channels: only these frames of the fields, one frame of the extras and the frames
            to come of the guess are encoded, all as channels. None: the time axis stays.
        mean: Statistics per channel of the completed window (mask excluded, see `fitted_from`).
        std: Likewise.
        each: Every field has a mask of its own, what stands in for unknown values is told too (else it is zero), and extras are packed whole (they
            may vary in time and place).
    """

    def __init__(
        self,
        fields: int,
        anomaly: Anomaly | None = None,
        wavelet: WaveletTransform | FrameCoder | None = None,
        *,
        guess: Guess | None = None,
        history: int | None = None,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        each: bool = False,
    ) -> None:
        super().__init__()
        if fields < 1 or (mean is None) != (std is None) or (each and history is not None):
            raise InputError(
                "ConditionTransform: expected fields >= 1, mean and std together, and no history with a mask for each field, "
                f"got fields = {fields}, history = {history}"
            )
        self.fields, self.history, self.each = fields, history, each
        self.anomaly, self.wavelet, self.guess = anomaly, wavelet, guess
        self.mean: Tensor | None
        self.std: Tensor | None
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    @property
    def masks(self) -> int:
        """Number of channels that say what is known."""
        return self.fields if self.each else 1

    @property
    def fill(self) -> Tensor | None:
        """What `condition` puts where nothing was known, (C, 1, *S): an anomaly near zero; None (mean of the window) without an anomaly."""
        return None if self.anomaly is None else self.anomaly.overall

    def complete(self, cond: Tensor, guess: Tensor | None = None) -> Tensor:
        """Append the first guess (the given one, or the own) to a condition window (B, C', T, *S); unchanged without one."""
        if self.guess is None:
            return cond
        if guess is None:
            history = cond.shape[2] - self.guess.horizon
            ahead = self.guess(self._anomalies(cond)[:, :, :history])
            guess = torch.cat([torch.zeros_like(cond[:, : self.fields, :history]), ahead.to(cond)], dim=2)
        return torch.cat([cond, guess.to(cond)], dim=1)

    def _anomalies(self, cond: Tensor) -> Tensor:
        values = cond[:, : self.fields]
        return values if self.anomaly is None else values - self.anomaly.mean_at(cond, values)

    def _groups(self, completed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Anomalies, known, extras, guess of a completed window."""
        n, tail = self.fields, 0 if self.guess is None else self.fields
        end, m = completed.shape[1] - tail, self.fields + self.masks
        return self._anomalies(completed), completed[:, n:m], completed[:, m:end], completed[:, end:]

    def encode(self, completed: Tensor) -> Tensor:
        """Completed condition window (B, C', T, *S), physical units -> (B, C'', T', *S')."""
        if self.mean is None or self.std is None:
            raise NotFitted("ConditionTransform: expected statistics, got none; use fitted_from first")
        values, known, extras, guess = self._groups(completed)
        scaled = (torch.cat([values, extras, guess], dim=1) - self.mean.to(completed)) / self.std.to(completed)
        n, m = values.shape[1], extras.shape[1]
        # what fills a gap stays where every field has its mask: a first frame under a wavelet in time says little in its own cell alone
        values = scaled[:, :n] if self.each else scaled[:, :n] * known
        extras, guess = scaled[:, n : n + m], scaled[:, n + m :]
        if self.history is None:
            parts = [self._coded(torch.cat([values, guess], dim=1)), self._shares(known)]
            if m:
                whole = self.each and not isinstance(self.wavelet, FrameCoder)  # a coder of frames knows fields alone
                parts.append(self._coded(extras) if whole else self._means(extras))
            return torch.cat(parts, dim=1)
        h = self.history
        parts = [self._frames(values[:, :, :h])] if h else []
        parts += [self._shares(_flat(known[:, :, :h]))] if h else []
        parts += [self._means(extras[:, :, :1])] if m else []
        parts += [self._frames(guess[:, :, h:])] if guess.shape[1] else []
        if not parts:
            raise InputError("ConditionTransform: expected known frames, extras or a guess to encode, got none; leave the condition out")
        return torch.cat(parts, dim=1)

    def _coded(self, x: Tensor) -> Tensor:
        """Groups of fields on the coefficient grid."""
        if isinstance(self.wavelet, FrameCoder):
            groups = range(0, x.shape[1], self.fields)
            return torch.cat([self.wavelet.encode(x[:, k : k + self.fields]) for k in groups], dim=1)
        return x if self.wavelet is None else self.wavelet.encode(x)

    def _frames(self, x: Tensor) -> Tensor:
        """The fields of several frames on the coefficient grid, as channels of one."""
        return _flat(self._coded(x)) if isinstance(self.wavelet, FrameCoder) else self._coded(_flat(x))

    def _means(self, x: Tensor) -> Tensor:
        """Plain maps by box means."""
        return self.wavelet.shares(x) if isinstance(self.wavelet, FrameCoder) else pack_known(self.wavelet, x)[:, : x.shape[1]]

    def _shares(self, known: Tensor) -> Tensor:
        """Known share of the cells of each level; bands of one level share their cells, so one copy of each will do."""
        if self.wavelet is None or isinstance(self.wavelet, FrameCoder):
            return self._means(known)
        packed, m = pack_known(self.wavelet, known), known.shape[1]
        if self.wavelet.wavelet == POLYPHASE:
            return packed  # every sub-grid of points has its own
        levels = self.wavelet.levels
        bands = round((packed.shape[1] // m) ** (1 / levels))
        kept, start = [packed[:, :m]], 1
        for depth in range(levels):
            if depth:
                kept.append(packed[:, start * m : (start + bands**depth) * m])
            start += (bands - 1) * bands**depth
        return torch.cat(kept, dim=1)

    def with_wavelet(self, wavelet: WaveletTransform | None) -> ConditionTransform:
        """The same on the grid of another wavelet transform, for priors without anomaly and guess."""
        return ConditionTransform(self.fields, None, wavelet, history=self.history, mean=self.mean, std=self.std, each=self.each)

    def out_shape(self, shape: Shape) -> Shape:
        """(C', T, *S) of the window before completion -> (C'', T', *S')."""
        probe = torch.zeros(1, *shape)
        if self.guess is not None:
            probe = torch.cat([probe, torch.zeros(1, self.fields, *shape[1:])], dim=1)
        stand_in = ConditionTransform(
            self.fields, None, self.wavelet, guess=self.guess, history=self.history, mean=torch.zeros(()), std=torch.ones(()), each=self.each
        )
        return tuple(stand_in.encode(probe).shape[1:])

    def fitted_from(self, batches: Batches) -> ConditionTransform:
        """The same with mean and std per channel of the completed windows; filled (unknown) fields do not count."""
        moments = Moments(("channel",))
        for sample in _with_condition(batches):
            values, known, extras, guess = self._groups(sample)
            values = torch.where(known > 0.5, values, torch.full_like(values, torch.nan))
            if self.history == 0:
                values = torch.zeros_like(values)
            if self.guess is not None:
                guess = guess.clone()
                guess[:, :, : guess.shape[2] - self.guess.horizon] = torch.nan  # nothing is guessed in the known frames
            moments.add(torch.cat([values, extras, guess], dim=1))
        std = guarded(moments.mean, moments.std)
        return ConditionTransform(
            self.fields,
            self.anomaly,
            self.wavelet,
            guess=self.guess,
            history=self.history,
            mean=moments.mean.float(),
            std=std.float(),
            each=self.each,
        )


def _with_condition(batches: Batches) -> Iterable[Tensor]:
    for sample in batches():
        if sample.cond is None:
            raise InputError("ConditionTransform: expected batches with a condition window, got none")
        yield sample.cond


def _flat(x: Tensor) -> Tensor:
    """(B, C, T, *S) -> (B, C T, 1, *S)."""
    return x.flatten(1, 2).unsqueeze(2)
