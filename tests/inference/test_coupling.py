"""The readings' share of a split posterior: its Gaussian form against the formulas with every matrix written out, Langevin draws against the same."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.inference.coupling import Coupling
from physdiff.inference.exact import GaussianTarget
from physdiff.inference.observation import Observation, Operator

LIKE = torch.zeros((), dtype=torch.float64)


def d(*values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def target() -> GaussianTarget:
    """Three readings of four entries, two of them in one direction, with noises of different size."""
    matrix = d([1.0, 0.4, 0.0, -0.3], [2.0, 0.8, 0.0, -0.6], [0.0, 0.7, 1.0, 0.2])
    return GaussianTarget(torch.zeros(4).double(), torch.eye(4).double(), matrix, d(0.8, 1.2, -0.4), d(0.3, 0.5, 0.2))


def law(x: Tensor, rho: float) -> tuple[Tensor, Tensor]:
    """Mean (4,) and covariance of p(z | x, y): precision H^T R^-1 H + 1/rho^2."""
    t = target()
    weighted = t.matrix.T / t.std**2
    covariance = torch.linalg.inv(weighted @ t.matrix + torch.eye(4).double() / rho**2)
    return covariance @ (weighted @ t.y + x / rho**2), covariance


class Curved(Operator):
    """A linear map through a callable that says nothing of it; `bend` makes it a curve."""

    def __init__(self, bend: float = 0.0) -> None:
        self.bend = bend

    def __call__(self, x: Tensor) -> Tensor:
        r = x.flatten(1) @ target().matrix.T
        return r + self.bend * r**2


def test_mode_and_draws_are_those_of_the_formulas() -> None:
    coupling, x = Coupling(target().posterior()), Rng(0).normal((4,), like=LIKE)
    assert len(coupling.values) == 2  # two of the three rows are parallel
    for rho in (0.05, 5.0):
        mean, covariance = law(x, rho)
        torch.testing.assert_close(coupling.mode(x.reshape(1, 1, 1, 4), rho).flatten(), mean, rtol=0, atol=1e-10)
        n = 20_000
        z = coupling.draw(x.expand(n, 4).reshape(n, 1, 1, 4), rho, Rng(1)).flatten(1)
        # 4 standard errors; of an entry of the covariance sqrt((c_ii c_jj + c_ij^2)/n)
        std = covariance.diagonal()
        assert bool(((z.mean(0) - mean).abs() < 4 * (std / n).sqrt()).all())
        error = ((std[:, None] * std + covariance**2) / n).sqrt()
        assert bool(((torch.cov(z.T) - covariance).abs() < 4 * error).all())


def test_langevin_draws_where_the_map_is_not_known_to_be_affine() -> None:
    """The same law by moves: readings bent so little (1e-7) that the Gaussian formula still holds, and so far that only moves are taken."""
    posterior = target().posterior()
    posterior.observations = (Observation(Curved(), target().y, std=target().std),)
    coupling, n, x, rho = Coupling(posterior, moves=60), 1000, Rng(0).normal((4,), like=LIKE), 0.3
    coupling.values = None
    mean, covariance = law(x, rho)
    state = x.expand(n, 4).reshape(n, 1, 1, 4)
    torch.testing.assert_close(coupling.mode(state[:1], rho).flatten(), mean, rtol=0, atol=1e-6)
    z = coupling.draw(state, rho, Rng(1)).flatten(1)
    assert 0.3 < coupling.acceptance < 0.9
    std = covariance.diagonal().sqrt()
    # chains start at the mode; after 60 moves their law is the target within 4 standard errors
    assert bool(((z.mean(0) - mean).abs() < 4 * std / math.sqrt(n)).all())
    assert bool(((z.var(0) / std**2 - 1).abs() < 4 * math.sqrt(2 / n)).all())


def test_a_curved_reading_is_met_by_a_newton_step() -> None:
    posterior = target().posterior()
    x = Rng(0).normal((1, 1, 1, 4), like=LIKE)
    curved = Curved(0.3)
    y = curved(x + 1e-3 * Rng(1).normal(x.shape, like=x))[0]
    posterior.observations = (Observation(curved, y, std=1e-6),)
    coupling = Coupling(posterior)
    assert coupling.values is None and coupling.calls == 0
    moved = coupling.mode(x, 1.0)
    # the readings are off by some 1e-3 before; the error of one step is a share of the square
    assert float((curved(x)[0] - y).abs().max()) > 3e-4
    assert float((curved(moved)[0] - y).abs().max()) < 3e-6
    assert coupling.calls > 0


def test_worded_errors() -> None:
    class BlackBox(Operator):
        def __call__(self, x: Tensor) -> Tensor:
            return x.detach().flatten(1)[:, :1] ** 2

    posterior = target().posterior()
    posterior.observations = (Observation(Curved(0.3), target().y, std=0.1),)
    with pytest.raises(InputError, match="DDRM: expected at most 1024 readings .* affine map; use Guided or DAPS"):
        Coupling(posterior).spectrum("DDRM")
    posterior.observations = (Observation(BlackBox(), 0.1, std=0.1),)
    coupling = Coupling(posterior)
    for ask in (coupling.mode, lambda x, rho: coupling.likelihood(x)):
        with pytest.raises(InputError, match="can differentiate"):
            ask(torch.zeros(1, 1, 1, 4).double(), 0.5)
    with pytest.raises(InputError, match="one move or more"):
        Coupling(posterior, moves=0)
