r"""Departures from what is expected: from a climatology, or from a first guess.

`Anomaly` removes the mean of the training data at the same hour of the day (or over all times); what is left is what has to be learnt.
On hourly temperature this alone halves the error of a forecast at 6 h. `SubtractGuess` removes a first guess that the condition carries.
`Increment` removes the last known frame, or its anomaly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import DataError, InputError, NotFitted
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.transform import Batches, Shape, Transform

__all__ = ["Anomaly", "Increment", "SubtractGuess"]


class Anomaly(Transform):
    """Subtract the mean field of the training data, by hour of the day or over all times.

    Args:
        by: ``"hour"`` (the condition must carry the extras ``hour_sin`` and ``hour_cos``) or ``"all"``.
        climatology: (slots, C, *S) in physical units; slots of equal length over the day from midnight on; None until fitted.
        hour_channels: Channels of ``hour_sin``, ``hour_cos`` in the condition window.

    Raises:
        NotFitted: If used before `fitted`.
        DataError: If fitted by hour on data without a time of day, or with too coarse a time step.
    """

    def __init__(self, by: str = "hour", climatology: Tensor | None = None, hour_channels: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.by = check_one_of(by, ("all", "hour"), "Anomaly by")
        self.hour_channels = hour_channels
        self.climatology: Tensor | None
        self.register_buffer("climatology", climatology, persistent=False)

    @property
    def overall(self) -> Tensor:
        """The expected field over all times of the day, (C, 1, *S): what stands for a value that is not known."""
        if self.climatology is None:
            raise NotFitted("Anomaly: expected a climatology, got none; use fitted(transform, data) first")
        return self.climatology.mean(0).unsqueeze(1)

    def mean_at(self, cond: Tensor | None, like: Tensor) -> Tensor:
        """The expected field at the last frames of the condition window, as many as `like` has: (B or 1, C, T or 1, *S)."""
        if self.climatology is None:
            raise NotFitted("Anomaly: expected a climatology, got none; use fitted(transform, data) first")
        table = self.climatology.to(like)
        if self.by == "all":
            return table[0].unsqueeze(0).unsqueeze(2)
        slots = self._slots(cond, table.shape[0])
        return table[slots[:, -like.shape[2] :]].movedim(2, 1)

    def _slots(self, cond: Tensor | None, slots: int) -> Tensor:
        """Slot of the day of every frame, (B, T)."""
        if cond is None or self.hour_channels is None:
            raise InputError("Anomaly by hour: expected a condition window with hour_sin and hour_cos; add them to the extras of the data")
        sine, cosine = (cond[:, c].flatten(2)[..., 0].double() for c in self.hour_channels)
        share = torch.atan2(sine, cosine) / (2 * math.pi)
        # slot k begins at k/slots of the day; the hundredth keeps rounding of the hour from the slot before
        return torch.remainder(torch.floor(share * slots + 0.01), slots).long()

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return x - self.mean_at(cond, x)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return z + self.mean_at(cond, z)

    def out_shape(self, shape: Shape) -> Shape:
        """The shape does not change."""
        return shape

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> Anomaly:
        """Average the windows by slot of the day; one that has a climatology stays as it is. See Transform.fitted_from."""
        if self.climatology is not None:
            return self
        slots, channels = 1, None
        if self.by == "hour":
            slots, channels = _slots_per_day(spec), _hour_channels(cond_spec)
        probe = Anomaly(self.by, None, channels)
        total = count = None
        for sample in batches():
            x = sample.x.double().movedim(2, 1)  # (B, T, C, *S)
            frames = x.shape[1]
            index = torch.zeros(x.shape[:2], dtype=torch.long)
            if self.by == "hour":
                index = probe._slots(sample.cond, slots)[:, -frames:].expand(x.shape[:2])
            if total is None or count is None:
                total = x.new_zeros(slots, *x.shape[2:])
                count = torch.zeros_like(total)
            use = x.isfinite() if sample.known is None else x.isfinite() & (sample.known.movedim(2, 1) >= 0.5)
            flat = index.reshape(-1)
            total.index_add_(0, flat, torch.where(use, x, 0.0).flatten(0, 1))
            count.index_add_(0, flat, use.double().flatten(0, 1))
        if total is None or count is None:
            raise DataError("Anomaly: expected training windows, got none")
        return Anomaly(self.by, _filled(total, count).float(), channels)


def _slots_per_day(spec: FieldSpec) -> int:
    slots = 86400.0 / spec.dt
    if spec.time_unit != "s" or abs(slots - round(slots)) > 1e-6 or round(slots) < 1:
        raise DataError(f"Anomaly by hour: expected a CF time step that divides a day, got {spec.dt:g} {spec.time_unit}; use by='all'")
    return round(slots)


def _hour_channels(cond_spec: FieldSpec | None) -> tuple[int, int]:
    if cond_spec is None or "hour_sin" not in cond_spec.names or "hour_cos" not in cond_spec.names:
        raise DataError("Anomaly by hour: expected the extras hour_sin and hour_cos in the condition; add them to the data's extras")
    return cond_spec.channel("hour_sin"), cond_spec.channel("hour_cos")


def _filled(total: Tensor, count: Tensor) -> Tensor:
    """Means; a slot without values takes the mean over the day, a point without any the mean of its channel."""
    mean = total / count.clamp_min(1)
    daily = total.sum(0) / count.sum(0).clamp_min(1)
    space = list(range(1, daily.ndim))
    channel = total.sum(0).sum(space, keepdim=True) / count.sum(0).sum(space, keepdim=True).clamp_min(1) if space else daily
    daily = torch.where(count.sum(0) > 0, daily, channel.expand_as(daily))
    return torch.where(count > 0, mean, daily)


class SubtractGuess(Transform):
    """Subtract the first guess, which stands in the last C channels of the condition window.

    `ConditionTransform.complete` puts it there.
    """

    def _guess(self, cond: Tensor | None, like: Tensor) -> Tensor:
        if cond is None:
            raise InputError("SubtractGuess: expected a condition window that ends with the first guess, got none; pass cond")
        if cond.shape[1] <= 2 * like.shape[1]:
            raise InputError(
                f"SubtractGuess: expected {like.shape[1]} fields, `known` and {like.shape[1]} guess channels at least, got {cond.shape[1]} channels; "
                "complete the condition window first (ConditionTransform.complete)"
            )
        return cond[:, -like.shape[1] :, -like.shape[2] :].to(like)

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return x - self._guess(cond, x)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return z + self._guess(cond, z)

    def out_shape(self, shape: Shape) -> Shape:
        """The shape does not change."""
        return shape


class Increment(Transform):
    """Subtract the last known frame from every frame: the model learns changes.

    Args:
        history: Number of known frames; the last of them is subtracted.
        anomaly: The `Anomaly` that stands before it in the chain, if one does: then the anomaly of that frame is subtracted, so that what is
            left are changes, not the mean field with its sign turned.
    """

    def __init__(self, history: int, anomaly: Anomaly | None = None) -> None:
        super().__init__()
        if history < 1:
            raise InputError(f"Increment: expected history >= 1, got {history}")
        self.history, self.anomaly = history, anomaly

    def _last(self, cond: Tensor | None, like: Tensor) -> Tensor:
        if cond is None:
            raise InputError("Increment: expected the condition window with the known frames, got none; pass cond")
        last = slice(self.history - 1, self.history)
        known = cond[:, : like.shape[1]]
        if self.anomaly is None:
            return known[:, :, last].to(like)
        mean = self.anomaly.mean_at(cond, known).expand_as(known)
        return (known - mean)[:, :, last].to(like)

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        return x - self._last(cond, x)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return z + self._last(cond, z)

    def out_shape(self, shape: Shape) -> Shape:
        """The shape does not change."""
        return shape
