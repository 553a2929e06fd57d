"""SOAP: Adam where there is no basis, steps that turn with the problem, ill-conditioned least squares, resumption."""

from __future__ import annotations

import copy

import pytest
import torch

from physdiff.base.errors import InputError
from physdiff.pinn.soap import SOAP, _refresh

F64 = torch.float64


def descend(optimizer, loss, steps):
    for _ in range(steps):
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    return float(value.detach())


def orthogonal(n, seed):
    return torch.linalg.qr(torch.randn(n, n, dtype=F64, generator=torch.Generator().manual_seed(seed))).Q


def least_squares(seed=0, spread=1.5, rows=8):
    """|A (W - W*) B|^2 with condition 10^(2 spread) on each side, in turned axes."""
    a = orthogonal(rows, seed) @ torch.diag(torch.logspace(-spread, 0, rows, dtype=F64)) @ orthogonal(rows, seed + 1)
    b = orthogonal(5, seed + 2) @ torch.diag(torch.logspace(-spread, 0, 5, dtype=F64)) @ orthogonal(5, seed + 3)
    truth = torch.randn(rows, 5, dtype=F64, generator=torch.Generator().manual_seed(seed + 4))
    return lambda w: (a @ (w - truth) @ b).square().sum()


def test_without_a_basis_it_is_adam():
    torch.manual_seed(0)
    start, b = torch.randn(3, 2, dtype=F64), torch.randn(4, dtype=F64)
    results = []
    for make in (
        lambda p: SOAP(p, 0.02, (0.9, 0.99), longest=1, weight_decay=0.1),
        lambda p: torch.optim.AdamW(p, 0.02, (0.9, 0.99), weight_decay=0.1),
    ):
        params = [start.clone().requires_grad_(), b.clone().requires_grad_()]
        descend(make(params), lambda p=params: (p[0] - 1).pow(4).sum() + p[1].exp().sum() + p[1].square().sum(), 7)
        results.append(params)
    torch.testing.assert_close(results[0], results[1])


def test_steps_turn_with_the_problem():
    # the loss of U W V has the steps of the loss of W, turned: the basis sees through any rotation; Adam does not
    # (square, since G G^T of a tall G has directions without any gradient, whose basis is arbitrary)
    loss, u, v = least_squares(rows=5, spread=0.5), orthogonal(5, 20), orthogonal(5, 21)
    start, distance = torch.randn(5, 5, dtype=F64, generator=torch.Generator().manual_seed(9)), {}
    for name, make in (("soap", lambda p: SOAP(p, 0.05, every=3)), ("adam", lambda p: torch.optim.Adam(p, 0.05))):
        plain, turned = start.clone().requires_grad_(), (u.T @ start @ v.T).requires_grad_()
        descend(make([plain]), lambda w=plain: loss(w), 12)
        descend(make([turned]), lambda w=turned: loss(u @ w @ v), 12)
        distance[name] = float((u @ turned @ v - plain).detach().norm())
    # rounding 1e-16 grows where small mean squares are divided by; eps 1e-8 is not turned but is the same in both bases
    assert distance["soap"] < 1e-7 and distance["adam"] > 0.1


def test_ill_conditioned_least_squares_beat_adam():
    loss, ends = least_squares(spread=2.0), {}
    for name, make in (("soap", lambda p: SOAP(p, 0.05, (0.95, 0.99), every=2)), ("adam", lambda p: torch.optim.Adam(p, 0.05, (0.95, 0.99)))):
        w = torch.zeros(8, 5, dtype=F64, requires_grad=True)
        ends[name] = descend(make([w]), lambda w=w: loss(w), 300)
    assert ends["soap"] < 0.1 * ends["adam"]


def test_one_step_by_hand():
    w = torch.zeros(2, 2, dtype=F64, requires_grad=True)
    g1, g2 = torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=F64), torch.tensor([[0.5, -2.0], [1.0, 4.0]], dtype=F64)
    optimizer = SOAP([w], 0.1, eps=0.0)
    w.grad = g1
    optimizer.step()
    assert not w.detach().any()  # the first gradient makes the basis: the axes, by falling eigenvalue
    w.grad = g2
    optimizer.step()
    # Adam's first step in that basis is minus the rate times the signs
    torch.testing.assert_close(w.detach(), -0.1 * g2.sign())


def test_the_basis_converges_to_the_eigenvectors():
    torch.manual_seed(3)
    g = torch.randn(4, 4, dtype=F64)
    w = torch.zeros(4, 4, dtype=F64, requires_grad=True)
    optimizer = SOAP([w], 1e-3, every=1, memory=0.9)
    w.grad = torch.randn(4, 4, dtype=F64)
    optimizer.step()
    for _ in range(400):
        w.grad = g.clone()
        optimizer.step()
    state = optimizer.state[w]
    for side, moment in ((0, g @ g.T), (1, g.T @ g)):
        turned = state[f"basis_{side}"].T @ moment @ state[f"basis_{side}"]
        values = torch.linalg.eigvalsh(moment).flip(0)
        torch.testing.assert_close(turned, torch.diag(values), rtol=0, atol=1e-6 * float(values[0]))


def test_mean_squares_go_with_their_directions():
    one = torch.eye(2, dtype=F64)
    state = {"basis_0": one, "basis_1": one, "moment_0": torch.diag(torch.tensor([1.0, 4.0], dtype=F64)), "moment_1": 3 * one}
    state["square"] = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=F64)
    _refresh(state)
    assert state["square"].tolist() == [[3, 4], [1, 2]] and state["basis_0"].abs().tolist() == [[0, 1], [1, 0]]


def test_resumption_is_exact():
    torch.manual_seed(1)
    loss = least_squares()
    w, bias = torch.randn(8, 5, dtype=F64, requires_grad=True), torch.randn(3, dtype=F64, requires_grad=True)
    make = lambda p: SOAP(p, 0.05, every=3)  # noqa: E731
    optimizer = make([w, bias])
    descend(optimizer, lambda: loss(w) + bias.square().sum(), 7)
    twins = [p.detach().clone().requires_grad_() for p in (w, bias)]
    other = make(twins)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    descend(optimizer, lambda: loss(w) + bias.square().sum(), 7)
    descend(other, lambda: loss(twins[0]) + twins[1].square().sum(), 7)
    assert torch.equal(w, twins[0]) and torch.equal(bias, twins[1])


def test_refusals():
    w = torch.zeros(2, 2, requires_grad=True)
    with pytest.raises(InputError, match="betas"):
        SOAP([w], betas=(0.9, 1.0))
    with pytest.raises(InputError, match="lr"):
        SOAP([w], lr=-1)
