"""An autoencoder and the prior that lives in its latents: by every process, saved whole, seen by posterior samplers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch.utils.data import default_collate

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.data.statistics import fitted
from physdiff.data.windows import TrajectoryWindows
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.networks.transformer import DiT
from physdiff.training.build import build_prior
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.fit_autoencoder import AutoencoderTraining, fit_autoencoder
from physdiff.training.recipe import Recipe, prepare
from physdiff.transforms.autoencoder import Autoencoder
from physdiff.transforms.compose import Compose
from physdiff.transforms.frames import DropHistory, FramesToChannels
from physdiff.transforms.latent_increment import LatentIncrement
from physdiff.transforms.normalizer import Normalizer
from tests.training.problems import calendar, line, tiny

LINEAR = Autoencoder(2.0, 2, 0)


def made(ds, recipe: Recipe, autoencoder: Autoencoder = LINEAR, **options):
    return prepare(ds, recipe, autoencoder=fit_autoencoder(ds, recipe, autoencoder, training=AutoencoderTraining(max_steps=2)), **options)


@pytest.mark.parametrize(
    ("ds", "recipe"),
    [
        (calendar(80), Recipe(history=2, horizon=2)),
        (calendar(80), Recipe(history=2, horizon=2, guess="increment")),
        (calendar(30), Recipe(history=2, horizon=2, guess="none")),
        (line(), Recipe(history=1, horizon=2)),
        (line(), Recipe(history=0, horizon=1)),
        (line(), Recipe(history=1, horizon=2, process="interpolant")),
        (line(), Recipe(history=1, horizon=2, process="bridge")),
    ],
    ids=["linear guess", "increment", "no guess", "line", "no past", "interpolant", "bridge"],
)
def test_the_chain(ds, recipe, tmp_path) -> None:
    prior, data = made(ds, recipe, network=tiny)
    batch = default_collate([data.train_windows[i] for i in range(len(data.train_windows))])
    completed = prior.complete(batch.get("cond"), batch.get("guess"))
    z, c = prior.encode(batch["x"], completed), prior.encode_cond(completed)
    assert z.shape[1:] == prior.latent_shape and (c is None or c.shape[2:] == z.shape[2:])
    expected = torch.ones(z.shape[1])
    # of the increments at hand; a linear guess took part in some folds only
    assert torch.allclose(z.square().mean((0, 2, *range(3, z.ndim))).sqrt(), expected, atol=0.06)
    if recipe.guess != "none" and recipe.history:
        assert [type(p) for p in prior.transform] == [DropHistory, LatentIncrement, Normalizer, FramesToChannels]
    prior.save(tmp_path / "a.prior")
    again = WindowPrior.load(tmp_path / "a.prior")
    cond = None if "cond" not in batch else batch["cond"][:1]
    first, second = (p.sample(2, cond=cond, rng=Rng(0)) for p in (prior, again))
    assert first.shape[1:] == prior.spec.shape and bool(first.isfinite().all())
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)  # float32 near 280 K through 24 steps


def test_what_is_known_reaches_the_network_as_the_latents_it_was_trained_on() -> None:
    """The known frames of the condition are those that the chain's own coder gives, channel by channel."""
    prior, data = made(calendar(80), Recipe(history=2, horizon=2))
    cond = data.train_windows[7]["cond"][None]
    completed = prior.complete(cond)
    coder = prior.transform.parts[1].coder
    known = coder.encode(completed[:, :1], completed)[:, :, :2]
    torch.testing.assert_close(prior.encode_cond(completed)[:, : known.shape[1] * 2], known.flatten(1, 2).unsqueeze(2))


def test_a_latent_prior_is_trained_and_the_autoencoder_is_left_alone() -> None:
    prior, data = made(line(), Recipe(history=1, horizon=2), Autoencoder(2.0, 2, 8, blocks=1), network=partial(DiT, width=16, depth=1))
    (coder,) = [p for p in prior.transform.modules() if isinstance(p, Autoencoder)]
    before = {k: v.clone() for k, v in coder.state_dict().items()}
    weights = prior.denoiser.network.head.weight.clone()
    fit(DiffusionModule(prior, 1e-3, 0.9), data, max_steps=3)
    assert all(torch.equal(v, coder.state_dict()[k]) for k, v in before.items())
    assert not torch.equal(weights, prior.denoiser.network.head.weight)


def test_a_budget_of_seconds_trains_as_many_steps_as_fit_it_does() -> None:
    """The timed steps before the training leave its weights free, and as they were."""
    recipe, coder, trained = Recipe(history=1, horizon=2), Autoencoder(2.0, 2, 8, blocks=1), []
    for plan in (AutoencoderTraining(2), AutoencoderTraining(2, 1e4)):
        made = fit_autoencoder(line(), recipe, coder, training=plan)
        assert not any(p.requires_grad for p in made.parameters())
        trained.append(made.state_dict())
    assert all(torch.equal(a, trained[1][k]) for k, a in trained[0].items())
    assert any(float(v.abs().max()) > 0 for k, v in trained[1].items() if "head" in k and "weight" in k)


def test_networks_without_training_and_other_grids_are_refused() -> None:
    with pytest.raises(InputError, match="train it with fit_autoencoder"):
        prepare(line(), Recipe(history=1, horizon=2), network=tiny, autoencoder=Autoencoder(2.0, 2, 8))
    other = fit_autoencoder(line(), Recipe(history=1, horizon=2), LINEAR)
    with pytest.raises(ShapeError, match="Autoencoder"):
        prepare(calendar(80), Recipe(history=2, horizon=2), network=tiny, autoencoder=other)


def test_build_prior_takes_a_chain_of_ones_own() -> None:
    windows = TrajectoryWindows(line(), history=1, horizon=2)
    chain = fitted(Compose((DropHistory(1), Normalizer(), LINEAR, FramesToChannels(2))), windows)
    prior = build_prior(windows.spec, chain, cond_spec=windows.cond_spec, network=tiny, width=8)
    draws = prior.sample(2, cond=windows[0]["cond"][None], rng=Rng(0))
    assert draws.shape == (2, 1, 3, 16)
