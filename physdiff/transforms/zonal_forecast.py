r"""A first guess of waves on circles of latitude: each zonal wavenumber travels and decays by its own complex factor.

With $\hat a_t(\varphi, k)$ the Fourier coefficients of the anomaly along the last, periodic axis,

$$ \hat a_l(\varphi, k) = \sum_{j} b_{l j}(\varphi, k)\, \hat a_{-j}(\varphi, k) , \qquad
   b_l = \arg\min \sum |\hat a_l - b_l \hat a|^2 + \mu_l \operatorname{tr}(\Sigma)/h\, |b_l - b_l^{(k)}|^2 , $$

where $b_l^{(k)}$ is the same regression for all rows together and $\Sigma$ the Gram matrix of the h known frames. With one known frame
$\arg b_l$ is the phase travelled in l steps and $|b_l|$ the damping. The penalty $\mu_l$ of each lead is chosen by cross-validation, so that
distant leads fall back on what all rows share. The guess commutes with shifts along the last axis.

Reference: the spectral form of damped persistence with steady phase speeds; ridge regression after Hoerl and Kennard (1970).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from physdiff.base.errors import DataError, InputError
from physdiff.base.saved import Saved
from physdiff.transforms.linear_forecast import LinearFit, away_from

__all__ = ["PENALTIES", "ZonalForecast", "fit_zonal_forecast"]

PENALTIES = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties mu that cross-validation chooses from, in units of the mean variance of a predictor."""


class ZonalForecast(Saved, nn.Module):
    """Guess the anomalies of the coming frames, wavenumber by wavenumber.

    Args:
        factors: b, real and imaginary part last, (horizon, history, C, *rows, n // 2 + 1, 2); the newest frame comes first.
    """

    def __init__(self, factors: Tensor) -> None:
        super().__init__()
        if factors.ndim < 5 or factors.shape[-1] != 2:
            raise InputError(f"ZonalForecast: expected (horizon, history, C, *rows, wavenumbers, 2), got {tuple(factors.shape)}")
        self.factors: Tensor
        self.register_buffer("factors", factors.contiguous(), persistent=False)

    @property
    def horizon(self) -> int:
        """Number of frames guessed."""
        return self.factors.shape[0]

    @property
    def history(self) -> int:
        """Number of known frames used."""
        return self.factors.shape[1]

    def forward(self, known: Tensor) -> Tensor:
        """Anomalies of the known frames (B, C, history, *S) -> guessed anomalies (B, C, horizon, *S)."""
        n, shape = known.shape[-1], tuple(self.factors.shape[2:-1])
        if known.shape[2] < self.history or (known.shape[1], *known.shape[3:-1], n // 2 + 1) != shape:
            raise InputError(f"ZonalForecast: expected {self.history} known frames with waves {shape}, got {tuple(known.shape)}")
        waves = torch.fft.rfft(known[:, :, -self.history :].flip(2), dim=-1)
        factors = torch.view_as_complex(self.factors.to(known))
        ahead = torch.einsum("lhc...,bch...->bcl...", factors, waves)
        guess: Tensor = torch.fft.irfft(ahead, n=n, dim=-1)
        return guess


def fit_zonal_forecast(anomalies: Tensor, history: int, *, folds: int = 5, weights: Tensor | None = None) -> LinearFit:
    """Fit the zonal forecast on windows of anomalies, in the order of time.

    Args:
        anomalies: (n, C, T, *S) windows, T = history + horizon, finite, in time order; the last axis of S is periodic and uniform.
        history: Number of known frames at the beginning of each window.
        folds: Number of contiguous blocks for cross-validation; windows that overlap a block count for no training of its fold.
        weights: Area weights (*S), constant along the last axis; equal if None.

    Returns:
        The forecast, its cross-validated versions and their residuals.

    Raises:
        DataError: If there are too few windows, or a fold leaves too few that share no frame with it.
    """
    n, frames = anomalies.shape[0], anomalies.shape[2]
    fold_of = torch.arange(n) * folds // n
    outside = [away_from(fold_of == k, frames) for k in range(folds)]
    if not 1 <= history < frames or n < 4 * folds or min(int(o.sum()) for o in outside) < 4:
        raise DataError(
            f"zonal first guess: expected windows longer than {history} frames, {4 * folds} or more and some that share no frame with a fold, "
            f"got {n} of {frames} frames; use more data or fewer folds"
        )
    waves = torch.fft.rfft(anomalies, dim=-1).to(torch.complex64).movedim(2, -1)  # (n, C, *rows, K, T)
    area = torch.ones(anomalies.shape[3:-1]) if weights is None else weights[..., 0].float() / weights[..., 0].float().mean()
    tried = [[_factors(waves[o], history, mu, area) for mu in PENALTIES] for o in outside]
    errors = torch.zeros(len(PENALTIES), frames - history, dtype=torch.float64)
    for k, fold in enumerate(tried):
        for i, b in enumerate(fold):
            rest = waves[fold_of == k][..., history:] - _guessed(b, waves[fold_of == k], history)
            errors[i] += (rest.abs().square().double() * area[..., None, None]).flatten(0, -2).sum(0)
    best = errors.argmin(0).tolist()  # one penalty per lead
    by_fold = tuple(_chosen(fold, best) for fold in tried)
    full = _chosen([_factors(waves, history, mu, area) for mu in PENALTIES], best)
    residuals = torch.empty_like(anomalies[:, :, history:])
    for k, fit in enumerate(by_fold):
        inside = anomalies[fold_of == k]
        residuals[fold_of == k] = inside[:, :, history:] - fit(inside[:, :, :history])
    return LinearFit(full, by_fold, fold_of, residuals)


def _factors(waves: Tensor, history: int, penalty: float, area: Tensor) -> Tensor:
    """Factors b of every lead, (C, *rows, K, history, horizon) complex."""
    known, ahead = waves[..., :history].flip(-1), waves[..., history:]
    gram = torch.einsum("n...i,n...j->...ij", known.conj(), known).to(torch.complex128)
    cross = torch.einsum("n...i,n...l->...il", known.conj(), ahead).to(torch.complex128)
    eye = torch.eye(history, dtype=gram.dtype)
    shares = area[..., None, None, None]
    rows = tuple(range(1, gram.ndim - 3))
    shared_gram, shared_cross = ((g * shares).sum(rows, keepdim=True) if rows else g for g in (gram, cross))
    shared = torch.linalg.solve(shared_gram + 1e-3 * _mean_diagonal(shared_gram) * eye, shared_cross)
    ridge = penalty * _mean_diagonal(gram)
    factors: Tensor = shared + torch.linalg.solve(gram + ridge * eye, cross - gram @ shared)
    return factors


def _mean_diagonal(gram: Tensor) -> Tensor:
    """Mean variance of a predictor, (..., 1, 1); never zero: waves that are not there have a forecast, too."""
    return gram.diagonal(dim1=-2, dim2=-1).real.mean(-1).clamp_min(1e-200)[..., None, None]


def _guessed(b: Tensor, waves: Tensor, history: int) -> Tensor:
    return torch.einsum("...hl,n...h->n...l", b.to(waves.dtype), waves[..., :history].flip(-1))


def _chosen(by_penalty: list[Tensor], best: list[int]) -> ZonalForecast:
    b = torch.stack([by_penalty[i][..., lead] for lead, i in enumerate(best)])  # (L, C, *rows, K, h)
    return ZonalForecast(torch.view_as_real(b.movedim(-1, 1).to(torch.complex64).resolve_conj().contiguous()))
