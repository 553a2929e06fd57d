r"""Whether a denoiser can be the posterior mean of any law at all: Fokker-Planck residual and Jacobian asymmetry.

In y = x_t/alpha and u = sigma/alpha the posterior mean D(y, u) of every law solves

    dD/du = u lap D + (2/u) J (D - y),    J = dD/dy = J^T  (u^2 J is the posterior covariance),

a martingale of the reverse process. The residual is taken per unit of log u, so that it has the units of the data,

    r = u dD/du - 2 J (D - y) - u^2 lap D,    D + b instead of D:  r = -2 J b,

and the Laplacian by a Rademacher probe z, E z^T H z = lap; the product of two residuals with independent probes is an unbiased square.
Derivatives along a direction are central differences of fourth order, which every network can do in every precision; their step is in
units of u. A training batch of networks that share nothing with each other across levels violates both relations; that costs nothing where
only the marginals count (div(p r) = 0), but a Tweedie covariance and the equality of ODE and SDE rest on them. References: Lai et al.,
FP-Diffusion, 2023; Chao et al., On investigating the conservative property of score-based models, 2023; methods/diffusion 14.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from physdiff.base.checks import check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.schedule import per_sample

__all__ = ["ConsistencyTerm", "PlanckTerms", "circulation", "fokker_planck_terms", "jacobian_products"]

# truncation is h^4/30 of the fifth derivative in log u and s^4/90 of the sixth in y/u, about 1e-9; rounding in float32 about 1e-5 and 3e-4
_LOG_STEP, _PROBE_STEP = 0.01, 0.03

_Along = Callable[[float], Tensor]


@dataclass(frozen=True)
class PlanckTerms:
    """The terms of the residual, each (B, C, T, *S).

    Args:
        change: u dD/du at fixed y.
        drift: 2 J (D - y).
        diffusion: u^2 lap D by each probe, (probes, B, C, T, *S).
    """

    change: Tensor
    drift: Tensor
    diffusion: Tensor

    @property
    def residual(self) -> Tensor:
        """The residual r by each probe, (probes, B, C, T, *S)."""
        return self.change - self.drift - self.diffusion

    def square(self) -> Tensor:
        """Unbiased mean square of the residual, (B,); single values may be negative.

        Raises:
            InputError: If there is one probe only.
        """
        if len(self.residual) < 2:
            raise InputError(f"PlanckTerms.square: expected two probes or more, got {len(self.residual)}; their product is the square without bias")
        first, second = self.residual[0::2], self.residual[1::2]
        pairs = min(len(first), len(second))
        return (first[:pairs] * second[:pairs]).flatten(2).mean((0, 2))

    def scale(self) -> Tensor:
        """Mean square of what should cancel, change and drift, (B,)."""
        return (self.change.square() + self.drift.square()).flatten(1).mean(1)


def fokker_planck_terms(denoiser: Denoiser, x_t: Tensor, t: Tensor, *, probes: Tensor, cond: Tensor | None = None) -> PlanckTerms:
    """The terms of the Fokker-Planck residual of a denoiser; 9 evaluations and 4 for each probe.

    Args:
        denoiser: The denoiser.
        x_t: Noisy samples (B, C, T, *S).
        t: Times () or (B,), where alpha and sigma are positive.
        probes: Random signs (probes, B, C, T, *S); two give an unbiased square.
        cond: Encoded condition (B or 1, C'', T, *S).

    Raises:
        InputError: If u is 0 or infinite at a time.
    """
    at, y, u, mean = _frame(denoiser, x_t, t, cond)
    back = mean - y
    change = _slope(lambda h: at(y, h), _LOG_STEP)
    # along (D - y), which is one standard deviation of the noise long: the step is one in units of u
    drift = 2 * _slope(lambda h: at(y + h * back, 0.0), _LOG_STEP)
    diffusion = torch.stack([_bend(lambda s, z=z: at(y + s * u * z, 0.0), _PROBE_STEP, mean) for z in probes.to(y)])  # type: ignore[misc]
    return PlanckTerms(change, drift, diffusion)


def jacobian_products(denoiser: Denoiser, x_t: Tensor, t: Tensor, *, probe: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The pair (J v, J^T v) with J = dD/dy at y = x_t/alpha; their asymmetry is E|Jv - J^T v|^2 / (E|Jv|^2 + E|J^T v|^2), 0 to 2.

    Args:
        denoiser: The denoiser.
        x_t: Noisy samples (B, C, T, *S).
        t: Times () or (B,), where alpha and sigma are positive.
        probe: Random signs v, shape of x_t.
        cond: Encoded condition.

    Returns:
        Both products, shape of x_t; they carry a graph if gradients are enabled.
    """
    at, y, u, _ = _frame(denoiser, x_t, t, cond)
    v = probe.to(y)
    forward = _slope(lambda s: at(y + s * u * v, 0.0), _PROBE_STEP) / u
    recording = torch.is_grad_enabled()
    # the fused attention kernel has a first derivative only
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        leaf = y.detach().requires_grad_()
        (backward,) = torch.autograd.grad(at(leaf, 0.0), leaf, v, create_graph=recording)
    return forward, backward if recording else backward.detach()


