r"""The noise of an interpolant chosen after training, so that its ensembles are as wide as their errors.

For an exact drift every noise gives the same law; for a learnt one the spread depends on it, and the data say which is right. The logarithm of
spread over error is taken at a few noises and its zero found between them. Reference: methods/diffusion 9.3; Albergo, Boffi and
Vanden-Eijnden, 2023, section 2.4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.evaluation.diagnose import known_frames, windows_of

__all__ = ["match_spread"]


def match_spread(
    prior: InterpolantPrior,
    data: xr.Dataset,
    *,
    noises: Sequence[float] = (0.0, 0.1, 0.3, 1.0, 3.0),
    cases: int = 32,
    members: int = 8,
    rng: Rng = Rng(0),  # noqa: B008 - a value
) -> tuple[InterpolantPrior, xr.Dataset]:
    """The prior with the noise at which spread meets error on windows of the data.

    Args:
        prior: Trained.
        data: Trajectories it was not trained on.
        noises: Noises tried, increasing.
        cases: Windows looked at.
        members: Members for each.
        rng: Randomness; the same draws for every noise.

    Returns:
        The prior with the chosen noise, and spread_skill by noise (attribute `chosen`): the crossing of one, or the noise nearest to it.

    Raises:
        InputError: If the noises do not increase.
        DataError: If the data have no window of the prior.
    """
    if len(noises) < 2 or any(b <= a for a, b in zip(noises, noises[1:], strict=False)):
        raise InputError(f"match_spread: expected two noises or more, increasing, got {tuple(noises)}")
    x, cond = windows_of(prior, data, cases)
    history = known_frames(prior)
    truth = x[:, :, history:]
    scale = truth.nan_to_num().flatten(2).std((0, 2)).clamp_min(1e-30).reshape(1, -1, 1, *[1] * prior.spec.grid.ndim)
    known = None if cond is None else cond.repeat_interleave(members, 0)
    ratios = []
    for noise in noises:
        draws = prior.with_noise(noise).sample(len(x) * members, cond=known, rng=rng).cpu()[:, :, history:]
        ratios.append(_spread_skill(draws.unflatten(0, (len(x), members)), truth, scale))
    chosen = _crossing(np.array(noises), np.array(ratios))
    found = xr.Dataset({"spread_skill": ("noise", np.array(ratios))}, coords={"noise": np.array(noises)}, attrs={"chosen": chosen})
    return prior.with_noise(chosen), found


def _spread_skill(draws: Tensor, truth: Tensor, scale: Tensor) -> float:
    members = draws.shape[1]
    seen = truth.isfinite() & draws.isfinite().all(1)
    variance = (draws.var(1) / scale**2)[seen].mean() * (members + 1) / members
    return float((variance / ((draws.mean(1) - truth) / scale)[seen].square().mean()).sqrt())


def _crossing(noises: np.ndarray, ratios: np.ndarray) -> float:
    """Where log ratio is zero, linear between the first two noises that enclose it; else the noise nearest to it."""
    log = np.log(np.maximum(ratios, 1e-12))
    for i in range(len(log) - 1):
        if log[i] * log[i + 1] <= 0 and log[i] != log[i + 1]:
            return float(noises[i] + (noises[i + 1] - noises[i]) * log[i] / (log[i] - log[i + 1]))
    return float(noises[np.abs(log).argmin()])
