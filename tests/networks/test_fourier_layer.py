"""A layer of a Fourier operator: passes written out by hand against the parts as they are written, and what training keeps."""

from __future__ import annotations

import itertools

import pytest
import torch

from physdiff.networks import fourier_basis as basis_module, point_chain
from physdiff.networks.fourier_basis import fourier_basis
from physdiff.networks.fourier_layer import FourierLayer

GRIDS = [((9,), (3,)), ((1,), (2,)), ((6, 7), (2, 3)), ((5, 6), (4, 5)), ((4, 5, 6), (1, 2, 2))]  # the fourth is too coarse for its modes


def layer(modes: tuple[int, ...], *, last: bool = False) -> FourierLayer:
    torch.manual_seed(0)
    made = FourierLayer(4, modes, last=last).double()
    with torch.no_grad():
        made.conv.bias.normal_()
        made.gate.normal_()
    return made


@pytest.mark.parametrize(("axes", "modes"), GRIDS)
@pytest.mark.parametrize(("last", "quick"), list(itertools.product([False, True], repeat=2)))
def test_training_computes_what_evaluation_does(axes, modes, last, quick, monkeypatch):
    """Values, first and second derivatives with respect to field and weights, in blocks of few lines, by either kind of products."""
    monkeypatch.setattr(point_chain, "_ROWS", 13)
    for name in ("_WIDE", "_LARGE"):
        monkeypatch.setattr(basis_module, name, 1 if quick else 10**6)
    net, v = layer(modes, last=last), torch.randn(3, *axes, 4, dtype=torch.float64, requires_grad=True)
    basis, wanted, found = fourier_basis(axes, modes, like=v), [v, *net.parameters()], []
    for mode in (True, False):
        out = net.train(mode)(v, basis)
        assert ("_Layer" in str(out.grad_fn)) == mode
        towards = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape)
        plain = torch.autograd.grad(out, wanted, towards, retain_graph=True)
        first = torch.autograd.grad(out.square().sum(), wanted, create_graph=True)
        found.append((out, plain, first, torch.autograd.grad(sum(g.square().sum() for g in first), wanted)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)


def test_fields_that_are_views_are_taken():
    net, whole = layer((2, 2)), torch.randn(2, 4, 6, 7, dtype=torch.float64)
    basis = fourier_basis((6, 7), (2, 2), like=whole)
    view = whole.movedim(1, -1)
    for mode in (True, False):
        torch.testing.assert_close(net.train(mode)(view, basis), net(view.contiguous(), basis), rtol=1e-12, atol=1e-12)


def test_training_keeps_two_fields_and_the_modes():
    net, v, kept = FourierLayer(16, (3, 3), last=False), torch.randn(4, 24, 24, 16, requires_grad=True), []
    basis = fourier_basis((24, 24), (3, 3), like=v)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        net.train()(v, basis)
        lean = sum(kept)
        net.eval()(v, basis)
    weights, modes = sum(p.numel() for p in net.parameters()), 4 * 2 * 6 * 4 * 16
    assert lean <= 2 * v.numel() + weights + modes < 5 * v.numel() < sum(kept) - lean


def test_bf16_sums_modes_in_float32():
    torch.manual_seed(0)
    net, v = FourierLayer(4, (3,), last=False), torch.randn(2, 64, 4)
    basis = fourier_basis((64,), (3,), like=v)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(v, basis)
    torch.testing.assert_close(out.float(), net(v, basis), rtol=0.05, atol=0.05)  # the chain rounds to 8 bits
