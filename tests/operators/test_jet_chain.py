"""The chain of layers and tanh on jets: the numbers and gradients of layer after layer, in blocks, and again by autograd."""

import pytest
import torch
from torch import nn

from physdiff.networks.dense import tanh_layers
from physdiff.operators import jet_chain
from physdiff.operators.jet import Jet
from physdiff.operators.jet_orders import closed


def layers():
    torch.manual_seed(0)
    return [m.double() for m in (nn.Linear(2, 5), nn.Linear(5, 4), nn.Linear(4, 3))]


def slow(x, parts):
    for part in parts[:-1]:
        x = torch.tanh(part(x))
    return parts[-1](x)


@pytest.mark.parametrize("orders", [((1, 0), (0, 1)), ((2, 0), (0, 1)), ((2, 0), (1, 1), (0, 2)), ((2, 2),)])
def test_values_and_gradients_are_those_of_the_layers(orders, monkeypatch):
    every, parts = closed(orders), layers()
    monkeypatch.setattr(jet_chain, "BYTES", 4 * len(every) * 5 * 8)  # four points or less in a block
    data = torch.randn(len(every), 10, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(len(every), 10, 3, dtype=torch.float64)
    wanted = [data, *(p for part in parts for p in part.parameters())]
    found = []
    for way in (slow, tanh_layers):
        out = way(Jet(data, every), parts)
        found.append((out.data, torch.autograd.grad((out.data * weight).sum(), wanted)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(tanh_layers(Jet(data, every), parts).data, found[0][0])


@pytest.mark.parametrize("orders", [((1, 0), (0, 1)), ((2, 0), (0, 1)), ((2, 0), (1, 1), (0, 2))])
def test_points_with_the_same_rows_everywhere_are_as_written_out(orders, monkeypatch):
    every, parts = closed(orders), layers()
    monkeypatch.setattr(jet_chain, "BYTES", 4 * len(every) * 5 * 8)
    x = torch.randn(10, 2, dtype=torch.float64, requires_grad=True)
    slopes = torch.stack([torch.randn(2, dtype=torch.float64) if sum(order) == 1 else torch.zeros(2, dtype=torch.float64) for order in every])
    weight = torch.randn(len(every), 10, 3, dtype=torch.float64)
    wanted = [x, *(p for part in parts for p in part.parameters())]
    written = torch.cat((x[None], slopes[1:, None].expand(-1, 10, 2)))
    found, again = [], []
    for given in (Jet.line(x, slopes, every), Jet(written, every)):
        out = tanh_layers(given, parts).data
        first = torch.autograd.grad((out * weight).sum(), wanted, create_graph=True)
        found.append((out, first, torch.autograd.grad((out * weight).sum(), wanted, retain_graph=True)))
        again.append(torch.autograd.grad(sum(g.square().sum() for g in first), wanted, allow_unused=True))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)
    for one, other in zip(*again, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_it_can_be_differentiated_again():
    every, parts = closed(((2, 0), (0, 1))), layers()
    data = torch.randn(len(every), 6, 2, dtype=torch.float64)
    parameters = [p for part in parts for p in part.parameters()]
    seconds = []
    for way in (slow, tanh_layers):
        first = torch.autograd.grad(way(Jet(data, every), parts).data.square().sum(), parameters, create_graph=True)
        seconds.append(torch.autograd.grad(sum(g.square().sum() for g in first), parameters))
    torch.testing.assert_close(seconds[0], seconds[1])


def test_layers_that_are_watched_go_step_by_step():
    every, parts, seen = closed(((2, 0),)), layers(), []
    data = torch.randn(len(every), 6, 2, dtype=torch.float64)
    handle = parts[1].register_forward_hook(lambda layer, given, out: seen.append(out))
    watched = tanh_layers(Jet(data, every), parts).data
    handle.remove()
    assert len(seen) == 1
    torch.testing.assert_close(watched, tanh_layers(Jet(data, every), parts).data)
    assert len(seen) == 1
    x = torch.randn(4, 2, dtype=torch.float64)
    torch.testing.assert_close(tanh_layers(x, parts), slow(x, parts))
