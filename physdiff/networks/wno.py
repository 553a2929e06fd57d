r"""Wavelet neural operator: a matrix per coarse wavelet coefficient, in place of one per Fourier mode.

$$ v' = \phi\big(D^{-1} R D v + W v\big), $$

D a wavelet transform of several levels, R a matrix between channels for every coefficient of the coarsest level, approximation and details
alike; finer details are set to zero and reach the output through W alone, a matrix alike at every point. There are four layers. Weights have
places, so that fronts and boundaries can be treated apart, and for the same reason the operator belongs to one grid: another is refused. Axes are
periodized; those with ends are first prolonged by an eighth (of zeros, as in `FNO`), and all to a multiple of the coarsest cell (a circle by its
own beginning).

Reference: Tripura and Chakraborty (2023), arXiv 2205.02191.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import NotFitted, ShapeError
from physdiff.networks.field_network import FieldNetwork, axes_of
from physdiff.networks.fno import GridOperator, lengths_of
from physdiff.wavelets.dwt import Decomposition, band_names, wavedec, waverec

__all__ = ["WNO"]

_LAYERS = 4


class WNO(FieldNetwork):
    """Wavelet neural operator (B, C, *shape) -> (B, out, *shape); coordinates are appended if any axis has ends.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        shape: Points along each axis, 1 to 3 axes; None: not known yet, `at` gives a network with weights (`build_prior` calls it).
        ndim: Number of axes, where `shape` is None.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Channels inside.
        wavelet: Name of the wavelet.
        levels: Levels of the transform; the coarsest has shape / 2^levels coefficients a band, rounded up.

    Raises:
        InputError: If an argument makes no sense.
        NotFitted: If used without a shape.
    """

    takes_noise: ClassVar[bool] = False
    of_extent: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        shape: tuple[int, ...] | None = None,
        *,
        ndim: int | None = None,
        periodic: bool | tuple[bool, ...] = False,
        width: int = 32,
        wavelet: str = "db6",
        levels: int = 3,
    ) -> None:
        super().__init__()
        check_positive(levels, "WNO levels")
        self.ndim, self.shape = axes_of(shape, ndim, "WNO"), None if shape is None else tuple(shape)
        self.in_channels, self.out_channels, self.width = in_channels, out_channels, width
        self.wavelet, self.levels, self.periodic = wavelet, levels, per_axis(periodic, self.ndim, "periodic")
        self.ends = GridOperator(in_channels, out_channels, width, periodic=self.periodic, coordinates=not all(self.periodic))
        if self.shape is None:
            return
        coarse, bands = [n // 2**levels for n in lengths_of(self.shape, self.periodic, 2**levels)], 2**self.ndim
        # one matrix for each band and place, inputs first
        sizes = (bands, *coarse, width, width)
        self.weights = nn.ParameterList(nn.Parameter(torch.randn(sizes) / math.sqrt(width)) for _ in range(_LAYERS))
        self.skips = nn.ModuleList(nn.Linear(width, width) for _ in range(_LAYERS))

    def at(self, shape: tuple[int, ...]) -> WNO:
        """A fresh network of the same choices for fields on `shape` points, with fewer levels where no axis has 2^levels points."""
        if self.shape == tuple(shape):
            return self
        levels = max(1, min(self.levels, max(shape).bit_length() - 1))
        choices = {"width": self.width, "wavelet": self.wavelet, "levels": levels}
        return WNO(self.in_channels, self.out_channels, tuple(shape), periodic=self.periodic, **choices)  # type: ignore[arg-type]

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the operator.

        Args:
            x: Field (B, C, *shape).
            noise: None: it knows no levels, see `NoiseChannels`.

        Returns:
            Field (B, out, *shape).

        Raises:
            ShapeError: If a shape does not fit.
            InputError: If there is a noise level.
        """
        if self.shape is None:
            raise NotFitted("WNO: expected the shape of the fields it is for, got none; give shape, or use at(shape)")
        if x.shape[2:] != self.shape:
            raise ShapeError(f"WNO: expected fields on {self.shape} points, whose places its weights know, got {tuple(x.shape[2:])}; train it there")
        v = self.ends.enter(x, noise, cell=2**self.levels)
        for number, (weight, skip) in enumerate(zip(self.weights, self.skips, strict=True)):
            v = self._mixed(v, weight) + skip(v)
            v = v if number == len(self.skips) - 1 else functional.gelu(v)
        return self.ends.leave(v, x.shape[2:])

    def _mixed(self, v: Tensor, weight: Tensor) -> Tensor:
        """R on the coarsest coefficients of (B, *axes, C), zero on the finer ones."""
        axes = tuple(range(1, 1 + self.ndim))
        found = wavedec(v, self.wavelet, self.levels, axes=axes)
        names = band_names(self.ndim)
        coarse = [found.approximation, *(found.details[0][name] for name in names[1:])]
        new = [torch.einsum("b...i,...io->b...o", band, w) for band, w in zip(coarse, weight, strict=True)]
        finer = [{name: torch.zeros_like(band) for name, band in level.items()} for level in found.details[1:]]
        details = (dict(zip(names[1:], new[1:], strict=True)), *finer)
        return waverec(Decomposition(new[0], details, found.lengths, found.mode), self.wavelet, axes=axes)
