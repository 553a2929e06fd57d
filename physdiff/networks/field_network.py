"""What a denoiser or a drift is made of: a network of fields that is told a noise level."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved

__all__ = ["FieldNetwork", "axes_of"]


class FieldNetwork(Saved, nn.Module, ABC):
    """Abstract network (B, C, *axes), noise level -> (B, out, *axes).

    A final class is built as ``Net(in_channels, out_channels, *, ndim=2, periodic=False, ...)``, sets the attributes below and gives `forward`;
    `prepare`, `build_prior` and ``physdiff fit --network`` then take it like any other. One that knows no noise levels says so by `takes_noise`
    and is wrapped in `NoiseChannels` where there are levels; one whose weights have places, or whose sizes follow the grid, gives `at`; one that
    knows how long the axes are (wavenumbers, places) sets `of_extent` and is not trained on crops.
    """

    takes_noise: ClassVar[bool] = True
    of_extent: ClassVar[bool] = False

    in_channels: int
    out_channels: int
    ndim: int

    @abstractmethod
    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the network.

        Args:
            x: Field (B, C, *axes) with `ndim` axes.
            noise: Noise level (B,) or (), best within about +-2, such as log(sigma)/4; None: 0, for a network without levels.

        Returns:
            Field (B, out, *axes).
        """

    def at(self, shape: tuple[int, ...]) -> Self:
        """A fresh network of the same choices, with sizes for fields on `shape` points; itself where the grid changes nothing."""
        del shape
        return self

    def on(self, points: Tensor) -> Self:
        """A fresh network of the same choices for values at scattered points (N, d), in shares of their box.

        Raises:
            InputError: If the network takes neighbours in the array for neighbours in space, as all but `PointNetwork` do.
        """
        raise InputError(
            f"expected PointNetwork for values at {len(points)} scattered points, got {type(self).__name__}, which takes the next in the list for "
            "the next in space; or give a MeshAutoencoder as the transform, whose latents lie on a grid"
        )

    def check_field(self, x: Tensor) -> None:
        """Raise ShapeError unless `x` is (B, in_channels, *axes) with `ndim` axes."""
        if x.ndim != 2 + self.ndim or x.shape[1] != self.in_channels:
            raise ShapeError(
                f"{type(self).__name__}: expected (B, {self.in_channels}, *axes) with {self.ndim} axes, got {tuple(x.shape)}; "
                "build it with the ndim and in_channels of the data"
            )


def axes_of(shape: tuple[int, ...] | None, ndim: int | None, what: str) -> int:
    """The number of axes that a shape, or `ndim` in its place, says.

    Raises:
        InputError: If neither does, or they disagree.
    """
    if shape is None and ndim is None or shape is not None and ndim not in (None, len(shape)):
        raise InputError(f"{what}: expected a shape, or ndim in its place, got {shape} and {ndim}")
    return len(shape) if shape is not None else int(ndim or 0)
