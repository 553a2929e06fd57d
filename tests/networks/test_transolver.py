"""Physics attention by closed form, its symmetries; the network: shifts, gradients, storage, a law learned."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.saved import build, describe
from physdiff.networks.transolver import PhysicsAttention, Transolver


def attention(slices: int) -> tuple[PhysicsAttention, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return PhysicsAttention(8, slices, head=4).double(), *torch.randn(2, 2, 11, 8, dtype=torch.float64)


def test_one_slice_tells_every_cell_the_mean():
    net, x, f = attention(1)
    mean = f.mean(1, keepdim=True).unflatten(2, (2, 4))
    # all belong to it: its weight is N, beside which the floor of 1e-5 stands
    expected = net.merge(net.values(mean * 11 / (11 + 1e-5)).flatten(2)).expand(-1, 11, -1)
    torch.testing.assert_close(net(x, f), expected, rtol=1e-12, atol=1e-12)


def test_by_brute_force():
    net, x, f = attention(3)
    out = torch.zeros(11, 8, dtype=torch.float64)
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        share = torch.softmax(net.slices(x[0, :, part]) / net.temperature[head].exp(), -1)
        z = torch.stack([(share[:, m, None] * f[0, :, part]).sum(0) / (share[:, m].sum() + 1e-5) for m in range(3)])
        weights = torch.softmax(net.queries(z) @ net.keys(z).T / 2, -1)
        out[:, part] = share @ (weights @ net.values(z))
    torch.testing.assert_close(net(x, f)[0], net.merge(out), rtol=1e-11, atol=1e-11)


def test_the_order_of_the_cells_does_not_matter_and_copies_change_nothing():
    net, x, f = attention(5)
    order = torch.randperm(11)
    torch.testing.assert_close(net(x[:, order], f[:, order]), net(x, f)[:, order], rtol=1e-11, atol=1e-11)
    twice = net(x.repeat(1, 2, 1), f.repeat(1, 2, 1))[:, :11]
    torch.testing.assert_close(twice, net(x, f), rtol=1e-4, atol=1e-4)  # the floor of 1e-5 beside a weight of about one


def stirred(**options) -> Transolver:
    torch.manual_seed(0)
    net = Transolver(2, 3, width=16, depth=2, slices=4, **options).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn_like(p), alpha=0.1)
    return net


@pytest.mark.parametrize(("axes", "closed"), [((13,), True), ((5, 8), (False, True)), ((3, 4, 5), False)])
def test_any_lengths_and_gradients_to_every_weight(axes, closed):
    net, x = stirred(ndim=len(axes), periodic=closed), torch.randn(2, 2, *axes, dtype=torch.float64, requires_grad=True)
    y = net(x, torch.tensor([0.1, -0.4], dtype=torch.float64))
    y.square().sum().backward()
    assert y.shape == (2, 3, *axes) and all(p.grad is not None and bool((p.grad != 0).any()) for p in (x, *net.parameters()))


def test_circles_have_no_seam_and_it_is_zero_before_training():
    """Where the input is constant along a circle and the coordinates are left out, so is the output; with them it is smooth across the ends."""
    net, x = stirred(periodic=True), torch.randn(1, 2, 1, 1, dtype=torch.float64).expand(1, 2, 6, 64)
    y = net(x)[0, 0, 0]
    steps = (y.roll(-1) - y).abs()
    assert 0 < steps[-1] <= steps.max() and steps.max() < 0.2 * (y.max() - y.min())
    with torch.no_grad():
        net.stem.weight[:, 2:] = 0
    assert float(net(x)[0, 0].detach().std()) < 1e-12  # rounding
    assert torch.equal(Transolver(2, 1, width=16)(x.float()), torch.zeros(1, 1, 6, 64))


def test_it_is_stored_and_refuses_what_does_not_fit():
    net, x = stirred(), torch.randn(1, 2, 4, 4, dtype=torch.float64)
    again = build(describe(net)).double()
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(x), net(x))
    with pytest.raises(ShapeError, match="2 axes"):
        net(torch.zeros(1, 2, 4))
    with pytest.raises(InputError, match="slices"):
        Transolver(1, 1, slices=0)


@pytest.mark.slow
def test_an_exact_operator_is_learned():
    """Heat flow on a circle, from 48 fields."""
    from tests.networks.test_fno import heat, smooth

    torch.manual_seed(0)
    net, x, new = Transolver(1, 1, ndim=1, periodic=True, width=32, depth=2, slices=16), smooth(48, (32,), seed=1), smooth(32, (32,), seed=2)
    y, wanted = heat(x), heat(new)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (net(x) - y).square().mean().backward()
        optimizer.step()
    with torch.no_grad():
        error = (net(new) - wanted).norm() / wanted.norm()
    assert error < 0.15 < (new - wanted).norm() / wanted.norm(), error
