r"""Wavelet neural operator: a matrix per coarse wavelet coefficient, in place of one per Fourier mode.

$$ v' = \phi\big(D^{-1} R D v + W v\big), $$

D a wavelet transform of several levels, R a matrix between channels for every coefficient of the coarsest level, approximation and details
alike; finer details are set to zero and reach the output through W alone, a matrix alike at every point. Weights have places, so that fronts and
boundaries can be treated apart, and for the same reason the operator belongs to one grid: another is refused. Axes are periodized.

Reference: Tripura and Chakraborty (2023), arXiv 2205.02191.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.networks.fno import GridOperator
from physdiff.wavelets.dwt import Decomposition, band_names, wavedec, waverec

__all__ = ["WNO"]


class WNO(Saved, nn.Module):
    """Wavelet neural operator (B, C, *shape) -> (B, out, *shape).

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        shape: Points along each axis, 1 to 3 axes, divisible by 2^levels.
        width: Channels inside.
        wavelet: Name of the wavelet.
        levels: Levels of the transform; the coarsest has shape / 2^levels coefficients a band.
        layers: Number of layers.
        coordinates: Whether to append the coordinates i/n to the input.

    Raises:
        InputError: If an argument makes no sense.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        shape: tuple[int, ...],
        *,
        width: int = 32,
        wavelet: str = "db6",
        levels: int = 3,
        layers: int = 4,
        coordinates: bool = True,
    ) -> None:
        super().__init__()
        check_positive(layers, "WNO layers")
        check_positive(levels, "WNO levels")
        if any(n % 2**levels for n in shape):
            raise InputError(f"WNO: expected lengths that 2^{levels} divides, got {tuple(shape)}; take fewer levels, or pad")
        self.ndim, self.shape, self.wavelet, self.levels = len(shape), tuple(shape), wavelet, levels
        self.ends = GridOperator(in_channels, out_channels, width, periodic=(True,) * len(shape), coordinates=coordinates)
        coarse, bands = [n // 2**levels for n in shape], 2 ** len(shape)
        # one matrix for each band and place, inputs first
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(bands, *coarse, width, width) / math.sqrt(width)) for _ in range(layers))
        self.skips = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the operator.

        Args:
            x: Field (B, C, *shape).

        Returns:
            Field (B, out, *shape).

        Raises:
            ShapeError: If a shape does not fit.
        """
        if x.shape[2:] != self.shape:
            raise ShapeError(f"WNO: expected fields on {self.shape} points, whose places its weights know, got {tuple(x.shape[2:])}; train it there")
        v = self.ends.enter(x)
        for number, (weight, skip) in enumerate(zip(self.weights, self.skips, strict=True)):
            v = self._mixed(v, weight) + skip(v)
            v = v if number == len(self.skips) - 1 else functional.gelu(v)
        return self.ends.leave(v, x.shape[2:])

    def _mixed(self, v: Tensor, weight: Tensor) -> Tensor:
        """R on the coarsest coefficients of (B, *shape, C), zero on the finer ones."""
        axes = tuple(range(1, 1 + self.ndim))
        found = wavedec(v, self.wavelet, self.levels, axes=axes)
        names = band_names(self.ndim)
        coarse = [found.approximation, *(found.details[0][name] for name in names[1:])]
        new = [torch.einsum("b...i,...io->b...o", band, w) for band, w in zip(coarse, weight, strict=True)]
        finer = [{name: torch.zeros_like(band) for name, band in level.items()} for level in found.details[1:]]
        details = (dict(zip(names[1:], new[1:], strict=True)), *finer)
        return waverec(Decomposition(new[0], details, found.lengths, found.mode), self.wavelet, axes=axes)
