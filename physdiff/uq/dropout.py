r"""Monte Carlo dropout for networks of the coordinates: masks of hidden units, drawn while training and afterwards.

A unit that is dropped is a column of the next layer's weights set to zero, the others times $1/(1-p)$. A mask is therefore a vector of weights, one
smooth network with consistent derivatives for all points of a step. Draws with masks approximate a variational posterior (Gal and Ghahramani, Dropout
as a Bayesian approximation, 2016); their spread does not shrink with the readings unless p is tuned, so look at the coverage.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP
from physdiff.pinn.collocated import Collocated
from physdiff.pinn.coordinate_net import CoordinateNet
from physdiff.uq.weight_draws import WeightDraws, trainable

__all__ = ["dropout_draws", "masked_weights", "train_with_dropout"]


def masked_weights(module: Collocated | CoordinateNet, *, share: float, rng: Rng) -> dict[str, Tensor]:
    """All parameters by name with one mask of the hidden units in them, differentiable; for `torch.func.functional_call`.

    Raises:
        InputError: If the share is not in [0, 1), or the network is no `MLP`.
    """
    if not 0 <= share < 1:
        raise InputError(f"dropout share: expected a number in [0, 1), got {share}")
    net = module.net if isinstance(module, Collocated) else module
    if not isinstance(net.network, MLP) or any(not isinstance(layer, nn.Linear) for layer in net.network.layers):
        raise InputError(f"dropout: expected an MLP of plain linear layers, got {type(net.network).__name__}; use an ensemble")
    masks: dict[int, Tensor] = {}
    for k, layer in enumerate(list(net.network.layers)[1:]):
        weight = layer.weight
        assert isinstance(weight, Tensor)
        masks[id(weight)] = (rng.child(k).uniform((weight.shape[1],), like=weight) >= share) / (1 - share)
    return {name: p * masks[id(p)] if id(p) in masks else p for name, p in module.named_parameters()}


def train_with_dropout(
    problem: Collocated,
    points: Callable[[int], Tensor],
    *,
    share: float,
    steps: int,
    rate: float = 1e-3,
    rng: Rng,
) -> list[float]:
    """Adam on the loss of a problem, with a fresh mask at every step; returns the losses.

    Args:
        problem: Changed in place.
        points: Function of the step that gives the points of the law.
        share: p, of units dropped.
        steps: Number of steps.
        rate: Learning rate.
        rng: Randomness of the masks.

    Raises:
        InputError: As `masked_weights`.
    """
    optimiser, losses = torch.optim.Adam(trainable(problem), lr=rate), []
    for step in range(steps):
        optimiser.zero_grad()
        weights = masked_weights(problem, share=share, rng=rng.child(step))
        loss: Tensor = torch.func.functional_call(problem, weights, (points(step),))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def dropout_draws(module: Collocated | CoordinateNet, n: int, *, share: float, rng: Rng) -> WeightDraws:
    """Draw n networks with masks of their own.

    Raises:
        InputError: As `masked_weights`, or if n is below 1.
    """
    if n < 1:
        raise InputError(f"dropout_draws: expected n >= 1 draws, got {n}")
    frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
    rows = []
    with torch.no_grad():
        for k in range(n):
            weights = masked_weights(module, share=share, rng=rng.child(k))
            rows.append(torch.cat([w.reshape(-1) for name, w in weights.items() if name not in frozen]))
    return WeightDraws(module, torch.stack(rows))
