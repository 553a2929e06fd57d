"""SIREN: the laws of its start at any depth, storage, refusals."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.siren import SIREN


@pytest.mark.parametrize("factorised", [False, True])
def test_hidden_layers_start_with_an_arcsine_law(factorised):
    torch.manual_seed(0)
    net = SIREN(1, 1, width=512, depth=4, omega=30.0, factorised=factorised)
    x = 2 * torch.rand(256, 1) - 1
    with torch.no_grad():
        for i, layer in enumerate(net.layers[:-1]):
            argument = net.omega * layer(x)
            x = torch.sin(argument)
            if i:
                # biases uniform on 1/sqrt(n) add omega^2/(3 n) = 0.6 to the variance 1 of the arguments; the sine's is (1 - exp(-2 var))/2
                # = 0.48. 512 weights drawn once: the spread between seeds, measured, is 2 % of the variances
                assert float(argument.var()) == pytest.approx(1 + 30**2 / (3 * 512), rel=0.1)
                assert float(x.var()) == pytest.approx(0.48, abs=0.03) and abs(float(x.mean())) < 4 * (0.5 / 512) ** 0.5


def test_described_built_again_and_differentiated():
    net = SIREN(2, 1, width=6, depth=2, omega=3.0).double()
    twin = build(describe(net)).double()
    twin.load_state_dict(net.state_dict())
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(twin(x), net(x))
    assert torch.autograd.gradgradcheck(net, (x,))


def test_refuses_wrong_arguments():
    with pytest.raises(InputError, match="omega"):
        SIREN(1, 1, omega=0)
    with pytest.raises(ShapeError, match="got"):
        SIREN(2, 1)(torch.zeros(4, 3))
