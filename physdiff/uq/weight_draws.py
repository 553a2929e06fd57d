r"""Draws of the weights of a network of the coordinates, the one form in which every method here says how sure it is.

Ensembles, dropout (a mask multiplies columns of the next weights), Hamiltonian chains and Laplace all give M vectors of weights. Each vector is a
solution; M of them are members on any grid, ``to_dataset(draws.on_grid(grid, times), spec, times)``, which `evaluate` and every score take.

What the posterior is made of are deviations: terms in units of their standard deviation, so that

$$-\log p(\theta | y) = \tfrac12 \sum_i d_i(\theta)^2 + \tfrac{1}{2 s^2}|\theta|^2 + \text{const}.$$

`deviations` takes them from a `Collocated`: readings over their scale, residuals of the law over what the law is believed to. Yang, Meng and
Karniadakis, B-PINNs, 2021.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.grid import Grid
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.coordinate_net import CoordinateNet

__all__ = ["WeightDraws", "deviations", "trainable"]


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that are not frozen, in the order in which `torch.nn.utils.parameters_to_vector` puts them in a vector."""
    return [p for p in module.parameters() if p.requires_grad]


def deviations(problem: Collocated, points: Tensor, *, law_std: float | Mapping[str, float]) -> list[Tensor]:
    """Residuals of the law and readings in units of their standard deviations, entry i from a pass over points i.

    Args:
        problem: Law and known values, whose `scale` is their standard deviation; their `weight` plays no part.
        points: (n, d), where the law is asked for.
        law_std: How large a residual is believed to be at a point, one number or by equation; small where the law is exact.

    Raises:
        InputError: If a standard deviation is not positive, an equation has none, or the problem has `Matched` places, which have no noise.
    """
    if problem.matched:
        raise InputError("deviations: expected a problem of readings and a law, got Matched places; close the network's axes instead")
    out = []
    for name, r in problem.law_residuals(points).items():
        std = law_std if isinstance(law_std, int | float) else law_std.get(name, 0.0)
        out.append(r / check_positive(std, f"deviations law_std of {name}"))
    for part in problem.known:
        values = problem.net.fields(part.points)
        out += [(values[name] - y) / part.scale for name, y in part.values.items()]
    return out


@dataclass(frozen=True, eq=False)
class WeightDraws:
    """Draws of the trainable weights of a network, or of a problem with its unknown coefficients.

    Args:
        module: A `CoordinateNet`, a `Collocated` that holds one, or the network of a prior (``prior.model``, whose draws ``WeightEnsemble(prior,
            draws.weights)`` forecasts with); it is never changed.
        weights: (M, P), each as `torch.nn.utils.parameters_to_vector` orders the trainable parameters.
        info: What the method says of itself.

    Raises:
        ShapeError: If the vectors have another length than the module's parameters.
        InputError: If a weight is not finite.
    """

    module: nn.Module
    weights: Tensor
    info: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total = sum(p.numel() for p in trainable(self.module))
        if self.weights.ndim != 2 or self.weights.shape[1] != total or not len(self.weights):
            raise ShapeError(f"WeightDraws: expected weights (M, {total}), M >= 1, got {tuple(self.weights.shape)}; freeze the same parameters")
        if not bool(self.weights.isfinite().all()):
            raise InputError(f"WeightDraws: expected finite weights, got {int((~self.weights.isfinite()).sum())} that are not")

    def __len__(self) -> int:  # noqa: D105
        return len(self.weights)

    def each(self) -> Iterator[nn.Module]:
        """The module with every draw in turn; one object, which the next draw changes."""
        twin = copy.deepcopy(self.module)
        parameters = trainable(twin)
        for row in self.weights:
            with torch.no_grad():
                nn.utils.vector_to_parameters(row.to(parameters[0]), parameters)
            yield twin

    def fields(self, points: Tensor) -> dict[str, Tensor]:
        """Fields by name at the points (n, d), each (M, n).

        Raises:
            InputError: If the draws are not of a network of the coordinates.
        """
        with torch.no_grad():
            rows = [_net(m).fields(points) for m in self.each()]
        return {name: torch.stack([r[name] for r in rows]) for name in rows[0]}

    def on_grid(self, grid: Grid, times: Tensor | None = None) -> Tensor:
        """The windows (M, C, T, *S) on a grid, as `CoordinateNet.on_grid`; raises as `fields`."""
        return torch.cat([_net(m).on_grid(grid, times) for m in self.each()])

    def coefficients(self) -> dict[str, Tensor]:
        """The unknown coefficients of the law by name, each (M,).

        Raises:
            InputError: If the draws are of a network alone.
        """
        if not isinstance(self.module, Collocated):
            raise InputError("WeightDraws.coefficients: expected draws of a Collocated with unknown coefficients, got those of a network")
        rows = [m.coefficients() for m in self.each() if isinstance(m, Collocated)]
        return {name: torch.stack([r[name].detach().clone() for r in rows]) for name in rows[0]}


def _net(module: nn.Module) -> CoordinateNet:
    net = module.net if isinstance(module, Collocated) else module
    if not isinstance(net, CoordinateNet):
        got = type(net).__name__
        raise InputError(f"WeightDraws: expected a network of the coordinates, got {got}; forecast with WeightEnsemble(prior, draws.weights)")
    return net
