r"""How time is advanced: the abstract stepper.

A stepper is built from a law and the operators of a grid, $u(t) \mapsto u(t + \Delta t)$, and knows how long a step may be. `spectral_radius`
estimates the size of the largest eigenvalue of a right-hand side's Jacobian by the power method with difference quotients, so that the
limit needs no formula per law.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.grids.field_spec import Fields
from physdiff.operators.operators import Operators
from physdiff.pdes.pde import PDE

__all__ = ["EmbeddedStepper", "Stepper", "shortest_wave_rate", "spectral_radius"]


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

    def __repr__(self) -> str:
        """Which method, for which law, with which derivatives."""
        return f"{type(self).__name__}({type(self.pde).__name__}, {type(self.operators).__name__}, order {self.order})"

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

    def unstable_beyond(self, u: Fields, t: float = 0.0) -> float:
        """The step beyond which some wave of the fields (B, *S) is sure to grow; inf (default) where longer steps are only less accurate."""
        return math.inf

    def enter(self, u: Fields) -> Fields:
        """The fields (B, *S) in the form in which `advance` takes and gives them (waves, for example); default as they are."""
        return u

    def advance(self, state: Fields, t: float, dt: float) -> Fields:
        """`step` in the stepper's own form."""
        return self.step(state, t, dt)

    def leave(self, state: Fields) -> Fields:
        """The fields (B, *S) of a state in the stepper's own form."""
        return state


class EmbeddedStepper(Stepper):
    """Abstract stepper that estimates the error of each of its steps, so that `solve` can choose their length.

    Attributes:
        error_order: Order p of the estimate: it falls like dt^(p + 1).
    """

    error_order: int

    @abstractmethod
    def step_with_error(self, u: Fields, t: float, dt: float) -> tuple[Fields, Fields]:
        """The fields one step later, as `step` gives them, and an estimate of the error made in it, each (B, *S)."""

    def advance_with_error(self, state: Fields, t: float, dt: float) -> tuple[Fields, Tensor]:
        """`step_with_error` in the stepper's own form, with the estimate as a share.

        For each sample (B,): the largest over the fields of the root mean square of the estimate over that of the field.
        """
        end, error = self.step_with_error(self.leave(state), t, dt)
        shares = [_rms(error[name].detach()) / _rms(v.detach()).clamp_min(torch.finfo(v.dtype).tiny) for name, v in end.items()]
        return self.enter(end), torch.stack(shares).amax(0)

    def first_step(self, state: Fields, t: float, tol: float) -> float:
        """A length to try first for a tolerance; default half the stable limit."""
        with torch.no_grad():
            return 0.5 * self.limit(self.leave(state), t)


def spectral_radius(rhs: Callable[[Fields], Fields], u: Fields, *, iterations: int = 8) -> float:
    r"""Estimate from below of the largest $|\lambda|$ of the Jacobian of `rhs` at u, the largest over the batch.

    Growth is the geometric mean over two iterations: in waves that pass from one field to another (depth and velocity) it is large in one and small
    in the other where the fields' units do not fit, and only the product counts.

    Args:
        rhs: Right-hand side, fields (B, *S) to fields (B, *S).
        u: Fields.
        iterations: Of the power method, from white noise that is the same in every call.
    """
    names = list(u)
    base = _stack(u, names)
    axes = tuple(range(1, base.ndim))
    unit = _units(base)
    v = _unit(Rng(0).normal(base.shape[1:], like=base).expand_as(base), axes)
    epsilon = torch.finfo(base.dtype).eps ** 0.5
    at_base = _stack(rhs(_named(base, names)), names)
    growth = []
    for _ in range(iterations):
        w = (_stack(rhs(_named(base + epsilon * unit * v, names)), names) - at_base) / (epsilon * unit)
        growth.append(w.detach().square().mean(axes).sqrt().double())
        v = _unit(w, axes)
    means = [(a * b).sqrt() for a, b in zip(growth, growth[1:], strict=False)]
    # not the first ones: what one field does to another and not back (a ground to a flow nearly at rest) is no growth, and passes
    return float(torch.stack(means[2:] or means).max())


def shortest_wave_rate(rhs: Callable[[Fields], Fields], u: Fields) -> float:
    """Largest relative rate at which a cell of a field changes by a wave in that field alone whose sign turns from cell to cell.

    It is the sum of the sizes of the weights of a difference formula, so a bound from above of its eigenvalues where the signs of the weights
    alternate, as those of second derivatives do. A power method is slow to find the few waves that live next to a wall.
    """
    names = list(u)
    base = _stack(u, names)
    unit = _units(base)
    parity = torch.ones(base.shape[2:], dtype=base.dtype, device=base.device)
    for axis, n in enumerate(parity.shape):
        parity = parity * (1 - 2 * (torch.arange(n, device=base.device) % 2)).reshape(-1, *([1] * (parity.ndim - 1 - axis)))
    epsilon = torch.finfo(base.dtype).eps ** 0.5
    at_base, rates = _stack(rhs(_named(base, names)), names), []
    for i in range(len(names)):
        moved = base.clone()
        moved[:, i] += epsilon * unit[:, i] * parity
        change = (_stack(rhs(_named(moved, names)), names) - at_base)[:, i] / (epsilon * unit[:, i])
        rates.append(float(change.detach().abs().max()))
    return max(rates)


def _stack(fields: Fields, names: list[str]) -> Tensor:
    return torch.stack([fields[n].detach() for n in names], dim=1)


def _units(base: Tensor) -> Tensor:
    """Size of each field (B, F, 1, ...), so that one of large numbers does not hide the others; one for a field that is zero to rounding."""
    size = base.square().mean(tuple(range(2, base.ndim)), keepdim=True).sqrt()
    # a difference quotient over a share of a field that is nothing but the rounding of another one is noise
    return torch.where(size > torch.finfo(base.dtype).eps ** 0.6 * size.amax(1, keepdim=True), size, torch.ones_like(size))


def _named(x: Tensor, names: list[str]) -> dict[str, Tensor]:
    return dict(zip(names, x.unbind(1), strict=True))


def _rms(v: Tensor) -> Tensor:
    """Root mean square of each sample."""
    return v.square().mean(tuple(range(1, v.ndim))).sqrt()


def _unit(v: Tensor, axes: tuple[int, ...]) -> Tensor:
    """V with root mean square one in each sample."""
    return v / v.square().mean(axes, keepdim=True).sqrt().clamp_min(torch.finfo(v.dtype).tiny)
