r"""Zonal truncation towards the poles, so that explicit steps need not follow the narrow cells there.

On n longitudes a row at latitude $\phi$ keeps the waves $m \le \max(2, \lfloor \tfrac n2\cos\phi\rfloor)$ around the sphere: no shorter ones, in
metres, than the equator has. A smooth scalar holds wave m near a pole as $r^m$, a component of a smooth vector as $r^{m - 1}$ (r the distance
from the pole), so what is cut from a row of a resolved field is of second order or less. Zonal means pass, and so does the integral over the
sphere; filtering twice is filtering once. Reference: Arakawa and Lamb, 1977.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.grids.latlon import LatLonGrid

__all__ = ["PolarFilter"]

# the gradient of wave two and the divergence of a vector's waves one to three need it next to the pole
_ALWAYS = 2


class PolarFilter:
    """Cuts from fields (..., latitude, longitude) the zonal waves that are shorter than those of the equator.

    Args:
        grid: It must close in longitude.

    Raises:
        InputError: If the grid does not close in longitude.
    """

    def __init__(self, grid: LatLonGrid) -> None:
        if not grid.periodic[1]:
            raise InputError(f"PolarFilter: expected longitudes that close around the sphere, got {grid.summary()}; leave polar_filter out")
        n = grid.shape[1]
        most = torch.floor(n / 2 * torch.cos(torch.deg2rad(grid.latitude)) + 1e-9).clamp_min(_ALWAYS)
        wave = torch.arange(n // 2 + 1, device="cpu")
        self.cut = wave > most[:, None]

    def __call__(self, f: Tensor) -> Tensor:
        """The field without those waves; rows that have none come back bit for bit."""
        amplitudes = torch.fft.rfft(f)
        removed: Tensor = torch.fft.irfft(amplitudes * self.cut.to(amplitudes), n=f.shape[-1])
        return f - removed
