"""Filters: Kalman against one big Gaussian and published AR(1) numbers; particle filters against Kalman within 4 standard errors."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import CollapsedWeights, InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.inference.exact import GaussianTarget, ar1_target
from physdiff.inference.state_space import LinearGaussian, StateSpace, kalman, particle_filter

LIKE = torch.zeros((), dtype=torch.float64)


def d(*values):
    return torch.tensor(values, dtype=torch.float64)


def scalar(**changes) -> LinearGaussian:
    """The scalar model of job P8, with any of its parts changed."""
    parts = {"transition": d([0.95]), "noise": d([0.25]), "matrix": d([1.0]), "reading_noise": d([0.25]), "mean": d(0.0)}
    return LinearGaussian(**{**parts, "covariance": d([0.25 / (1 - 0.95**2)]), **changes})


def plane() -> LinearGaussian:
    """A damped rotation of which one mixture is read, noise of unequal size."""
    f = 0.9 * d([math.cos(0.7), -math.sin(0.7)], [math.sin(0.7), math.cos(0.7)])
    return LinearGaussian(f, d([0.3, 0.1], [0.1, 0.2]), d([1.0, 0.5]), d([0.4]), d(1.0, -1.0), d([1.0, 0.2], [0.2, 0.5]), dtype=torch.float64)


def readings(model: LinearGaussian, steps: int, seed: int = 0) -> torch.Tensor:
    rng, rows = Rng(seed), []
    x = model.start((1,), rng)
    for t in range(steps):
        x = x if t == 0 else model.move(t, x, rng.child(t))
        noise = torch.linalg.cholesky(model.reading_noise) @ rng.child("y", t).normal((len(model.matrix),), like=LIKE)
        rows.append(model.matrix @ x[0].double() + noise)
    return torch.stack(rows)


def as_one_gaussian(model: LinearGaussian, y: torch.Tensor) -> GaussianTarget:
    """The whole trajectory as one vector of T d entries."""
    steps, size = len(y), len(model.mean)
    means, blocks = [model.mean], [[None] * steps for _ in range(steps)]
    p = model.covariance
    for t in range(steps):
        blocks[t][t] = p
        for s in range(t + 1, steps):
            blocks[s][t] = model.transition @ blocks[s - 1][t]
            blocks[t][s] = blocks[s][t].T
        p = model.transition @ p @ model.transition.T + model.noise
        means.append(model.transition @ means[-1])
    covariance = torch.cat([torch.cat(row, 1) for row in blocks])
    matrix = torch.kron(torch.eye(steps, dtype=torch.float64), model.matrix)
    std = model.reading_noise.diagonal().sqrt().repeat(steps)
    assert covariance.shape == (steps * size, steps * size)
    return GaussianTarget(torch.cat(means[:-1]), covariance, matrix, y.flatten(), std)


def test_kalman_is_the_conditional_law_of_one_big_gaussian() -> None:
    """Smoother and evidence; the filter is the smoother's last time. 1e-10: matrices of 10 entries in float64."""
    model, y = plane(), readings(plane(), 5)
    exact, found = as_one_gaussian(model, y), kalman(model, y)
    assert found.log_evidence == pytest.approx(exact.log_evidence, abs=1e-10)
    torch.testing.assert_close(found.smooth_means.flatten(), exact.posterior_mean, rtol=0, atol=1e-10)
    for t in range(5):
        block = exact.posterior_covariance[2 * t : 2 * t + 2, 2 * t : 2 * t + 2]
        torch.testing.assert_close(found.smooth_covariances[t], block, rtol=0, atol=1e-10)
        head = as_one_gaussian(model, y[: t + 1])
        torch.testing.assert_close(found.means[t], head.posterior_mean[-2:], rtol=0, atol=1e-10)
        torch.testing.assert_close(found.covariances[t], head.posterior_covariance[-2:, -2:], rtol=0, atol=1e-10)


def test_smoother_of_a_trajectory_read_at_both_ends() -> None:
    """T4: AR(1) of correlation 0.9 and unit variance, read as 1 and -1 at its ends with variance 0.25; published to six decimals."""
    model = scalar(transition=d([0.9]), noise=d([1 - 0.81]), covariance=d([1.0]))
    found = kalman(model, d([1.0], [math.nan], [math.nan], [-1.0]))
    torch.testing.assert_close(found.smooth_means[:, 0], d(0.520154, 0.172745, -0.172745, -0.520154), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.smooth_covariances[:, 0, 0], d(0.174228, 0.253444, 0.253444, 0.174228), rtol=0, atol=1e-6)
    target = ar1_target(4, 0.9, seen=(0, 3), y=d(1.0, -1.0), std=0.5)
    assert found.log_evidence == pytest.approx(target.log_evidence, abs=1e-12)


