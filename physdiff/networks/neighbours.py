r"""Which points lie near which places, and learned averages over them: how values at any points get onto a grid and back.

The neighbours of a place y are the points within a radius, and in any case the `least` nearest, so that no place is without. `PointAverage` is

$$ h(y) = \frac{1}{|B(y)|} \sum_{x \in B(y)} \kappa\Big(\frac{y - x}{r}, y\Big) \odot f(x), $$

$\kappa$ a small network with values in $\mathbb R^W$ (its last layer begins at 1: the plain mean), so that a constant stays one before training, and
the order of the points never matters. Distances on circles are the shorter way round. Plain tensors, no compiled extension.

References: Li et al. (2020), arXiv 2003.03485 (graph kernel); Li et al. (2023), arXiv 2309.00583 (GINO).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive
from physdiff.base.errors import ShapeError

__all__ = ["Neighbours", "PointAverage", "neighbours"]

_PAIRS = 2**22  # distances held at once


@dataclass(frozen=True)
class Neighbours:
    """Pairs (point, place) that are near each other.

    Attributes:
        points: Number of the point of each pair, (E,).
        places: Number of the place of each pair, (E,), ascending.
        offsets: y - x of each pair in units of the radius, (E, d).
        queries: The places, (M, d), in units of the domain.
    """

    points: Tensor
    places: Tensor
    offsets: Tensor
    queries: Tensor

    @property
    def counts(self) -> Tensor:
        """Number of points near each place, (M,)."""
        return torch.bincount(self.places, minlength=len(self.queries))

    def to(self, like: Tensor) -> Neighbours:
        """The same on the device of `like`."""
        if self.points.device == like.device:
            return self
        return Neighbours(*(t.to(like.device) for t in (self.points, self.places, self.offsets, self.queries)))

    def mean(self, f: Tensor) -> Tensor:
        """Plain mean over the neighbours: (B, N, W) -> (B, M, W)."""
        share = (1 / self.counts[self.places, None]).to(f)
        return f.new_zeros(f.shape[0], len(self.queries), f.shape[2]).index_add(1, self.places, share * f[:, self.points])


def neighbours(points: Tensor, queries: Tensor, *, radius: float, least: int = 1, periodic: tuple[bool, ...] | None = None) -> Neighbours:
    """The points near each place.

    Args:
        points: (N, d), in units of the domain: a periodic axis has length 1.
        queries: Places (M, d).
        radius: Distance up to which a point is near.
        least: Number of nearest points that are near in any case.
        periodic: For each axis, whether it is a circle; None: none is.

    Raises:
        ShapeError: If the tensors are no points of one space, or there are fewer points than `least`.
    """
    check_positive(radius, "neighbours radius")
    d = points.shape[-1]
    if points.ndim != 2 or queries.ndim != 2 or queries.shape[1] != d or len(points) < least or (periodic is not None and len(periodic) != d):
        got = f"{tuple(points.shape)}, {tuple(queries.shape)} and periodic {periodic}"
        raise ShapeError(f"neighbours: expected at least {least} points (N, d), places (M, d) and periodic of d axes, got {got}")
    circle = torch.tensor(periodic or (False,) * d, device=points.device)
    pairs = []
    for start in range(0, len(queries), max(1, _PAIRS // len(points))):
        part = queries[start : start + max(1, _PAIRS // len(points))]
        away = _offsets(part[:, None], points, circle).square().sum(-1)
        near = away <= radius**2
        if least:
            near.scatter_(1, away.topk(least, dim=1, largest=False).indices, value=True)
        places, found = near.nonzero(as_tuple=True)
        pairs.append(torch.stack([found, places + start]))
    index, places = torch.cat(pairs, 1) if pairs else points.new_zeros(2, 0, dtype=torch.int64)
    return Neighbours(index, places, _offsets(queries[places], points[index], circle) / radius, queries)


def _offsets(y: Tensor, x: Tensor, circle: Tensor) -> Tensor:
    """Y - x, the shorter way round circles of length 1."""
    off = y - x
    return torch.where(circle, off - off.round(), off)


class PointAverage(nn.Module):
    """Values (B, N, W) at points -> (B, M, W) at places, given who is near whom.

    Args:
        width: Channels W.
        dimension: Number d of coordinates.
        hidden: Length of the hidden layer of the kernel.
    """

    def __init__(self, width: int, dimension: int, hidden: int = 32) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2 * dimension, hidden), nn.Linear(hidden, width)
        nn.init.zeros_(self.second.weight)
        nn.init.ones_(self.second.bias)

    def forward(self, f: Tensor, near: Neighbours) -> Tensor:
        """Return h."""
        kernel = self.second(functional.gelu(self.first(torch.cat([near.offsets, near.queries[near.places]], -1).to(self.first.weight))))
        share = kernel / near.counts[near.places, None].to(kernel)
        out = f.new_zeros(f.shape[0], len(near.queries), f.shape[2])
        return out.index_add(1, near.places, (share.to(f) * f[:, near.points]).to(out.dtype))
