r"""Guidance without gradients: an ensemble on its way from noise to data, pulled to the readings by its own covariances (EnKG).

At each of the middle levels every member x_i is carried to clean data by the probability flow G, which makes of it a draw of the prior, and read:
$y_i = A(G(x_i))$. The law of x_i given the readings has the density $p_t(x) N(y; A(G(x)), R)$, so that a Kalman analysis of the x_i with their y_i,
noise variance $R / h_k$ at step k and $\sum_k h_k = 1$, is right for Gaussian priors and linear readings whatever the h; the flow then takes one
step. This is the default. As published, each step has a fixed length s instead:

$$ x_i \leftarrow x_i - \frac{s}{\|c\|_F} \sum_j c_{ij} (x_j - \bar x), \qquad c_{ij} = \tfrac1N \langle R^{-1} (y_i - y), y_j - \bar y \rangle, $$

against the gradient of the misfit, preconditioned by the ensemble. The norm takes the noise out of it and no step knows of the steps before: the
members fall together in all that was read, long before the end, at the readings themselves. Its mean is an estimate for sharp readings; its spread
says nothing. Operators are black boxes for both. Reference: Zheng and others, Ensemble Kalman diffusion guidance, 2024 (the fixed steps).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.ensemble_kalman import etkf
from physdiff.inference.ensemble_posterior import flat_readings
from physdiff.inference.posterior import Posterior, PosteriorSampler

__all__ = ["EnsembleGuided", "fixed_step"]

_LEAST = 64
_STEP, _CLEAN = Heun(), DPMSolver2M()


def fixed_step(x: Tensor, predicted: Tensor, y: Tensor, *, std: Tensor, length: float) -> Tensor:
    """One step of fixed length, the module's formula.

    Args:
        x: States (N, ...).
        predicted: Readings of what they become (N, m).
        y: Readings (m,).
        std: Standard deviation of their noise (m,).
        length: s.

    Returns:
        States after the step, shape and dtype of x.
    """
    off, spread = (predicted - y) / std, (predicted - predicted.mean(0)) / std
    c = off @ spread.T / len(x)
    size = c.norm()
    if not bool(size > 0):
        return x
    flat = x.flatten(1).double()
    return (flat - length / size * (c @ (flat - flat.mean(0)))).reshape(x.shape).to(x)


class EnsembleGuided(PosteriorSampler):
    """Draw by ensemble Kalman guidance of the probability flow.

    Exact for Gaussian priors and linear readings as ensemble and steps grow; else a heuristic (docs/choose_a_posterior.md has its bias).

    Args:
        steps: Levels of the flow; the prior's own number if None.
        updates: Analyses at each of the middle levels (the first and last eighth have none).
        ahead: Most steps of the flow from a level to clean data.
        length: None: Kalman analyses. A number: steps of that fixed length, as published (2).
        ensemble: Number of members that run; as many as are asked for, at least 64, if None. The first of them are returned.
        max_batch: Number of members that go through the network at once.

    Raises:
        InputError: If a number makes no sense.
    """

    def __init__(
        self,
        steps: int | None = None,
        updates: int = 1,
        ahead: int = 8,
        *,
        length: float | None = None,
        ensemble: int | None = None,
        max_batch: int = 64,
    ) -> None:
        if updates < 1 or ahead < 1 or (ensemble is not None and ensemble < 2) or (steps is not None and steps < 2):
            got = f"{updates}, {ahead}, {ensemble} and {steps}"
            raise InputError(f"EnsembleGuided: expected an update, a step ahead, two members and two steps or more, got {got}")
        self.length = None if length is None else check_positive(length, "EnsembleGuided length")
        self.steps, self.updates, self.ahead, self.ensemble, self.max_batch = steps, updates, ahead, ensemble, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members.

        `info`: ``misfit`` (n,) as `EnsembleKalman`; ``contraction``: standard deviation of the readings in the ensemble at its end over that at the
        first level; and what all report.

        Raises:
            InputError: If numbers make no sense or a noise law is not normal.
            Diverged: If a reading or a member is not finite.
        """
        begun = posterior.begin()
        size = max(n, _LEAST) if self.ensemble is None else self.ensemble
        if not 1 <= n <= size:
            raise InputError(f"EnsembleGuided: expected 1 to {size} members of an ensemble of {size}, got {n}; give a larger ensemble")
        prior, steps = posterior.prior, self.steps or posterior.prior.steps
        flow = _Flow(posterior, timesteps(prior.denoiser.schedule, steps), self.max_batch)
        x = prior.noisiest(rng.child("start").normal_each(range(size), prior.latent_shape, like=posterior.state), flow.times[0], flow.cond)
        # at the first levels the flow is longest, at the last ones it no longer mends what an analysis does to a state
        levels = range(steps // 8, max(steps - steps // 8, steps // 8 + 1))
        first = None
        for k in range(steps):
            for _ in range(self.updates if k in levels else 0):
                predicted, y, std = _read(posterior, flow.clean(x, k, self.ahead))
                first = predicted.var(0) if first is None else first
                if self.length is None:
                    x = etkf(x, predicted, y, std=std * (len(levels) * self.updates) ** 0.5)
                else:
                    x = fixed_step(x, predicted, y, std=std, length=self.length)
            x = flow.step(x, k)
        members = posterior.decode(x)
        predicted, y, std = _read(posterior, x)
        assert first is not None
        info = {
            "nfe": torch.tensor(flow.evaluations),
            **posterior.cost(begun, size),
            "operator_calls": torch.tensor(len(levels) * self.updates),
            "ess": torch.full((1,), float(n), dtype=torch.float64),
            "misfit": ((y - predicted[:n]) / std).square().mean(1),
            "contraction": (predicted.var(0).mean() / first.mean().clamp_min(torch.finfo(torch.float64).tiny)).sqrt(),
        }
        return Ensemble.equal(prior.masked(members[:n]), info)


class _Flow:
    """The probability flow in steps of second order."""

    def __init__(self, posterior: Posterior, times: Tensor, max_batch: int) -> None:
        self.denoiser, self.cond = posterior.prior.denoiser, posterior.prior.encode_cond(posterior.completed)
        self.times, self.max_batch, self.evaluations = times, max_batch, 0

    def step(self, x: Tensor, k: int) -> Tensor:
        """One level down."""
        return self._run(_STEP, x, self.times[k : k + 2])

    def clean(self, x: Tensor, k: int, most: int) -> Tensor:
        """From level k to clean data in `most` steps or fewer."""
        left = len(self.times) - 1 - k
        return self._run(_CLEAN, x, self.times[torch.linspace(k, k + left, min(most, left) + 1).round().long()])

    def _run(self, sampler: Sampler, x: Tensor, times: Tensor) -> Tensor:
        self.evaluations += sampler.evaluations(len(times) - 1)
        return torch.cat([sampler.run(self.denoiser, part, times, cond=self.cond, rng=Rng(0)) for part in x.split(self.max_batch)])


def _read(posterior: Posterior, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`flat_readings` of clean coefficients."""
    predicted, y, std = flat_readings(posterior.observations, posterior.decode(z))
    if not bool(predicted.isfinite().all()):
        raise Diverged("reading", 0.0, "an operator or the flow gave NaN or inf; take more steps or members, or keep the operator within its domain")
    return predicted, y, std
