r"""Posterior draws from where a forecast left off: sequential posterior sampling with a warm start.

Where a forecast $\tilde x$ of the state is at hand, the reverse process need not begin with noise alone: it starts at a level u, $x_u = \alpha
\tilde x + \sigma \epsilon$, and only the last steps are taken. For a Gaussian law of the posterior $N(m_a, P_a)$ (of the prior whose score is used)
the result is

$$ N\big(m_a + r (\tilde x - m_a),\; r^2 u^2\big), \qquad r = \sqrt{P_a / (P_a + u^2)}, $$

so that mean and variance fall short by $r(\tilde x - m_a)$ and $P_a^2/(P_a + u^2)$: a level of twice the posterior's standard deviation leaves 45 %
of the forecast's error and 80 % of the variance, ten times leaves 10 % and 99 %. With the score of the forecast's own law $m_a$ is the Kalman
analysis; with that of the climate it is the analysis of the climate, and a low level is what keeps the forecast in. Start from forecasts that an
`EnsembleKalman` has moved, and the level may be low. Reference: Chung, Sim and Ye, Come-closer-diffuse-faster, 2022.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.covariance import Covariance
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import Schedule
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.guided import GuidedDenoiser, in_batches, prior_covariance
from physdiff.inference.posterior import Posterior, PosteriorSampler

__all__ = ["WarmStart", "times_from"]


def times_from(schedule: Schedule, level: float, steps: int, *, smallest: float = 0.002) -> Tensor:
    """Times of equal steps of lam from a noise-to-signal ratio down, and 0: (steps + 1,), float64.

    Args:
        schedule: The schedule.
        level: Ratio u to start at, within the schedule.
        steps: Number of steps.
        smallest: Ratio of the last noisy time, raised to what the schedule has.

    Raises:
        InputError: If the level is no ratio between `smallest` and the schedule's largest, or there are no steps.
    """
    if steps < 1:
        raise InputError(f"warm start: expected one step or more, got {steps}")
    low, high = float(schedule.lam(1.0)), min(float(schedule.lam(1e-5)), -math.log(smallest))
    lam = -math.log(check_positive(level, "warm start level"))
    if not low <= lam < high:
        raise InputError(f"warm start level: expected a noise-to-signal ratio from {math.exp(-high):.3g} to {math.exp(-low):.3g}, got {level:g}")
    times = schedule.time_of(torch.linspace(lam, high, steps, dtype=torch.float64))
    return torch.cat([times, times.new_zeros(1)])


class WarmStart(PosteriorSampler):
    """`Guided`, started from forecasts at a level of noise.

    Args:
        forecast: (n or 1, C, T, *S) in physical units, one for each member or one for all; known frames among them.
        level: Noise-to-signal ratio u of the coefficients to start at: some times their error, see the module.
        sampler: DPMSolver2M if None.
        steps: Number of steps; a third of the prior's own if None.
        covariance: C of the coefficients; `prior_covariance` if None.
        max_batch: Number of members that go through the network at once.
    """

    def __init__(
        self,
        forecast: Tensor,
        level: float,
        steps: int | None = None,
        *,
        sampler: Sampler | None = None,
        covariance: Covariance | None = None,
        max_batch: int = 64,
    ) -> None:
        self.forecast, self.level = forecast, check_positive(level, "WarmStart level")
        self.sampler, self.steps, self.covariance, self.max_batch = sampler or DPMSolver2M(), steps, covariance, max_batch

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; `info` holds what all report, ``misfit`` (n,) as `Guided`, and ``level``.

        Raises:
            InputError: If no member is asked for, or the level is none of the schedule's.
            ShapeError: If the forecasts are no windows of the prior, or not as many as members.
            Diverged: If a member is not finite.
        """
        begun = posterior.begin()
        prior, like = posterior.prior, posterior.state
        if (
            n < 1
            or self.forecast.ndim != len(prior.spec.shape) + 1
            or self.forecast.shape[1:] != prior.spec.shape
            or len(self.forecast) not in (1, n)
        ):
            raise ShapeError(f"WarmStart: expected forecasts (1 or {n}, {', '.join(map(str, prior.spec.shape))}), got {tuple(self.forecast.shape)}")
        guided = GuidedDenoiser(posterior, self.covariance or prior_covariance(posterior))
        times = times_from(guided.schedule, self.level, self.steps or max(1, prior.steps // 3))
        alpha, sigma = (c.to(like) for c in guided.schedule(times[0]))
        clean = prior.encode(self.forecast.to(like), posterior.completed).expand(n, *prior.latent_shape)
        cond = prior.encode_cond(posterior.completed)

        def start(rows: range) -> Tensor:
            noise = rng.child("start").normal_each(rows, prior.latent_shape, like=like)
            return alpha * clean[rows.start : rows.stop] + sigma * noise

        def run(first: int, z: Tensor) -> Tensor:
            return self.sampler.run(guided, z, times, cond=cond, rng=rng.child("path", first))

        members, misfit, batches = in_batches(guided, n, self.max_batch, start=start, run=run)
        info = {
            "nfe": torch.tensor(guided.evaluations // batches),
            **posterior.cost(begun, n),
            "operator_calls": torch.tensor(guided.operator_calls // batches),
            "ess": torch.full((1,), float(n), dtype=torch.float64),
            "misfit": misfit,
            "level": torch.tensor(self.level),
        }
        return Ensemble.equal(prior.masked(members), info)
