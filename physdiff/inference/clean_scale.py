r"""What samplers that rebuild a state level by level share: noisy states on the scale of clean ones, $x = z + u \epsilon$, $u = \sigma/\alpha$."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import Diverged, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.timesteps import timesteps
from physdiff.diffusion.schedule import per_sample
from physdiff.inference.coupling import Coupling
from physdiff.inference.ensemble import Ensemble

__all__ = ["CleanScale"]

# Where a schedule begins at infinite noise, walks begin here.
_LARGEST = 200.0
# Schedules that end at finite noise: their last noisy time must still differ from 0.
_FIRST_TIME = 1e-5


class CleanScale:
    """A prior's denoiser and levels on that scale, and the ensemble at the end.

    Args:
        coupling: Gives the posterior; counts operator calls.
        steps: Number of levels.

    Attributes:
        least: The smallest ratio that is told from 0.
        ratios: Falling noise-to-signal ratios (steps + 1); the last is 0.
        evaluations: Network evaluations so far, a batch counted once.
    """

    def __init__(self, coupling: Coupling, steps: int) -> None:
        posterior = coupling.posterior
        self.coupling, self.posterior, self.denoiser = coupling, posterior, posterior.prior.denoiser
        self.schedule = self.denoiser.schedule
        times = timesteps(self.schedule, steps)[:-1]
        self.ratios = [*self.schedule.noise_ratio(times).clamp_max(_LARGEST).tolist(), 0.0]
        self.least = float(self.schedule.noise_ratio(_FIRST_TIME))
        self.cond = posterior.prior.encode_cond(posterior.completed)
        self.evaluations = 0

    def time(self, u: float) -> Tensor:
        """The time of ratio u, float64."""
        return self.schedule.time_of(torch.tensor(-math.log(u), dtype=torch.float64))

    def mean(self, x: Tensor, u: float) -> Tensor:
        """E[z | z + u noise = x], (B, *latent); differentiable where x asks for it."""
        t = self.time(u)
        self.evaluations += 1
        return self.denoiser(per_sample(self.schedule.alpha(t), x) * x, t.to(x.device), self.cond).to(x.dtype)

    def flow(self, x: Tensor, u: float, steps: int) -> Tensor:
        """Where the probability flow carries x from ratio u to 0, by Euler steps to geometric ratios, a factor 100 in all."""
        ratios = [u * 100 ** (-k / steps) for k in range(steps)] + [0.0]
        for here, there in zip(ratios, ratios[1:], strict=False):
            mean = self.mean(x, here)
            x = mean + (there / here) * (x - mean)
        return x

    def ensemble(self, n: int, walk: Callable[[Tensor, Rng], Tensor], *, max_batch: int, rng: Rng, what: str) -> Ensemble:
        """Walk n states from noise at the first ratio to clean coefficients.

        `info`: ``nfe`` and ``operator_calls`` per member, ``seconds``, and with Gaussian noise ``misfit`` (n,), see `Guided`.

        Raises:
            InputError: If no member is asked for.
            Diverged: If a member is not finite.
        """
        if n < 1:
            raise InputError(f"{what}: expected n >= 1 members, got {n}")
        start, posterior = time.monotonic(), self.posterior
        members, misfits = [], []
        self.evaluations, self.coupling.calls = 0, 0
        for first in range(0, n, max_batch):
            rows = range(first, min(first + max_batch, n))
            noise = rng.child("start").normal_each(rows, posterior.prior.latent_shape, like=posterior.state)
            z = walk(self.ratios[0] * noise, rng.child("path", first))
            misfits.append(self.coupling.misfit(z))
            members.append(posterior.decode(z))
        drawn = torch.cat(members)
        if not bool(drawn.isfinite().all()):
            raise Diverged(", ".join(posterior.prior.spec.names), 0.0, f"{what}: take more steps or a larger noise std, or check the readings' unit")
        info = {
            "nfe": torch.tensor(self.evaluations // len(members)),
            "operator_calls": torch.tensor(self.coupling.calls // len(members)),
            "ess": torch.full((1,), float(n), dtype=torch.float64),
            "seconds": torch.tensor(time.monotonic() - start),
        }
        seen = [m for m in misfits if m is not None]
        return Ensemble.equal(posterior.prior.masked(drawn), {**info, **({"misfit": torch.cat(seen)} if seen else {})})
