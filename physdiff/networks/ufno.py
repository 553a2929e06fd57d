r"""U-FNO: a small U-Net beside every Fourier convolution, for fronts that a few modes cannot carry.

$$ v' = \phi(K v + W v + U v), $$

K a convolution learned on the low Fourier modes, W a matrix alike at every point, U a U-Net; the first half of the layers goes without U.

Reference: Wen et al. (2022), arXiv 2109.03697.
"""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional

from physdiff.base.checks import check_positive, per_axis
from physdiff.networks.field_network import FieldNetwork
from physdiff.networks.fno import GridOperator, modes_at
from physdiff.networks.fourier_basis import fourier_basis
from physdiff.networks.spectral_conv import SpectralConv
from physdiff.networks.unet import UNet

__all__ = ["UFNO"]


class UFNO(FieldNetwork):
    """U-FNO (B, C, *axes) -> (B, out, *axes), 1 to 3 axes of any lengths; coordinates are appended if any axis has ends.

    Unlike `FNO` it knows the size of a cell, through U: it belongs to the resolution it was trained on.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        ndim: Number of axes.
        periodic: Whether the axes are circular: one answer for all, or one per axis in storage order.
        width: Channels inside.
        modes: Wavenumbers kept, as in `FNO`: one m for all axes or one each.
        layers: Number of layers; the last half of them, rounded up, has a U-Net.
        multipliers: Channels of the levels of the U-Nets as multiples of `width`, finest first.

    Raises:
        InputError: If an argument makes no sense.
    """

    takes_noise: ClassVar[bool] = False
    of_extent: ClassVar[bool] = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        ndim: int = 2,
        periodic: bool | tuple[bool, ...] = False,
        width: int = 32,
        modes: int | tuple[int, ...] = 12,
        layers: int = 4,
        multipliers: tuple[int, ...] = (1, 1, 1),
    ) -> None:
        super().__init__()
        check_positive(layers, "UFNO layers")
        self.options: dict[str, Any] = {"width": width, "layers": layers, "multipliers": multipliers}
        circular = per_axis(periodic, ndim, "periodic")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.ndim, self.modes = ndim, per_axis(modes, ndim, "modes")
        self.ends = GridOperator(in_channels, out_channels, width, periodic=circular, coordinates=not all(circular))
        self.convs = nn.ModuleList(SpectralConv(width, width, self.modes) for _ in range(layers))
        self.skips = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        shared = {"ndim": ndim, "periodic": circular, "width": width, "multipliers": multipliers}
        self.unets = nn.ModuleList(UNet(width, width, attention=False, dropout=0.0, **shared) for _ in range((layers + 1) // 2))  # type: ignore[arg-type]

    def at(self, shape: tuple[int, ...]) -> UFNO:
        """As `FNO.at`."""
        modes = modes_at(self.modes, shape, self.ends.periodic)
        if modes == self.modes:
            return self
        return UFNO(self.in_channels, self.out_channels, ndim=self.ndim, periodic=self.ends.periodic, modes=modes, **self.options)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """Apply the operator; arguments, result and errors as `FNO.forward`."""
        v = self.ends.enter(x, noise)
        basis = fourier_basis(tuple(v.shape[1:-1]), self.modes, like=v)
        first = len(self.convs) - len(self.unets)
        for number, (conv, skip) in enumerate(zip(self.convs, self.skips, strict=True)):
            new = conv(v, basis) + skip(v)
            if number >= first:
                new = new + self.unets[number - first](v.movedim(-1, 1)).movedim(1, -1)
            v = new if number == len(self.convs) - 1 else functional.gelu(new)
        return self.ends.leave(v, x.shape[2:])
