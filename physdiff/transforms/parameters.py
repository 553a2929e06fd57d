r"""Unknown numbers of a law beside its fields: one coordinate of the coefficients each.

A parameter is carried by windows as a channel that is constant in space and time, so that priors, observations and samplers need nothing new.
As coefficients that would be the same number C T S times over: noise of size $\sigma$ at every entry then hides its mean only by
$\sigma/\sqrt{TS}$, and a sampler that comes from high noise settles it long before the fields which readings speak of. Here a parameter $p > 0$ is

$$ z_i = \frac{a}{\sqrt n}\,\frac{\log p - m}{s}, \qquad i = 1 \dots n, $$

on the n cells of one more channel of the coefficients: along the unit vector $1/\sqrt n$ a coordinate of standard deviation a, nothing along
the others. Decoding takes the mean over the cells; every decoded window is constant and positive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, NotFitted
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.normalizer import Moments, guarded
from physdiff.transforms.transform import Batches, Sample, Shape, Transform

__all__ = ["ParameterChannels"]


class ParameterChannels(Transform):
    """Some channels hold positive numbers, constant in space and time; a transform of their own takes the other ones.

    Args:
        fields: Transform of the windows without the parameters' channels.
        channels: Which channels are parameters.
        size: Standard deviation of a parameter's coordinate; the smaller, the later a sampler settles it.
        mean: Means of the logarithms, one per parameter; None until fitted.
        std: Their standard deviations, positive.

    Raises:
        InputError: If no channel or one twice is named, or a value is not positive, or varies within its window.
        NotFitted: If used before `fitted`.
    """

    mean: Tensor | None
    std: Tensor | None

    def __init__(
        self, fields: Transform, channels: tuple[int, ...], size: float = 2.0, *, mean: Tensor | None = None, std: Tensor | None = None
    ) -> None:
        super().__init__()
        if not channels or len(set(channels)) < len(channels) or min(channels) < 0 or (mean is None) != (std is None):
            raise InputError(f"ParameterChannels: expected distinct channels, counted from 0, and mean and std together, got {channels}")
        self.fields, self.channels, self.size = fields, tuple(channels), check_positive(size, "ParameterChannels size")
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        z = self.fields._encode(self.without(x), cond)
        mean, std = self._statistics(x)
        values = (self._logarithms(x) - mean) / std * (self.size / z[0, 0].numel() ** 0.5)
        spread = values.reshape(*values.shape, *[1] * (z.ndim - 2)).expand(-1, -1, *z.shape[2:])
        return torch.cat([z, spread], 1)

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        count = len(self.channels)
        x = self.fields._decode(z[:, :-count], cond)
        mean, std = self._statistics(z)
        coordinate = z[:, -count:].flatten(2).mean(2) * (z[0, 0].numel() ** 0.5 / self.size)
        values = torch.exp(mean + std * coordinate).reshape(len(z), count, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])
        where = self._others(x.shape[1] + count) + list(self.channels)
        order = sorted(range(len(where)), key=where.__getitem__)
        return torch.cat([x, values], 1)[:, order]

    def out_shape(self, shape: Shape) -> Shape:
        """The fields' shape with one more channel for each parameter."""
        channels, *rest = self.fields.out_shape((shape[0] - len(self.channels), *shape[1:]))
        return (channels + len(self.channels), *rest)

    def weight(self, known: Tensor) -> Tensor:
        """Known shares of the fields; a parameter is known as a whole."""
        z = self.fields.weight(self.without(known))
        share = known[:, list(self.channels)].flatten(2).mean(2)
        return torch.cat([z, share.reshape(*share.shape, *[1] * (z.ndim - 2)).expand(-1, -1, *z.shape[2:])], 1)

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> ParameterChannels:
        """Fit the transform of the fields to their channels, and take the statistics of the logarithms. See Transform.fitted_from."""
        others = self._others(len(spec.names))
        if not others:
            raise InputError("ParameterChannels: expected a field beside the parameters, got parameters only; leave one out")

        def fields_only() -> Iterator[Sample]:
            for sample in batches():
                yield Sample(sample.x[:, others], sample.cond, None if sample.known is None else sample.known[:, others])

        part = replace(spec, names=tuple(spec.names[c] for c in others), units=tuple(spec.units[c] for c in others))
        fields = self.fields.fitted_from(fields_only, part, cond_spec)
        if self.mean is not None:
            return ParameterChannels(fields, self.channels, self.size, mean=self.mean, std=self.std)
        moments = Moments(("channel",))
        for sample in batches():
            moments.add(self._logarithms(sample.x)[..., None])
        mean, std = moments.mean[:, 0], moments.std[:, 0]
        return ParameterChannels(fields, self.channels, self.size, mean=mean.float(), std=guarded(mean, std).float())

    def without(self, x: Tensor) -> Tensor:
        """Windows (B, C, T, *S) without the parameters' channels."""
        return x[:, self._others(x.shape[1])]

    def _others(self, channels: int) -> list[int]:
        if max(self.channels) >= channels:
            raise InputError(f"ParameterChannels: expected windows of more than {max(self.channels)} channels, got {channels}")
        return [c for c in range(channels) if c not in self.channels]

    def _logarithms(self, x: Tensor) -> Tensor:
        """Logarithms of the parameters, (B, number of parameters)."""
        flat = x[:, list(self.channels)].flatten(2)
        low, high = flat.amin(2), flat.amax(2)
        if not bool((low > 0).all()) or not bool((high - low <= 1e-4 * high).all()):
            got = f"values from {float(low.min()):g} to {float(high.max()):g}"
            raise InputError(f"ParameterChannels: expected positive numbers, each constant over its window, got {got}; leave out what is a field")
        return flat.mean(2).log()

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        if self.mean is None or self.std is None:
            raise NotFitted("ParameterChannels: expected statistics, got none; use fitted(transform, data) first")
        return self.mean.to(like), self.std.to(like)
