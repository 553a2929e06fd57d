"""Priors that carry a base: exact laws through the transform, bases, files, and the posterior that refuses them."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, SavedError
from physdiff.base.rng import Rng
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.interpolant import GaussianDrift, Interpolant
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.diffusion.interpolant_sampler import InterpolantSampler
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior
from physdiff.transforms.normalizer import Normalizer

SPEC = FieldSpec(("u",), ("m",), CartesianGrid((6,), extent=1.0, periodic=True), 0.1)
SCALE = Normalizer(("channel",), torch.full((1, 1, 1), 5.0), torch.full((1, 1, 1), 2.0))


def drift(path: Interpolant) -> GaussianDrift:
    """A known base at zero, data of mean 0.5 and variance 0.4 in coefficients."""
    flat = torch.ones(1, 1, 6)
    return GaussianDrift(path, torch.stack([0 * flat, 0.5 * flat]), torch.stack([0 * flat, 0.4 * flat]), covariance=0 * flat)


def made(path: Interpolant = Interpolant(), start: str = "centre", **options) -> InterpolantPrior:  # noqa: B008
    sampler = InterpolantSampler(20, 0.5, shape="decreasing")
    return InterpolantPrior(drift(path), SCALE, SPEC, sampler=sampler, start=start, **options)


@pytest.mark.parametrize(("path", "start"), [(Interpolant(), "centre"), (Interpolant("one-sided"), "noise")])
def test_draws_have_the_law_of_the_data_in_physical_units(path: Interpolant, start: str) -> None:
    draws = made(path, start).sample(300, rng=Rng(0), max_batch=300)
    # mean 5 + 2 x 0.5, standard deviation 2 sqrt(0.4); Monte Carlo of 1800 numbers (four standard errors) and 0.4 % of 20 steps
    assert float(draws.mean()) == pytest.approx(6.0, abs=0.12)
    assert float(draws.std()) == pytest.approx(2 * 0.4**0.5, rel=0.07)


def test_a_draw_depends_on_its_number_and_survives_its_file(tmp_path) -> None:
    prior = made()
    whole, part = prior.sample(4, rng=Rng(1)), prior.sample(2, rng=Rng(1))
    assert torch.equal(whole[:2], part)
    again = WindowPrior.load(prior.save(tmp_path / "i.prior"))
    assert isinstance(again, InterpolantPrior) and torch.equal(again.sample(2, rng=Rng(1)), part)
    with pytest.raises(SavedError, match="expected a DiffusionPrior, got InterpolantPrior"):
        DiffusionPrior.load(tmp_path / "i.prior")
    noisier = prior.with_noise(1.0)
    assert noisier.sampler.noise == 1.0 and noisier.drift is prior.drift and prior.sampler.noise == 0.5


def test_a_posterior_refuses_it_by_type() -> None:
    seen = Observation(MatrixOperator(torch.ones(1, 1, 1, 6)), torch.zeros(1), std=0.1)
    with pytest.raises(InputError, match="expected a DiffusionPrior, got InterpolantPrior: its state on the way"):
        Posterior(made(), seen)  # type: ignore[arg-type]


def test_starts_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="one-sided path alone"):
        made(Interpolant("one-sided"), "centre")
    with pytest.raises(InputError, match="take 'centre'"):
        made(start="persistence")
    with pytest.raises(InputError, match="all draws would be one"):
        made(Interpolant("linear", "none"))
