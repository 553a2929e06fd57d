r"""The prior: everything needed to draw windows of fields in physical units.

A `DiffusionPrior` carries the denoiser, the transform (and with it the normalisation), what the fields and the condition are, and how to sample.
In coefficients $z = $ `encode`$(x)$ the denoiser is $E[z_0 \mid z_t]$; users, observations and laws see physical windows only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.field_spec import FieldSpec
from physdiff.transforms.condition import ConditionTransform
from physdiff.transforms.transform import Transform

__all__ = ["DiffusionPrior"]


class DiffusionPrior(WindowPrior):
    """A distribution over windows (C, T, *S), possibly given a condition window.

    Args:
        denoiser: E[z_0 | z_t] on coefficients.
        transform: Between physical windows and coefficients, fitted.
        spec: Names, units, grid, time step and number of frames of the windows.
        cond_transform: How a condition window is completed and encoded; None for an unconditional prior.
        cond_spec: Names and units of the condition window (before completion).
        sampler: How to sample.
        steps: Number of steps of the sampler.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        transform: Transform,
        spec: FieldSpec,
        *,
        sampler: Sampler,
        steps: int = 20,
        cond_transform: ConditionTransform | None = None,
        cond_spec: FieldSpec | None = None,
    ) -> None:
        super().__init__()
        self.denoiser, self.transform, self.cond_transform = denoiser, transform, cond_transform
        self.spec, self.cond_spec, self.sampler, self.steps = spec, cond_spec, sampler, steps
        self._check_parts()

    @property
    def model(self) -> nn.Module:
        """The denoiser."""
        return self.denoiser

    def draw(self, noise: Tensor, completed: Tensor | None, *, rng: Rng) -> Tensor:
        """Coefficients from start noise, see `WindowPrior.draw`."""
        times, encoded = self.sampler.grid(self.denoiser, self.steps), self.encode_cond(completed)
        return self.sampler.run(self.denoiser, self.noisiest(noise, times[0], encoded), times, cond=encoded, rng=rng)

    def with_sampler(self, sampler: Sampler, steps: int) -> DiffusionPrior:
        """The same prior, parts shared, that draws by another sampler; what is saved then says so too.

        Raises:
            InputError: If there are no steps.
        """
        made = DiffusionPrior(
            self.denoiser, self.transform, self.spec, sampler=sampler, steps=steps, cond_transform=self.cond_transform, cond_spec=self.cond_spec
        )
        made.training = self.training
        return made

    def noisiest(self, noise: Tensor, t: Tensor, encoded: Tensor | None) -> Tensor:
        """The state at the noisiest time: exact with a Gaussian base, whose large patterns noise would not drown, else with the data's variance."""
        denoiser = self.denoiser
        base = denoiser.base if isinstance(denoiser, PreconditionedDenoiser) else denoiser
        if isinstance(base, GaussianDenoiser):
            return base.noisy(noise, t, encoded)
        alpha, sigma = denoiser.schedule(t)
        std = denoiser.sigma_data if isinstance(denoiser, PreconditionedDenoiser) else 0.0
        return noise * torch.hypot(alpha * std, sigma).to(noise)
