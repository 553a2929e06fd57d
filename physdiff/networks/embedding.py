r"""Embeddings of a real number (a noise level, a time) and of coordinates.

`SinusoidalEmbedding` maps c to (cos w_k c, sin w_k c) with geometrically spaced w_k. The defaults suit c =
log(sigma)/4, which stays within about +-2: the fastest wave resolves a change of log(sigma) by about one
half, the slowest is nearly linear. `FourierFeatures` maps points x to (cos B x, sin B x) with a random
matrix B ~ N(0, scale^2): a coordinate network then learns waves of about that wavenumber first instead of
last. `PeriodicFeatures` puts cos(2 pi k x/L), sin(2 pi k x/L), k = 1 .. K in the place of x: whatever follows
has the period L, with all its derivatives.

References: Vaswani et al. (2017), arXiv 1706.03762, section 3.5; Tancik et al. (2020), arXiv 2006.10739;
Karras et al. (2022), arXiv 2206.00364, table 1 (c_noise); Dong and Ni (2021), arXiv 2007.07442 (periodic).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved

__all__ = ["FourierFeatures", "NoiseEmbedding", "PeriodicFeatures", "SinusoidalEmbedding"]


class SinusoidalEmbedding(nn.Module):
    """Fixed waves of a real number: (...,) -> (..., features).

    Args:
        features: Even number of features, half cosines and half sines.
        slowest: Smallest angular frequency.
        fastest: Largest angular frequency.
    """

    frequencies: Tensor

    def __init__(self, features: int, *, slowest: float = 0.25, fastest: float = 16.0) -> None:
        super().__init__()
        if features < 2 or features % 2:
            raise InputError(f"features: expected an even number from 2 up, got {features}; round it up")
        low, high = math.log(check_positive(slowest, "slowest")), math.log(check_positive(fastest, "fastest"))
        self.register_buffer("frequencies", torch.linspace(low, high, features // 2).exp())

    def forward(self, c: Tensor) -> Tensor:
        """Return the features of `c`, in the dtype of this module."""
        angle = c.to(self.frequencies.dtype).unsqueeze(-1) * self.frequencies
        return torch.cat((angle.cos(), angle.sin()), dim=-1)


class NoiseEmbedding(nn.Module):
    """Learned vector of a noise level: waves, then two linear layers with SiLU after each.

    Args:
        features: Length of the vector.
        waves: Number of sinusoidal features before the linear layers.
    """

    def __init__(self, features: int, *, waves: int = 64) -> None:
        super().__init__()
        self.waves = SinusoidalEmbedding(waves)
        self.first = nn.Linear(waves, features)
        self.second = nn.Linear(features, features)

    def forward(self, noise: Tensor, batch: int) -> Tensor:
        """Return (batch, features) for `noise` of shape (batch,), (1,) or ().

        Raises:
            ShapeError: If `noise` has another shape.
        """
        if noise.ndim > 1 or noise.numel() not in (1, batch):
            raise ShapeError(f"noise: expected shape () or ({batch},), got {tuple(noise.shape)}; give one level per sample")
        hidden = functional.silu(self.first(self.waves(noise.reshape(-1))))
        return functional.silu(self.second(hidden)).expand(batch, -1)


class FourierFeatures(nn.Module):
    """Random waves of points: (..., d) -> (..., features).

    Args:
        dimension: Number of coordinates d.
        features: Even number of features, half cosines and half sines.
        scale: Standard deviation of the wavenumbers, in radians per unit of the coordinate.
    """

    wavenumbers: Tensor

    def __init__(self, dimension: int, features: int, *, scale: float = 1.0) -> None:
        super().__init__()
        if features < 2 or features % 2:
            raise InputError(f"features: expected an even number from 2 up, got {features}; round it up")
        check_positive(scale, "scale")
        self.register_buffer("wavenumbers", scale * torch.randn(dimension, features // 2))

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the points `x`."""
        angle = x @ self.wavenumbers
        return torch.cat((angle.cos(), angle.sin()), dim=-1)


class PeriodicFeatures(Saved, nn.Module):
    """Waves of the periodic coordinates, the others as they are: (..., d) -> (..., out_features).

    Args:
        periods: Length after which each coordinate repeats, in its unit; None for one that does not.
        harmonics: Number of waves K of each periodic coordinate.

    Attributes:
        in_features: Number of coordinates d.
        out_features: Number of features, 2 K for each periodic coordinate and 1 for each other: first the cosines and then the sines, by
            coordinate and k, then the others.

    Raises:
        InputError: If no coordinate is periodic, or a number makes no sense.
    """

    def __init__(self, periods: Sequence[float | None], harmonics: int = 1) -> None:
        super().__init__()
        check_positive(harmonics, "PeriodicFeatures harmonics")
        closed = [(i, 2 * math.pi / check_positive(p, "PeriodicFeatures period")) for i, p in enumerate(periods) if p is not None]
        if not closed:
            raise InputError(f"PeriodicFeatures: expected a period for at least one coordinate, got {tuple(periods)}; leave the layer out")
        self.in_features, self.others = len(periods), [i for i, p in enumerate(periods) if p is None]
        rows = torch.zeros(len(closed) * harmonics, len(periods), dtype=torch.float64)
        for row, (column, wavenumber) in enumerate(closed):
            rows[row * harmonics : (row + 1) * harmonics, column] = wavenumber * torch.arange(1, harmonics + 1, dtype=torch.float64)
        self._wavenumbers = rows
        self.out_features = 2 * len(rows) + len(self.others)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the points `x` (..., d).

        Raises:
            ShapeError: If the last axis of `x` has another length.
        """
        if x.shape[-1:] != (self.in_features,):
            raise ShapeError(f"PeriodicFeatures: expected (..., {self.in_features}), got {tuple(x.shape)}; put the coordinates last")
        # 2 pi / L rounded to float32 would leave a seam in a double network
        angle = functional.linear(x, self._wavenumbers.to(x.device, x.dtype))
        return torch.cat((torch.cos(angle), torch.sin(angle), *(x[..., i : i + 1] for i in self.others)), dim=-1)
