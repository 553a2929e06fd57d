r"""How much of a mode's standard deviation a sampler keeps, exactly: the answer is known for Gaussian data.

For $x_0 \sim N(0, S)$ the denoiser is linear, so every sampler is linear in its start and in each of its noises. Rows of a batch are given one
of them each, and the standard deviation of the outcome is the root of the sum of squares: no Monte Carlo. A gain below one is numerical
under-dispersion: a first-order deterministic method loses a factor cos(dtheta) at every step in every mode. Reference: methods/diffusion 2.2
and 2.4; Karras et al., 2022.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.samplers.sampler import Sampler
from physdiff.diffusion.schedule import Schedule

__all__ = ["sampler_gain"]


class _Impulses:
    """Stands for an Rng: the noise of each key is one in the row of that key, zero elsewhere."""

    def __init__(self, rows: dict[tuple[int | str, ...], int], path: tuple[int | str, ...] = ()) -> None:
        self.rows, self.path = rows, path

    def child(self, *keys: int | str) -> _Impulses:
        return _Impulses(self.rows, self.path + keys)

    def normal_each(self, indices: range, shape: tuple[int, ...], *, like: Tensor) -> Tensor:
        row = self.rows.setdefault(self.path, len(self.rows) + 1)
        noise = torch.zeros(len(indices), *shape, dtype=like.dtype, device=like.device)
        if row < len(indices):
            noise[row] = 1
        return noise


@torch.no_grad()
def sampler_gain(sampler: Sampler, schedule: Schedule, times: Tensor, *, variances: Tensor, start: str = "noise") -> Tensor:
    """Standard deviation of each mode after sampling over its true one, with the exact denoiser.

    Args:
        sampler: Any sampler whose noise comes from its `rng`, row by row.
        schedule: The schedule.
        times: Its times, as for `Sampler.run`.
        variances: Variances (K,) of the modes, positive.
        start: ``"noise"``: N(0, sigma^2) at times[0]; ``"unit"``: N(0, alpha^2 + sigma^2); ``"exact"``: N(0, alpha^2 S + sigma^2).

    Returns:
        Gains (K,), float64; one is right.

    Raises:
        InputError: If a variance is not positive.
    """
    check_one_of(start, ("noise", "unit", "exact"), "sampler_gain.start")
    if variances.ndim != 1 or not bool((variances > 0).all()):
        raise InputError(f"sampler_gain: expected positive variances (K,), got {tuple(variances.shape)} from {float(variances.min()):g}")
    modes = variances.double().cpu().reshape(1, 1, -1)
    denoiser = GaussianDenoiser(schedule, torch.zeros_like(modes), DiagonalCovariance(modes))
    alpha, sigma = schedule(times[0])
    left = {"noise": torch.zeros_like(modes), "unit": torch.ones_like(modes), "exact": modes}[start]
    first = torch.sqrt(sigma**2 + alpha**2 * left)
    rows: dict[tuple[int | str, ...], int] = {}
    sampler.run(denoiser, first[None], times, rng=cast(Rng, _Impulses(rows)))  # which noises there are
    batch = torch.cat([first[None], first.new_zeros(len(rows), *first.shape)])
    out = sampler.run(denoiser, batch, times, rng=cast(Rng, _Impulses(rows)))
    return (out.square().sum(0) / modes).sqrt().flatten()
