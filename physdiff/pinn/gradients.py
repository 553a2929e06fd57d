r"""Gradients of single terms of a loss, and directions that go down all of them.

`gradients_of` gives the gradients $g_i$ as rows; `tangent_kernel_trace` the trace of $K = J J^T$ of a residual. Where two terms pull apart,
the sum of their gradients may go up one of them: `project_gradients` (PCGrad; Yu and others, 2020, arXiv 2001.06782) takes from each
gradient what opposes another one, `conflict_free_gradient` (ConFIG; Liu, Chu and Thuerey, 2024, arXiv 2408.11104) takes the direction that
makes the same angle with all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_finite
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng

__all__ = ["conflict_free_gradient", "gradients_of", "project_gradients", "set_gradient", "tangent_kernel_trace"]


def gradients_of(losses: Sequence[Tensor], parameters: Iterable[Tensor]) -> Tensor:
    """Gradients of terms of one graph, (terms, parameters), flattened in the order of the parameters; zero where a term does not depend on one.

    Raises:
        InputError: If there is no term or no parameter.
    """
    wanted = [p for p in parameters if p.requires_grad]
    if not losses or not wanted:
        raise InputError(f"gradients_of: expected at least one loss and one parameter, got {len(losses)} and {len(wanted)}")
    return torch.stack([_flat(loss, wanted) for loss in losses])


def set_gradient(parameters: Iterable[Tensor], gradient: Tensor) -> None:
    """Give each parameter its part of a flat gradient, for an optimiser's step.

    Raises:
        ShapeError: If its length is not the number of parameters.
    """
    wanted = [p for p in parameters if p.requires_grad]
    total = sum(p.numel() for p in wanted)
    if gradient.shape != (total,):
        raise ShapeError(f"set_gradient: expected a gradient ({total},), got {tuple(gradient.shape)}; give the same parameters as to gradients_of")
    for p, part in zip(wanted, gradient.split([p.numel() for p in wanted]), strict=True):
        p.grad = part.view_as(p).to(p).clone()


def tangent_kernel_trace(residual: Tensor, parameters: Iterable[Tensor], *, rng: Rng | None = None, probes: int = 8) -> Tensor:
    """Sum over the entries of a residual of the squared gradients with respect to the parameters, ().

    Args:
        residual: Any shape, with its graph, which stays.
        parameters: Parameters of the network.
        rng: Estimate by random signs v, the mean of |J^T v|^2 (Hutchinson; unbiased, one backward pass a probe); None for one pass per entry, exact.
        probes: Number of random signs.

    Raises:
        InputError: If the number of probes is below one.
    """
    if probes < 1:
        raise InputError(f"tangent_kernel_trace probes: expected at least 1, got {probes}")
    wanted, flat = [p for p in parameters if p.requires_grad], residual.reshape(-1)
    if rng is None:
        return torch.stack([_flat(r, wanted).square().sum() for r in flat]).sum()
    signs = 2.0 * (rng.uniform((probes, len(flat)), like=flat.detach()) < 0.5).to(flat) - 1.0
    return torch.stack([_flat((flat * v).sum(), wanted).square().sum() for v in signs]).mean()


def project_gradients(gradients: Tensor, rng: Rng) -> Tensor:
    """PCGrad: from each gradient, in random order, the part that opposes another; then the sum. (terms, parameters) -> (parameters,).

    Raises:
        InputError: If gradients are not finite.
    """
    g = _checked(gradients, "project_gradients")
    squares = g.square().sum(1)
    out = []
    for i, own in enumerate(g):
        for j in rng.child(i).permutation(len(g)).tolist():
            along = torch.dot(own, g[j])
            if j != i and along < 0:
                own = own - along / squares[j] * g[j]
        out.append(own)
    return torch.stack(out).sum(0)


def conflict_free_gradient(gradients: Tensor) -> Tensor:
    """ConFIG: along the direction with equal angles to all gradients, as long as their projections together. (terms, parameters) -> (parameters,).

    Gradients of length zero are left out. Gradients that oppose each other exactly have no common direction: the result is then near zero.

    Raises:
        InputError: If gradients are not finite.
    """
    g = _checked(gradients, "conflict_free_gradient")
    length = torch.linalg.vector_norm(g, dim=1, keepdim=True)
    g, length = g[length[:, 0] > 0], length[length[:, 0] > 0]
    if not len(g):
        return torch.zeros_like(gradients[0])
    unit = g / length
    # the pseudo-inverse of the unit rows applied to ones, by the small Gram matrix
    direction = (torch.linalg.pinv(unit.double() @ unit.double().T, hermitian=True).sum(1).to(unit)) @ unit
    size = torch.linalg.vector_norm(direction)
    if size == 0:
        return direction
    direction = direction / size
    return (g @ direction).sum() * direction


def _checked(gradients: Tensor, who: str) -> Tensor:
    if gradients.ndim != 2 or not len(gradients):
        raise ShapeError(f"{who}: expected gradients (terms, parameters), got {tuple(gradients.shape)}; use `gradients_of`")
    return check_finite(gradients.detach(), f"{who} gradients")


def _flat(value: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    found = torch.autograd.grad(value, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([f.reshape(-1) for f in found])
