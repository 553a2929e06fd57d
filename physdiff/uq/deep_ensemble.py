r"""Deep ensembles: one problem solved again from other initial weights, and with other noise on the readings.

Members differ by the start of the training, and where `perturbed` readings are given to each (the parametric bootstrap) by the noise: for deviations
that are linear in the weights the members then have exactly the covariance of the least-squares estimate, $(J^\mathsf T J)^{-1}$. Starts alone say
how much the training decides, not how much the noise does. Lakshminarayanan, Pritzel and Blundell, 2017; Efron, Bootstrap methods, 1979.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.pinn.collocated import Known
from physdiff.uq.weight_draws import WeightDraws, trainable

__all__ = ["deep_ensemble", "perturbed"]


def perturbed(known: Sequence[Known], *, rng: Rng) -> list[Known]:
    """Known values with noise of their own `scale` added to readings; exact conditions (scale 1) stay."""
    out = []
    for i, part in enumerate(known):
        if part.scale == 1.0:
            out.append(part)
            continue
        noise = {name: part.scale * rng.child(i, name).normal(y.shape, like=y) for name, y in part.values.items()}
        out.append(replace(part, values={name: y + noise[name] for name, y in part.values.items()}))
    return out


def deep_ensemble(member: Callable[[Rng], nn.Module], n: int, *, rng: Rng) -> WeightDraws:
    """Train n members, each with a key of its own; torch's global generator is seeded by it, so that initial weights follow it too.

    Args:
        member: Builds and trains one member; all of one architecture.
        n: Number of members.
        rng: Randomness.

    Raises:
        InputError: If n is below 2, or members differ in their parameters.
    """
    if n < 2:
        raise InputError(f"deep_ensemble: expected n >= 2 members, got {n}")
    found, shapes = [], []
    for k in range(n):
        key = rng.child("member", k)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(key.integers(0, 2**31)))
            module = member(key)
        found.append(nn.utils.parameters_to_vector(trainable(module)).detach().clone())
        shapes.append([tuple(p.shape) for p in trainable(module)])
        if shapes[-1] != shapes[0]:
            raise InputError(f"deep_ensemble: expected members of one architecture, got parameters {shapes[0]} and {shapes[-1]}")
    return WeightDraws(module, torch.stack(found))
