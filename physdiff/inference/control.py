r"""Control by a generative model: draw state and forcing together, steered towards an objective.

A prior of trajectories and forcings knows which go together; the objective J says which are wanted. Draws follow $p(x) e^{-\lambda J(x)}$
approximately: at every step the estimate $D = E[x_0 | x_t]$ is moved to the minimum of

$$\lambda J(z) + \tfrac12 (z - D)^\top S^{-1} (z - D) $$

over coefficients z of x, S a spread of the clean coefficients given the noisy ones:

    moments   S = (sigma^2 / alpha) dD/dx_t     the denoiser's own covariance, which knows which forcing makes the wanted state; a gradient of the
                                                network for each move; exact for normal priors and quadratic objectives
    unit      S = sigma^2 / (alpha^2 + sigma^2) unit variance and independent: the network is not differentiated, and what the objective does
                                                not name is left alone, so that a state moves away from the forcing drawn with it

One step down its slope with "unit" is the guidance of the wavelet diffusion neural operator; going to the minimum needs no tuned schedule and cannot
overshoot. With z = D - S w the minimum is found by conjugate gradients over w, which ask for S w alone.

An objective of a few numbers that are affine in the window, J(x) = c(R x + r), is said as `ReadoutObjective`: where the decoder is affine, too
(normalisers, wavelets, patterns, linear guesses), these numbers are affine in the coefficients, their matrix is taken once, and no evaluation of
the cost decodes a window.

References: P. Hu et al., Wavelet diffusion neural operator, ICLR 2025; A. Bansal et al., Universal guidance for diffusion models, CVPR
workshops 2023; F. Rozet et al., Learning diffusion priors from observations by expectation maximization, NeurIPS 2024 (moments).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.schedule import per_sample

__all__ = ["ReadoutObjective", "SteeredDenoiser", "control"]

Objective = Callable[[Tensor], Tensor]
_TRIALS = 4
_SETTLED = 1e-3  # change of a step length, as a share of it, below which it is taken
_AFFINE = 1e-3  # what readings may differ by from those of an affine map, as a share of their size: float32 through a decoder
_LARGEST = 2**29  # entries of the matrix of readings


@dataclass(frozen=True)
class ReadoutObjective:
    """An objective of a few numbers that are affine in the window, J(x) = cost(reads(x)).

    As a function it is an objective like any other; `control` evaluates it without decoding.

    Args:
        reads: Affine map from physical windows (B, C, T, *S) to readings (B, m), as ``lambda x: x[:, 0, -1]`` (the last frame of the first field).
        cost: Differentiable; readings (B, m) to costs (B,).
    """

    reads: Callable[[Tensor], Tensor]
    cost: Objective

    def __call__(self, x: Tensor) -> Tensor:
        """Costs (B,) of windows (B, C, T, *S)."""
        return self.cost(self.reads(x))


class SteeredDenoiser(Denoiser):
    """A denoiser whose estimate is moved towards an objective; see the module.

    Args:
        inner: E[z_0 | z_t].
        objective: Of coefficients (B, C', T', *S'), (B,), differentiable.
        strength: lambda.
        spread: "moments" or "unit".
        moves: Conjugate gradient steps towards the minimum, each as long as it lowers the sum.
    """

    def __init__(self, inner: Denoiser, objective: Objective, *, strength: float = 1.0, spread: str = "moments", moves: int = 3) -> None:
        super().__init__()
        check_one_of(spread, ("moments", "unit"), "spread of control")
        self.inner, self.schedule = inner, inner.schedule
        self.objective, self.strength, self.spread, self.moves = objective, strength, spread, moves

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The estimate, moved."""
        alpha, sigma = (per_sample(part, x_t).to(x_t) for part in self.schedule(torch.as_tensor(t)))
        unit = sigma**2 / (alpha**2 + sigma**2)
        if self.spread == "unit" or bool((alpha == 0).any()):  # where nothing of the state is left, its gradient says nothing
            with torch.no_grad():
                mean = self.inner(x_t, t, cond)
            return self._moved(mean, lambda w: unit * w)
        with torch.enable_grad():
            x = x_t.detach().requires_grad_()
            mean = self.inner(x, t, cond)
        return self._moved(mean.detach(), lambda w: torch.autograd.grad(mean, x, w.to(mean), retain_graph=True)[0] * (sigma**2 / alpha))

    def _cost(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The cost (lambda J) and its slope."""
        with torch.enable_grad():
            at = z.detach().requires_grad_()
            value = self.strength * self.objective(at)
            return value.detach(), torch.autograd.grad(value.sum(), at)[0]

    def _moved(self, mean: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        """D - S w at the least cost met, by conjugate gradients; every row has its own steps."""
        w, spread_w, way, spread_way = (torch.zeros_like(mean) for _ in range(4))
        step, size, down = torch.ones(len(mean)).to(mean), torch.zeros(len(mean)).to(mean), w
        for _ in range(self.moves):
            value, slope = self._cost(mean - spread_w)
            new = slope - w
            spread_new = pull(new)
            beta = (_dot(spread_new, new - down) / size).clamp_min(0).where(size > 0, 0)
            way, spread_way = new + per_sample(beta, mean) * way, spread_new + per_sample(beta, mean) * spread_way
            here = value + 0.5 * _dot(w, spread_w)
            length = self._length(mean, (w, spread_w), (way, spread_way), _dot(spread_new, way), step, here)
            moved = length > 0
            down, size, step = new, _dot(spread_new, new).where(moved, 0), torch.where(moved, length, 0.1 * step)
            w, spread_w = w + per_sample(length, mean) * way, spread_w + per_sample(length, mean) * spread_way
        return mean - spread_w

    @torch.no_grad()
    def _length(
        self, mean: Tensor, at: tuple[Tensor, Tensor], way: tuple[Tensor, Tensor], fall: Tensor, step: Tensor, here: Tensor
    ) -> Tensor:
        """How far to go: where the slope along the way would vanish by its secant; shorter until the cost falls, 0 where nothing lowers it.

        A parabola is at its bottom after one secant; its second trial says so, and ends the search.
        """

        def cost(length: Tensor) -> tuple[Tensor, Tensor]:
            w, spread_w = (a + per_sample(length, mean) * b for a, b in zip(at, way, strict=True))
            value, slope = self._cost(mean - spread_w)
            apart = _dot(w, spread_w)  # a network's Jacobian is no covariance everywhere: where this falls below 0 there is nothing to believe
            return torch.where(apart < 0, torch.inf, value + 0.5 * apart), _dot(w - slope, way[1])

        best, least, trial = 0 * step, here, step
        for _ in range(_TRIALS):
            value, rise = cost(trial)
            best, least = torch.where(value < least, trial, best), torch.where(value < least, value, least)
            bottom = (trial * fall / (fall + rise)).where(fall + rise > 0, 2 * trial)
            if bool(((bottom - trial).abs() <= _SETTLED * trial.abs()).logical_and(best == trial).logical_or(fall <= 0).all()):
                return best.where(fall > 0, 0)
            trial = torch.where(value < here, bottom, torch.minimum(bottom, 0.5 * trial))
        return torch.where(cost(trial)[0] < least, trial, best).where(fall > 0, 0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).flatten(1).sum(1)


def control(
    prior: DiffusionPrior,
    objective: Objective,
    n: int,
    *,
    cond: Tensor | None = None,
    strength: float = 1.0,
    spread: str = "moments",
    rng: Rng,
    max_batch: int = 64,
) -> Tensor:
    """Draw windows (state and forcing) steered towards a small objective.

    Args:
        prior: Of windows that hold both.
        objective: Differentiable; physical windows (B, C, T, *S) to costs (B,), the smaller the better. A `ReadoutObjective` of few numbers
            takes a small part of the time where the transform is linear.
        n: Number of draws.
        cond: Condition window, batch 1 or n (what is known: the first state).
        strength: Weight lambda of the objective against the prior: a draw with a cost higher by 1 / lambda is e times rarer.
        spread: "moments": the denoiser's own covariance, some six times the cost of a plain draw; "unit": see the module.
        rng: Randomness.
        max_batch: Windows drawn at once.

    Returns:
        (n, C, T, *S) in physical units. Run the forcing through the true law: the state that comes with it is the model's belief.

    Raises:
        InputError: If a number makes no sense, a `ReadoutObjective` meets a map that is not affine, or as in `DiffusionPrior.sample`.
        ShapeError: If the objective gives not one number for each window.
    """
    if strength < 0 or n < 1 or max_batch < 1:
        raise InputError(f"control: expected strength >= 0 and n, max_batch >= 1, got {strength}, {n}, {max_batch}")
    if cond is not None and cond.shape[0] not in (1, n):
        raise ShapeError(f"cond: expected batch 1 or {n}, got {cond.shape[0]}")
    draws = []
    for start in range(0, n, max_batch):
        rows = range(start, min(start + max_batch, n))
        part = cond if cond is None or cond.shape[0] == 1 else cond[start : rows.stop]
        steered = SteeredDenoiser(prior.denoiser, _of_coefficients(prior, objective, part), strength=strength, spread=spread)
        parts = {"sampler": prior.sampler, "steps": prior.steps, "cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec}
        made = DiffusionPrior(steered, prior.transform, prior.spec, **parts)  # type: ignore[arg-type]
        draws.append(made.sample(len(rows), cond=part, rng=rng.child("control", start), max_batch=max_batch))
    return torch.cat(draws)


def _of_coefficients(prior: DiffusionPrior, objective: Objective, cond: Tensor | None) -> Objective:
    """The objective as a function of coefficients."""
    like = next(prior.denoiser.parameters(), torch.zeros(()))
    completed = prior.complete(None if cond is None else cond.to(like.device))
    if isinstance(objective, ReadoutObjective):
        start, slopes = _readings(prior, objective.reads, completed, like)

    def cost(z: Tensor) -> Tensor:
        if isinstance(objective, ReadoutObjective):
            found = objective.cost(start + (slopes.to(z) * z.flatten(1).unsqueeze(1)).sum(2))
        else:
            found = objective(prior.decode(z, completed))
        if found.shape != z.shape[:1]:
            raise ShapeError(f"objective: expected one cost per window, ({z.shape[0]},), got {tuple(found.shape)}; sum over the other axes")
        return found

    return cost


def _readings(prior: DiffusionPrior, reads: Callable[[Tensor], Tensor], completed: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Readings of coefficients of zero (B, m) and their matrix (B, m, number of coefficients), B that of the condition or 1."""
    rows = 1 if completed is None else len(completed)
    zero = torch.zeros(rows, *prior.latent_shape, device=like.device, dtype=like.dtype, requires_grad=True)
    with torch.enable_grad():
        start = reads(prior.decode(zero, completed))
        if start.ndim != 2 or len(start) != rows:
            raise ShapeError(f"ReadoutObjective reads: expected readings ({rows}, m), got {tuple(start.shape)}; flatten what is read of a window")
        if start.numel() * zero[0].numel() > _LARGEST:
            raise InputError(
                f"ReadoutObjective: expected few readings, got {start.shape[1]} of {zero[0].numel()} coefficients for {rows} windows; "
                "lower max_batch, or give the objective as a plain function"
            )
        slopes = [torch.autograd.grad(column.sum(), zero, retain_graph=True, allow_unused=True)[0] for column in start.unbind(1)]
    made = torch.stack([torch.zeros_like(zero) if s is None else s for s in slopes], 1).flatten(2)
    probe = torch.linspace(-2, 2, zero[0].numel()).to(zero).sin().mul(3).reshape(1, *zero.shape[1:]).expand_as(zero)
    with torch.no_grad():
        true = reads(prior.decode(probe, completed))
        off, size = (true - start - (made * probe.flatten(1).unsqueeze(1)).sum(2)).abs().max(), (true - start).abs().max() + start.abs().max()
    if not bool(off <= _AFFINE * size):
        raise InputError(
            f"ReadoutObjective: expected readings that are affine in the coefficients, got ones off by {float(off):.3g} of {float(size):.3g} "
            "(an autoencoder with networks, or a curved map); give the objective as a plain function"
        )
    return start.detach(), made
