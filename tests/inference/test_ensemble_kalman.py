"""Ensemble Kalman updates: the Kalman update of the sample moments to rounding, the taper, AR(1), twins on Lorenz's ring, worded errors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.grids.cartesian import CartesianGrid
from physdiff.inference.ensemble_kalman import enkf, etkf, gaspari_cohn, inflated, letkf
from physdiff.inference.exact import ar1_target
from physdiff.operators.lattice import Lattice
from physdiff.pdes.lorenz import Lorenz96
from physdiff.solvers.runge_kutta import RungeKutta

LIKE = torch.zeros((), dtype=torch.float64)


def example(n: int = 9, size: int = 5, readings: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Members, a matrix of readings, readings, and their std."""
    rng = Rng(0)
    x = rng.child("x").normal((n, size), like=LIKE) @ rng.child("mix").normal((size, size), like=LIKE) + 1
    std = 0.3 + rng.child("std").uniform((readings,), like=LIKE)
    return x, rng.child("h").normal((readings, size), like=LIKE), rng.child("y").normal((readings,), like=LIKE), std


def kalman_of_moments(x: Tensor, h: Tensor, y: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    mean, c = x.mean(0), torch.cov(x.T)
    gain = c @ h.T @ torch.linalg.inv(h @ c @ h.T + torch.diag(std**2))
    return mean + gain @ (y - h @ mean), c - gain @ h @ c


@pytest.mark.parametrize("n", [3, 9, 40])
@pytest.mark.parametrize("turned", [False, True])
def test_the_transform_is_the_kalman_update_of_the_sample_moments(n, turned) -> None:
    """1e-12: an eigenproblem of N in float64; fewer members than entries too."""
    x, h, y, std = example(n)
    after = etkf(x, x @ h.T, y, std=std, rng=Rng(1) if turned else None)
    mean, c = kalman_of_moments(x, h, y, std)
    torch.testing.assert_close(after.mean(0), mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.cov(after.T), c, rtol=1e-11, atol=1e-12)


def test_a_turn_changes_members_only() -> None:
    x, h, y, std = example()
    plain, turned = (etkf(x, x @ h.T, y, std=std, rng=rng) for rng in (None, Rng(1)))
    assert float((plain - turned).abs().max()) > 0.1


def test_a_local_transform_that_sees_all_is_the_transform() -> None:
    x, h, y, std = example()
    for rng in (None, Rng(2)):
        local = letkf(x, x @ h.T, y, std=std, taper=torch.ones(5, 3), rng=rng)
        torch.testing.assert_close(local, etkf(x, x @ h.T, y, std=std, rng=rng), rtol=1e-12, atol=1e-12)


def test_an_entry_far_from_every_reading_stays() -> None:
    x, h, y, std = example()
    taper = torch.ones(5, 3, dtype=torch.float64)
    taper[2] = 0
    after = letkf(x, x @ h.T, y, std=std, taper=taper)
    torch.testing.assert_close(after[:, 2], x[:, 2], rtol=1e-12, atol=1e-12)
    assert float((after[:, 1] - x[:, 1]).abs().max()) > 1e-3


def test_a_tapered_reading_is_one_of_larger_noise() -> None:
    x, h, y, std = example()
    after = letkf(x, x @ h.T, y, std=std, taper=torch.full((5, 3), 0.25))
    torch.testing.assert_close(after, etkf(x, x @ h.T, y, std=2 * std), rtol=1e-12, atol=1e-12)


def test_perturbed_readings_give_the_kalman_update_on_average() -> None:
    """The mean is exact in every draw (the noise is centred); the covariance over 500 draws, 4 standard errors."""
    x, h, y, std = example()
    after = torch.stack([enkf(x, x @ h.T, y, std=std, rng=Rng(k)) for k in range(500)])
    mean, c = kalman_of_moments(x, h, y, std)
    torch.testing.assert_close(after.mean(1), mean.expand(500, 5), rtol=1e-10, atol=1e-10)
    covariances = torch.stack([torch.cov(a.T) for a in after])
    error = covariances.std(0) / math.sqrt(500)
    assert bool(((covariances.mean(0) - c).abs() <= 4 * error).all())


def test_more_readings_than_members_and_windows_of_any_shape() -> None:
    x, h, y, std = example(4, 6, 11)
    flat = enkf(x, x @ h.T, y, std=std, rng=Rng(3))
    shaped = enkf(x.reshape(4, 1, 2, 3).float(), x @ h.T, y, std=std, rng=Rng(3))
    assert shaped.shape == (4, 1, 2, 3) and shaped.dtype == torch.float32
    # the members were rounded to single precision, and the gain multiplies that
    torch.testing.assert_close(shaped.flatten(1).double(), flat, rtol=0, atol=1e-4)


def test_the_taper() -> None:
    assert float(gaspari_cohn(LIKE)) == 1 and float(gaspari_cohn(LIKE + 1)) == pytest.approx(5 / 24, abs=1e-15)
    r = torch.linspace(0, 3, 301, dtype=torch.float64)
    values = gaspari_cohn(r)
    assert bool((values.diff() <= 1e-15).all()) and bool((values[r >= 2] == 0).all())
    # a correlation: no negative eigenvalue on a line, to rounding
    places = torch.arange(50, dtype=torch.float64)
    assert float(torch.linalg.eigvalsh(gaspari_cohn((places[:, None] - places) / 7)).min()) > -1e-12


def test_inflation_keeps_the_mean() -> None:
    x = example()[0]
    torch.testing.assert_close(inflated(x, 1.1).mean(0), x.mean(0))
    torch.testing.assert_close(torch.cov(inflated(x, 1.1).T), 1.21 * torch.cov(x.T))


def test_a_trajectory_read_at_both_ends() -> None:
    """T4: the same update on whole trajectories is the ensemble smoother; 20 000 draws of the prior, 4 standard errors of posterior std / sqrt N.

    The sample covariance in the gain adds an error of the same order, hence 6.
    """
    target = ar1_target(4, 0.9, seen=(0, 3), y=torch.tensor([1.0, -1.0]), std=0.5)
    x = Rng(4).normal((20_000, 4), like=LIKE) @ torch.linalg.cholesky(target.covariance).T
    after = enkf(x[:2000], x[:2000, [0, 3]], target.y, std=0.5, rng=Rng(5))
    std = target.posterior_covariance.diagonal().sqrt()
    assert bool(((after.mean(0) - target.posterior_mean).abs() < 6 * std / math.sqrt(2000)).all())
    assert bool(((after.var(0) / std**2 - 1).abs() < 6 * math.sqrt(2 / 2000)).all())


def twin(update, n: int, *, cycles: int, spin_up: int, seed: int = 0) -> float:
    """Root mean square error of the analysis mean on 40 sites, all read every 0.05 with noise 1 (time mean of the error over the sites)."""
    stepper = RungeKutta(Lorenz96(8.0), Lattice(CartesianGrid(40, extent=40.0)))
    rng, errors = Rng(seed), []
    both = 8 + rng.child("start").normal((n + 1, 40), like=LIKE)
    for _ in range(100):
        both = stepper.step({"state": both}, 0.0, 0.05)["state"]
    truth = both[0]
    members = truth + rng.child("first").normal((n, 40), like=LIKE)
    for k in range(cycles):
        both = stepper.step({"state": torch.cat([truth[None], members])}, 0.0, 0.05)["state"]
        truth, members = both[0], both[1:]
        y = truth + rng.child("y", k).normal((40,), like=LIKE)
        members = update(members, y, rng.child("update", k))
        if k >= spin_up:
            errors.append(float((members.mean(0) - truth).square().mean().sqrt()))
    return sum(errors) / len(errors)


def ring_taper(radius: float) -> Tensor:
    """Taper whose influence has the given length scale on the ring of 40."""
    places = torch.arange(40, dtype=torch.float64)
    apart = (places[:, None] - places).abs()
    return gaspari_cohn(torch.minimum(apart, 40 - apart) / radius)


TWINS = {
    "perturbed": (lambda x, y, rng: inflated(enkf(x, x, y, std=1.0, rng=rng), 1.06), 40, 0.22),
    "transform": (lambda x, y, rng: inflated(etkf(x, x, y, std=1.0, rng=rng), 1.013), 24, 0.18),
    "local": (lambda x, y, rng: inflated(letkf(x, x, y, std=1.0, taper=ring_taper(4 * 1.82), rng=rng), 1.04), 7, 0.22),
}


@pytest.mark.parametrize("name", TWINS)
def test_twins_follow_the_truth(name) -> None:
    """A fifth of the readings' noise, and far below what two unrelated states differ by (5); 200 cycles are too few for the published digits."""
    update, n, published = TWINS[name]
    cycles = 200 if name != "local" else 120
    assert twin(update, n, cycles=cycles, spin_up=cycles // 2) < 1.6 * published


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_twins_reach_the_published_errors(name) -> None:
    """DAPPER's tuned settings; 10 % of the published number, and the error of a mean over 3000 cycles, about 2 %."""
    update, n, published = TWINS[name]
    error = twin(update, n, cycles=3400, spin_up=400)
    print(f"{name}: {error:.4f}")
    assert error < 1.1 * published


def test_bad_input() -> None:
    x, h, y, std = example()
    with pytest.raises(ShapeError, match=r"predicted \(9, m\)"):
        etkf(x, x @ h.T, y[:2], std=0.1)
    with pytest.raises(InputError, match="positive finite std"):
        etkf(x, x @ h.T, y, std=0.0)
    with pytest.raises(InputError, match="leave missing readings out"):
        etkf(x, x @ h.T, y * torch.nan, std=1.0)
    with pytest.raises(InputError, match="got 1 members"):
        enkf(x[:1], x[:1] @ h.T, y, std=1.0, rng=Rng(0))
    with pytest.raises(ShapeError, match="taper: expected"):
        letkf(x, x @ h.T, y, std=1.0, taper=torch.ones(2, 2))
    with pytest.raises(InputError, match="inflated factor"):
        inflated(x, 0.0)
