r"""Have chains mixed, and how many independent draws are they worth: split R-hat and effective sizes of ranks.

Every chain is cut in two. Draws become normal scores of their ranks in all chains, so that heavy tails and infinite variances do no harm. With
W the mean variance within the m half-chains of length n and B/n the variance of their means

$$ \hat R = \sqrt{\frac{\frac{n-1}{n} W + \frac{B}{n}}{W}}, \qquad
   \mathrm{ESS} = \frac{m n}{-1 + 2 \sum_k (\rho_{2k} + \rho_{2k+1})}, \qquad \rho_t = 1 - \frac{W - \bar\gamma_t}{W (n-1)/n + B/n}, $$

the sum ended where a pair turns negative and made monotone (Geyer, Practical Markov chain Monte Carlo, 1992). R-hat is the larger of that of the
scores and of the scores of |x - median|. Reference: Vehtari, Gelman, Simpson, Carpenter and Buerkner, Rank-normalization, folding, and localization,
2021.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physdiff.base.errors import ShapeError

__all__ = ["bulk_size", "split_rhat", "tail_size"]


def split_rhat(draws: Tensor) -> Tensor:
    """R-hat of draws (chains, n, *k), (*k), float64: 1 for chains that have mixed, suspicious above 1.01; NaN where nothing varies.

    Raises:
        ShapeError: If there are less than four draws of a chain.
    """
    x = _halves(draws)
    folded = (x - x.flatten(0, 1).median(0).values).abs()
    found = torch.maximum(_rhat(_scores(x)), _rhat(_scores(folded)))
    return found.reshape(draws.shape[2:])


def bulk_size(draws: Tensor) -> Tensor:
    """Effective number of draws (chains, n, *k) for means and medians, (*k), float64; NaN where nothing varies.

    Raises:
        ShapeError: If there are less than four draws of a chain.
    """
    return _size(_scores(_halves(draws))).reshape(draws.shape[2:])


def tail_size(draws: Tensor) -> Tensor:
    """Effective number of draws (chains, n, *k) for the 5 % and the 95 % quantile, the smaller of both, (*k), float64; NaN where nothing varies.

    Raises:
        ShapeError: If there are less than four draws of a chain.
    """
    x = _halves(draws)
    low, high = torch.quantile(x.flatten(0, 1), x.new_tensor([0.05, 0.95]), dim=0)
    return torch.minimum(_size((x <= low).double()), _size((x <= high).double())).reshape(draws.shape[2:])


def _halves(draws: Tensor) -> Tensor:
    """(2 chains, n/2, K), float64; the middle draw of an odd number is left out."""
    if draws.ndim < 2 or draws.shape[0] < 1 or draws.shape[1] < 4:
        raise ShapeError(f"mixing: expected draws (chains, n, ...) with n >= 4, got {tuple(draws.shape)}; draw more")
    x = draws.detach().double().reshape(*draws.shape[:2], -1)
    half = x.shape[1] // 2
    return torch.cat([x[:, :half], x[:, -half:]])


def _scores(x: Tensor) -> Tensor:
    """Normal scores of the ranks among all chains; equal draws (a chain that stayed) share their mean rank."""
    flat = x.flatten(0, 1).T.contiguous()
    ordered = flat.sort(-1).values
    ranks = 0.5 * (torch.searchsorted(ordered, flat) + torch.searchsorted(ordered, flat, right=True) + 1)
    return torch.special.ndtri((ranks - 0.375) / (flat.shape[-1] + 0.25)).T.reshape(x.shape)


def _variances(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean variance within chains, and the variance of the whole estimated from within and between, (K)."""
    n = x.shape[1]
    within = x.var(1).mean(0)
    return within, within * (n - 1) / n + x.mean(1).var(0)


def _rhat(x: Tensor) -> Tensor:
    within, whole = _variances(x)
    return torch.where(whole > 0, (whole / within).sqrt(), torch.nan)


def _size(x: Tensor) -> Tensor:
    m, n = x.shape[:2]
    within, whole = _variances(x)
    off = x - x.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(off, n=2 * n, dim=1).abs() ** 2
    covariance = torch.fft.irfft(spectrum, n=2 * n, dim=1)[:, :n].mean(0) / n
    rho = 1 - (within - covariance) / whole
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].unflatten(0, (-1, 2)).sum(1)
    positive = torch.cumprod((pairs > 0).double(), 0)
    time = -1 + 2 * (torch.cummin(pairs, 0).values * positive).sum(0)
    # chains that swing to and fro are worth more than their number, but not by more than this (Stan's bound)
    found = m * n / time.clamp_min(1 / math.log10(m * n))
    return torch.where(whole > 0, found, torch.nan)
