"""One window as a prior: what it draws, how it is saved, rolled out and refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import Saved
from physdiff.diffusion.forecaster import Forecaster, NetworkMap
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.forecast_models import PriorModel
from physdiff.forecast.rollout import rollout
from physdiff.inference.posterior import Posterior
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.normalizer import Normalizer
from tests.training.problems import line

RECIPE = Recipe(history=1, horizon=1, guess="increment", wavelet="none", process="deterministic")


class Shifted(Saved, nn.Module):
    """The change that turns a field into its neighbour, from the one known frame (standardised) and the known share beside it."""

    ndim = 1

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, c: torch.Tensor) -> torch.Tensor:
        return self.scale * (c[:, :1].roll(1, -1) - c[:, :1])


def forecaster() -> Forecaster:
    """The exact law u(t + 1, x) = u(t, x - 1), whatever the statistics of the data are."""
    prior, _ = prepare(line(), RECIPE, network=lambda i, o, **_: Shifted())
    assert isinstance(prior, Forecaster) and prior.cond_transform is not None
    increments, values = next(p.std for p in prior.transform if isinstance(p, Normalizer)), prior.cond_transform.std
    with torch.no_grad():
        prior.map.network.scale.copy_(values.flatten()[0] / increments.flatten()[0])
    return prior


def test_a_law_in_the_network_is_followed_for_ever():
    ds = line()
    done = rollout(forecaster(), ds, lead=5, members=2, rng=Rng(0), starts=[0.0])["u"]
    start = torch.from_numpy(ds["u"].isel(time=0).values)
    for k in range(5):
        for member in range(2):
            got = torch.from_numpy(done.isel(init_time=0, member=member, lead_time=k).values)
            torch.testing.assert_close(got, start.roll(k + 1, -1), rtol=1e-4, atol=1e-4)  # float32, five times there and back


def test_draws_are_one_and_the_same():
    prior, cond = forecaster(), torch.randn(1, 2, 2, 16)
    draws = prior.sample(3, cond=cond, rng=Rng(0))
    assert draws.shape == (3, 1, 2, 16) and bool((draws == draws[:1]).all())
    assert torch.equal(draws, prior.sample(3, cond=cond, rng=Rng(1)))


def test_it_is_saved_and_read_by_its_own_name_and_that_of_all_priors(tmp_path):
    prior, cond = forecaster(), torch.randn(1, 2, 2, 16)
    prior.save(tmp_path / "f")
    for cls in (WindowPrior, Forecaster):
        again = cls.load(tmp_path / "f", classes=(Shifted,))
        assert torch.equal(again.sample(1, cond=cond, rng=Rng(0)), prior.sample(1, cond=cond, rng=Rng(0)))


def test_it_is_a_model_for_assimilation_and_no_prior_for_a_posterior():
    prior = forecaster()
    known = torch.randn(3, 1, 1, 16)
    ahead = PriorModel(prior).forecast(known, 0.0, steps=2, rng=Rng(0))
    torch.testing.assert_close(ahead[:, :, 1], known[:, :, 0].roll(2, -1), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match="no spread"):
        Posterior(prior, [])


def test_shapes_and_conditions_that_do_not_fit_are_refused():
    image = nn.Conv2d(1, 1, 1)
    image.ndim = 2  # type: ignore[assignment]
    with pytest.raises(InputError, match="condition"):
        NetworkMap(image)(torch.zeros(1, 1, 1, 4, 4), torch.zeros(()))
    with pytest.raises(ShapeError, match="2 axes"):
        NetworkMap(image)(torch.zeros(1, 1, 3, 4, 4), torch.zeros(()), torch.zeros(1, 1, 3, 4, 4))
    wide = forecaster()
    wide.map.network = nn.Identity()
    wide.map.network.ndim = 1  # type: ignore[assignment]
    with pytest.raises(ShapeError, match="coefficients"):
        wide.sample(1, cond=torch.zeros(1, 2, 2, 16), rng=Rng(0))
    with pytest.raises(InputError, match="history"):
        Recipe(history=0, process="deterministic")
