r"""Moves along trajectories of a Hamiltonian: leapfrog, HMC and NUTS, many chains side by side.

With momenta $p \sim N(0, M)$, M diagonal, energy $H = -\log \pi(z) + p^\top M^{-1} p / 2$ and steps

$$ p \leftarrow p + \tfrac{\epsilon}{2} \nabla \log \pi(z), \quad z \leftarrow z + \epsilon M^{-1} p, \quad
   p \leftarrow p + \tfrac{\epsilon}{2} \nabla \log \pi(z), $$

which keep volume and can be run backwards. HMC goes a random number of steps and accepts by the energy's change. NUTS doubles a trajectory
forwards or backwards until its ends turn towards each other, $v \cdot \rho \le 0$ for the velocity v at an end and the sum $\rho$ of all momenta,
in the whole or in any of its binary parts, and takes a state of it with weights $e^{-H}$, the later half preferred. References: Neal, MCMC using
Hamiltonian dynamics, 2011; Hoffman and Gelman, The no-U-turn sampler, 2014; Betancourt, A conceptual introduction to Hamiltonian Monte Carlo, 2017.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from physdiff.base.rng import Rng

__all__ = ["Move", "Point", "Target", "energy", "hmc_move", "leapfrog", "nuts_move"]

# An energy that has risen by this much is on its way to infinity.
_DIVERGED = 1000.0


class Point(NamedTuple):
    """Where the chains stand.

    Args:
        z: (chains, *shape).
        value: Log density, up to a constant, (chains,), float64; -inf where there is none.
        slope: Its gradient, shape of z; finite.
        image: (chains, ...), what is kept of the state, as the fields that z makes.
    """

    z: Tensor
    value: Tensor
    slope: Tensor
    image: Tensor


Target = Callable[[Tensor], Point]


@dataclass(frozen=True, eq=False)
class Move:
    """What a transition of all chains has done.

    Args:
        point: Where they stand now.
        acceptance: Mean acceptance probability along each chain's trajectory, (chains,).
        diverged: Whether the energy ran away, (chains,).
        gradients: Gradients taken by each chain, (chains,).
    """

    point: Point
    acceptance: Tensor
    diverged: Tensor
    gradients: Tensor


def leapfrog(target: Target, point: Point, momentum: Tensor, *, step: Tensor | float, inverse_mass: Tensor) -> tuple[Point, Tensor]:
    """One step of length `step` (a number, or one for each chain, (chains, 1, ...); below zero: backwards in time)."""
    half = momentum + 0.5 * step * point.slope
    new = target(point.z + step * inverse_mass * half)
    return new, half + 0.5 * step * new.slope


def energy(point: Point, momentum: Tensor, inverse_mass: Tensor) -> Tensor:
    """H, (chains,), float64."""
    return -point.value + 0.5 * _dot(momentum, inverse_mass * momentum)


def hmc_move(target: Target, point: Point, *, step: float, inverse_mass: Tensor, rng: Rng, length: int = 10) -> Move:
    """A trajectory of one to 2 length - 1 steps, as many for all chains, then acceptance or not.

    The number of steps is drawn at random, for a fixed one can be a whole period, after which a chain stands where it was.
    """
    p = _momenta(point, inverse_mass, rng)
    before, new = energy(point, p, inverse_mass), point
    count = int(rng.child("steps").integers(1, 2 * length))
    for _ in range(count):
        new, p = leapfrog(target, new, p, step=step, inverse_mass=inverse_mass)
    change = (before - energy(new, p, inverse_mass)).nan_to_num(-torch.inf, posinf=torch.inf)
    accepted = torch.log(rng.child("accept").uniform(change.shape, like=change)) < change
    moved = _either(accepted, new, point)
    return Move(moved, change.exp().clamp_max(1), change < -_DIVERGED, torch.full_like(change, count))


def nuts_move(target: Target, point: Point, *, step: float, inverse_mass: Tensor, rng: Rng, depth: int = 8) -> Move:
    """A trajectory doubled up to `depth` times, at most 2^depth - 1 steps, and a state of it."""
    p = _momenta(point, inverse_mass, rng)
    start = energy(point, p, inverse_mass)
    ends = [(point, p), (point, p)]  # first and last state in time
    chosen, total, rho = point, torch.zeros_like(start), p
    accepted, gradients = torch.zeros_like(start), torch.zeros_like(start)
    active, diverged = torch.ones_like(start, dtype=torch.bool), torch.zeros_like(start, dtype=torch.bool)
    for level in range(depth):
        index = active.nonzero()[:, 0]
        if not len(index):
            break
        key = rng.child("level", level)
        ahead = key.child("way").uniform(start.shape, like=start)[index] < 0.5
        edge = _either(ahead, _rows(ends[1][0], index), _rows(ends[0][0], index))
        momentum = _where(ahead, ends[1][1][index], ends[0][1][index])
        signed = _per_row(torch.where(ahead, step, -step), momentum).to(momentum)
        part = _Part(target, inverse_mass, start[index], key.child("part"), index, len(start))
        part.grow(edge, momentum, signed, 1 << level)
        accepted[index] += part.accepted
        gradients[index] += part.gradients
        diverged[index] |= part.diverged
        whole = part.running  # neither turned nor diverged
        take = whole & (torch.log(key.child("take").uniform(start.shape, like=start)[index]) < part.total - total[index])
        chosen = _put(chosen, index, _either(take, part.chosen, _rows(chosen, index)))
        total[index] = torch.where(whole, torch.logaddexp(total[index], part.total), total[index])
        rho = rho.index_copy(0, index, rho[index] + part.rho)
        for end, mine in ((0, whole & ~ahead), (1, whole & ahead)):
            state, m = ends[end]
            kept = _put(state, index, _either(mine, part.point, _rows(state, index)))
            ends[end] = (kept, m.index_copy(0, index, _where(mine, part.momentum, m[index])))
        turned = _turned(ends[0][1][index], ends[1][1][index], rho[index], inverse_mass)
        active[index] = whole & ~turned
    return Move(chosen, accepted / gradients, diverged, gradients)


class _Part:
    """A stretch of 2^j new states beyond one end of the trajectories of some chains, and a state drawn from it."""

    def __init__(self, target: Target, inverse_mass: Tensor, start: Tensor, rng: Rng, index: Tensor, chains: int) -> None:
        self.target, self.inverse_mass, self.start, self.rng = target, inverse_mass, start, rng
        self.index, self.chains = index, chains
        self.total = torch.full_like(start, -torch.inf)
        self.accepted, self.gradients = torch.zeros_like(start), torch.zeros_like(start)
        self.running, self.diverged = torch.ones_like(start, dtype=torch.bool), torch.zeros_like(start, dtype=torch.bool)

    def grow(self, point: Point, momentum: Tensor, step: Tensor, size: int) -> None:
        """Take up to `size` steps; a chain stops where a binary part of the stretch has turned, or its energy ran away."""
        self.point, self.momentum, self.chosen, self.rho = point, momentum, point, torch.zeros_like(momentum)
        # keyed by all chains, so that what one draws does not depend on which others still run
        dice = self.rng.uniform((size, self.chains), like=self.total).log()
        marks = [(momentum, momentum)] * size.bit_length()  # momenta at the start of the parts that are open, and rho there
        for leaf in range(size):
            rows = self.running.nonzero()[:, 0]
            if not len(rows):
                return
            new, p = leapfrog(self.target, _rows(self.point, rows), self.momentum[rows], step=step[rows], inverse_mass=self.inverse_mass)
            self.point, self.momentum = _put(self.point, rows, new), self.momentum.index_copy(0, rows, p)
            self.rho = self.rho.index_copy(0, rows, self.rho[rows] + p)
            bad = self._weigh(new, p, rows, dice[leaf])
            # leaf 2k opens part number popcount(k) of those open; an odd leaf ends as many parts as it has trailing ones
            top = (leaf >> 1).bit_count()
            if leaf % 2 == 0:
                marks[top] = (self.momentum, self.rho)
                turned = torch.zeros_like(bad)
            else:
                ones = (~leaf & (leaf + 1)).bit_length() - 1
                turned = torch.zeros_like(bad)
                for first, before in marks[top - ones + 1 : top + 1]:
                    turned |= _turned(first[rows], p, self.rho[rows] - before[rows] + first[rows], self.inverse_mass)
            self.diverged[rows] |= bad
            self.running[rows] = ~(bad | turned)

    def _weigh(self, new: Point, p: Tensor, rows: Tensor, dice: Tensor) -> Tensor:
        weight = (self.start[rows] - energy(new, p, self.inverse_mass)).nan_to_num(-torch.inf, posinf=torch.inf)
        total = torch.logaddexp(self.total[rows], weight)
        take = dice[self.index[rows]] < weight - total
        self.chosen = _put(self.chosen, rows, _either(take, new, _rows(self.chosen, rows)))
        self.total[rows] = total
        self.accepted[rows] += weight.exp().clamp_max(1)
        self.gradients[rows] += 1
        return weight < -_DIVERGED


def _momenta(point: Point, inverse_mass: Tensor, rng: Rng) -> Tensor:
    return rng.child("momentum").normal(point.z.shape, like=point.z) / inverse_mass.sqrt()


def _turned(first: Tensor, last: Tensor, rho: Tensor, inverse_mass: Tensor) -> Tensor:
    along = inverse_mass * rho
    return (_dot(first, along) <= 0) | (_dot(last, along) <= 0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).flatten(1).sum(1)


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.ndim - 1))


def _where(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(_per_row(mask, a), a, b)


def _either(mask: Tensor, a: Point, b: Point) -> Point:
    return Point(*(_where(mask, one, two) for one, two in zip(a, b, strict=True)))


def _rows(point: Point, index: Tensor) -> Point:
    return point if len(index) == len(point.value) else Point(*(part[index] for part in point))


def _put(point: Point, index: Tensor, new: Point) -> Point:
    if len(index) == len(point.value):
        return new
    return Point(*(part.index_copy(0, index, one) for part, one in zip(point, new, strict=True)))
