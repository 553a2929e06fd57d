"""Weighted samplers on posteriors with many modes: distance, mode weights and evidence against the exact ones.

Priors are 25 modes of unit spread 8 apart on a square (copied along d entries), read through random operators with noise 0.05 to 0.5. Standard
errors are those of independent runs; what DDPM's steps add to evidence and weights is allowed for as `bias`.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.exact import GaussianTarget, MixtureTarget, ar1_covariance
from physdiff.inference.guided import Guided
from physdiff.inference.twisted_smc import TwistedSMC

LIKE = torch.zeros((), dtype=torch.float64)


def operator(d: int, m: int, seed: int) -> Tensor:
    """Orthonormal rows times singular values in [0.5, 1]."""
    rows = torch.linalg.qr(Rng(seed).child("rows").normal((d, m), like=LIKE))[0].T
    return (0.5 + 0.5 * Rng(seed).child("values").uniform((m, 1), like=LIKE)) * rows


def modes(d: int, m: int, noise: float, seed: int) -> MixtureTarget:
    """The 25 modes in units of 8, so that coefficients have some unit size: spread 1/8, noise in the same unit."""
    steps = torch.arange(-2, 3).double()
    means = torch.cartesian_prod(steps, steps).repeat(1, d // 2)
    weights = 0.2 + Rng(seed).child("weights").uniform((25,), like=LIKE)
    matrix = operator(d, m, seed)
    truth = means[int(25 * Rng(seed).child("mode").uniform((1,), like=LIKE))] + Rng(seed).child("truth").normal((d,), like=LIKE) / 8
    y = matrix @ truth + noise / 8 * Rng(seed).child("noise").normal((m,), like=LIKE)
    return MixtureTarget(weights, means, torch.full((25, d), 1 / 8).double(), matrix, y, torch.full((m,), noise / 8).double())


def sliced(a: Tensor, b: Tensor) -> float:
    """Sliced Wasserstein-1 distance of draws (n, d), 256 slices, in units of a mode's spread."""
    directions = torch.nn.functional.normalize(Rng(0).normal((a.shape[1], 256), like=LIKE), dim=0)
    return 8 * float(((a @ directions).sort(0).values - (b @ directions).sort(0).values).abs().mean())


def mode_shares(target: MixtureTarget, ensemble: Ensemble) -> Tensor:
    """Mean over the draws of the probability that each mode made them, (25,): unbiased for the modes' posterior weights."""
    x = ensemble.members.flatten(1).double()
    joint = torch.log(target.weights) - 0.5 * torch.cdist(x, target.means) ** 2 * 64
    return ensemble.weights @ torch.softmax(joint, 1)


def check(target: MixtureTarget, *, particles: int, runs: int, steps: int, bias: float) -> None:
    """Evidence and mode weights within 4 standard errors of `runs` runs, and their pooled draws as near as exact ones are to each other."""
    sampler = TwistedSMC(steps=steps, through_network=False, particles=particles, max_batch=particles)
    results = [sampler.sample(target.posterior(EDMSchedule(sigma_max=40.0)), particles, rng=Rng(k)) for k in range(runs)]
    ratios = torch.stack([(r.info["log_evidence"].double() - target.log_evidence).exp() for r in results])
    # the evidence itself is unbiased, not its logarithm
    assert abs(float(ratios.mean()) - 1) < 4 * float(ratios.std()) / math.sqrt(runs) + bias, ratios
    shares = torch.stack([mode_shares(target, r) for r in results])
    # modes that no run has visited have no spread of their own to judge by: that of one particle is added
    error = shares.std(0) / math.sqrt(runs) + (target.posterior_weights / (particles * runs)).sqrt()
    assert bool(((shares.mean(0) - target.posterior_weights).abs() < 4 * error + bias * target.posterior_weights).all()), shares.mean(0)
    drawn = torch.cat([r.resample(Rng(9)).members.flatten(1).double() for r in results])
    exact = [target.draw(particles, rng=Rng(10 + k)).flatten(1) for k in range(2)]
    # twice the distance of exact draws as many as one run has, which are far more independent than the particles
    assert sliced(drawn[::runs][:particles], exact[0]) < 2 * sliced(exact[0], exact[1]) + 0.1


def test_twenty_five_modes_in_the_plane() -> None:
    check(modes(2, 1, 0.5, 1), particles=500, runs=3, steps=60, bias=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_twenty_five_modes_closely(noise) -> None:
    """In the plane. In 80 dimensions with noise 0.05 (`modes(80, 1, 0.05, 4)`) this check failed when tried; job P5 has distances there."""
    check(modes(2, 1, noise, 5), particles=1000, runs=6, steps=100, bias=0.05)


@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_a_gaussian_through_a_random_operator(noise) -> None:
    """Sixteen entries, four sharp readings: guidance by the prior's covariance and by the denoiser's own are as near as exact draws."""
    n, matrix = 400, operator(16, 4, 2)
    y = matrix @ (torch.linalg.cholesky(ar1_covariance(16, 0.9)) @ Rng(3).normal((16,), like=LIKE))
    target = GaussianTarget(torch.zeros(16).double(), ar1_covariance(16, 0.9), matrix, y, torch.full((4,), noise).double())
    exact = [target.draw(n, rng=Rng(10 + k)).flatten(1) for k in range(2)]
    for spread in (None, "moments"):
        drawn = Guided(steps=20, spread=spread, max_batch=n).sample(target.posterior(), n, rng=Rng(4)).members.flatten(1)
        # as far from exact draws as these from each other, half as much again for the luck of one pair
        assert sliced(drawn, exact[0]) < 1.5 * sliced(exact[0], exact[1])
