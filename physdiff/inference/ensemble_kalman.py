r"""Ensemble Kalman analyses: an ensemble moved to what was read, by its own covariances.

Members X (N, d), their readings Y = H(X) (N, m), anomalies $A = X - \bar x$, $S = (Y - \bar y) R^{-1/2}$, $n = N - 1$:

    perturbed   x_j += A^T S (S^T S + n I)^-1 R^(-1/2) (y + e_j - H(x_j)),  e_j ~ N(0, R), their mean removed
    transform   x_j = mean + (w + T_j) A,  w = (y - mean y) R^(-1/2) S^T P,  P = (S S^T + n I)^-1,  T = (n P)^(1/2)
    local       the transform for every entry on its own, 1/R of the readings near it multiplied by a taper

The transform gives the Kalman update of the sample moments exactly where H is linear; all are approximations on laws that are not Gaussian.
References: Burgers, van Leeuwen and Evensen, Analysis scheme in the ensemble Kalman filter, 1998; Bishop, Etherton and Majumdar, Adaptive sampling
with the ensemble transform Kalman filter, 2001; Hunt, Kostelich and Szunyogh, Efficient data assimilation for spatiotemporal chaos, 2007; Gaspari and
Cohn, Construction of correlation functions in two and three dimensions, 1999.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng

__all__ = ["enkf", "etkf", "gaspari_cohn", "inflated", "letkf"]

# Numbers of a local analysis held at once.
_ENTRIES = 2**24


def gaspari_cohn(distance: Tensor) -> Tensor:
    """Taper of distances in units of half its support: 1 at 0, 5/24 at 1, 0 from 2 on; a correlation in up to three dimensions."""
    r = distance.abs()
    near = 1 - 5 / 3 * r**2 + 5 / 8 * r**3 + r**4 / 2 - r**5 / 4
    far = 4 - 5 * r + 5 / 3 * r**2 + 5 / 8 * r**3 - r**4 / 2 + r**5 / 12 - 2 / (3 * r.clamp_min(1))
    return torch.where(r <= 1, near, torch.where(r < 2, far, 0.0)).clamp_min(0)


def inflated(members: Tensor, factor: float) -> Tensor:
    """Members (N, ...) with their anomalies multiplied by `factor`, 1 or a little more: against the loss of spread of small ensembles."""
    check_positive(factor, "inflated factor")
    mean = members.mean(0)
    return mean + factor * (members - mean)


def enkf(members: Tensor, predicted: Tensor, y: Tensor, *, std: float | Tensor, rng: Rng) -> Tensor:
    """Every member moved towards the readings plus noise of its own.

    Args:
        members: X (N, ...), N of at least 2.
        predicted: Their readings (N, m) in the unit of y.
        y: Readings (m,).
        std: Standard deviation of their independent noise, a number or (m,).
        rng: Randomness of the noise.

    Returns:
        Members after the analysis, shape and dtype of `members`; all inside is float64.

    Raises:
        ShapeError: If the sizes do not fit.
        InputError: If a number is not finite, there are fewer than 2 members, or std is not positive.
    """
    x, s, misfit = _scaled(members, predicted, y, std)
    n = len(x)
    noise = rng.normal(misfit.shape, like=misfit)
    misfit = misfit + noise - noise.mean(0)
    # in the smaller of the two spaces: S (S^T S + n) ^-1 = (S S^T + n)^-1 S
    gram = s @ s.T + (n - 1) * torch.eye(n, dtype=s.dtype, device=s.device)
    weights = misfit @ torch.linalg.solve(gram, s).T
    return (x + weights @ (x - x.mean(0))).reshape(members.shape).to(members)


def etkf(members: Tensor, predicted: Tensor, y: Tensor, *, std: float | Tensor, rng: Rng | None = None) -> Tensor:
    """The symmetric square root: no noise, mean and covariance exactly those of the Kalman update of the sample moments.

    Arguments, result and errors as `enkf`; with `rng` the anomalies are turned at random, mean and covariance kept, which keeps long runs
    from growing outliers.
    """
    x, s, misfit = _scaled(members, predicted, y, std)
    weights = _weights(s[None], misfit.mean(0)[None])[0]
    if rng is not None:
        turn = _rotation(len(x), rng, x)
        mean = weights.mean(0)
        weights = mean + turn @ (weights - mean)
    mean = x.mean(0)
    return (mean + weights @ (x - mean)).reshape(members.shape).to(members)


def letkf(members: Tensor, predicted: Tensor, y: Tensor, *, std: float | Tensor, taper: Tensor, rng: Rng | None = None) -> Tensor:
    """The transform for every entry of the state, with the readings near it.

    Arguments, result and errors as `etkf`, and

    Args:
        members: See `enkf`.
        predicted: See `enkf`.
        y: See `enkf`.
        std: See `enkf`.
        taper: Weight in [0, 1] of each reading for each entry, (d, m), as `gaspari_cohn` of their distances.
        rng: See `etkf`; one turn for all entries.
    """
    x, s, misfit = _scaled(members, predicted, y, std)
    if taper.shape != (x.shape[1], s.shape[1]) or not bool(((taper >= 0) & (taper <= 1)).all()):
        raise ShapeError(f"taper: expected ({x.shape[1]}, {s.shape[1]}) of weights in [0, 1], got {tuple(taper.shape)}")
    root, mean, n = taper.to(s).sqrt(), x.mean(0), len(x)
    turn = None if rng is None else _rotation(n, rng, x)
    parts = []
    for rows in torch.arange(len(root), device=x.device).split(max(1, _ENTRIES // (n * max(n, s.shape[1])))):
        weights = _weights(s * root[rows, None], misfit.mean(0) * root[rows])
        if turn is not None:
            centre = weights.mean(1, keepdim=True)
            weights = centre + turn @ (weights - centre)
        parts.append(torch.einsum("dij,jd->id", weights, (x - mean)[:, rows]))
    return (mean + torch.cat(parts, 1)).reshape(members.shape).to(members)


def _scaled(members: Tensor, predicted: Tensor, y: Tensor, std: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """X flat, S, and every member's misfit over its std (N, m); float64."""
    n, m = len(members), y.numel()
    if y.ndim != 1 or predicted.shape != (n, m):
        raise ShapeError(f"ensemble update: expected readings (m,) and predicted ({n}, m), got {tuple(y.shape)} and {tuple(predicted.shape)}")
    if n < 2 or not bool(members.isfinite().all() & predicted.isfinite().all() & y.isfinite().all()):
        raise InputError(f"ensemble update: expected two or more finite members and finite readings, got {n} members; leave missing readings out")
    root = torch.as_tensor(std, dtype=torch.float64, device=members.device).expand(m)
    if not bool((root.isfinite() & (root > 0)).all()):
        raise InputError(f"ensemble update: expected positive finite std, got {float(root.min()):g}")
    h = predicted.double()
    return members.double().flatten(1), (h - h.mean(0)) / root, (y.double() - h) / root


