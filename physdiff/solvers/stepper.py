r"""How time is advanced: the abstract stepper.

A stepper is built from a law and the operators of a grid, $u(t) \mapsto u(t + \Delta t)$, and knows how long a step may be. `spectral_radius`
estimates the size of the largest eigenvalue of a right-hand side's Jacobian by the power method with difference quotients, so that the
limit needs no formula per law.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE

__all__ = ["Stepper", "spectral_radius"]


class Stepper(ABC):
    """Abstract time stepper.

    Attributes:
        pde: The law.
        operators: Derivatives on the grid.
        order: Order of accuracy in the time step.
    """

    pde: PDE
    operators: Operators
    order: int

    @abstractmethod
    def step(self, u: Fields, t: float, dt: float) -> Fields:
        """The fields (B, *S) one step later.

        Args:
            u: The law's fields at time t, each (B, *S).
            t: Time.
            dt: Length of the step.
        """

    @abstractmethod
    def limit(self, u: Fields, t: float = 0.0) -> float:
        """Estimate of the longest stable step from the fields (B, *S), the least over the batch; inf if any step is stable."""


def spectral_radius(rhs: Callable[[Fields], Fields], u: Fields, *, iterations: int = 8) -> float:
    r"""Estimate from below of the largest $|\lambda|$ of the Jacobian of `rhs` at u, the largest over the batch.

    Args:
        rhs: Right-hand side, fields (B, *S) to fields (B, *S).
        u: Fields.
        iterations: Of the power method, from white noise that is the same in every call.
    """
    names = list(u)
    base = torch.stack([u[n] for n in names], dim=1).detach()
    if base.ndim < 2:
        raise ShapeError(f"spectral_radius: expected fields (batch, *space), got {tuple(u[names[0]].shape)}")
    axes = tuple(range(1, base.ndim))
    scale = base.square().mean(axes, keepdim=True).sqrt().clamp_min(1e-3)
    v = _unit(Rng(0).normal(base.shape[1:], like=base).expand_as(base), axes)
    epsilon = scale * torch.finfo(base.dtype).eps ** 0.5
    at_base = _stack(rhs(dict(zip(names, base.unbind(1), strict=True))), names)
    best = torch.zeros(base.shape[0], dtype=torch.float64)
    for _ in range(iterations):
        moved = base + epsilon * v
        w = (_stack(rhs(dict(zip(names, moved.unbind(1), strict=True))), names) - at_base) / epsilon
        growth = w.square().mean(axes).sqrt()
        best = torch.maximum(best, growth.detach().to("cpu", torch.float64))
        v = _unit(w, axes)
    return float(best.max())


def _stack(fields: Fields, names: list[str]) -> Tensor:
    return torch.stack([fields[n] for n in names], dim=1)


def _unit(v: Tensor, axes: tuple[int, ...]) -> Tensor:
    """V with root mean square one in each sample."""
    return v / v.square().mean(axes, keepdim=True).sqrt().clamp_min(torch.finfo(v.dtype).tiny)
