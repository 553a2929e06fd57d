r"""Diffusion of what a deterministic forecast leaves open: the mean by regression, the spread by a denoiser of its residual.

With m(c) any map of the condition and r = x_0 - m(c),

$$ E[x_0 \mid x_t, c] = m(c) + E[r \mid x_t - \alpha\, m(c), c], $$

which is exact whatever m is. Where a condition leaves little open (a solver's answer to a first frame), a denoiser without it learns that answer from
the few training levels whose noise hides it; the regression learns it from every step. Under the network of the residual lies a Gaussian with the
residual's variance (at each coefficient, or of each Fourier mode), so that an untrained network already gives the forecast dressed with errors of the
right size.

Reference: Mardani et al., Residual corrective diffusion modeling for km-scale atmospheric downscaling, 2025 (arXiv 2309.15214).
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, default_collate

from physdiff.base.errors import InputError
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import Covariance, DiagonalCovariance, spectral_covariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster, NetworkMap
from physdiff.diffusion.objective import LogNormalNoise
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.samplers.exponential import ExponentialMultistep
from physdiff.diffusion.schedule import EDMSchedule, per_sample
from physdiff.networks.unet import UNet
from physdiff.transforms.coarse_residual import CoarseResidual

__all__ = ["CentredDenoiser", "around_mean", "around_residuals", "residual_noise"]

_FLOOR = 1e-4  # share of the mean variance below which nothing is taken to vary


class CentredDenoiser(Denoiser):
    """The denoiser of a residual, and the mean it is a residual of.

    Args:
        mean: The map m of the encoded condition; its weights stay as they are.
        inner: Denoiser of the residual; its condition is the encoded one followed by the mean.
    """

    def __init__(self, mean: NetworkMap, inner: Denoiser) -> None:
        super().__init__()
        self.mean, self.inner, self.schedule = mean.requires_grad_(False), inner, inner.schedule
        self._held: tuple[weakref.ref[Tensor], int, Tensor] | None = None

    def train(self, mode: bool = True) -> Self:
        """Set the mode of the residual's network; the mean is never one of dropout."""
        super().train(mode)
        self.mean.eval()
        return self

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Estimate E[x_0 given x_t and the condition], (B, C, T, *S).

        Raises:
            InputError: If there is no condition.
        """
        if cond is None:
            raise InputError("CentredDenoiser: expected the condition that its mean depends on, got None; pass cond=")
        mean = self._mean_of(x_t, t, cond).to(x_t.dtype)
        off = x_t - per_sample(self.schedule(t)[0], x_t) * mean
        out: Tensor = self.inner(off, t, torch.cat([cond.to(mean.dtype), mean], 1))
        return mean + out

    def weight(self, t: Tensor) -> Tensor:
        """Weight of the squared error, that of the residual's denoiser."""
        return self.inner.weight(t)

    def _mean_of(self, x_t: Tensor, t: Tensor, cond: Tensor) -> Tensor:
        """The mean of a condition; a walk has one for all its steps, and its mean is kept as long as neither it nor a weight changes."""
        functional = torch.compiler.is_compiling() or torch._C._functorch.maybe_current_level() is not None
        if functional or cond.is_inference() or cond.requires_grad or any(part.training for part in self.mean.modules()):
            return self.mean(x_t, t, cond)  # type: ignore[no-any-return]
        version = cond._version + sum(p._version for p in self.mean.parameters())
        if self._held is None or self._held[0]() is not cond or self._held[1] != version:
            self._held = (weakref.ref(cond), version, self.mean(x_t, t, cond))
        return self._held[2]

    def __getstate__(self) -> dict[str, Any]:
        """What is kept for a walk stays here."""
        return {**self.__dict__, "_held": None}


def around_mean(
    mean: Forecaster,
    windows: Dataset[dict[str, Any]],
    *,
    network: Callable[..., nn.Module] = UNet,
    spectral: bool = False,
    steps: int = 24,
    seed: int = 0,
) -> DiffusionPrior:
    """The prior of a trained forecast's residuals, its network untrained; train it with ``DiffusionModule(prior, noise=residual_noise(prior))``.

    Args:
        mean: Trained; it shares its transform and condition with the prior.
        windows: Windows as it was trained on, but which it has not seen where it could have learnt them by heart: they tell the size of its errors.
        network: Class or factory called as ``network(in_channels, out_channels, ndim=..., periodic=...)``.
        spectral: Take residuals for homogeneous along the axes in space, with the variance of every wavenumber, instead of independent.
        steps: Steps of the sampler.
        seed: Seed of the weights.

    Raises:
        InputError: If there are fewer than two windows, or the forecast has no error on them.
    """
    if len(windows) < 2:  # type: ignore[arg-type]
        raise InputError(f"around_mean: expected two windows or more to tell the size of errors, got {len(windows)}")  # type: ignore[arg-type]
    return around_residuals(mean, _residuals(mean, windows), network=network, spectral=spectral, steps=steps, seed=seed)


