"""Captions as fields: the hash, numbers that are near, what a trajectory prior makes of them."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.captions import HashedWords, known_captions, with_captions
from physdiff.data.convert import to_dataset
from physdiff.grids.cartesian import CartesianGrid
from physdiff.grids.field_spec import FieldSpec
from physdiff.training.datamodule import TrajectoryDataModule
from physdiff.training.diffusion_module import DiffusionModule
from physdiff.training.fit import fit
from physdiff.training.trajectories import prepare_trajectories
from tests.training.problems import tiny


def pulses(samples: int = 6):
    """Frames that are +1 or -1 everywhere: "a warm start", "a cold start"."""
    spec = FieldSpec(("u",), ("1",), CartesianGrid(8, 1.0, periodic=True), 1.0, frames=2, time_unit="1")
    sign = torch.tensor([1.0, -1.0]).repeat(samples // 2)
    x = sign.reshape(-1, 1, 1, 1) + 0.1 * Rng(0).normal((samples, 1, 2, 8))
    return to_dataset(x, spec, batch="sample"), ["a warm start" if s > 0 else "a cold start" for s in sign.tolist()]


def test_the_hash_is_fixed_and_tells_words_apart():
    words = HashedWords(16)
    assert torch.equal(words("Warm  START."), words("warm start")) and not torch.equal(words("warm start"), words("start warm"))
    # fixed for ever: priors are trained on it
    assert words("warm").nonzero().flatten().tolist() == HashedWords(16)("warm").nonzero().flatten().tolist()
    assert abs(float(words("warm").norm()) - 1) < 0.5  # a word and its pair with nothing: two entries, or one of two
    with pytest.raises(InputError, match="words"):
        words("...")


def test_numbers_that_are_near_are_near():
    words = HashedWords(32)
    at = [words(f"flow of viscosity {v}") for v in ("0.1", "0.2", "5")]
    assert 0 < (at[0] - at[1]).norm() < 0.1 * (at[0] - at[2]).norm()
    assert (words("Re 1e3") - words("Re 1000")).norm() < 1e-6 and (words("Re 1e3") - words("Re 1e4")).norm() > 0.1


def test_every_sample_gets_its_own_constant_fields():
    ds, captions = pulses()
    out = with_captions(ds, captions, HashedWords(4), name="words")
    assert known_captions("words", 4) == {f"words_{k}": "all" for k in range(4)}
    for i, text in enumerate(captions):
        vector = HashedWords(4)(text)
        for k in range(4):
            assert bool((out[f"words_{k}"].isel(sample=i) == float(vector[k])).all())
    for bad, what in ((captions[1:], "one caption"), (captions, "choose another name")):
        with pytest.raises(DataError, match=what):
            with_captions(out if bad is captions else ds, bad, HashedWords(4), name="words")
    with pytest.raises(InputError, match="one length"):
        with_captions(ds, captions, lambda text: torch.zeros(len(text) if text == captions[0] else 3))


@pytest.mark.slow
def test_words_steer_what_is_drawn():
    """Any callable is an encoder: the sign of the word is enough for a prior to draw the right half."""
    ds, captions = pulses(32)
    data = with_captions(ds, captions, lambda text: torch.tensor([1.0 if "warm" in text else -1.0]))
    prior, windows = prepare_trajectories(data, [known_captions("text", 1)], steps=8, network=tiny)
    fit(DiffusionModule(prior, 3e-3, 0.9), TrajectoryDataModule(windows, batch_size=16), max_steps=150)
    for i in (0, 1):
        draws = prior.sample(8, cond=windows[i]["cond"][None], rng=Rng(0))[:, 0]
        assert abs(float(draws.mean()) - (1 - 2 * i)) < 0.5  # of the wrong sign: off by 2
