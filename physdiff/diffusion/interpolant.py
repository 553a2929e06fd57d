r"""Stochastic interpolants: paths from a base x_0 (state now) to data x_1 (state later) with noise between, and what is learnt of them.

    x_t = a(t) x_0 + b(t) x_1 + gamma(t) z,    z ~ N(0, I) independent of both ends,    t from 0 (base) to 1 (data)

Two posterior means tell everything: v = E[a' x_0 + b' x_1 | x_t] and h = E[z | x_t]. Then the velocity of the probability flow is
w = v + gamma' h, the score s = -h/gamma, and for any e(t) >= 0

    dX = w dt,    dX = (w + e s) dt + sqrt(2 e) dW  (forward),    dX = (w - e s) dt + sqrt(2 e) dW  (backward)

have the same marginals. Since v and h stay bounded where gamma' and 1/gamma do not, they are what a network predicts. The score holds for every
joint law of the ends, for z never depends on them. Time here runs from base to data, as in the literature of interpolants; the schedules of
diffusion run the other way. Reference: Albergo, Boffi and Vanden-Eijnden, Stochastic interpolants: a unifying framework for flows and
diffusions, 2023; Chen et al., Probabilistic forecasting with stochastic interpolants and Foellmer processes, 2024.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import Saved
from physdiff.diffusion.schedule import per_sample

__all__ = ["Drift", "GaussianDrift", "Interpolant", "PathPoint", "ends_of", "interpolant_loss"]

PATHS = ("linear", "trigonometric", "encoding-decoding", "one-sided")
GAMMAS = ("brownian", "quadratic", "sine", "none")


@dataclass(frozen=True)
class PathPoint:
    """Coefficients and their derivatives at some times, float64 tensors of the shape of the times."""

    a: Tensor
    b: Tensor
    gamma: Tensor
    da: Tensor
    db: Tensor
    dgamma: Tensor


class Interpolant(Saved):
    r"""The coefficients of a path.

    Args:
        path: "linear": a = 1-t, b = t; "trigonometric": sqrt(1-gamma^2) (cos, sin)(pi t/2); "encoding-decoding": cos^2(pi t) on each half, so that
            only noise is left in the middle; "one-sided": a = 0, b = t, gamma = 1-t, from noise (flow matching; no base).
        gamma: "brownian": scale sqrt(t(1-t)); "quadratic": scale t(1-t); "sine": scale sin^2(pi t); "none" (not for "encoding-decoding").
            The path "one-sided" has its own.
        scale: Size of the noise, in the units of the coefficients.

    Raises:
        InputError: If a name is unknown or the trigonometric path would get gamma >= 1.
    """

    def __init__(self, path: str = "linear", gamma: str = "brownian", *, scale: float = 1.0) -> None:
        check_one_of(path, PATHS, "Interpolant path")
        check_one_of(gamma, GAMMAS, "Interpolant gamma")
        self.path, self.gamma, self.scale = path, gamma, check_positive(scale, "Interpolant.scale")
        if path == "encoding-decoding" and gamma == "none":
            raise InputError("Interpolant: expected noise for encoding-decoding, got gamma 'none': nothing would be left in the middle")
        largest = {"brownian": 0.5, "quadratic": 0.25, "sine": 1.0, "none": 0.0}[gamma] * scale
        if path == "trigonometric" and largest >= 1:
            raise InputError(f"Interpolant: expected gamma below 1 on the trigonometric path, got up to {largest:g}; lower the scale")

    def __call__(self, t: Tensor | float) -> PathPoint:
        """Coefficients at times in [0, 1]; the derivative of a brownian gamma is infinite at both ends."""
        t = torch.as_tensor(t, dtype=torch.float64)
        gamma, dgamma = self._noise(t)
        one, zero = torch.ones_like(t), torch.zeros_like(t)
        if self.path == "one-sided":
            return PathPoint(zero, t, 1 - t, zero, one, -one)
        if self.path == "linear":
            return PathPoint(1 - t, t, gamma, -one, one, dgamma)
        if self.path == "trigonometric":
            rest = torch.sqrt(1 - gamma**2)
            slope = -gamma * torch.nan_to_num(dgamma, posinf=0.0, neginf=0.0) / rest
            # a brownian gamma has gamma gamma' = scale^2 (1 - 2t)/2 at the ends, too
            slope = -0.5 * self.scale**2 * (1 - 2 * t) / rest if self.gamma == "brownian" else slope
            angle, rate = 0.5 * math.pi * t, 0.5 * math.pi
            c, s = torch.cos(angle), torch.sin(angle)
            return PathPoint(rest * c, rest * s, gamma, slope * c - rate * rest * s, slope * s + rate * rest * c, dgamma)
        first = t < 0.5
        value, slope = torch.cos(math.pi * t) ** 2, -math.pi * torch.sin(2 * math.pi * t)
        a, da = torch.where(first, value, zero), torch.where(first, slope, zero)
        return PathPoint(a, value - a, gamma, da, slope - da, dgamma)

    def _noise(self, t: Tensor) -> tuple[Tensor, Tensor]:
        c = self.scale
        if self.gamma == "brownian":
            root = torch.sqrt(t * (1 - t))
            return c * root, c * (1 - 2 * t) / (2 * root)
        if self.gamma == "quadratic":
            return c * t * (1 - t), c * (1 - 2 * t)
        if self.gamma == "sine":
            return c * torch.sin(math.pi * t) ** 2, c * math.pi * torch.sin(2 * math.pi * t)
        return torch.zeros_like(t), torch.zeros_like(t)

    @property
    def two_sided(self) -> bool:
        """Whether the path starts at a base."""
        return self.path != "one-sided"

    def between(self, ends: tuple[Tensor, Tensor], z: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """The point x_t and the target a' x_0 + b' x_1, both (B, ...)."""
        (x_0, x_1), p = ends, self(t)
        x_t = per_sample(p.a, x_1) * x_0 + per_sample(p.b, x_1) * x_1 + per_sample(p.gamma, x_1) * z
        return x_t, per_sample(p.da, x_1) * x_0 + per_sample(p.db, x_1) * x_1


class Drift(Saved, nn.Module, ABC):
    """The two posterior means of a path. A final class sets `interpolant` and gives `forward`."""

    interpolant: Interpolant

    @abstractmethod
    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return (v, h) = (E[a' x_0 + b' x_1 | x_t], E[z | x_t]).

        Args:
            x_t: Point on the path (B, C, T, *S).
            t: Times () or (B,), from 0 (base) to 1 (data).
            cond: Encoded condition (B or 1, C'', T, *S).
        """

    def project(self, z: Tensor) -> Tensor:
        """The noise that this drift takes: z itself, or its part that keeps what a class conserves."""
        return z

    def weights(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Weights of the squared errors of v and h, float64, shape of t; one each unless a class knows better."""
        return torch.ones_like(t, dtype=torch.float64), torch.ones_like(t, dtype=torch.float64)


def ends_of(means: tuple[Tensor, Tensor], x_t: Tensor, p: PathPoint) -> tuple[Tensor, Tensor]:
    """The posterior means (E[x_0 | x_t], E[x_1 | x_t]) from (v, h); where an end has left the path it is estimated as zero."""
    v, h = means
    rest = x_t - per_sample(p.gamma, x_t) * h
    det = p.a * p.db - p.da * p.b
    both = det.abs() > 1e-12
    safe = torch.where(both, det, torch.ones_like(det))
    a, b = (torch.where(c > 0, 1 / c.clamp_min(1e-300), torch.zeros_like(c)) for c in (p.a, p.b))
    x_0 = per_sample(torch.where(both, p.db / safe, a), x_t) * rest - per_sample(torch.where(both, p.b / safe, 0 * det), x_t) * v
    x_1 = per_sample(torch.where(both, p.a / safe, 0 * det), x_t) * v + per_sample(torch.where(both, -p.da / safe, b), x_t) * rest
    return x_0, x_1


class GaussianDrift(Drift):
    """The exact means for ends that are jointly Gaussian, entry by entry: the truth in tests, and a linear model.

    Args:
        interpolant: The path.
        means: Means of x_0 and x_1, (2, C, T, *S).
        variances: Variances of x_0 and x_1, (2, C, T, *S).
        covariance: Covariance of x_0 and x_1, (C, T, *S).
    """

    means: Tensor
    variances: Tensor
    covariance: Tensor

    def __init__(self, interpolant: Interpolant, means: Tensor, variances: Tensor, *, covariance: Tensor) -> None:
        super().__init__()
        if means.shape != variances.shape or means.shape[1:] != covariance.shape or len(means) != 2:
            got = f"{tuple(means.shape)}, {tuple(variances.shape)}, {tuple(covariance.shape)}"
            raise ShapeError(f"GaussianDrift: expected means (2, *shape), variances (2, *shape), covariance (*shape), got {got}")
        self.interpolant = interpolant
        self.register_buffer("means", means, persistent=False)
        self.register_buffer("variances", variances, persistent=False)
        self.register_buffer("covariance", covariance, persistent=False)

    def forward(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(v, h) by linear regression on x_t."""
        p = self.interpolant(t)
        a, b, gamma, da, db = (per_sample(c, x_t) for c in (p.a, p.b, p.gamma, p.da, p.db))
        (m_0, m_1), (v_0, v_1), c = self.means.to(x_t), self.variances.to(x_t), self.covariance.to(x_t)
        total = (a**2 * v_0 + b**2 * v_1 + 2 * a * b * c + gamma**2).clamp_min(torch.finfo(x_t.dtype).tiny)
        off = (x_t - a * m_0 - b * m_1) / total
        return da * m_0 + db * m_1 + (a * da * v_0 + b * db * v_1 + (a * db + da * b) * c) * off, gamma * off


def interpolant_loss(
    drift: Drift,
    ends: tuple[Tensor, Tensor],
    t: Tensor,
    *,
    noise: Tensor,
    cond: Tensor | None = None,
    weights: Tensor | None = None,
    antithetic: bool = False,
) -> Tensor:
    """Weighted squared errors of both means, one number per sample.

    Args:
        drift: What is trained.
        ends: Base and data (x_0, x_1), each (B, C, T, *S).
        t: Times (B,).
        noise: Standard normal numbers z, shape of x_1.
        cond: Encoded condition.
        weights: Weight of each entry, as in `denoising_loss`.
        antithetic: Average over z and -z: two evaluations, less variance where gamma matters.

    Returns:
        (B,).
    """
    x_0, x_1 = ends
    if noise.shape != x_1.shape or x_0.shape[1:] != x_1.shape[1:]:
        raise ShapeError(f"interpolant_loss: expected ends and noise of one shape, got {tuple(x_0.shape)}, {tuple(x_1.shape)}, {tuple(noise.shape)}")
    share = torch.ones_like(x_1) if weights is None else weights.to(x_1.dtype).expand_as(x_1)
    total = share.flatten(1).sum(1).clamp_min(torch.finfo(x_1.dtype).tiny)
    w_v, w_h = (per_sample(w, x_1) for w in drift.weights(t))
    noise = drift.project(noise)
    loss = torch.zeros(len(x_1), dtype=x_1.dtype, device=x_1.device)
    signs = (1, -1) if antithetic else (1,)
    for sign in signs:
        x_t, target = drift.interpolant.between(ends, sign * noise, t)
        v, h = drift(x_t, t, cond)
        squared = w_v * (v - target).square() + w_h * (h - sign * noise).square()
        loss = loss + torch.where(share > 0, share * squared, torch.zeros_like(share)).flatten(1).sum(1) / total
    return 0.5 * loss / len(signs)
