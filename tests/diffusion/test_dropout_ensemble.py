"""Dropout kept on: its mean and variance in closed form, masks by key and row, and what has none is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.dropout_ensemble import DropoutEnsemble
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.keyed_rows import KeyedRows
from tests.diffusion.small_priors import Cells, condition_windows, diffusing, forecaster


def test_draws_have_the_mean_and_variance_of_the_masks():
    # the last layer is linear: mean that of the whole network, variance p/(1 - p) sum_j (w_j h_j)^2
    prior, cond, p, n = forecaster(dropout=0.3, width=16), condition_windows(1), 0.3, 800
    drawn = DropoutEnsemble(prior).sample(n, cond=cond, rng=Rng(0), max_batch=n)[:, :, 2:]
    whole = prior.sample(1, cond=cond, rng=Rng(0))[0][:, 2:]
    net: Cells = prior.model.network
    with torch.no_grad():
        encoded = prior.encode_cond(prior.complete(cond)).squeeze(2)
        hidden = torch.tanh(net.first(encoded))
        variance = p / (1 - p) * torch.einsum("oj,bjyx->boyx", net.last.weight[:, :, 0, 0].square(), hidden.square())
    # channels of the coefficients are the coming frames
    variance = variance.reshape(1, 2, 4, 5)
    assert bool(((drawn.mean(0) - whole).abs() < 4.5 * (variance / n).sqrt()).all())
    # five standard errors of a variance whose kurtosis is at most that of one mask, 1/(p (1 - p)) - 3 = 1.8
    assert bool(((drawn.var(0) / variance - 1).abs() < 5 * ((2 + 1.8) / n) ** 0.5).all())


def test_draws_can_be_repeated_and_follow_their_keys():
    made, cond = DropoutEnsemble(forecaster(dropout=0.5)), condition_windows(3)
    a, b = (made.sample(3, cond=cond, rng=Rng(1)) for _ in range(2))
    assert torch.equal(a, b) and not torch.equal(a, made.sample(3, cond=cond, rng=Rng(2)))
    keys = [Rng(3).child(k) for k in range(3)]
    whole = made.sample(3, cond=cond, rng=KeyedRows.of(keys))
    for k in range(3):
        torch.testing.assert_close(made.sample(1, cond=cond[k : k + 1], rng=KeyedRows.of(keys[k : k + 1]))[0], whole[k])
    # neither the module's mode nor torch's global generator plays a part
    made.train()
    torch.manual_seed(7)
    assert torch.equal(made.sample(3, cond=cond, rng=Rng(1)), a) and made.training
    assert not made.prior.model.network.dropout._forward_hooks


def test_another_share_and_a_prior_with_many_passes():
    prior, cond = forecaster(dropout=0.0), condition_windows(2)
    with pytest.raises(InputError, match="dropout layers that drop something"):
        DropoutEnsemble(prior)
    drawn = DropoutEnsemble(prior, 0.5).sample(2, cond=cond, rng=Rng(0))
    assert not torch.allclose(drawn, prior.sample(2, cond=cond, rng=Rng(0)))
    assert bool(DropoutEnsemble(diffusing(), 0.2).sample(2, cond=cond, rng=Rng(0)).isfinite().all())
    for share in (-0.1, 1.0):
        with pytest.raises(InputError, match="share"):
            DropoutEnsemble(prior, share)
    prior.model.network.dropout = nn.Identity()
    with pytest.raises(InputError, match="dropout layers"):
        DropoutEnsemble(prior, 0.5)


def test_it_is_saved(tmp_path):
    made, cond = DropoutEnsemble(forecaster(dropout=0.5), 0.2), condition_windows(1)
    made.save(tmp_path / "a.prior")
    back = WindowPrior.load(tmp_path / "a.prior", classes=(Cells,))
    assert isinstance(back, DropoutEnsemble) and back.share == 0.2
    assert torch.equal(back.sample(3, cond=cond, rng=Rng(0)), made.sample(3, cond=cond, rng=Rng(0)))
