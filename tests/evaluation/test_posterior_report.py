"""Calibration of posterior samplers: exact ones pass at the stated level, faults of each kind are found, runs go on where they stopped."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.evaluation.posterior_report import Trials, posterior_report, report_table, simulated
from physdiff.inference.ensemble import Ensemble
from physdiff.inference.exact import GaussianTarget, MixtureTarget
from physdiff.inference.exact_posterior import exact_posterior
from physdiff.inference.noise import Noise
from physdiff.inference.observation import MatrixOperator, Observation, Operator
from physdiff.inference.posterior import Posterior, PosteriorSampler
from tests.inference.test_feynman_kac import d, modes


def correlated(rho: float = 0.8) -> GaussianTarget:
    """Four numbers that are correlated, two of them read: a posterior with dependence."""
    place = torch.arange(4, dtype=torch.float64)
    return GaussianTarget(torch.zeros(4).double(), rho ** (place[:, None] - place).abs(), torch.eye(4).double()[[0, 3]], d(0.0, 0.0), d(0.5, 0.5))


class Exact(PosteriorSampler):
    """Draws of a Gaussian posterior, or of one that is wrong: spread multiplied, mean shifted by so many standard deviations, entries shuffled."""

    def __init__(self, spread: float = 1.0, shift: float = 0.0, *, shuffled: bool = False, deaf: bool = False) -> None:
        self.spread, self.shift, self.shuffled, self.deaf = spread, shift, shuffled, deaf

    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        target = exact_posterior(posterior)
        if self.deaf:
            draws = GaussianTarget(target.mean, target.covariance, target.matrix, target.y, 1e6 * target.std, target.spec).draw(n, rng=rng)
        else:
            draws = target.draw(n, rng=rng)
        mean = target.posterior_mean.reshape(target.window.shape)
        std = target.posterior_covariance.diagonal().sqrt().reshape(target.window.shape)
        draws = mean + self.spread * (draws - mean) + self.shift * std if not self.deaf else draws
        if self.shuffled:  # each entry from a draw of its own: the marginals stay, their dependence goes
            flat = draws.flatten(1)
            flat = torch.stack([flat[rng.child("shuffle", i).permutation(n), i] for i in range(flat.shape[1])], 1)
            draws = flat.reshape(draws.shape)
        return Ensemble.equal(draws, {"nfe": torch.tensor(1)})


class ExactMixture(PosteriorSampler):
    """Draws of the posterior of `modes`."""

    def sample(self, posterior: Posterior, n: int, *, rng: Rng) -> Ensemble:
        t = modes()
        y = posterior.observations[0].y.double()
        return Ensemble.equal(MixtureTarget(t.weights, t.means, t.stds, t.matrix, y, t.std).draw(n, rng=rng))


def report(sampler: PosteriorSampler, seed: int, cases: int = 60, **words):
    t = correlated(words.pop("rho", 0.8))
    posterior = t.posterior(steps=1)
    truths = GaussianTarget(t.mean, t.covariance, t.matrix, t.y, d(1e6, 1e6)).draw(cases, rng=Rng(seed).child("t"))
    trials = Trials(cases=cases, places=2, **words.pop("trials", {}))
    return posterior_report(posterior.prior, posterior.observations, sampler, truths=truths, trials=trials, rng=Rng(seed), **words)


def test_an_exact_sampler_shows_no_fault() -> None:
    found = report(Exact(), 0)
    assert found.attrs["verdict"] == "60 cases show no fault" and found.attrs["tests"] == 7
    assert found["quantity"].values.tolist()[-3:] == ["u0 mean", "u0 std", "log likelihood"]
    # expected coverage is 0.9 for any continuous law; 60 cases of four dependent cells
    assert abs(float(found["coverage"].mean()) - 0.9) < 4 * float(found["coverage"].std()) / 60**0.5
    assert "60 cases show no fault" in report_table(found) and found.attrs["mean_nfe"] == 1


def test_intervals_that_cover_too_much_are_a_fault_by_themselves() -> None:
    found = report(Exact(1.6), 3, 100)
    assert float(found["coverage"].mean()) > 0.95 and float(found["p_coverage"].squeeze()) * found.attrs["tests"] < 0.05
    assert "intervals of u0 too wide" in found.attrs["verdict"] and "too wide" in report_table(found)


@pytest.mark.slow
def test_the_level_over_many_seeds() -> None:
    """60 reports of 60 cases each: a Gaussian posterior and a mixture are called wrong in 5 % at most, 4 standard errors."""
    wrong = 0
    for seed in range(40):
        wrong += "no fault" not in report(Exact(), 100 + seed).attrs["verdict"]
    t = modes()
    posterior = t.posterior()
    for seed in range(20):
        draws = MixtureTarget(t.weights, t.means, t.stds, t.matrix, t.y, d(1e6)).draw(60, rng=Rng(seed).child("truth"))
        found = posterior_report(
            posterior.prior, posterior.observations, ExactMixture(), truths=draws, trials=Trials(60, places=2), rng=Rng(seed)
        )
        wrong += "no fault" not in found.attrs["verdict"]
    assert wrong / 60 < 0.05 + 4 * (0.05 * 0.95 / 60) ** 0.5


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "said"), [(Exact(0.8), "too narrow"), (Exact(shift=0.3), "too high"), (Exact(1.4), "too wide")])
def test_power(sampler, said) -> None:
    """200 cases of 39 members: each fault is found in at least 8 of 10 reports."""
    verdicts = [report(sampler, 200 + seed, 200, trials={"members": 39}).attrs["verdict"] for seed in range(10)]
    assert sum(said in v for v in verdicts) >= 8, verdicts


def test_random_points_see_what_marginals_miss() -> None:
    """Every entry from a draw of its own: the ranks of single places stay uniform, distances to random points do not."""
    found = report(Exact(shuffled=True), 1, 100, rho=0.98)
    single = found["p_value"].values[:2]
    assert found.attrs["tarp_p"] * found.attrs["tests"] < 0.05 and bool((single * found.attrs["tests"] > 0.05).all())
    assert "the dependence between places" in found.attrs["verdict"]


def test_the_likelihood_sees_a_sampler_that_does_not_listen() -> None:
    """Draws of the prior are calibrated in every place; only the likelihood of the readings tells."""
    found = report(Exact(deaf=True), 2, 40)
    p = dict(zip(found["quantity"].values.tolist(), found["p_value"].values, strict=True))
    assert p["log likelihood"] * found.attrs["tests"] < 0.05
    assert min(v for k, v in p.items() if k != "log likelihood") * found.attrs["tests"] > 0.05


def test_truths_of_the_prior_and_runs_that_go_on(tmp_path) -> None:
    class Counted(Exact):
        runs = 0

        def sample(self, posterior, n, *, rng):
            Counted.runs += 1
            if Counted.runs == 7:
                raise KeyboardInterrupt
            return super().sample(posterior, n, rng=rng)

    posterior = correlated().posterior(steps=4)
    words = {"trials": Trials(10, places=1), "rng": Rng(0), "folder": tmp_path}
    with pytest.raises(KeyboardInterrupt):
        posterior_report(posterior.prior, posterior.observations, Counted(), **words)
    assert len(list(tmp_path.glob("case_*.nc"))) == 6
    found = posterior_report(posterior.prior, posterior.observations, Counted(), **words)
    assert Counted.runs == 11 and found.attrs["truths"] == "prior"
    plain = posterior_report(posterior.prior, posterior.observations, Counted(), trials=Trials(10, places=1), rng=Rng(0))
    np.testing.assert_array_equal(plain["rank"].values, found["rank"].values)
    # other settings are another run
    posterior_report(posterior.prior, posterior.observations, Counted(spread=0.9), **words)
    assert Counted.runs == 31


def test_readings_keep_what_is_missing() -> None:
    o = Observation(MatrixOperator(torch.eye(4).double(), (1, 1, 4)), d(0.0, float("nan"), 0.0, 0.0), std=0.1)
    made = simulated(o, torch.ones(1, 1, 1, 4).double(), rng=Rng(0))
    assert bool(made.y[1].isnan()) and bool((made.y[[0, 2, 3]] - 1).abs().max() < 0.6) and made.noise is o.noise


class Mute(Noise):
    def log_prob(self, residual: Tensor, extra_var: Tensor | None = None) -> Tensor:
        return -residual.double().square().flatten(1).sum(1)

    def variance(self, like: Tensor) -> Tensor:
        return torch.ones_like(like)


class Here(Operator):
    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :1]


def test_bad_input() -> None:
    with pytest.raises(InputError, match="cases >= 10"):
        Trials(cases=5)
    with pytest.raises(InputError, match="at least 19 for intervals of 90 %, got 18"):
        Trials(members=18)
    posterior = correlated().posterior(steps=2)
    with pytest.raises(InputError, match="at least ten truths, got 3"):
        posterior_report(posterior.prior, posterior.observations, Exact(), truths=torch.zeros(3, 1, 1, 4).double(), rng=Rng(0))
    with pytest.raises(InputError, match="expected no condition, for this prior has none, got some"):
        posterior_report(posterior.prior, posterior.observations, Exact(), cond=torch.zeros(1, 1, 1, 4), rng=Rng(0))
    with pytest.raises(InputError, match="that can draw readings"):
        posterior_report(posterior.prior, Observation(Here(), 0.0, noise=Mute()), Exact(), truths=torch.zeros(10, 1, 1, 4).double(), rng=Rng(0))
