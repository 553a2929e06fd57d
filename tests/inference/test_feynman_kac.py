"""Annealed particles: evidence and moments without bias at any number of steps and particles, mode weights of a mixture, worded errors.

With the exact reverse kernel of the prior, Z times a weighted mean is an unbiased estimate of p(y) E[f | y], whatever the guidance: repeated runs
give its mean and standard error, and 4 of them are allowed. With DDPM the prior is that of its steps; what they cost is allowed for as `bias`.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import CosineSchedule, EDMSchedule, RectifiedSchedule, VPSchedule
from physdiff.inference.exact import GaussianTarget, MixtureTarget, plain_prior, plain_spec
from physdiff.inference.feynman_kac import AnnealedSMC, annealing
from physdiff.inference.observation import Observation, Operator
from physdiff.inference.posterior import Posterior
from tests.inference.reverse_kernel import ReverseKernel


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def plane(sharp: float = 1.0) -> GaussianTarget:
    """T2 of methods/posterior 0.4, its noise divided by `sharp`."""
    return GaussianTarget(d(0.0, 0.0), 0.5 * torch.eye(2).double(), d([1.0, 0.4], [-0.2, 0.7]), d(0.8, -0.4), d(1.0, 1.0) / sharp)


def modes() -> MixtureTarget:
    """T3: two modes of posterior weight 0.069466 and 0.930534, log evidence -2.610344."""
    return MixtureTarget(
        d(0.3, 0.7), d([-1.0, -1.0], [1.0, 1.0]), d([0.1, 0.2], [0.2, 0.1]).sqrt(), d([1.0, 0.5]), d(0.2), d(0.5)
    )


def check_unbiased(method, target: GaussianTarget, runs: int, particles: int, sigma_max: float = 80.0) -> None:
    """Z/p(y), and Z/p(y) times the weighted first and second moments, against the exact ones within 4 standard errors."""
    posterior, rows = target.posterior(EDMSchedule(sigma_max=sigma_max)), []
    mean = target.posterior_mean
    second = target.posterior_covariance + mean[:, None] * mean
    for seed in range(runs):
        run = method.sample(posterior, particles, rng=Rng(seed))
        x, ratio = run.members.flatten(1), torch.exp(run.info["log_evidence"] - target.log_evidence)
        moments = (run.weights @ x, torch.einsum("n,ni,nj->ij", run.weights, x, x).flatten())
        rows.append(ratio * torch.cat([ratio.new_ones(1), *moments]))
    found = torch.stack(rows)
    exact = torch.cat([d(1.0), mean, second.flatten()])
    assert bool(((found.mean(0) - exact).abs() <= 4 * found.std(0) / math.sqrt(runs)).all()), (found.mean(0) - exact) / found.std(0) * math.sqrt(runs)


@pytest.mark.parametrize(("guidance", "sharp", "steps"), [(0.0, 1.0, 6), (0.5, 1.0, 6), (1.0, 1.0, 6), (0.5, 4.0, 12)])
def test_unbiased_at_any_number_of_steps(guidance, sharp, steps) -> None:
    check_unbiased(AnnealedSMC(ReverseKernel(0.5), steps, guidance, particles=256, max_batch=256), plane(sharp), 16, 256)


def test_particles_start_where_the_priors_draws_do() -> None:
    """Noise of variance 1 does not drown a prior of 0.5: from noise alone the variance would be a third too small, and 24 runs see it."""
    check_unbiased(AnnealedSMC(ReverseKernel(0.5), 6, 0.5, particles=256, max_batch=256), plane(), 24, 256, sigma_max=1.0)


def test_the_known_numbers() -> None:
    """T2 and T3 as published, and the default exponent: 1 at the end, none at infinite noise."""
    torch.testing.assert_close(annealing(d(0.0, 1.0, math.inf), signal=4.0), d(1.0, 0.25 / 3, 0.0))
    assert plane().log_evidence == pytest.approx(-2.456120, abs=1e-6) and modes().log_evidence == pytest.approx(-2.610344, abs=1e-6)
    torch.testing.assert_close(modes().posterior_weights, d(0.069466, 0.930534), rtol=0, atol=1e-6)


def mode_runs(method, runs: int) -> tuple[Tensor, Tensor]:
    """Log evidence and weight of the first mode, of each run."""
    posterior = modes().posterior()
    found = [method.sample(posterior, method.particles, rng=Rng(seed)) for seed in range(runs)]
    first = [float(e.weights[e.members.flatten(1).sum(1) < 0].sum()) for e in found]
    return torch.stack([e.info["log_evidence"] for e in found]), d(*first)


@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
def test_weights_of_modes(guidance) -> None:
    """DDPM in 50 steps alone moves the evidence by 0.03 and the weight of the mode by 0.007 (measured with many particles)."""
    evidence, first = mode_runs(AnnealedSMC(DDPM(), 50, guidance, particles=400, max_batch=400), 4)
    # 4 runs give their own standard error badly: those of 24 runs, 0.15 and 0.02 a run at worst
    assert abs(float(evidence.mean()) - modes().log_evidence) < 4 * 0.15 / 2 + 0.03
    assert abs(float(first.mean()) - 0.0695) < 4 * 0.02 / 2 + 0.007


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [0.0, 0.5, 1.0])
def test_weights_of_modes_at_full_size(guidance) -> None:
    """The card's table: 2000 particles, 12 runs; 4 standard errors, and the prior's own error in 200 steps, 0.01 and 0.003."""
    evidence, first = mode_runs(AnnealedSMC(DDPM(), 200, guidance, particles=2000, max_batch=2000), 12)
    assert abs(float(evidence.mean()) - modes().log_evidence) < 4 * float(evidence.std()) / math.sqrt(12) + 0.01
    assert abs(float(first.mean()) - 0.069466) < 4 * float(first.std()) / math.sqrt(12) + 0.003


def test_sharp_readings_of_far_modes() -> None:
    """Two modes ten of their standard deviations apart, one of them read with a twentieth of one: the exponent must know how sharp the reading is.

    An exponent that does not lost every particle but one here (log evidence off by more than 100). 0.5: five times what runs of 400 differ by.
    """
    target = MixtureTarget(d(0.5, 0.5), d([-0.7, -0.7], [0.7, 0.7]), torch.full((2, 2), 0.09).double(), d([1.0, 0.2]), d(0.86), d(0.0045))
    run = AnnealedSMC(DDPM(), 60, particles=400, max_batch=400).sample(target.posterior(), 400, rng=Rng(3))
    assert abs(float(run.info["log_evidence"]) - target.log_evidence) < 0.5
    assert float(run.info["ess"].min()) > 50


def test_half_guidance_varies_least() -> None:
    """On sharp readings the effective size with c = 1/2 stays above that of the bootstrap."""
    posterior = plane(4.0).posterior()
    sizes = {c: float(AnnealedSMC(DDPM(), 40, c).sample(posterior, 256, rng=Rng(0)).info["ess"].mean()) for c in (0.0, 0.5)}
    assert sizes[0.5] > 1.1 * sizes[0.0]


@pytest.mark.parametrize("schedule", [VPSchedule(), CosineSchedule(), RectifiedSchedule()], ids=lambda s: type(s).__name__)
def test_every_schedule(schedule) -> None:
    """One run of 1000: mean within 0.12 and log evidence within 0.1, some 4 standard errors of a run and the error of 50 steps."""
    target = plane()
    run = AnnealedSMC(DDPM(), 50, max_batch=1000).sample(target.posterior(schedule), 1000, rng=Rng(1))
    assert float((run.mean().flatten() - target.posterior_mean).abs().max()) < 0.15
    assert abs(float(run.info["log_evidence"]) - target.log_evidence) < 0.1


def test_the_ode_form_weights_alone() -> None:
    """eta = 0: no kernel to shift; the weights are e^(r(x_0) - 0), and the evidence is right without any guidance."""
    target = plane()
    run = AnnealedSMC(DDIM(0.0), 50, 1.0, max_batch=2000, threshold=0.0).sample(target.posterior(), 2000, rng=Rng(2))
    r = target.posterior().log_likelihood(run.members)
    off = (run.log_weights - r) - (run.log_weights - r).mean()
    assert float(off.abs().max()) < 1e-9
    assert abs(float(run.info["log_evidence"]) - target.log_evidence) < 0.1


def test_members_and_particles() -> None:
    posterior = plane().posterior()
    few = AnnealedSMC(DDPM(), 10).sample(posterior, 5, rng=Rng(0))
    assert few.members.shape[0] == 5 and few.equally_weighted and int(few.info["particles"]) == 64 and few.info["ancestors"].shape == (5,)
    many = AnnealedSMC(DDPM(), 10).sample(posterior, 70, rng=Rng(0))
    assert not many.equally_weighted and int(many.info["nfe"]) == 10 and many.info["ess"].shape == (11,)
    assert many.info["origins"].shape == (70,) and int(many.info["survivors"]) <= 70
    split = AnnealedSMC(DDPM(), 10, max_batch=7).sample(posterior, 70, rng=Rng(0))
    torch.testing.assert_close(split.members, many.members)


class Rounded(Operator):
    """A black box: numpy, no gradient."""

    def __call__(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.detach().numpy().sum(axis=(1, 2, 3))[:, None])


def black_box() -> Posterior:
    prior = plain_prior(plane().denoiser(VPSchedule()), plain_spec((1, 1, 2)))
    return Posterior(prior, Observation(Rounded(), d(0.5), std=0.5))


def test_a_black_box_needs_the_bootstrap() -> None:
    """p(y) of the sum of two N(0, 0.5) and noise 0.25: N(0.5; 0, 1.25)."""
    with pytest.raises(InputError, match="operators that torch can differentiate, got Rounded; use guidance=0"):
        AnnealedSMC(DDPM(), 5).sample(black_box(), 8, rng=Rng(0))
    run = AnnealedSMC(DDPM(), 50, 0.0, max_batch=1000).sample(black_box(), 1000, rng=Rng(0))
    assert float(run.info["log_evidence"]) == pytest.approx(-0.5 * (0.25 / 1.25 + math.log(2 * math.pi * 1.25)), abs=0.1)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="got Heun"):
        AnnealedSMC(Heun())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="guidance"):
        AnnealedSMC(guidance=-1.0)
    with pytest.raises(InputError, match="1 at u = 0"):
        AnnealedSMC(DDPM(), 5, beta=lambda u: 0.5 * annealing(u)).sample(plane().posterior(), 8, rng=Rng(0))
    with pytest.raises(InputError, match="one member and one particle or more"):
        AnnealedSMC(DDPM(), 5).sample(plane().posterior(), 0, rng=Rng(0))
