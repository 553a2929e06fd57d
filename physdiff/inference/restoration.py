r"""Restoration in the coordinates of the readings: DDRM, DDNM and MCG.

With the coordinates of `coupling`, read as $y_i'$ with noise $1/s_i$, a step from ratio u to u' is, D the denoised state and $\epsilon$ normal:

    all       D + sqrt(1 - eta^2) (u'/u) (x - D) + eta u' eps
    DDRM, u' < 1/s_i     D_i + sqrt(1 - eta^2) u' s_i (y_i' - D_i) + eta u' eps
    DDRM, u' >= 1/s_i    y_i' + sqrt(u'^2 - 1/s_i^2) eps
    DDNM      D_i <- D_i + l_i (y_i' - D_i), l_i = min(1, u' s_i), and sqrt(u'^2 - (l_i/s_i)^2) for u' in the noise
    MCG       ancestral step (eta = 1) less strength times the gradient in x of sum_i (y_i' - D_i)^2 / 2; then x_i <- y_i' + u' eps

The last step has no next level; whether a reading is sharp is then decided by u. All three are heuristics: the coordinates that are not read do not
hear of the readings but through the next denoising, and MCG takes them as free of noise. References: Kawar and others, Denoising diffusion
restoration models, 2022; Wang and others, Zero-shot image restoration using denoising diffusion null-space model, 2023; Chung and others, Improving
diffusion models for inverse problems using manifold constraints, 2022.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.inference.clean_scale import CleanScale
from physdiff.inference.coupling import Coupling
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.posterior import Posterior, PosteriorSampler

__all__ = ["Restoration"]

_RULES = ("DDRM", "DDNM", "MCG")
_STEPS = 100


class Restoration(PosteriorSampler):
    """Draw by restoring what was read at every level; a heuristic, for affine readings with Gaussian noise.

    Args:
        rule: "DDRM", "DDNM" (with its treatment of noise, DDNM+) or "MCG".
        steps: Number of levels; 100 if None.
        eta: Share of fresh noise of DDRM and DDNM, in [0, 1].
        strength: Factor of MCG's gradient.
        max_batch: Number of members that go through the network at once.

    Raises:
        InputError: If there is no such rule or a number is out of range.
    """

    def __init__(self, rule: str = "DDRM", steps: int | None = None, eta: float = 0.85, *, strength: float = 1.0, max_batch: int = 64) -> None:
        check_one_of(rule, _RULES, "Restoration rule")
        if not 0 <= eta <= 1:
            raise InputError(f"Restoration: expected eta in [0, 1], got {eta}")
        self.rule, self.steps, self.eta, self.max_batch = rule, steps, eta, max_batch
        self.strength = check_positive(strength, "Restoration strength", zero=True)

    @torch.no_grad()
    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        """Draw n members; `info` as `CleanScale.ensemble` says.

        Raises:
            InputError: If the readings are not affine in the coefficients, or too many, or their noise is not Gaussian.
            Diverged: If a member is not finite.
        """
        coupling = Coupling(posterior)
        coupling.spectrum(self.rule)
        scale = CleanScale(coupling, self.steps or _STEPS)

        def walk(x: Tensor, rng: Rng) -> Tensor:
            for k, (u, v) in enumerate(zip(scale.ratios, scale.ratios[1:], strict=False)):
                x = self._step(scale, x, u, v, rng.child("step", k).normal(x.shape, like=x))
            return x

        return scale.ensemble(n, walk, max_batch=self.max_batch, rng=rng, what=self.rule)

    def _step(self, scale: CleanScale, x: Tensor, u: float, v: float, noise: Tensor) -> Tensor:
        values, rows, seen = scale.coupling.spectrum(self.rule)
        of = scale.coupling.coordinates
        if self.rule == "MCG":
            with torch.enable_grad():
                state = x.detach().requires_grad_()
                mean = scale.mean(state, u)
                (slope,) = torch.autograd.grad(0.5 * ((seen - of(mean)) ** 2).sum(), state)
            mean = mean.detach()
            new = mean + (v / u) ** 2 * (x - mean) + v * (1 - (v / u) ** 2) ** 0.5 * noise - self.strength * slope
            goal = seen + v * of(noise)
        else:
            mean, kept = scale.mean(x, u), (1 - self.eta**2) ** 0.5
            new = mean + kept * (v / u) * (x - mean) + self.eta * v * noise
            goal = self._read(u, v, values=values, seen=seen, mean=of(mean), x=of(x), noise=of(noise))
        return new + ((goal - of(new)) @ rows).reshape(x.shape).to(x)

    def _read(self, u: float, v: float, *, values: Tensor, seen: Tensor, mean: Tensor, x: Tensor, noise: Tensor) -> Tensor:
        """New values of the coordinates that are read, (B, r)."""
        level, kept = (v if v > 0 else u), (1 - self.eta**2) ** 0.5
        if self.rule == "DDNM":
            share = (level * values).clamp_max(1.0)
            clean = mean + share * (seen - mean)
            return clean + kept * (v / u) * (x - clean) + self.eta * (v**2 - (share / values) ** 2).clamp_min(0).sqrt() * noise
        blunt = mean + kept * v * values * (seen - mean) + self.eta * v * noise
        sharp = seen + (v**2 - 1 / values**2).clamp_min(0).sqrt() * noise
        return torch.where(level * values >= 1, sharp, blunt)