def _weights(s: Tensor, misfit: Tensor) -> Tensor:
    """W + T for S (B, N, m) and mean misfits (B, m): new anomalies and shift of the mean in terms of the old anomalies, (B, N, N)."""
    n, few = s.shape[-2], s.shape[-1] < s.shape[-2]
    # in the smaller of the two spaces: f(S S^T) = f(0) + S (f(x) - f(0))/x (S^T S) S^T
    values, vectors = torch.linalg.eigh(s.mT @ s if few else s @ s.mT)
    values = values.clamp_min(0) + (n - 1)
    root = torch.sqrt((n - 1) / values)
    if few:
        basis = s @ vectors
        transform = torch.eye(n, dtype=s.dtype, device=s.device) - (basis / (values * (1 + root))[:, None, :]) @ basis.mT
        shift = basis @ ((vectors.mT @ misfit[:, :, None]) / values[:, :, None])
    else:
        transform = (vectors * root[:, None, :]) @ vectors.mT
        shift = vectors @ ((vectors.mT @ (s @ misfit[:, :, None])) / values[:, :, None])
    return transform + shift.mT


def _rotation(n: int, rng: Rng, like: Tensor) -> Tensor:
    """A random orthogonal matrix that keeps the vector of ones: (N, N)."""
    basis = torch.linalg.qr(torch.cat([like.new_ones(n, 1), rng.child("basis").normal((n, n - 1), like=like)], 1))[0]
    turn, upper = torch.linalg.qr(rng.child("turn").normal((n - 1, n - 1), like=like))
    turn = turn * upper.diagonal().sign()
    inner = torch.block_diag(like.new_ones(1, 1), turn)
    return basis @ inner @ basis.T
