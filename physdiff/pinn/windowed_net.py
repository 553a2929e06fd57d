r"""A solution as a sum of small networks, each at home in a box of its own (domain decomposition).

$$u(x) = \sum_i w_i(x)\, N_i(\hat x_i), \qquad \sum_i w_i = 1,$$

with $\hat x_i$ the place in the i-th box, brought to [-1, 1]. With overlap the windows are smooth and no condition is needed between boxes, and
what is a high frequency of the whole is a low one for each network (FBPINN; Moseley, Markham and Nissen-Meyer, 2023, arXiv 2107.07871). Without, each
box has its own network and `cut_conditions` joins them (XPINN; Jagtap and Karniadakis, 2020).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.pinn.collocated import Matched
from physdiff.pinn.coordinate_net import CoordinateNet

__all__ = ["WindowedNet", "cut_conditions"]


class WindowedNet(Saved, nn.Module):
    """Networks in the cells of a lattice over [-1, 1]^d: (n, d) features -> (n, values). A `CoordinateNet` without closed axes brings points there.

    Each network sees the points of its own box only. Under `levenberg_marquardt` every network takes every point, for that method asks for
    an entry of each point in each pass.

    Args:
        networks: One for each cell, the last feature running fastest.
        cells: Number of cells along each feature.
        overlap: Of neighbouring boxes, as a share of a cell, from 0 (each point has one network) to 1. Windows have three continuous derivatives.

    Raises:
        InputError: If the numbers do not fit.
    """

    def __init__(self, networks: Sequence[nn.Module], cells: tuple[int, ...], *, overlap: float = 0.6) -> None:
        super().__init__()
        if len(networks) != math.prod(cells) or not cells or min(cells) < 1:
            raise InputError(f"WindowedNet: expected a network for each of the cells {tuple(cells)}, {math.prod(cells)} in all, got {len(networks)}")
        if not 0 <= overlap <= 1:
            raise InputError(f"WindowedNet overlap: expected a share of a cell from 0 to 1, got {overlap}")
        self.networks = nn.ModuleList(networks)
        self.cells, self.overlap = tuple(cells), float(overlap)

    def forward(self, features: Tensor) -> Tensor:
        """The sum of the networks' values, each in its window.

        Raises:
            ShapeError: If the features are not as many as the lattice has axes.
        """
        if features.shape[-1] != len(self.cells):
            raise ShapeError(f"WindowedNet: expected (n, {len(self.cells)}) features, one for each axis of cells, got {tuple(features.shape)}")
        if any(layer._forward_hooks for layer in self.modules()):
            return self._by_all(features)
        plain = _plain(features)
        places = torch.full((len(plain), 2 ** len(self.cells)), -1, dtype=torch.int64, device=plain.device)
        seen, total, parts = torch.zeros_like(places[:, 0]), 0, []
        for network, cell in self._each():
            rows = self._inside(plain, cell).nonzero()[:, 0]
            if len(rows):
                own = features[rows]
                parts.append(self._window(own, cell) * network(self._own(own, cell)))
                places[rows, seen[rows]] = torch.arange(total, total + len(rows), device=plain.device)
                seen[rows] += 1
                total += len(rows)
        # a point has as many values as boxes it lies in; the last row is a zero for those with fewer
        found = torch.cat((*parts, plain.new_zeros(1, parts[0].shape[-1])))
        terms = [found[torch.where(column < 0, total, column)] for column in places[:, : int(seen.max())].unbind(1)]
        return sum(terms[1:], terms[0])

    def _by_all(self, features: Tensor) -> Tensor:
        """The same with every network at every point."""
        parts = []
        for network, cell in self._each():
            window = self._window(features, cell) if self.overlap else self._inside(_plain(features), cell)[:, None].to(features.dtype)
            parts.append(network(self._own(features, cell)) * window)
        return sum(parts[1:], parts[0])

    def _each(self) -> Iterator[tuple[nn.Module, tuple[int, ...]]]:
        return zip(self.networks, itertools.product(*map(range, self.cells)), strict=True)

    def _inside(self, x: Tensor, cell: tuple[int, ...]) -> Tensor:
        """Which points a network counts at, (n,)."""
        there = torch.ones(len(x), dtype=torch.bool, device=x.device)
        for axis, (count, k) in enumerate(zip(self.cells, cell, strict=True)):
            low, high = self._box(count, k)
            if k:
                there &= x[:, axis] >= low
            if k + 1 < count:
                there &= x[:, axis] < high
        return there

    def _box(self, count: int, k: int) -> tuple[float, float]:
        """Where a box begins and ends along an axis, neighbours' part with it."""
        reach = self.overlap / count
        return max(-1.0, -1 + 2 * k / count - reach), min(1.0, -1 + 2 * (k + 1) / count + reach)

    def _own(self, x: Tensor, cell: tuple[int, ...]) -> Tensor:
        """Features brought to [-1, 1] in the box of a cell."""
        ends = torch.tensor([self._box(count, k) for count, k in zip(self.cells, cell, strict=True)], dtype=x.dtype, device=x.device)
        return (x - ends.mean(1)) * (2 / (ends[:, 1] - ends[:, 0]))

    def _window(self, x: Tensor, cell: tuple[int, ...]) -> Tensor:
        """Product over the axes of a rise at the lower cut and a fall at the upper one, (n, 1)."""
        window = torch.ones_like(x[..., 0])
        for axis, (count, k) in enumerate(zip(self.cells, cell, strict=True)):
            reach = self.overlap / count
            if count == 1 or not reach:
                continue
            along = x[..., axis]
            rise = [_step((along - (-1 + 2 * cut / count)) * (1 / reach)) for cut in (k, k + 1) if 0 < cut < count]
            window = window * (rise[0] - rise[1] if len(rise) == 2 else rise[0] if k else 1 - rise[0])
        return torch.stack([window], dim=-1)


