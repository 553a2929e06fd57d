r"""Chains of Hamiltonian moves side by side: warm-up of step size and mass, then draws and what is known of their quality.

The step size is found by dual averaging of the acceptance a over all chains (Hoffman and Gelman, 2014): with h the damped mean of $a^* - a_k$,

$$ \log \epsilon_m = \mu - \frac{\sqrt{m}}{\gamma} h_m, \qquad
   \log \bar\epsilon_m = m^{-\kappa} \log \epsilon_m + (1 - m^{-\kappa}) \log \bar\epsilon_{m-1}, $$

the inverse mass is the variance of each entry over chains and draws in windows that double, shrunk towards one (Stan's scheme). What was adapted
stays as it is afterwards, so that draws have the law.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from physdiff.base.errors import CollapsedWeights, InputError
from physdiff.base.rng import Rng
from physdiff.inference.hamiltonian import Move, Point, Target, energy, leapfrog
from physdiff.inference.mixing import bulk_size, split_rhat, tail_size

__all__ = ["Chains", "DualAveraging", "run_chains"]

log = logging.getLogger(__name__)

_FIRST_WINDOW = 25
_MOST_ENTRIES = 256  # looked at for R-hat and effective sizes, evenly chosen


@dataclass(frozen=True, eq=False)
class Chains:
    """Draws of several chains.

    Args:
        images: What the target keeps of each state, (chains, draws, ...).
        values: Log densities, (chains, draws), float64.
        acceptance: Mean acceptance probability, ().
        step_size: After warm-up.
        inverse_mass: After warm-up, shape of one state.
        divergences: Number of moves whose energy ran away, warm-up left out.
        gradients: Gradients taken by each chain, warm-up included, (chains,).
    """

    images: Tensor
    values: Tensor
    acceptance: Tensor
    step_size: float
    inverse_mass: Tensor
    divergences: int
    gradients: Tensor

    def quality(self) -> dict[str, Tensor]:
        """Worst ``rhat``, ``ess_bulk`` and ``ess_tail`` over the log density and entries of the images (256 at most, evenly chosen)."""
        flat = self.images.flatten(2)
        chosen = torch.linspace(0, flat.shape[2] - 1, min(_MOST_ENTRIES, flat.shape[2]), device=flat.device).round().long().unique()
        x = torch.cat([self.values[..., None], flat[..., chosen].double()], -1)
        rhat, bulk, tail = split_rhat(x), bulk_size(x), tail_size(x)
        return {"rhat": rhat.nan_to_num(0.0).amax(), "ess_bulk": bulk.nan_to_num(torch.inf).amin(), "ess_tail": tail.nan_to_num(torch.inf).amin()}


class DualAveraging:
    """The step size that is accepted with a given mean probability.

    Args:
        step: First guess.
        target: Acceptance aimed at.
    """

    def __init__(self, step: float, target: float) -> None:
        self.target, self.centre = target, math.log(10 * step)
        self.count, self.error, self.average, self.step = 0, 0.0, 0.0, step

    def update(self, acceptance: float) -> None:
        """Take the acceptance of a move with `step`; gamma 0.05, t0 10 and kappa 0.75 as published."""
        self.count += 1
        share = 1 / (self.count + 10)
        self.error = (1 - share) * self.error + share * (self.target - acceptance)
        level = self.centre - math.sqrt(self.count) / 0.05 * self.error
        weight = self.count**-0.75
        self.average = weight * level + (1 - weight) * self.average
        self.step = math.exp(level)

    @property
    def final(self) -> float:
        """The averaged step size."""
        return math.exp(self.average) if self.count else self.step


def run_chains(
    target: Target,
    start: Tensor,
    move: Callable[..., Move],
    *,
    draws: int,
    warmup: int = 200,
    acceptance: float = 0.8,
    rng: Rng,
    what: str = "chains",
) -> Chains:
    """Warm up and draw.

    Args:
        target: Log density with gradient and image of states, all chains at once.
        start: First states (chains, *shape).
        move: `hmc_move` or `nuts_move`, called with step, inverse_mass and rng.
        draws: Draws of each chain that are kept.
        warmup: Moves before that, in which step size and mass are found; 0: step size alone, by doubling.
        acceptance: Acceptance aimed at, in (0, 1); closer to one takes shorter steps, against divergences.
        rng: Randomness.
        what: Name in messages and in front of the progress bar.

    Raises:
        InputError: If a number makes no sense.
        CollapsedWeights: If a chain starts where the density is zero.
    """
    if draws < 1 or warmup < 0 or not 0 < acceptance < 1 or start.ndim < 2 or len(start) < 1:
        raise InputError(
            f"{what}: expected draws >= 1, warmup >= 0, acceptance in (0, 1) and states (chains, ...), "
            f"got {draws}, {warmup}, {acceptance} and {tuple(start.shape)}"
        )
    point, inverse_mass = target(start), torch.ones_like(start[0])
    if not bool(point.value.isfinite().all()):
        lost = int((~point.value.isfinite()).sum())
        raise CollapsedWeights(f"{what}: expected a finite log density where chains start, got none for {lost} of {len(start)}; raise the noise std")
    gradients = torch.ones_like(point.value)
    step, tried = _first_step(target, point, inverse_mass, rng.child("first"))
    gradients, rate, window = gradients + tried, DualAveraging(step, acceptance), _Window(warmup)
    images, values, accepted, diverged = [], [], [], 0
    bar = tqdm(range(warmup + draws), desc=what, unit="move", disable=None)
    for k in bar:
        done = move(target, point, step=rate.step if k < warmup else rate.final, inverse_mass=inverse_mass, rng=rng.child("move", k))
        point, gradients = done.point, gradients + done.gradients
        if k < warmup:
            rate.update(float(done.acceptance.mean()))
            found = window.variance(k, point.z)
            if found is not None:
                inverse_mass = found
                step, tried = _first_step(target, point, inverse_mass, rng.child("first", k), rate.final)
                gradients, rate = gradients + tried, DualAveraging(step, acceptance)
            continue
        images.append(point.image)
        values.append(point.value)
        accepted.append(done.acceptance.mean())
        diverged += int(done.diverged.sum())
    _tell(what, diverged, draws * len(start))
    mean = torch.stack(accepted).mean()
    return Chains(torch.stack(images, 1), torch.stack(values, 1), mean, rate.final, inverse_mass, diverged, gradients)


def _tell(what: str, diverged: int, moves: int) -> None:
    if diverged:
        log.warning(
            "%s: %d of %d moves diverged: the density bends more sharply somewhere than the step size takes, and draws from there are missing; "
            "aim at a higher acceptance (0.95), or take a larger noise std",
            what,
            diverged,
            moves,
        )


def _first_step(target: Target, point: Point, inverse_mass: Tensor, rng: Rng, step: float = 0.5) -> tuple[float, int]:
    """A step size at which one leapfrog step is accepted about half the time, by doubling or halving; and the gradients that took."""
    p = rng.normal(point.z.shape, like=point.z) / inverse_mass.sqrt()
    before, direction, tried = energy(point, p, inverse_mass), 0, 0
    while 1e-10 < step < 1e10:
        new, q = leapfrog(target, point, p, step=step, inverse_mass=inverse_mass)
        change = (before - energy(new, q, inverse_mass)).nan_to_num(-torch.inf, posinf=torch.inf)
        way = 1 if float(change.exp().clamp_max(1).mean()) > 0.5 else -1
        tried += 1
        if direction == -way or tried > 60:
            break
        direction = way
        step *= 2.0**way
    return step, tried


class _Window:
    """Running variances over chains and draws in windows 25, 50, 100, ... between the first 15 % and the last 25 % of the warm-up."""

    def __init__(self, warmup: int) -> None:
        first, last = round(0.15 * warmup), warmup - round(0.25 * warmup)
        self.begin, self.ends, size, at = first, set[int](), _FIRST_WINDOW, first
        while at + size <= last:
            # a rest too short for the next window, twice as long, joins this one
            at = last if at + 3 * size > last else at + size
            self.ends.add(at - 1)
            size *= 2
        self.last = last
        self.states: list[Tensor] = []

    def variance(self, k: int, z: Tensor) -> Tensor | None:
        """The inverse mass if a window ends with move k."""
        if not self.ends or not self.begin <= k < self.last:
            return None
        self.states.append(z)
        if k not in self.ends:
            return None
        seen = torch.cat(self.states)
        self.states = []
        n = len(seen)
        return (n / (n + 5)) * seen.var(0) + (5 / (n + 5)) * torch.ones_like(z[0])
