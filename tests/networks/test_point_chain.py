"""Two layers block by block: values and derivatives of the plain chain, and little memory."""

from __future__ import annotations

import itertools

import pytest
import torch

from physdiff.networks import point_chain as module
from physdiff.networks.point_chain import Acts, PointMLP, block_backward, block_forward, block_to_h, blocks, chain


def problem() -> tuple[PointMLP, torch.Tensor]:
    torch.manual_seed(0)
    return PointMLP(3, 5, 2).double(), torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)


def test_lean_is_plain_in_value_and_derivatives(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 4)  # blocks of 4, 4 and 2 rows
    mlp, h = problem()
    inputs = [h, *mlp.parameters()]
    plain, lean = (mlp.train(mode)(h) for mode in (False, True))
    assert lean.grad_fn is not None and "Chain" in str(lean.grad_fn.next_functions)
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


@pytest.mark.parametrize(("first", "last", "gated"), list(itertools.product([False, True], repeat=3)))
def test_a_block_with_gate_and_activations_is_the_chain(first, last, gated):
    """What a layer does with its blocks: values, and gradients against those of the chain as it is written."""
    torch.manual_seed(0)
    weights = tuple(torch.randn(s, dtype=torch.float64, requires_grad=True) for s in [(5, 3), (5,), (2, 5), (2,)])
    h = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
    gate, v = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((2,), (7, 2)))
    acts = Acts(first, last)
    plain = chain(acts, h, weights, gate=gate if gated else None, v=v if gated else None)
    towards = torch.randn_like(plain)
    wanted = [*weights, h, *((gate, v) if gated else ())]
    expected = torch.autograd.grad(plain, wanted, towards)
    with torch.no_grad():
        out, to_h, to_v, to_gate = torch.empty_like(plain), torch.empty_like(h), torch.empty_like(v), torch.zeros_like(gate)
        block_forward(acts, h, weights, beside=(gate, v) if gated else None, out=out)
        sums = [torch.zeros_like(t) for t in weights]
        back = block_backward(acts, h, towards, weights=weights, sums=sums, beside=(gate, v, to_gate, to_v) if gated else None)
        block_to_h(acts, h, back, w_1=weights[0], out=to_h)
    torch.testing.assert_close(out, plain, rtol=1e-12, atol=1e-12)
    for a, b in zip(expected, [*sums, to_h, *((to_gate, to_v) if gated else ())], strict=True):
        torch.testing.assert_close(b, a, rtol=1e-11, atol=1e-12)


def test_a_gradient_that_nobody_wants_is_not_computed():
    mlp, h = problem()
    mlp(h.detach()).sum().backward()
    assert h.grad is None and all(w.grad is not None for w in mlp.parameters())


def test_blocks_cover_all_rows_once(monkeypatch):
    monkeypatch.setattr(module, "_ROWS", 10)
    x = torch.arange(23)
    assert torch.equal(torch.cat([x[block] for block in blocks(23, x)]), x) and len(blocks(23, x)) == 3
    assert len(blocks(23, x, each=4)) == 12 and blocks(23, x, each=40)[0] == slice(0, 1)


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
