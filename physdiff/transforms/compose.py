"""Several transforms, one after another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

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
    """The batches after `parts`; what has no known cell behind it stays NaN, so that statistics of the next part leave it out."""
    single = tuple(_single(parts))

    def stream() -> Iterator[Sample]:
        for sample in batches():
            x, known = sample.x, sample.known
            if known is None and not bool(x.isfinite().all()):
                known = x.isfinite().to(x.dtype)
            for part in single:
                if known is None:
                    x = part._encode(x, sample.cond)
                else:
                    # filled for parts that mix entries; those that only move them get their NaN back
                    z, known = part._encode(_filled(x), sample.cond), part.weight(known)
                    x = torch.where(known > 0, z, torch.nan)
            yield Sample(x, sample.cond, known)

    return stream


def _single(parts: Iterable[Transform]) -> Iterator[Transform]:
    """The parts, with those of a Compose in its place: a fill is right only behind the part that takes the mean out."""
    for part in parts:
        if isinstance(part, Compose):
            yield from _single(part)
        else:
            yield part


def _filled(x: Tensor) -> Tensor:
    return torch.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0)
