"""Increments between latents: a linear coder makes those of the fields, and nothing of the base is lost."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.transforms.anomaly import Anomaly, Increment, SubtractGuess
from physdiff.transforms.compose import Compose
from physdiff.transforms.latent_increment import LatentIncrement
from physdiff.transforms.normalizer import Normalizer
from tests.transforms.test_autoencoder import fitted, samples

H, T = 2, 3


def coder(stir: float = 0.0, **options) -> Compose:
    mean = torch.tensor([1.0, -2.0], dtype=torch.float64).reshape(2, 1, 1, 1)
    return Compose((Normalizer(("channel",), mean=mean, std=torch.full_like(mean, 2.0)), fitted(stir=stir, **options)))


def windows(batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames to come (B, 2, T, 8, 12) and condition windows of two fields, known, two channels of guess."""
    x = samples((8, 12), 3 * batch).reshape(batch, 2, 6, 8, 12)[:, :, : H + T] * 2
    known = torch.zeros(batch, 1, H + T, 8, 12, dtype=torch.float64)
    guess = torch.cat([torch.zeros(batch, 2, H, 8, 12, dtype=torch.float64), 0.8 * x[:, :, H:]], 2)
    return x[:, :, H:], torch.cat([x, known, guess], 1)


@pytest.mark.parametrize("guess", [False, True])
def test_a_linear_coder_makes_increments_of_the_fields(guess):
    x, cond = windows()
    linear = coder(width=0, compression=1.0)
    ours, plain = LatentIncrement(linear, 2, H, guess=guess), SubtractGuess() if guess else Increment(H)
    offset = linear.encode(torch.zeros_like(x))
    torch.testing.assert_close(ours.encode(x, cond), linear.encode(plain.encode(x, cond)) - offset, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.decode(ours.encode(x, cond), cond), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("guess", [False, True])
def test_zero_is_the_base_with_all_its_structure(guess):
    x, cond = windows()
    ours = LatentIncrement(coder(0.1), 2, H, guess=guess)
    zero = torch.zeros(3, *ours.out_shape((2, T, 8, 12)), dtype=torch.float64)
    base = cond[:, -2:, H:] if guess else cond[:, :2, H - 1 : H].expand_as(x)
    torch.testing.assert_close(ours.decode(zero, cond), base, rtol=1e-10, atol=1e-10)
    lossy = LatentIncrement(coder(0.1), 2, H, guess=guess, detail=False)
    assert (lossy.decode(zero, cond) - base).abs().max() > 0.1


def test_the_anomaly_of_the_guess_is_taken_once():
    """A guess is one of anomalies: with the climatology removed by the coder, a guess of zero is the climatology."""
    climatology = samples((8, 12), 1)[:, :, 0]
    x, cond = windows()
    cond[:, -2:] = 0.0
    ours = LatentIncrement(Compose((Anomaly("all", climatology), *coder(0.1))), 2, H, guess=True)
    zero = torch.zeros(3, *ours.out_shape((2, T, 8, 12)), dtype=torch.float64)
    torch.testing.assert_close(ours.decode(zero, cond), climatology[:, :, None].expand_as(x), rtol=1e-10, atol=1e-10)


def test_what_is_missing_is_said():
    ours, (x, cond) = LatentIncrement(coder(), 2, H, guess=True), windows()
    with pytest.raises(InputError, match="expected the condition window"):
        ours.encode(x)
    with pytest.raises(ShapeError, match="2 channels of first guess"):
        ours.encode(x, cond[:, :3])
    with pytest.raises(InputError, match="history >= 1"):
        LatentIncrement(coder(), 2, 0)