@pytest.mark.parametrize("guided", [False, True], ids=["bootstrap", "guided"])
@pytest.mark.parametrize("model", [scalar(), plane()], ids=["scalar", "plane"])
def test_particle_filters_estimate_the_kalman_evidence(model, guided) -> None:
    """Unbiased: the mean of Z over its exact value within 4 standard errors, 1000 filters of 100 particles side by side, T = 10."""
    y = readings(model, 10)
    run = particle_filter(model, y, (1000, 100), rng=Rng(1), guided=guided)
    ratio = (run.log_evidence - kalman(model, y).log_evidence).exp()
    assert abs(float(ratio.mean()) - 1) < 4 * float(ratio.std()) / math.sqrt(1000)
    # particles in float32 sum their weights in float64
    assert run.weights.values.dtype == torch.float64 and run.particles[0].dtype == model.dtype


@pytest.mark.parametrize("guided", [False, True], ids=["bootstrap", "guided"])
def test_means_of_the_filter(guided) -> None:
    """Mean of 200 filters of 500 particles: 4 standard errors of that mean, and the self-normalised bias, of order 1/N: 2 posterior std over N."""
    model = plane()
    y = readings(model, 8)
    y[3] = torch.nan
    run = particle_filter(model, y, (200, 500), rng=Rng(2), guided=guided, means=True)
    exact, found = kalman(model, y), torch.stack(run.kept)
    error = found.std(1) / math.sqrt(200)
    allowed = 4 * error + 2 / 500 * exact.covariances.diagonal(dim1=1, dim2=2).sqrt()
    assert bool(((found.mean(1) - exact.means).abs() <= allowed).all())


def test_guided_weights_vary_less() -> None:
    """Sharp readings: most bootstrap particles miss them."""
    model = scalar(reading_noise=d([0.01]))
    y = readings(model, 20)
    sizes = {g: float(particle_filter(model, y, 2000, rng=Rng(3), guided=g).ess.mean()) for g in (False, True)}
    assert sizes[True] > 2 * sizes[False]


class Square(StateSpace):
    """A model of one's own: a random walk whose square is read."""

    def start(self, shape, rng):
        return rng.normal((*shape, 1), like=LIKE)

    def move(self, t, x, rng):
        return x + 0.5 * rng.normal(x.shape, like=LIKE)

    def log_likelihood(self, t, x, y):
        return -0.5 * ((x[..., 0] ** 2 - y[0]) / 0.1) ** 2


def test_a_model_of_ones_own() -> None:
    """Both signs explain the readings: the last particles have mean about zero and square about the last reading."""
    run = particle_filter(Square(), d([1.0], [1.2], [1.4]), 4000, rng=Rng(4), means=True)
    x, w = run.particles[0][:, 0], run.weights.normalised
    assert float((w * x**2).sum()) == pytest.approx(1.4, abs=0.05)
    assert 0.3 < float(w[x > 0].sum()) < 0.7
    with pytest.raises(InputError, match="use guided=False"):
        particle_filter(Square(), d([1.0]), 10, rng=Rng(0), guided=True)


def test_impossible_readings_name_the_time() -> None:
    class Never(Square):
        def log_likelihood(self, t, x, y):
            return torch.full(x.shape[:-1], -torch.inf if t == 1 else 0.0)

    with pytest.raises(CollapsedWeights, match="move 1 of 2"):
        particle_filter(Never(), d([1.0], [1.0], [1.0]), 10, rng=Rng(0))


def test_bad_input() -> None:
    with pytest.raises(ShapeError, match=r"expected \(times, 1\)"):
        particle_filter(scalar(), torch.zeros(5, 2), 10, rng=Rng(0))
    with pytest.raises(InputError, match="got some in part"):
        two = LinearGaussian(d([1.0]), d([1.0]), d([1.0], [1.0]), torch.eye(2).double(), d(0.0), d([1.0]))
        particle_filter(two, d([1.0, math.nan]), 10, rng=Rng(0))
    with pytest.raises(ShapeError, match="expected noise"):
        scalar(noise=torch.eye(2))
    with pytest.raises(InputError, match="reading_noise symmetric and positive definite"):
        scalar(reading_noise=d([-0.25]))
