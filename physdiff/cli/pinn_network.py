"""The network of ``physdiff fit-pinn``: one, many in boxes, or two along the lines of a wind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP, FourierMLP
from physdiff.networks.modified_mlp import ModifiedMLP, PirateNet
from physdiff.networks.separable import SeparableNetwork
from physdiff.networks.siren import SIREN
from physdiff.pdes.pde import PDE
from physdiff.pinn.collocated import Collocated, Known, Matched
from physdiff.pinn.collocation import UniformPoints
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.pinn.lagrangian import Branches, Lagrangian
from physdiff.pinn.windowed_net import WindowedNet, cut_conditions

__all__ = ["Network", "network_problem"]

_KINDS = {"mlp": MLP, "fourier": FourierMLP, "modified": ModifiedMLP, "pirate": PirateNet, "separable": SeparableNetwork, "siren": SIREN}
_ON_CUTS = 64  # points of each cut


@dataclass(frozen=True)
class Network:
    """The network.

    Args:
        kind: mlp, fourier, siren, modified, separable or pirate (of blocks of three layers, not with levenberg_marquardt).
        width: Of the hidden layers.
        depth: Number of hidden layers.
        factorised: Whether rows of the layers are factorised at random (not siren, not with levenberg_marquardt).
        cells: Number of boxes along x, [y, [z,]] t with a network each (FBPINN), as [1,30]; axes that close have 1. None for one network.
        overlap: Of neighbouring boxes, as a share of a box; 0 cuts, and joins them by values and residuals (XPINN).
        speed: Of lines that the law is solved along (Lagrangian PINN, two networks), on a closed line. None for fixed places.
    """

    kind: str = "mlp"
    width: int = 20
    depth: int = 3
    factorised: bool = False
    cells: list[int] | None = None
    overlap: float = 0.6
    speed: float | None = None

    def __post_init__(self) -> None:
        check_one_of(self.kind, _KINDS, "network.kind")
        if self.factorised and self.kind == "siren":
            raise InputError("network.factorised: expected a network other than siren, whose weights have a size of their own; leave it out")
        if self.speed is not None:
            if not math.isfinite(self.speed):
                raise InputError(f"network.speed: expected a finite number, got {self.speed}; the speed of the wind, or near it")
            if self.cells:
                raise InputError(f"network.speed: expected one box along lines, got cells {list(self.cells)}; give one of the two")
        if self.cells is not None and (not self.cells or min(self.cells) < 1):
            raise InputError(f"network.cells: expected at least one box along each axis, got {list(self.cells)}")

    def made(self, features: int, values: int) -> nn.Module:
        """One network of this kind, in place of which there may be several."""
        more = {"factorised": True} if self.factorised else {}
        build: Callable[..., nn.Module] = _KINDS[self.kind]
        return build(features, values, width=self.width, depth=self.depth, **more)


def network_problem(
    network: Network, pde: PDE, box: UniformPoints, *, known: Sequence[Known], unknown: tuple[str, ...] = (), seed: int = 0
) -> Collocated:
    """Law, network and known values: outputs of the size of what is known of each field, float64.

    Args:
        network: The choice.
        pde: The law at fixed places.
        box: Of the data.
        known: Values at fixed places; along lines those at the start alone.
        unknown: Coefficients to be found.
        seed: Of the points on cuts.

    Raises:
        InputError: If the choice does not suit the box, the law or what is known.
    """
    law: PDE = pde
    conditions: list[Known | Matched] = list(known)
    if network.speed is not None:
        law, conditions = _along_lines(network.speed, pde, box, known=known, unknown=unknown)
    names = (*law.fields, *law.diagnostics)
    means, sizes = zip(*(_size(name, conditions) for name in names), strict=True)
    if network.speed is not None:
        assert box.t is not None
        span = abs(network.speed) * (box.t[1] - box.t[0])
        means, sizes = (*means[:-1], 0.5 * network.speed * (box.t[1] - box.t[0])), (*sizes[:-1], max(span, 1e-3))
    closed = (*reversed(box.grid.periodic), False)
    features = len(closed) + sum(closed)
    inner = _inner(network, features, len(names), closed=closed)
    lower, upper = tuple(box.lower.tolist()), tuple(box.upper.tolist())
    net = CoordinateNet(inner, names, lower=lower, upper=upper, periodic=closed, mean=means, std=sizes).double()
    if network.cells and network.overlap == 0:
        conditions += cut_conditions(net, _ON_CUTS, Rng(seed).child("cuts"))
    return Collocated(net, law, conditions, unknown=unknown)


def _inner(network: Network, features: int, values: int, *, closed: tuple[bool, ...]) -> nn.Module:
    if network.speed is not None:
        return Branches((network.made(features, values - 1), network.made(features, 1)))
    if not network.cells:
        return network.made(features, values)
    if len(network.cells) != len(closed) or any(c and n > 1 for c, n in zip(closed, network.cells, strict=True)):
        axes = ", ".join("1 (the axis closes)" if c else "n" for c in closed)
        raise InputError(f"network.cells: expected a number of boxes along each of x, [y, [z,]] t, [{axes}], got {list(network.cells)}")
    # an axis that closes has two features, and one box over both
    cells = tuple(n for c, n in zip(closed, network.cells, strict=True) for n in ((1, 1) if c else (n,)))
    return WindowedNet([network.made(features, values) for _ in range(math.prod(cells))], cells, overlap=network.overlap)


def _along_lines(
    speed: float, pde: PDE, box: UniformPoints, *, known: Sequence[Known], unknown: tuple[str, ...]
) -> tuple[PDE, list[Known | Matched]]:
    """The law in labels, and the start with a displacement of zero."""
    if len(box.grid.shape) != 1 or not all(box.grid.periodic):
        raise InputError(f"network.speed: expected a closed line, got {box.grid.summary()}; give --conditions.periodic true, or leave the speed out")
    assert box.t is not None
    late = [k for k in known if bool((k.points[:, -1] > box.t[0] + 1e-9 * (box.t[1] - box.t[0])).any())]
    if late or unknown or not known:
        raise InputError("network.speed: expected the start alone to be known, for readings lie at places and not on lines; leave the speed out")
    zero = Known(known[0].points, {"displacement": torch.zeros(len(known[0].points), dtype=torch.float64)}, known[0].weight)
    return Lagrangian(pde, speed), [*known, zero]


def _size(name: str, known: Sequence[Known | Matched]) -> tuple[float, float]:
    """Mean and standard deviation of what is known of a field; 0.5 and 0.7 where nothing is."""
    values = torch.cat([k.values[name] for k in known if isinstance(k, Known) and name in k.values] or [torch.tensor([0.0, 1.0])]).double()
    std = float(values.std()) if len(values) > 1 else 0.0
    return float(values.mean()), std if std > 0 else 1.0