def _plain(x: Tensor) -> Tensor:
    """The values of a jet, without gradients."""
    value: Tensor = x if isinstance(x, Tensor) else x.value  # type: ignore[unreachable]  # a jet passes as a tensor
    return value.detach()


def _step(s: Tensor) -> Tensor:
    """From 0 at -1 to 1 at 1, of degree seven, with three derivatives that vanish at both; steps at opposite places add to one."""
    s = torch.clamp(s, -1.0, 1.0)
    square = s * s
    return s * (square * (square * (square * (-5 / 32) + 21 / 32) - 35 / 32) + 35 / 32) + 0.5


def cut_conditions(
    net: CoordinateNet, n: int, rng: Rng, *, what: Sequence[str] = ("value", "residual"), weight: float = 20.0
) -> list[Matched]:
    """Conditions on the cuts between the networks of a `WindowedNet` without overlap: n points on each, as pairs a hair apart on its two sides.

    Args:
        net: Its network is a `WindowedNet`; in float64.
        n: Points on each cut.
        rng: Where they lie.
        what: Conditions, of those of `Matched`: (value, residual) are those of XPINN, (value, slope) those of a flux that is carried on.
        weight: Of each condition.

    Raises:
        InputError: If the network is no `WindowedNet` without overlap, or not in float64.
    """
    network = net.network
    if not isinstance(network, WindowedNet) or network.overlap or next(net.parameters()).dtype != torch.float64:
        raise InputError("cut_conditions: expected a net in float64 around a WindowedNet with overlap=0; windows that overlap need no conditions")
    lower, upper = torch.tensor((net.lower, net.upper), dtype=torch.float64)
    found = []
    for axis, count in enumerate(network.cells):
        for cut in range(1, count):
            places = rng.child("cut", axis, cut).uniform((n, len(lower)), like=lower)
            points = torch.lerp(lower, upper, places)
            at, hair = float(lower[axis]) + float(upper[axis] - lower[axis]) * cut / count, 1e-9 * float(upper[axis] - lower[axis])
            sides = [points.clone(), points.clone()]
            sides[0][:, axis], sides[1][:, axis] = at - hair, at + hair
            found += [Matched(sides[0], sides[1], kind, weight) for kind in what]
    return found
