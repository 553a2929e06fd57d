r"""Control by a generative model: draw state and forcing together, steered towards an objective.

A prior of trajectories and forcings knows which go together; the objective J says which are wanted. Draws follow $p(x) e^{-\lambda J(x)}$
approximately: at every step the estimate $D = E[x_0 | x_t]$ is moved to the minimum of

$$\lambda J(x) + \frac{|z - D|^2}{2 v(t)}, \qquad v = \frac{\sigma^2}{\alpha^2 + \sigma^2},$$

over coefficients z of x, v the variance of clean coefficients of unit variance given noisy ones. One step down its slope is the guidance of
the wavelet diffusion neural operator; going to the minimum needs no tuned schedule and cannot overshoot. The network is not differentiated.

References: P. Hu et al., Wavelet diffusion neural operator, ICLR 2025; A. Bansal et al., Universal guidance for diffusion models, CVPR
workshops 2023.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior

__all__ = ["SteeredDenoiser", "control"]

Objective = Callable[[Tensor], Tensor]


class SteeredDenoiser(Denoiser):
    """A denoiser whose estimate is moved towards an objective; see the module.

    Args:
        inner: E[z_0 | z_t].
        objective: Of coefficients (B, C', T', *S'), (B,), differentiable.
        strength: lambda.
        moves: Gradient steps towards the minimum, each as long as it lowers the sum, found by doubling and halving.
    """

    def __init__(self, inner: Denoiser, objective: Objective, *, strength: float = 1.0, moves: int = 8) -> None:
        super().__init__()
        self.inner, self.schedule = inner, inner.schedule
        self.objective, self.strength, self.moves = objective, strength, moves

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """The estimate, moved."""
        with torch.no_grad():
            mean = self.inner(x_t, t, cond)
        alpha, sigma = self.schedule(t)
        variance = (sigma**2 / (alpha**2 + sigma**2)).to(mean).reshape(-1, *[1] * (mean.ndim - 1))
        return self._moved(mean, variance)

    def _cost(self, z: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return self.strength * self.objective(z) + ((z - mean) ** 2 / (2 * variance)).flatten(1).sum(1)

    def _moved(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Gradient descent; every row has its own length of step and keeps the best that it met."""
        z = mean
        step = variance.expand(len(mean), *variance.shape[1:]).clone()
        with torch.no_grad():
            cost = self._cost(z, mean, variance)
        for _ in range(self.moves):
            with torch.enable_grad():
                at = z.detach().requires_grad_()
                (slope,) = torch.autograd.grad(self._cost(at, mean, variance).sum(), at)
            with torch.no_grad():
                trial = z - step * slope
                value = self._cost(trial, mean, variance)
                better = (value < cost).reshape(step.shape)
                z = torch.where(better, trial, z)
                cost = torch.where(value < cost, value, cost)
                step = torch.where(better, 1.6 * step, 0.4 * step)
        return z


def control(
    prior: DiffusionPrior,
    objective: Objective,
    n: int,
    *,
    cond: Tensor | None = None,
    strength: float = 1.0,
    moves: int = 8,
    rng: Rng,
    max_batch: int = 64,
) -> Tensor:
    """Draw windows (state and forcing) steered towards a small objective.

    Args:
        prior: Of windows that hold both.
        objective: Differentiable; physical windows (B, C, T, *S) to costs (B,), the smaller the better.
        n: Number of draws.
        cond: Condition window, batch 1 or n (what is known: the first state).
        strength: Weight lambda of the objective against the prior: a draw with a cost higher by 1 / lambda is e times rarer.
        moves: Gradient steps of the estimate at each step of the sampler (gradients of the objective and the decoder, not of the network).
        rng: Randomness.
        max_batch: Windows drawn at once.

    Returns:
        (n, C, T, *S) in physical units. Run the forcing through the true law: the state that comes with it is the model's belief.

    Raises:
        InputError: If a number makes no sense, or as in `DiffusionPrior.sample`.
        ShapeError: If the objective gives not one number for each window.
    """
    if strength < 0 or moves < 1 or n < 1 or max_batch < 1:
        raise InputError(f"control: expected strength >= 0 and n, moves, max_batch >= 1, got {strength}, {n}, {moves}, {max_batch}")
    if cond is not None and cond.shape[0] not in (1, n):
        raise ShapeError(f"cond: expected batch 1 or {n}, got {cond.shape[0]}")
    draws = []
    for start in range(0, n, max_batch):
        rows = range(start, min(start + max_batch, n))
        part = cond if cond is None or cond.shape[0] == 1 else cond[start : rows.stop]
        steered = SteeredDenoiser(prior.denoiser, _of_coefficients(prior, objective, part), strength=strength, moves=moves)
        parts = {"sampler": prior.sampler, "steps": prior.steps, "cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec}
        made = DiffusionPrior(steered, prior.transform, prior.spec, **parts)  # type: ignore[arg-type]
        draws.append(made.sample(len(rows), cond=part, rng=rng.child("control", start), max_batch=max_batch))
    return torch.cat(draws)


def _of_coefficients(prior: DiffusionPrior, objective: Objective, cond: Tensor | None) -> Objective:
    """The objective as a function of coefficients."""
    like = next(prior.denoiser.parameters(), torch.zeros(()))
    completed = prior.complete(None if cond is None else cond.to(like.device))

    def cost(z: Tensor) -> Tensor:
        found = objective(prior.decode(z, completed))
        if found.shape != z.shape[:1]:
            raise ShapeError(f"objective: expected one cost per window, ({z.shape[0]},), got {tuple(found.shape)}; sum over the other axes")
        return found

    return cost
