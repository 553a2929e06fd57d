"""Verdicts on priors whose faults are known."""

from __future__ import annotations

import pytest
import torch
import xarray as xr

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.data.convert import to_dataset
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import FourierCovariance
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.interpolant import GaussianDrift, Interpolant
from physdiff.diffusion.interpolant_prior import InterpolantPrior
from physdiff.diffusion.interpolant_sampler import InterpolantSampler
from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.diffusion.samplers.dpm_multistep import DPMSolver2M
from physdiff.diffusion.samplers.fixed_grid import FixedGrid
from physdiff.diffusion.samplers.restart import Restart
from physdiff.diffusion.schedule import EDMSchedule, per_sample
from physdiff.evaluation.diagnose import CHECKS, Effort, _candidates, check_table, diagnose
from physdiff.evaluation.numerical_spread import gain_curve
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.exact import plain_prior
from physdiff.transforms.compose import Compose

SPEC = FieldSpec(("u",), ("m",), CartesianGrid((32,), extent=(1.0,), periodic=True), 0.1, time_unit="1")
SPECTRUM = (1 + torch.fft.fftfreq(32, 1 / 32.0, dtype=torch.float64).abs()) ** -3
SPECTRUM = SPECTRUM / SPECTRUM.mean()
SCHEDULE = EDMSchedule(0.002, 80.0)
EFFORT = Effort(windows=24, levels=4, cases=8, members=16, steps=32)


def fields(n: int, factor: float = 1.0) -> torch.Tensor:
    noise = Rng(1).normal((n, 1, 2, 32), like=torch.zeros((), dtype=torch.float64))
    return factor * torch.fft.ifft(torch.fft.fft(noise) * SPECTRUM.sqrt()).real


DATA = to_dataset(fields(60).float(), SPEC, batch="sample")


class Twisted(Denoiser):
    """A Gaussian denoiser with a part that is no gradient and one that no law has."""

    def __init__(self, inner: Denoiser, turn: float) -> None:
        super().__init__()
        self.inner, self.schedule, self.turn = inner, inner.schedule, turn

    def forward(self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        mean, (alpha, sigma) = self.inner(x_t, t), self.schedule(t)
        return mean + self.turn * per_sample(sigma / (alpha**2 + sigma**2), x_t) * (x_t - x_t.roll(1, -1))


def exact() -> GaussianDenoiser:
    return GaussianDenoiser(SCHEDULE, torch.zeros(1, 1, 32, dtype=torch.float64), FourierCovariance(SPECTRUM.reshape(1, 1, 32), 1))


@pytest.fixture(scope="module")
def good() -> xr.Dataset:
    return diagnose(plain_prior(exact(), SPEC, sampler=DPMSolver2M(), steps=32), DATA, effort=EFFORT)


def test_an_exact_prior_with_enough_steps_is_good(good: xr.Dataset) -> None:
    assert good.attrs["verdict"].startswith("all") or set(good["verdict"].values[:-1]) == {"good"}
    # the last check is of 60 truths against 128 members and may be off by 1 dB for the few modes of the largest scales
    assert float(good["value"][-1]) < 1.5
    # differences in float64, and the wobble of the square of two probes for a linear denoiser, whose Laplacian is zero
    assert float(good["fokker_planck"].max()) < 0.02 and float(good["asymmetry"].max()) < 1e-6
    assert list(good["check"].values) == list(CHECKS) and good.sizes["noise_ratio"] == 4


def test_steps_that_lose_spread_are_found_with_and_without_the_network() -> None:
    found = diagnose(plain_prior(exact(), SPEC, sampler=DDIM(), steps=16), DATA, effort=EFFORT)
    value = {str(n): float(v) for n, v in zip(found["check"].values, found["value"].values, strict=True)}
    # the card: 15 % of the standard deviation of every mode; the grid here reaches to u = 80 as there
    assert value["step_error"] == pytest.approx(0.162, abs=0.01)
    # the same starts, and a deterministic sampler: the same loss in this prior's own draws, but for what UniPC errs in 32 steps
    assert value["prior_step_error"] == pytest.approx(value["step_error"], abs=0.025)
    assert found["step_gain"].sel(sampler="DPMSolver2M").min() > 0.95
    assert "spread lost to steps, Gaussian" in found.attrs["verdict"].split(";")[0]
    assert "bad" in check_table(found)


def test_a_twisted_denoiser_is_found() -> None:
    found = diagnose(plain_prior(Twisted(exact(), 1.0), SPEC, sampler=DPMSolver2M(), steps=32), DATA, effort=EFFORT)
    verdict = {str(n): str(v) for n, v in zip(found["check"].values, found["verdict"].values, strict=True)}
    assert verdict["fokker_planck"] != "good" and verdict["asymmetry"] != "good" and verdict["circulation"] != "good"
    assert verdict["step_error"] == "good"  # that is the sampler's, not the network's


def test_too_little_spread_is_found(good: xr.Dataset) -> None:
    data = to_dataset(fields(60, 2.0).float(), SPEC, batch="sample")
    found = diagnose(plain_prior(exact(), SPEC, sampler=DPMSolver2M(), steps=32), data, effort=EFFORT)
    # twice the amplitude: 6 dB
    assert float(found["value"].sel(check="spread_error")) == pytest.approx(6.0, abs=1.2)
    assert str(found["verdict"].sel(check="spread_error").values) == "bad"
    assert float(found["spread_ratio"].mean()) == pytest.approx(0.5 * float(good["spread_ratio"].mean()), rel=0.1)


def test_its_own_grid_and_every_evaluation_count() -> None:
    """The prior's sampler is judged on the grid it walks, and others get as many evaluations as it has, its rounds included."""
    restart = Restart(low=0.5, high=5.0, repeats=2, steps=3)
    prior = plain_prior(exact(), SPEC, sampler=restart, steps=4)
    assert restart.evaluations(4) == 7 + 12
    candidates = _candidates(prior)
    assert candidates["own"] == (restart, 4) and candidates["DDIM"][1] == 19 and candidates["Heun"][1] == 10
    times = torch.linspace(1, 0, 9, dtype=torch.float64) ** 3
    small = Effort(windows=4, levels=1, cases=2, members=4, steps=8)
    priors = (plain_prior(exact(), SPEC, sampler=s, steps=8) for s in (FixedGrid(DDIM(), times), DDIM()))
    gains = [diagnose(p, DATA, effort=small)["step_gain"].values[0] for p in priors]
    wanted = gain_curve(DDIM(), SCHEDULE, times, largest=1.0, start="exact")(torch.tensor([1.0], dtype=torch.float64))
    # all but the smallest modes on this grid lose what the exact gains say, which differs from the default grid's
    assert abs(gains[0].max() - gains[1].max()) > 0.01 and abs(gains[0] - float(wanted)).min() < 0.01


def test_an_interpolant_is_refused_in_words() -> None:
    flat = torch.ones(1, 2, 32)
    drift = GaussianDrift(Interpolant(), torch.stack([0 * flat, flat]), torch.stack([0 * flat, flat]), covariance=0 * flat)
    prior = InterpolantPrior(drift, Compose(()), SPEC, sampler=InterpolantSampler(4, 0.5), start="centre")
    with pytest.raises(InputError, match="expected a DiffusionPrior, got InterpolantPrior: its state .*match_spread"):
        diagnose(prior, DATA)


def test_effort_is_checked() -> None:
    with pytest.raises(InputError, match="Effort.members"):
        Effort(members=1)
