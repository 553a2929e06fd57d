"""Gradients of terms, traces of tangent kernels, and directions without conflict."""

from __future__ import annotations

import math

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError
from physdiff.base.rng import Rng
from physdiff.networks.mlp import MLP
from physdiff.pinn.gradients import conflict_free_gradient, gradients_of, project_gradients, set_gradient, tangent_kernel_trace

F64 = torch.float64


def test_gradients_are_rows_and_go_back_to_their_parameters():
    a, b = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([[3.0]], requires_grad=True)
    g = gradients_of([(a**2).sum(), a[0] * b[0, 0]], [a, b])
    assert g.tolist() == [[2, 4, 0], [3, 0, 1]]
    set_gradient([a, b], g.sum(0))
    assert a.grad.tolist() == [5, 4] and b.grad.tolist() == [[1]]
    with pytest.raises(ShapeError, match="got"):
        set_gradient([a], g[0])
    with pytest.raises(InputError, match="at least one"):
        gradients_of([], [a])


def test_the_trace_is_the_sum_of_squared_jacobians():
    torch.manual_seed(0)
    net, x = MLP(2, 1, width=4, depth=1).double(), torch.randn(6, 2, dtype=F64)
    rows = []
    for i in range(6):
        net.zero_grad()
        net(x)[i, 0].backward()
        rows.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    j = torch.stack(rows)
    assert float(tangent_kernel_trace(net(x), net.parameters()) - j.square().sum()) == pytest.approx(0, abs=1e-12)
    # Hutchinson with signs: variance 2 sum of squared off-diagonal entries of K a probe
    k = j @ j.T
    spread = math.sqrt(2 * float(k.square().sum() - k.diagonal().square().sum()) / 400)
    estimate = tangent_kernel_trace(net(x), net.parameters(), rng=Rng(0), probes=400)
    assert abs(float(estimate - k.trace())) < 4 * spread


def test_projected_by_hand():
    # g1 = (1, 0), g2 = (-1, 1): each loses what opposes the other
    g = torch.tensor([[1.0, 0.0], [-1.0, 1.0]], dtype=F64)
    # g1 + (1/2) g2 = (1/2, 1/2), g2 + g1 = (0, 1)
    assert project_gradients(g, Rng(0)).tolist() == pytest.approx([0.5, 1.5])
    agree = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=F64)
    assert project_gradients(agree, Rng(0)).tolist() == [2, 1]


def test_conflict_free_makes_equal_angles_and_goes_down_every_term():
    torch.manual_seed(1)
    g = torch.randn(4, 30, dtype=F64) * torch.tensor([[1.0], [100.0], [0.01], [3.0]], dtype=F64)
    g[1] = -0.3 * g[1] - 20 * g[0]  # a strong conflict
    d = conflict_free_gradient(g)
    cosines = (g @ d) / (g.norm(dim=1) * d.norm())
    torch.testing.assert_close(cosines, cosines[0].expand(4))
    assert cosines[0] > 0 and (g.sum(0) @ g[0]) < 0  # the plain sum goes up the first term
    torch.testing.assert_close(d.norm(), (g @ d).sum() / d.norm())
    unit = torch.linalg.pinv(g / g.norm(dim=1, keepdim=True)) @ torch.ones(4, dtype=F64)
    torch.testing.assert_close(d / d.norm(), unit / unit.norm())


def test_conflict_free_leaves_out_terms_without_gradient():
    g = torch.tensor([[0.0, 0.0], [3.0, 4.0]], dtype=F64)
    torch.testing.assert_close(conflict_free_gradient(g), g[1])
    assert conflict_free_gradient(torch.zeros(2, 3)).tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="NaN"):
        conflict_free_gradient(torch.tensor([[math.nan, 1.0]]))
