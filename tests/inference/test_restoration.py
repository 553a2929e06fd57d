"""DDRM, DDNM and MCG: readings without noise are met to rounding, each step against its formula, blunt readings, worded errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.inference.clean_scale import CleanScale
from physdiff.inference.coupling import Coupling
from physdiff.inference.exact import GaussianTarget, ar1_covariance
from physdiff.inference.restoration import Restoration

LIKE = torch.zeros((), dtype=torch.float64)


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def line(std: float) -> GaussianTarget:
    """Three weighted sums of a correlated line of six points."""
    matrix = Rng(3).normal((3, 6), like=LIKE)
    return GaussianTarget(torch.zeros(6).double(), ar1_covariance(6, 0.8), matrix, d(0.5, -1.0, 0.3), torch.full((3,), std).double())


@pytest.mark.parametrize("rule", ["DDRM", "DDNM", "MCG"])
def test_readings_without_noise_are_met_to_rounding(rule) -> None:
    """methods/posterior 3.3, 4 and 5; with A = I the draws are y."""
    target = line(1e-9)
    ensemble = Restoration(rule, 12).sample(target.posterior(), 4, rng=Rng(0))
    torch.testing.assert_close(ensemble.members.flatten(1) @ target.matrix.T, target.y.expand(4, 3), rtol=0, atol=1e-8)
    assert int(ensemble.info["nfe"]) == 12 and int(ensemble.info["operator_calls"]) == 1 and ensemble.info["misfit"].shape == (4,)
    whole = GaussianTarget(torch.zeros(3).double(), torch.eye(3).double(), torch.eye(3).double(), d(1.0, -2.0, 0.5), torch.full((3,), 1e-9).double())
    drawn = Restoration(rule, 8).sample(whole.posterior(), 2, rng=Rng(1)).members.flatten(1)
    torch.testing.assert_close(drawn, whole.y.expand(2, 3), rtol=0, atol=1e-8)


@pytest.mark.parametrize("rule", ["DDRM", "DDNM"])
@pytest.mark.parametrize(("u", "v"), [(2.0, 1.2), (0.4, 0.3), (0.1, 0.0)])
def test_a_step_is_the_formula_written_out(rule, u, v) -> None:
    """One entry read with noise 0.5, one not; every symbol a number."""
    target = GaussianTarget(d(0.0, 0.0), torch.eye(2).double(), d([2.0, 0.0]), d(1.0), d(1.0))
    sampler, scale = Restoration(rule, 5, 0.6), CleanScale(Coupling(target.posterior()), 5)
    x, e = d(0.7, -0.4), d(0.9, 0.2)
    new = sampler._step(scale, x.reshape(1, 1, 1, 2), u, v, e.reshape(1, 1, 1, 2)).flatten()
    mean, kept, y, noise = x / (1 + u**2), 0.8, 0.5, 0.5
    torch.testing.assert_close(new[1], mean[1] + kept * v / u * (x[1] - mean[1]) + 0.6 * v * e[1], rtol=0, atol=1e-9)
    level = v or u
    if rule == "DDRM":
        sharp = y + max(v**2 - noise**2, 0) ** 0.5 * e[0]
        blunt = mean[0] + kept * v * (y - mean[0]) / noise + 0.6 * v * e[0]
        expected = sharp if level >= noise else blunt
    else:
        share = min(1.0, level / noise)
        clean = mean[0] + share * (y - mean[0])
        expected = clean + kept * v / u * (x[0] - clean) + 0.6 * max(v**2 - (share * noise) ** 2, 0) ** 0.5 * e[0]
    torch.testing.assert_close(new[0], expected, rtol=0, atol=1e-9)


def test_a_step_of_mcg_is_the_formula_written_out() -> None:
    target = GaussianTarget(d(0.0, 0.0), d([1.0, 0.5], [0.5, 1.0]), d([1.0, 0.0]), d(1.0), d(0.1))
    sampler, scale = Restoration("MCG", 5, strength=0.3), CleanScale(Coupling(target.posterior()), 5)
    x, e, u, v = d(0.7, -0.4), d(0.9, 0.2), 0.5, 0.3
    new = sampler._step(scale, x.reshape(1, 1, 1, 2), u, v, e.reshape(1, 1, 1, 2)).flatten()
    c = target.covariance
    jacobian = c @ torch.linalg.inv(c + u**2 * torch.eye(2).double())
    mean = jacobian @ x
    slope = -jacobian[0] * (1.0 - mean[0])
    free = mean + (v / u) ** 2 * (x - mean) + v * (1 - (v / u) ** 2) ** 0.5 * e - 0.3 * slope
    torch.testing.assert_close(new, torch.stack([1.0 + v * e[0], free[1]]), rtol=0, atol=1e-9)


def test_readings_of_nothing_but_noise_leave_the_prior_to_ddnm() -> None:
    """Noise a thousand times the prior's spread: what is left is the prior, by DDIM (eta = 0) in 60 steps, whose variance is some 10 % low.

    DDRM puts the reading's misfit in place of the state's own noise, which is the same for all draws: it loses a third of the variance here.
    """
    target = line(1e3)
    drawn = Restoration("DDNM", 60, 0.0, max_batch=500).sample(target.posterior(), 500, rng=Rng(2)).members.flatten(1)
    assert bool((drawn.mean(0).abs() < 4 / 500**0.5).all())
    assert 0.8 < float(drawn.var(0).mean()) < 1.05


def test_worded_errors() -> None:
    with pytest.raises(InputError, match="Restoration rule"):
        Restoration("DDXM")
    with pytest.raises(InputError, match="eta in"):
        Restoration(eta=1.5)
    with pytest.raises(InputError, match="DDRM: expected n >= 1"):
        Restoration().sample(line(0.1).posterior(), 0, rng=Rng(0))
