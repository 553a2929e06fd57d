r"""Gaussian random fields on the sphere: a field of space, cut by the sphere.

$$g(x) = M^{-1/2}\sum_{m=1}^{M} a_m\cos(k_m\cdot x) + b_m\sin(k_m\cdot x), \qquad a_m, b_m \sim N(0, 1), \quad k_m \sim N(0, I/\ell^2)$$

has the covariance $e^{-r^2/2\ell^2}$ of the chord r between two points (Rahimi and Recht, Random features, 2007): isotropic, smooth across the
poles, and of variance one at each point.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.grids.latlon import LatLonGrid

__all__ = ["ball_waves"]

_WAVES = 256


def ball_waves(grid: LatLonGrid, length: float, indices: range, *, rng: Rng, like: Tensor | None = None) -> Tensor:
    """Fields of mean zero and variance one, (len(indices), *S); each depends on `rng` and its own index only.

    Args:
        grid: Where.
        length: Length scale of the covariance in metres.
        indices: Of the samples.
        rng: Source of randomness.
        like: Gives dtype and device; float32 on the CPU if None.
    """
    longitude, latitude = grid.coordinates()
    ring = torch.cos(latitude)
    places = grid.radius / length * torch.stack([ring * torch.cos(longitude), ring * torch.sin(longitude), torch.sin(latitude)], dim=-1)
    wide, rows = torch.empty((), dtype=torch.float64), []
    for i in indices:
        drawn = rng.child(i).normal((5, _WAVES), like=wide)
        phase = places @ drawn[:3]
        rows.append((torch.cos(phase) @ drawn[3] + torch.sin(phase) @ drawn[4]) / _WAVES**0.5)
    made = torch.stack(rows) if rows else torch.empty((0, *grid.shape), dtype=torch.float64)
    return made.to(torch.float32) if like is None else made.to(like)
