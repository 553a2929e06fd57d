"""Several transforms, one after another."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.transform import Batches, Sample, Shape, Transform

__all__ = ["Compose"]


class Compose(Transform):
    """`encode` applies the parts first to last, `decode` last to first.

    Args:
        parts: The transforms; each sees the same condition window in physical units.
    """

    def __init__(self, parts: tuple[Transform, ...] = ()) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def __iter__(self) -> Iterator[Transform]:
        """Iterate over the parts."""
        for part in self.parts:
            assert isinstance(part, Transform)
            yield part

    def _encode(self, x: Tensor, cond: Tensor | None) -> Tensor:
        for part in self:
            x = part._encode(x, cond)
        return x

    def _decode(self, z: Tensor, cond: Tensor | None) -> Tensor:
        for part in reversed(list(self)):
            z = part._decode(z, cond)
        return z

    def out_shape(self, shape: Shape) -> Shape:
        """Shape after all parts."""
        for part in self:
            shape = part.out_shape(shape)
        return shape

    def weight(self, known: Tensor) -> Tensor:
        """Known shares after all parts."""
        for part in self:
            known = part.weight(known)
        return known

    def fitted_from(self, batches: Batches, spec: FieldSpec, cond_spec: FieldSpec | None = None) -> Compose:
        """Fit the parts in order, each on the windows as the fitted ones before it leave them."""
        done: list[Transform] = []
        for part in self:
            done.append(part.fitted_from(_through(tuple(done), batches), spec, cond_spec))
        return Compose(tuple(done))


def _through(parts: tuple[Transform, ...], batches: Batches) -> Batches:
    """The batches after `parts`; once statistics are taken out, missing values become zero."""

    def stream() -> Iterator[Sample]:
        for sample in batches():
            x, known = sample.x, sample.known
            if known is None and bool(x.isnan().any()):
                known = x.isfinite().to(x.dtype)
            for part in parts:
                try_fill = known is not None and not _pointwise(part)
                x = part._encode(torch.nan_to_num(x) if try_fill else x, sample.cond)
                known = None if known is None else part.weight(known)
            yield Sample(x, sample.cond, known)

    return stream


def _pointwise(part: Transform) -> bool:
    return type(part).weight is Transform.weight
