"""Modes go in with variance one and come out in their posterior standard deviation, whatever the noise."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.base.saved import read, write
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import LowRankCovariance
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.networks.mode_network import ModeNetwork

SHAPE, RANK, REST = (3, 1, 8), 5, 1e-3
VARIANCES = torch.tensor([60.0, 9.0, 1.0, 0.2, 0.01])
PATTERNS = torch.linalg.qr(Rng(0).normal((24, RANK)))[0].T.contiguous()


def network(**options) -> ModeNetwork:
    torch.manual_seed(0)
    return ModeNetwork(PATTERNS, VARIANCES, REST, width=16, depth=2, **options)


@pytest.mark.parametrize("sigma", [0.03, 1.0, 50.0])
def test_scales_on_the_way_in_and_out(sigma) -> None:
    """With the stem and the head replaced by the identity and no layers, F is the formula of the module."""
    net = network()
    seen: list[torch.Tensor] = []
    net.layers, net.told, net.norms = (torch.nn.ModuleList() for _ in range(3))
    net.stem, net.head = torch.nn.Identity(), torch.nn.Linear(RANK, RANK)
    torch.nn.init.zeros_(net.head.weight)
    torch.nn.init.ones_(net.head.bias)
    net.stem.register_forward_hook(lambda _, __, out: seen.append(out))
    base = GaussianDenoiser(EDMSchedule(0.02, 400.0), torch.zeros(SHAPE), LowRankCovariance(PATTERNS, VARIANCES, REST))
    denoiser = PreconditionedDenoiser(net, base.schedule, base=base)
    t = base.schedule.time_of(-torch.log(torch.tensor(sigma, dtype=torch.float64)))
    x_t = base.noisy(Rng(1).normal((4000, *SHAPE)), t)
    added = (denoiser(x_t, t) - base(x_t, t)).flatten(1) @ PATTERNS.T
    # 4000 numbers: variances to sqrt(2/4000) = 2.2 %
    torch.testing.assert_close(seen[0].var(0), torch.ones(RANK), rtol=0.09, atol=0)
    expected = (VARIANCES * sigma**2 / (VARIANCES + sigma**2)).sqrt()
    torch.testing.assert_close(added, expected.expand_as(added), rtol=2e-3, atol=1e-4 * sigma)


def test_it_is_zero_before_training_and_goes_through_a_file(tmp_path) -> None:
    net, x = network(), Rng(2).normal((4, 3, 8))
    assert not bool(net(x, torch.tensor(0.1)).any())
    torch.nn.init.normal_(net.head.weight)
    again, _ = read(write(tmp_path / "net", net))
    levels = torch.tensor([-0.5, 0.0, 0.2, 1.0])
    assert torch.equal(again(x, levels), net(x, levels))
    # nothing outside the patterns, and every sample has its own level
    out = net(x, levels)
    torch.testing.assert_close((out.flatten(1) @ PATTERNS.T @ PATTERNS).reshape(out.shape), out, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net(x[2:3], levels[2]), out[2:3], rtol=1e-4, atol=1e-5)


def test_worded_errors() -> None:
    with pytest.raises(ShapeError, match="patterns .r, d. and variances"):
        ModeNetwork(PATTERNS, VARIANCES[:4])
    with pytest.raises(InputError, match="positive variances"):
        ModeNetwork(PATTERNS, 0 * VARIANCES)
    with pytest.raises(ShapeError, match="24 entries on 1 axes"):
        network()(torch.zeros(2, 3, 7), torch.tensor(0.0))


def test_a_condition_follows_the_sample() -> None:
    net, x, given = network(given=2), Rng(2).normal((4, 3, 8)), Rng(3).normal((4, 2))
    torch.nn.init.normal_(net.head.weight)
    rows = torch.cat([x.flatten(1), given], 1)
    out = net(rows.reshape(4, 26, 1), torch.tensor(0.1))
    assert out.shape == (4, 24, 1)
    other = net(torch.cat([x.flatten(1), given + 1], 1).reshape(4, 26, 1), torch.tensor(0.1))
    assert not torch.allclose(other, out)
    with pytest.raises(ShapeError, match="samples of 26 entries"):
        net(x, torch.tensor(0.1))
