"""Two layers block by block: values and derivatives of the plain chain, and little memory."""

from __future__ import annotations

import itertools

import pytest
import torch

from physdiff.networks import point_chain as module
from physdiff.networks.point_chain import Acts, PointMLP, point_chain


def problem(*, gated: bool):
    torch.manual_seed(0)
    shapes = [(5, 3), (5,), (2, 5), (2,)]
    weights = tuple(torch.randn(s, dtype=torch.float64, requires_grad=True) for s in shapes)
    h = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    gate = torch.randn(2, dtype=torch.float64, requires_grad=True) if gated else None
    v = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True) if gated else None
    return h, weights, (gate, v)


@pytest.mark.parametrize(("first", "last", "gated"), list(itertools.product([False, True], repeat=3)))
def test_lean_is_plain_in_value_and_derivatives(first, last, gated, monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 4)  # blocks of 4, 4 and 2 rows
    h, weights, gated_by = problem(gated=gated)
    inputs = [h, *weights, *(t for t in gated_by if t is not None)]
    plain, lean = (point_chain(h, weights, gated_by, acts=Acts(first, last), lean=lean) for lean in (False, True))
    torch.testing.assert_close(lean, plain, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(plain)
    expected, got = (torch.autograd.grad(out, inputs, towards, retain_graph=True) for out in (plain, lean))
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-11, atol=1e-12)
    # of second order
    once = [torch.autograd.grad(out.square().sum(), inputs, create_graph=True) for out in (plain, lean)]
    expected, got = (torch.autograd.grad(sum(g.square().sum() for g in grads), inputs) for grads in once)
    for a, b in zip(expected, got, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-9, atol=1e-9)


def test_a_gradient_that_nobody_wants_is_not_computed():
    h, weights, gated = problem(gated=False)
    point_chain(h.detach(), weights, gated, acts=Acts(), lean=True).sum().backward()
    assert h.grad is None and all(w.grad is not None for w in weights)


def test_training_keeps_the_inputs_alone():
    """A chain of 64 hidden channels on a field of 3 keeps nothing of the size of the hidden field."""
    mlp, x, kept = PointMLP(3, 64, 32), torch.randn(5000, 3), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        mlp.train()(x)
        lean = sum(kept)
        mlp.eval()(x)
    assert lean < 20_000 < 600_000 < sum(kept)


# torch's forward mode still loads torch.jit.script, which it deprecates itself
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_evaluation_has_forward_derivatives():
    mlp, x = PointMLP(3, 8, 2).double().eval(), torch.randn(4, 3, dtype=torch.float64)
    _, tangent = torch.func.jvp(mlp, (x,), (torch.ones_like(x),))
    torch.testing.assert_close(tangent, torch.func.vmap(torch.func.jacfwd(mlp))(x).sum(-1))