def around_residuals(
    mean: Forecaster,
    residuals: Tensor,
    *,
    network: Callable[..., nn.Module] = UNet,
    spectral: bool = False,
    steps: int = 24,
    seed: int = 0,
) -> DiffusionPrior:
    """As `around_mean`, from the forecast's errors on windows that it has not seen, as `cross_fit` gives them.

    Args:
        mean: Trained; it shares its transform and condition with the prior.
        residuals: Coefficients of truth less forecast, (N, C', T', *S') with N >= 2.
        network: See `around_mean`.
        spectral: See `around_mean`.
        steps: Steps of the sampler.
        seed: Seed of the weights.

    Raises:
        InputError: If there are fewer than two windows, or the forecast has no error on them.
    """
    if len(residuals) < 2:
        raise InputError(f"around_residuals: expected the errors on two windows or more to tell their size, got {len(residuals)}")
    covariance, scale = _size_of(residuals, spectral=spectral)
    channels, frames, *space = mean.latent_shape
    assert mean.cond_transform is not None and mean.cond_spec is not None
    inputs = mean.cond_transform.out_shape((len(mean.cond_spec.names), mean.spec.frames, *mean.spec.grid.shape))[0]
    periodic = mean.spec.grid.periodic if frames == 1 else (False, *mean.spec.grid.periodic)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = network(2 * channels + inputs, channels, ndim=len(periodic), periodic=periodic)
    schedule = EDMSchedule(0.02 * scale, (400.0 if spectral else 80.0) * scale)  # smooth fields have much of their variance in few modes
    base = GaussianDenoiser(schedule, torch.zeros(mean.latent_shape), covariance)
    denoiser = CentredDenoiser(mean.map, PreconditionedDenoiser(net, schedule, scale, base=base))
    parts = {"cond_transform": mean.cond_transform, "cond_spec": mean.cond_spec, "sampler": ExponentialMultistep(2, noise=1.0), "steps": steps}
    return DiffusionPrior(denoiser, mean.transform, mean.spec, **parts)  # type: ignore[arg-type]


def residual_noise(prior: DiffusionPrior) -> LogNormalNoise:
    """The law of training noise for a prior made by `around_mean`: the usual one around the size of its residuals.

    For one that adds resolution it has more of the noise that hides all but what the coarse window tells, which leaves little open.

    Raises:
        InputError: If the prior is another.
    """
    denoiser = prior.denoiser
    if any(isinstance(part, CoarseResidual) for part in prior.transform.modules()):
        return LogNormalNoise(0.7, 1.4)
    if not isinstance(denoiser, CentredDenoiser) or not isinstance(denoiser.inner, PreconditionedDenoiser):
        raise InputError(f"residual_noise: expected a prior made by around_mean, or one that adds resolution, got one with {type(denoiser).__name__}")
    base = denoiser.inner.base
    variance = denoiser.inner.sigma_data**2 if base is None else float(base.covariance.mean_function(lambda c: c))
    return LogNormalNoise(-0.5 + 0.5 * math.log(variance))


def _residuals(mean: Forecaster, windows: Dataset[dict[str, Any]]) -> Tensor:
    """Coefficients of truth less forecast, (N, C', T', *S')."""
    found, size = [], len(windows)  # type: ignore[arg-type]
    mean.eval()
    with torch.no_grad():
        for start in range(0, size, 32):
            batch = default_collate([windows[i] for i in range(start, min(start + 32, size))])
            completed = mean.complete(batch["cond"], batch.get("guess"))
            z, c = mean.encode(batch["x"], completed), mean.encode_cond(completed)
            found.append(z - mean.map(z, z.new_zeros(()), c))
    return torch.cat(found)


def _size_of(residuals: Tensor, *, spectral: bool) -> tuple[Covariance, float]:
    """Covariance of residuals about zero, and their standard deviation."""
    if spectral:
        # both signs, so that the mean is zero and a bias counts as an error
        covariance: Covariance = spectral_covariance(torch.cat([residuals, -residuals]), residuals.ndim - 3)[1]
        variance = float(covariance.mean_function(lambda c: c))
    else:
        squares = residuals.double().square().mean(0)
        variance = float(squares.mean())
        covariance = DiagonalCovariance(squares.clamp_min(_FLOOR * variance).to(residuals.dtype))
    if not math.isfinite(variance) or variance <= 0:
        raise InputError(f"around_mean: expected a forecast with errors on complete windows, got a mean square of {variance:.3g}; it needs no spread")
    return covariance, math.sqrt(variance)
