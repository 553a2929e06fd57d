r"""DeepONet: a field as a sum of learned basis functions, their coefficients learned from the input.

$$ \hat u_c(y) = \beta_c + \frac{1}{\sqrt P}\sum_{p=1}^{P} b_{cp}(u)\,\tau_p(y), $$

b a network of the values on the grid (branch), tau one of the coordinates (trunk), so that the output may be asked for at any points. The input
is read at the cells of one grid. The output is linear in the basis: fronts that travel need many functions.

Reference: Lu et al. (2021), arXiv 1910.03193.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive, per_axis
from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.networks.field_network import FieldNetwork, axes_of
from physdiff.networks.mlp import MLP

__all__ = ["DeepONet"]


class DeepONet(FieldNetwork):
    """DeepONet (B, C, *shape) -> (B, out, *shape) on the points i/n, or (B, out, m) at given points.

    Args:
        in_channels: Channels C of the input.
        out_channels: Channels of the output.
        shape: Points of the input along each axis; None: not known yet, `at` gives a network with weights (`build_prior` calls it).
        ndim: Number of axes, where `shape` is None.
        periodic: Whether the axes are circles, on which the trunk sees cos and sin of 2 pi i/n in place of i/n: one answer, or one per axis.
        width: Length of the hidden layers.
        depth: Number of hidden layers of each network.
        rank: Number P of basis functions.

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
        width: int = 128,
        depth: int = 3,
        rank: int = 128,
    ) -> None:
        super().__init__()
        sizes = (("in_channels", in_channels), ("out_channels", out_channels), ("rank", rank), *(("shape", n) for n in shape or ()))
        for name, value in sizes:
            check_positive(value, f"DeepONet {name}")
        self.ndim, self.shape = axes_of(shape, ndim, "DeepONet"), None if shape is None else tuple(shape)
        self.in_channels, self.out_channels, self.rank, self.width, self.depth = in_channels, out_channels, rank, width, depth
        self.periodic = per_axis(periodic, self.ndim, "periodic")
        if self.shape is None:
            return
        seen = sum(2 if closed else 1 for closed in self.periodic)
        self.branch = MLP(in_channels * math.prod(self.shape), out_channels * rank, width=width, depth=depth, activation="gelu")
        self.trunk = MLP(seen, rank, width=width, depth=depth, activation="gelu")
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def at(self, shape: tuple[int, ...]) -> DeepONet:
        """A fresh network of the same choices that reads fields on `shape` points."""
        if self.shape == tuple(shape):
            return self
        sizes = {"width": self.width, "depth": self.depth, "rank": self.rank}
        return DeepONet(self.in_channels, self.out_channels, tuple(shape), periodic=self.periodic, **sizes)

    def forward(self, x: Tensor, noise: Tensor | None = None, *, points: Tensor | None = None) -> Tensor:
        """Apply the operator.

        Args:
            x: Field (B, C, *shape).
            noise: None: it knows no levels, see `NoiseChannels`.
            points: (m, ndim), in units of the extent of each axis; None: the points of the grid.

        Returns:
            (B, out, *shape), or (B, out, m) at given points.

        Raises:
            ShapeError: If a shape does not fit.
            InputError: If there is a noise level.
        """
        if noise is not None:
            raise InputError("DeepONet: expected no noise level, got one; it knows no levels: NoiseChannels(operator) does")
        if self.shape is None:
            raise NotFitted("DeepONet: expected the shape of the fields it reads, got none; give shape, or use at(shape)")
        if x.shape[1:] != (self.in_channels, *self.shape):
            raise ShapeError(f"DeepONet: expected (B, {self.in_channels}, *{self.shape}), the grid it reads, got {tuple(x.shape)}; train it there")
        if points is not None and (points.ndim != 2 or points.shape[1] != self.ndim):
            raise ShapeError(f"DeepONet: expected points (m, {self.ndim}), got {tuple(points.shape)}")
        places = self._grid(x) if points is None else points.to(x)
        coefficients = self.branch(x.flatten(1)).reshape(len(x), -1, self.rank)
        out: Tensor = coefficients @ self.trunk(self._seen(places)).T / math.sqrt(self.rank) + self.bias[:, None]
        return out if points is not None else out.reshape(*out.shape[:2], *self.shape)

    def _grid(self, x: Tensor) -> Tensor:
        axes = [torch.arange(n, device=x.device).to(x) / n for n in x.shape[2:]]
        return torch.stack([g.flatten() for g in torch.meshgrid(*axes, indexing="ij")], 1)

    def _seen(self, places: Tensor) -> Tensor:
        """Coordinates as the trunk sees them: without a seam on circles."""
        parts = []
        for axis, closed in enumerate(self.periodic):
            p = places[:, axis : axis + 1]
            parts += [torch.cos(2 * math.pi * p), torch.sin(2 * math.pi * p)] if closed else [p]
        return torch.cat(parts, 1)