def circulation(denoiser: Denoiser, x_t: Tensor, t: Tensor, *, sides: tuple[Tensor, Tensor], cond: Tensor | None = None) -> Tensor:
    """Loop integral of the score times u^2, D - y, around the parallelogram of two sides through y, over the sum of absolute contributions.

    Zero for a gradient, whatever the size of the loop (each side by three Gauss points).

    Args:
        denoiser: The denoiser.
        x_t: Noisy samples (B, C, T, *S): one corner.
        t: Times () or (B,), where alpha and sigma are positive.
        sides: The two sides, shape of x_t, in units of u.
        cond: Encoded condition.

    Returns:
        (B,), from -1 to 1.
    """
    at, y, u, _ = _frame(denoiser, x_t, t, cond)
    a, b = (u * side.to(y) for side in sides)
    total, path = torch.zeros(len(y), dtype=torch.float64), torch.zeros(len(y), dtype=torch.float64)
    corner = y
    root = math.sqrt(0.15)
    for side in (a, b, -a, -b):
        for place, weight in ((0.5 - root, 5 / 18), (0.5, 8 / 18), (0.5 + root, 5 / 18)):
            point = corner + place * side
            part = weight * ((at(point, 0.0) - point) * side).flatten(1).double().sum(1).cpu()
            total, path = total + part, path + part.abs()
        corner = corner + side
    return total / path.clamp_min(torch.finfo(torch.float64).tiny)


@dataclass(frozen=True)
class ConsistencyTerm:
    """A term of the training loss that draws a denoiser towards one that some law has.

    The squares of the Fokker-Planck residual and of J v - J^T v are taken at noise-to-signal ratios log-uniform in `band` (the middle range: the
    residual is network error where u is small) with weight u^2/(1 + u^2). It costs about 13 evaluations, on one batch in `every`.

    Args:
        fokker_planck: Weight of the squared residual.
        symmetry: Weight of the squared asymmetry of the Jacobian (double backpropagation).
        every: It counts in one batch of so many, with its weight times `every`.
        band: Smallest and largest noise-to-signal ratio u, in standard deviations of the data.

    Raises:
        InputError: If a number makes no sense.
    """

    fokker_planck: float = 0.0
    symmetry: float = 0.0
    every: int = 4
    band: tuple[float, float] = (0.2, 5.0)

    def __post_init__(self) -> None:
        check_positive(self.fokker_planck, "ConsistencyTerm.fokker_planck", zero=True)
        check_positive(self.symmetry, "ConsistencyTerm.symmetry", zero=True)
        if self.every < 1 or not 0 < self.band[0] < self.band[1]:
            raise InputError(f"ConsistencyTerm: expected every >= 1 and 0 < band[0] < band[1], got {self.every} and {self.band}")

    def due(self, step: int) -> bool:
        """Whether the term counts at a step."""
        return (self.fokker_planck > 0 or self.symmetry > 0) and step % self.every == 0

    def loss(self, denoiser: Denoiser, x: Tensor, *, index: list[int], cond: Tensor | None = None, rng: Rng) -> Tensor:
        """The term for clean encoded samples x (B, C, T, *S), (B,); randomness is keyed by the samples' indices."""
        low, high = (math.log(b) for b in self.band)
        place = torch.stack([rng.child("level", i).uniform((), like=torch.empty((), dtype=torch.float64)) for i in index])
        t = denoiser.schedule.time_of(-(low + (high - low) * place)).to(x.device)
        alpha, sigma = denoiser.schedule(t)
        x_t = per_sample(alpha, x) * x + per_sample(sigma, x) * rng.child("noise").normal_each(index, x.shape[1:], like=x)
        signs = torch.stack([rng.child("probe", k).normal_each(index, x.shape[1:], like=x).sign() for k in (0, 1)])
        u2 = ((sigma / alpha) ** 2).to(x)
        total = torch.zeros_like(u2)
        if self.fokker_planck > 0:
            total = total + self.fokker_planck * fokker_planck_terms(denoiser, x_t, t, probes=signs, cond=cond).square()
        if self.symmetry > 0:
            forward, backward = jacobian_products(denoiser, x_t, t, probe=signs[0], cond=cond)
            total = total + self.symmetry * (forward - backward).square().flatten(1).mean(1)
        return self.every * u2 / (1 + u2) * total


def _frame(denoiser: Denoiser, x_t: Tensor, t: Tensor, cond: Tensor | None) -> tuple[Callable[[Tensor, float], Tensor], Tensor, Tensor, Tensor]:
    """D as a function of y and of a shift of log u, with y, u (broadcast) and D there."""
    schedule = denoiser.schedule
    lam = schedule.lam(t)
    if not bool(lam.isfinite().all()):
        raise InputError(f"consistency: expected times with 0 < u < inf, got u = {torch.exp(-lam).tolist()}; stay away from the ends")
    at_home = schedule.alpha(t)

    def at(y: Tensor, shift: float) -> Tensor:
        when = t if shift == 0 else schedule.time_of(lam - shift)
        alpha = at_home if shift == 0 else schedule.alpha(when)
        return denoiser(per_sample(alpha, y) * y, when, cond)

    y = x_t / per_sample(at_home, x_t)
    return at, y, per_sample(torch.exp(-lam), x_t), at(y, 0.0)


def _slope(along: _Along, h: float) -> Tensor:
    """First derivative at 0, five points."""
    return (8 * (along(h) - along(-h)) - (along(2 * h) - along(-2 * h))) / (12 * h)


def _bend(along: _Along, h: float, centre: Tensor) -> Tensor:
    """Second derivative at 0, five points."""
    return (16 * (along(h) + along(-h) - 2 * centre) - (along(2 * h) + along(-2 * h) - 2 * centre)) / (12 * h**2)
