r"""Walking an interpolant from base to data, or back, with as much fresh noise as one likes.

In the parameter r with t = sin^2(pi r/2) the flow reads dx/dr = v dt/dr + h dgamma/dr, in which a brownian gamma (proportional to sin(pi r)) is
smooth at both ends; steps are equal in r. For noise e(t) the drift gains -+ e h (dt/dr)/gamma, bounded too, and each step the variance
2 int e dt (Simpson). Heun's method with one noise for predictor and corrector is of weak order 2 for such additive noise, of order 2 for the flow.

Where gamma starts at zero the walk begins at t = cut with the noise that belongs there, x = x_0 + cut v(x_0, 0) + gamma(cut) z: a base that is
known (a point) would otherwise stay one draw under the flow. It ends with the posterior mean of x_1, the last noise of size gamma(1 - cut) left
out. e is chosen after training: it changes no marginal of an exact drift, and mends the spread of a learnt one (see `match_spread`).
Reference: Albergo, Boffi and Vanden-Eijnden, 2023, section 2.4; Ma et al., SiT, 2024.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.interpolant import Drift, Interpolant, ends_of
from physdiff.diffusion.schedule import per_sample

__all__ = ["DriftSampler", "InterpolantSampler"]

SHAPES = ("constant", "bump", "decreasing", "gamma")


class DriftSampler(Saved, ABC):
    """How a path is walked from base to data; abstract."""

    @abstractmethod
    def run(self, drift: Drift, x: Tensor, *, cond: Tensor | None = None, rng: Rng, first: Tensor | None = None) -> Tensor:
        """Carry x from the base (t = 0) to data.

        Args:
            drift: The two means.
            x: State at the start, (B, C, T, *S); for a one-sided path standard normal noise.
            cond: Encoded condition.
            rng: Source of the noise, keyed by step and row.
            first: Standard normal numbers for the beginning, shape of x; drawn from `rng` if None.
        """

    @abstractmethod
    def evaluations(self) -> int:
        """Evaluations of the drift for one draw."""


class InterpolantSampler(DriftSampler):
    """Heun's method for the flow or the SDE of an interpolant.

    Args:
        steps: Steps; two evaluations each.
        noise: Size of e(t); 0 is the flow.
        shape: e(t)/noise: "constant" (brownian gamma only); "bump": sin^2(pi t); "decreasing": (1 + cos(pi t))^2/4 (brownian or one-sided), with
            noise = scale^2/2 the best for a base that is known, where the flow needs small steps; "gamma": gamma(t).
        cut: Distance from both ends at which the walk begins and ends; 0 (for the flow alone): from a drawn base exactly to t = 1.

    Raises:
        InputError: If a number makes no sense.
    """

    def __init__(self, steps: int = 20, noise: float = 0.0, *, shape: str = "bump", cut: float = 1e-4) -> None:
        if steps < 1 or not 0 <= cut < 0.1:
            raise InputError(f"InterpolantSampler: expected steps >= 1 and 0 <= cut < 0.1, got {steps} and {cut}")
        check_one_of(shape, SHAPES, "InterpolantSampler shape")
        if noise > 0 and cut == 0:
            raise InputError("InterpolantSampler: expected cut > 0 with noise, got 0: the score does not exist at the ends")
        self.steps, self.shape, self.cut = steps, shape, cut
        self.noise = check_positive(noise, "InterpolantSampler.noise", zero=True)

    def evaluations(self) -> int:
        """Two for each step; the ends' two more are not counted."""
        return 2 * self.steps

    def run(
        self, drift: Drift, x: Tensor, *, cond: Tensor | None = None, rng: Rng, first: Tensor | None = None, backward: bool = False
    ) -> Tensor:
        """Carry x from the base to data, see `DriftSampler.run`, or with `backward` from data (t = 1) to the base.

        Returns:
            State at the other end, shape of x.

        Raises:
            Diverged: If the drift gives a number that is not finite; it names the step.
        """
        self._check_noise(drift.interpolant)
        x = x if x.dtype in (torch.float32, torch.float64) else x.float()
        edge = 2 / math.pi * math.asin(math.sqrt(self.cut))
        start, stop = (1 - edge, edge) if backward else (edge, 1 - edge)
        path, here = drift.interpolant, 1.0 if backward else 0.0
        if float(path(here).gamma) > 0:
            start = here  # noise there already: a one-sided path
        elif self.cut > 0:
            if first is None:
                first = rng.child("begin").normal_each(range(x.shape[0]), x.shape[1:], like=x)
            x = self._begin(drift, x, cond, first=first, at=here)
        r = torch.linspace(start, stop, self.steps + 1, dtype=torch.float64)
        for i in range(self.steps):
            x = self._step(drift, x, (r[i], r[i + 1]), cond=cond, noise=rng.child("step", i), what=f"step {i + 1} of {self.steps}")
        if self.cut == 0:
            return x
        t = torch.sin(0.5 * math.pi * r[-1]) ** 2
        ends = ends_of(drift(x, t.to(x.device), cond), x, path(t))
        return ends[0] if backward and path.two_sided else ends[1] if not backward else x

    def _check_noise(self, path: Interpolant) -> None:
        """Raise InputError where e over gamma would have no bound."""
        gamma = path.gamma if path.two_sided else "one-sided"
        allowed = {"brownian": SHAPES, "one-sided": SHAPES[1:], "none": ()}.get(gamma, ("bump", "gamma"))
        if self.noise > 0 and self.shape not in allowed:
            remedy = f"take one of {', '.join(allowed)}" if allowed else "a path without gamma has no score: take noise 0"
            raise InputError(f"InterpolantSampler: expected a noise that fades with gamma, got {self.shape!r} on a {gamma} path; {remedy}")

    def _begin(self, drift: Drift, x: Tensor, cond: Tensor | None, *, first: Tensor, at: float) -> Tensor:
        """The state at distance `cut` from an end without noise."""
        t = torch.tensor(at, dtype=torch.float64)
        v, _ = drift(x, t.to(x.device), cond)
        step = self.cut if at == 0 else -self.cut
        gamma = drift.interpolant(t + step).gamma
        return x + step * v + per_sample(gamma, x) * drift.project(first.to(x))

    def _step(self, drift: Drift, x: Tensor, ends: tuple[Tensor, Tensor], *, cond: Tensor | None, noise: Rng, what: str) -> Tensor:
        r, s = ends
        h = (s - r).to(x)
        first = self._slope(drift, x, r, cond, forward=bool(s > r), what=what)
        ahead = x + h * first
        if self.noise > 0:
            t = torch.sin(0.5 * math.pi * torch.stack([r, s])) ** 2
            e = self._e(drift, torch.stack([t[0], 0.5 * (t[0] + t[1]), t[1]]))
            std = torch.sqrt(2 * (t[1] - t[0]).abs() * (e[0] + 4 * e[1] + e[2]) / 6)
            fresh = std.to(x) * drift.project(noise.normal_each(range(x.shape[0]), x.shape[1:], like=x))
        else:
            fresh = torch.zeros_like(x)
        second = self._slope(drift, ahead + fresh, s, cond, forward=bool(s > r), what=what)
        return x + 0.5 * h * (first + second) + fresh

    def _slope(self, drift: Drift, x: Tensor, r: Tensor, cond: Tensor | None, *, forward: bool, what: str) -> Tensor:
        """Drift dx/dr at parameter r."""
        t = torch.sin(0.5 * math.pi * r) ** 2
        rate = 0.5 * math.pi * torch.sin(math.pi * r)
        p = drift.interpolant(t)
        v, h = drift(x, t.to(x.device), cond)
        if not bool(v.isfinite().all() and h.isfinite().all()):
            raise Diverged("drift", float(t), f"{what}; train longer, lower the learning rate or use float32")
        if drift.interpolant.path != "one-sided" and drift.interpolant.gamma == "brownian":
            # gamma = scale sin(pi r)/2: no product of zero and infinity at the ends
            slope = 0.5 * math.pi * drift.interpolant.scale * torch.cos(math.pi * r)
        else:
            slope = p.dgamma * rate
        if self.noise > 0:
            slope = slope - (1 if forward else -1) * self._e(drift, t) * rate / p.gamma
        return per_sample(rate, x) * v + per_sample(slope, x) * h

    def _e(self, drift: Drift, t: Tensor) -> Tensor:
        if self.shape == "bump":
            return self.noise * torch.sin(math.pi * t) ** 2
        if self.shape == "decreasing":
            return self.noise * 0.25 * (1 + torch.cos(math.pi * t)) ** 2
        if self.shape == "gamma":
            return self.noise * drift.interpolant(t).gamma
        return self.noise * torch.ones_like(t)
