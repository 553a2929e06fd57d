"""From starting noise to clean coefficients: which sampler, and what a call costs."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.ddim import DDIM, DDPM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.heun import Heun
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.inference.hmc import HMC
from physdiff.inference.mapped import BlackBox
from physdiff.inference.observation import Observation
from physdiff.inference.posterior import Posterior
from physdiff.inference.pushed import Pushed
from physdiff.inference.tempered_smc import TemperedSMC
from tests.inference.test_feynman_kac import modes
from tests.inference.test_hmc import plain_prior


def posterior(sampler, *more):
    prior = plain_prior(modes().denoiser(EDMSchedule()), modes().window, sampler=sampler, steps=5)
    return Posterior(prior, (*modes().posterior().observations, *more))


def test_it_is_the_sampler_s_own_draw() -> None:
    target = posterior(Heun())
    z = Rng(1).normal((3, *target.prior.latent_shape), like=target.state)
    push = Pushed(target, None, None, what="test")
    times = push.sampler.grid(target.prior.denoiser, 5)
    assert isinstance(push.sampler, Heun) and push.evaluations == 9
    assert torch.equal(push(z), push.sampler.run(target.prior.denoiser, target.prior.noisiest(z, times[0], None), times, rng=Rng(5)))


def test_a_prior_with_a_noisy_sampler_gets_another() -> None:
    assert isinstance(Pushed(posterior(DDPM()), None, None, what="test").sampler, DPMSolver2M)
    assert TemperedSMC(moves=1).sample(posterior(DDPM()), 8, rng=Rng(0)).members.isfinite().all()


def test_a_noisy_sampler_that_is_given_is_refused() -> None:
    with pytest.raises(InputError, match="test: expected a deterministic sampler, got DDIM, which adds noise; pass DPMSolver2M"):
        Pushed(posterior(Heun()), DDIM(1.0), 4, what="test")


def test_a_black_box_beside_a_smooth_reading_is_refused_not_ignored() -> None:
    box = Observation(BlackBox(lambda x: x.flatten(1)[:, :1]), 0.2, std=0.5)
    with pytest.raises(InputError, match="HMC: expected operators that torch can differentiate, got BlackBox"):
        HMC(Heun(), 4).sample(posterior(Heun(), box), 8, rng=Rng(0))
