"""The loop of sequential Monte Carlo: unbiased evidence, resampling only where it is due, populations that do not meet, ancestry, worded errors."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import CollapsedWeights, InputError
from physdiff.base.rng import Rng
from physdiff.inference.resampling import SCHEMES
from physdiff.inference.smc import FeynmanKac, run_smc

LIKE = torch.zeros((), dtype=torch.float64)


class Walk(FeynmanKac):
    """A random walk on the integers 0..3 (a ring) with potentials that depend on the place: the evidence is a product of matrices."""

    def __init__(self, steps: int = 6, spread: float = 1.0) -> None:
        self.steps = steps
        self.potential = spread * torch.tensor([0.0, -1.0, 0.5, -2.0], dtype=torch.float64)

    def start(self, shape, rng):
        x = rng.integers(0, 4, shape)
        return (x,), self.potential[x]

    def move(self, k, particles, rng):
        x = (particles[0] + rng.integers(0, 2, particles[0].shape)) % 4
        return (x,), self.potential[x]

    @property
    def evidence(self) -> float:
        g = self.potential.exp()
        law = g / 4
        for _ in range(self.steps):
            law = 0.5 * (law + law.roll(1)) * g
        return float(law.sum())


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_the_evidence_is_unbiased_for_any_number_of_particles(scheme, threshold) -> None:
    """4000 populations of 5 particles side by side: the mean of Z over its exact value is one within 4 standard errors."""
    model = Walk()
    run = run_smc(model, (4000, 5), rng=Rng(1), scheme=scheme, threshold=threshold)
    ratio = run.log_evidence.exp() / model.evidence
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(4000)


@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_the_last_weighted_particles_have_the_last_law(threshold) -> None:
    """Unnormalised: E[Z sum_i W_i 1(x_i = j)] is entry j of the product of matrices, for any N; 4 standard errors."""
    model = Walk()
    run = run_smc(model, (4000, 6), rng=Rng(2), threshold=threshold)
    share = run.weights.normalised[..., None] * torch.nn.functional.one_hot(run.particles[0], 4)
    found = run.log_evidence.exp()[:, None] * share.sum(1)
    g = model.potential.exp()
    law = g / 4
    for _ in range(model.steps):
        law = 0.5 * (law + law.roll(1)) * g
    assert bool(((found.mean(0) - law).abs() <= 4 * found.std(0) / math.sqrt(4000)).all())


def test_populations_do_not_meet_and_only_poor_ones_are_resampled() -> None:
    run = run_smc(Walk(), (50, 40), rng=Rng(3), threshold=0.6)
    assert run.ess.shape == run.resampled.shape == (7, 50)
    assert bool((run.resampled[:-1] == (run.ess[:-1] < 24)).all()) and not bool(run.resampled[-1].any())
    assert bool(run.resampled.any()) and not bool(run.resampled[:-1].all())
    never = ~run.resampled.any(0)
    assert bool((run.survivors[never] == 40).all()) and bool((run.survivors <= 40).all())


def test_without_weights_nothing_is_lost() -> None:
    run = run_smc(Walk(spread=0.0), 32, rng=Rng(4), threshold=1.0)
    assert float(run.log_evidence) == 0 and float(run.ess.min()) == pytest.approx(32) and int(run.survivors) == 32


def test_the_same_key_gives_the_same_run() -> None:
    a, b = (run_smc(Walk(), 20, rng=Rng(5)) for _ in range(2))
    assert bool((a.particles[0] == b.particles[0]).all()) and float(a.log_evidence) == float(b.log_evidence)


def test_everything_that_is_carried_is_resampled_together() -> None:
    class Twins(Walk):
        def start(self, shape, rng):
            (x,), g = super().start(shape, rng)
            return (x, torch.stack([x, 2 * x], -1)), g

        def move(self, k, particles, rng):
            (x,), g = super().move(k, particles[:1], rng)
            assert bool((particles[1][..., 0] == particles[0]).all()) and bool((particles[1][..., 1] == 2 * particles[0]).all())
            return (x, torch.stack([x, 2 * x], -1)), g

    run_smc(Twins(), (3, 16), rng=Rng(6), threshold=1.0)
    run_smc(Twins(), 16, rng=Rng(6), threshold=1.0)


def test_what_is_kept_sees_the_weights_before_resampling() -> None:
    run = run_smc(Walk(), 16, rng=Rng(7), threshold=1.0, keep=lambda particles, weights: weights.ess)
    torch.testing.assert_close(torch.stack(run.kept), run.ess)


def test_collapse_names_the_move() -> None:
    class Dies(Walk):
        def move(self, k, particles, rng):
            new, g = super().move(k, particles, rng)
            return new, torch.full_like(g, -torch.inf) if k == 3 else g

    with pytest.raises(CollapsedWeights, match="move 3 of 6: .*zero weights only; raise the noise"):
        run_smc(Dies(), 16, rng=Rng(8))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"particles": 0}, "expected one particle or more"),
        ({"scheme": "systemic"}, "did you mean systematic"),
        ({"threshold": 1.5}, "a share of the particles"),
    ],
)
def test_bad_input(arguments, said) -> None:
    with pytest.raises(InputError, match=said):
        run_smc(Walk(), **{"particles": 4, "rng": Rng(0), **arguments})


def test_survivors_need_an_ancestry() -> None:
    with pytest.raises(InputError, match="ancestry=True"):
        _ = run_smc(Walk(), 4, rng=Rng(0), ancestry=False).survivors
