r"""Conditioning by clamping, as the wavelet diffusion neural operator does it, beside the house's conditioning.

The house feeds what is known to the network as channels beside the noisy coefficients. Clamping overwrites the noisy coefficients
themselves: where the field is known in the whole cell of a coefficient, its entry of $x_t$ is the clean value, before every call and in the answer.
Coefficients of cells known in part (the first frame under a wavelet in time) cannot be clamped; what is known of them stays beside, as the
paper's extra channel does. The network has the same channels either way.

Reference: P. Hu et al., Wavelet diffusion neural operator, ICLR 2025.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.schedule import per_sample
from physdiff.transforms.compose import Compose
from physdiff.transforms.normalizer import Normalizer
from physdiff.transforms.wavelet import WaveletTransform

__all__ = ["ClampedDenoiser", "clamped"]


class ClampedDenoiser(Denoiser):
    """A preconditioned network whose known coefficients are clean.

    Args:
        inner: The network.
        scale: Factor (C', 1, ..., 1) from the values in the condition to coefficients of the prior.
        masks: Number of mask channels in the condition, after the C' values; mask m is that of the channels m, m + masks, ...
    """

    def __init__(self, inner: PreconditionedDenoiser, scale: Tensor, masks: int) -> None:
        super().__init__()
        self.inner, self.schedule, self.masks = inner, inner.schedule, masks
        self.scale: Tensor
        self.register_buffer("scale", scale, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Estimate E[x_0 given x_t and what is known], the known coefficients as they are."""
        if cond is None:
            return self.inner(x_t, t, None)  # type: ignore[no-any-return]
        c = x_t.shape[1]
        values, masks, rest = cond[:, :c], cond[:, c : c + self.masks], cond[:, c + self.masks :]
        held = (masks > 1 - 1e-6).repeat(1, c // self.masks, *[1] * (x_t.ndim - 2))
        clean = values * self.scale.to(values)
        alpha, sigma = self.schedule(t)
        size = per_sample(torch.hypot(alpha * self.inner.sigma_data, sigma), x_t)  # the network divides by it; clean values go in as they are
        noisy = torch.where(held, clean * size, x_t)
        beside = torch.cat([torch.where(held, torch.zeros_like(values), values), masks, rest], 1)
        return torch.where(held, clean.to(x_t), self.inner(noisy, t, beside))

    def weight(self, t: Tensor) -> Tensor:
        """Weight of the squared error, that of the network."""
        return self.inner.weight(t)


def clamped(prior: DiffusionPrior) -> DiffusionPrior:
    """The same (untrained) prior with clamping in place of the house's conditioning.

    Raises:
        InputError: If the prior is not one of a normaliser, one level of a wavelet and a normaliser of the bands, with masks of each field and
            the statistics of its first normaliser in the condition.
    """
    parts = list(prior.transform) if isinstance(prior.transform, Compose) else []
    inner, condition = prior.denoiser, prior.cond_transform
    fits = len(parts) == 3 and isinstance(parts[1], WaveletTransform) and parts[1].levels == 1 and condition is not None
    if not fits or not isinstance(inner, PreconditionedDenoiser) or inner.base is not None or condition is None:
        raise InputError("clamped: expected a prior of prepare_trajectories with one wavelet level, got another; clamping needs its layout")
    first, last = parts[0], parts[2]
    assert isinstance(first, Normalizer)
    assert isinstance(last, Normalizer)
    assert first.mean is not None
    assert first.std is not None
    assert last.std is not None
    fields = condition.fields
    if not condition.each or condition.mean is None or not torch.allclose(condition.mean[:fields].flatten(), first.mean.flatten().float()):
        raise InputError(
            "clamped: expected a condition with a mask for each field and the statistics of the fields, got another; use prepare_trajectories"
        )
    denoiser = ClampedDenoiser(inner, (1 / last.std).float(), fields)
    return DiffusionPrior(
        denoiser, prior.transform, prior.spec, sampler=prior.sampler, steps=prior.steps, cond_transform=condition, cond_spec=prior.cond_spec
    )
