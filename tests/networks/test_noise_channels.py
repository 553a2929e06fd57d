"""Networks that are told a noise level by channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from physdiff.base.errors import InputError
from physdiff.base.saved import read, write
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.networks.fno import FNO
from physdiff.networks.noise_channels import NoiseChannels


def told() -> NoiseChannels:
    torch.manual_seed(0)
    return NoiseChannels(FNO(2 + 4, 2, ndim=1, periodic=True, width=4, modes=3, layers=1, coordinates=False), 4)


def test_the_network_sees_the_embedding_beside_the_field():
    net, x, level = told(), torch.randn(3, 2, 8), torch.tensor([-1.0, 0.0, 1.0])
    beside = net.embedding(level, 3)[..., None].expand(-1, -1, 8)
    torch.testing.assert_close(net(x, level), net.network(torch.cat([x, beside], 1)))
    assert not torch.allclose(net(x, level), net(x, level.flip(0)))
    torch.testing.assert_close(net(x, torch.tensor(0.3)), net(x, torch.full((3,), 0.3)))


def test_an_operator_becomes_a_denoiser_and_is_saved(tmp_path):
    net = told()
    write(tmp_path / "net", net)
    again, _ = read(tmp_path / "net")
    x = torch.randn(2, 2, 1, 8)
    first, second = (PreconditionedDenoiser(n, EDMSchedule())(x, torch.tensor(0.5)) for n in (net, again))
    assert first.shape == x.shape and torch.equal(first, second)


def test_a_network_that_hides_its_axes_is_refused():
    with pytest.raises(InputError, match="ndim"):
        NoiseChannels(nn.Identity())
