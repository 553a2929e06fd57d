"""Factorised rows: the same function at the start, the factor rule of gradients, assignment."""

from __future__ import annotations

import torch

from physdiff.networks.dense import Dense, assign, dense


def test_factorisation_changes_nothing_at_the_start():
    torch.manual_seed(0)
    weight, bias = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
    layer, x = Dense(weight, bias), torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x), x @ weight.T + bias)
    # mean 1 and spread 0.1 of the logarithms: 5 of them, four standard errors
    assert abs(float(layer.log_scale.detach().mean()) - 1) < 4 * 0.1 / 5**0.5 and float(layer.log_scale.detach().std()) > 0


def test_gradients_follow_the_chain_rule_of_the_product():
    torch.manual_seed(1)
    layer, x = dense(3, 4, factorised=True).double(), torch.randn(6, 3, dtype=torch.float64)
    plain = layer.weight.detach().requires_grad_()
    layer(x).sin().sum().backward()
    torch.nn.functional.linear(x, plain, layer.bias.detach()).sin().sum().backward()
    torch.testing.assert_close(layer.direction.grad, layer.log_scale.exp() * plain.grad)
    torch.testing.assert_close(layer.log_scale.grad, (plain.grad * plain).sum(1, keepdim=True))


def test_assignment_keeps_the_scales():
    for factorised in (False, True):
        layer = dense(3, 2, factorised=factorised)
        scale = layer.log_scale.clone() if factorised else None
        weight, bias = torch.randn(2, 3), torch.randn(2)
        assign(layer, weight, bias)
        torch.testing.assert_close(layer.weight, weight)
        assert torch.equal(layer.bias, bias)
        assert scale is None or torch.equal(layer.log_scale, scale)
