"""Assignments against an oracle, what a coupling does to the noise, and the types that refuse such a flow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from physdiff.base.errors import InputError, SavedError, ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.coupled_flow import CoupledFlow, CoupledPrior, _assigned, coupled_loss, nearest_pairs
from physdiff.diffusion.denoiser import Denoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.interpolant import Drift, Interpolant
from physdiff.diffusion.network_drift import NetworkDrift
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.inference.observation import MatrixOperator, Observation
from physdiff.inference.posterior import Posterior
from physdiff.networks.unet import UNet
from physdiff.transforms.normalizer import Normalizer

LIKE = torch.zeros((), dtype=torch.float64)
SPEC = FieldSpec(("u",), ("m",), CartesianGrid((8,), extent=1.0, periodic=True), 0.1)
SCALE = Normalizer(("channel",), torch.full((1, 1, 1), 5.0), torch.full((1, 1, 1), 2.0))


def normal(*shape: int, key: str) -> torch.Tensor:
    return Rng(4).child(key).normal(shape, like=LIKE)


def flow(coupling: str = "minibatch transport") -> CoupledFlow:
    torch.manual_seed(0)
    return CoupledFlow(NetworkDrift(UNet(1, 2, ndim=1, periodic=True, width=8), Interpolant("one-sided")), coupling)


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_assignments_are_the_cheapest(n: int) -> None:
    cost = np.random.default_rng(n).standard_normal((n, n))
    mine, (rows, columns) = _assigned(cost), linear_sum_assignment(cost)
    assert sorted(mine) == list(range(n))
    assert cost[np.arange(n), mine].sum() == pytest.approx(cost[rows, columns].sum(), abs=1e-12)


def test_on_a_line_pairs_are_sorted_and_cost_falls_with_the_batch() -> None:
    """The optimal coupling of two laws on a line is monotone; between N(0, 1) and itself it costs nothing in the limit."""
    costs = []
    for n in (8, 64):
        x, z = normal(n, 1, key=f"x{n}"), normal(n, 1, key=f"z{n}")
        paired = z[nearest_pairs(z, x)]
        order = x.flatten().argsort()
        assert bool((paired.flatten()[order].diff() >= 0).all())
        costs.append(float((x - paired).square().mean()))
    assert costs[1] < costs[0] < 2  # independent pairs: 2


def test_given_its_data_the_noise_is_no_longer_standard() -> None:
    x, z = normal(64, 1, 1, 1, key="x"), normal(64, 1, 1, 1, key="z")
    paired = z[nearest_pairs(z, x)]
    assert float(torch.corrcoef(torch.stack([x.flatten(), paired.flatten()]))[0, 1]) > 0.9
    assert torch.equal(paired.flatten().sort().values, z.flatten().sort().values)  # as a whole it is the same noise


def test_the_loss_is_that_of_the_pairs() -> None:
    made, x, z = flow().double(), normal(5, 1, 1, 8, key="x"), normal(5, 1, 1, 8, key="z")
    t = torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    with torch.no_grad():
        found = coupled_loss(made, x, t, noise=z)
        given = coupled_loss(flow("reflow").double(), x, t, noise=z[nearest_pairs(z, x)])
    assert torch.equal(found, given)
    with pytest.raises(ShapeError, match="nearest_pairs"):
        nearest_pairs(z[:3], x)


def test_it_samples_and_is_refused_by_type_where_a_score_is_needed(tmp_path) -> None:
    for coupling in ("minibatch transport", "reflow"):
        prior = CoupledPrior(flow(coupling), SCALE, SPEC, steps=3)
        draws = prior.sample(3, rng=Rng(0))
        assert draws.shape == (3, 1, 1, 8) and bool(draws.isfinite().all())
        assert not isinstance(prior, DiffusionPrior) and not isinstance(prior.flow, Denoiser | Drift)
        again = WindowPrior.load(prior.save(tmp_path / "c.prior"))
        assert isinstance(again, CoupledPrior) and again.flow.coupling == coupling
        assert torch.equal(again.sample(3, rng=Rng(0)), draws)
    seen = Observation(MatrixOperator(torch.ones(1, 1, 1, 8)), torch.zeros(1), std=0.1)
    with pytest.raises(InputError, match="expected a DiffusionPrior, got CoupledPrior: its noise was chosen with the data"):
        Posterior(prior, seen)  # type: ignore[arg-type]
    with pytest.raises(SavedError, match="expected a DiffusionPrior, got CoupledPrior"):
        DiffusionPrior.load(tmp_path / "c.prior")


def test_the_flow_of_an_exact_velocity_carries_noise_to_data() -> None:
    """Monotone coupling of N(0, 1) and N(m, s^2): x_1 = m + s z, so that w = (m + (s - 1) z) at x_t = t m + (1 - t + t s) z, a straight line."""

    class Straight(CoupledFlow):
        def forward(self, x_t, t, cond=None):
            z = (x_t - t * 0.5) / (1 - t + t * 0.3)
            return 0.5 - 0.7 * z

    prior = CoupledPrior(Straight(flow().network), SCALE, SPEC, steps=1)
    z = normal(4, 1, 1, 8, key="z")
    # paths are straight: one step is exact
    assert torch.allclose(prior.draw(z, None, rng=Rng(0)), 0.5 + 0.3 * z, atol=1e-12)


def test_a_two_sided_path_is_refused() -> None:
    with pytest.raises(InputError, match="one-sided path"):
        CoupledFlow(NetworkDrift(UNet(1, 2, ndim=1, width=8), Interpolant()))
