"""Wavelet operators: brute force in one dimension, shifts of the coarsest cell, gradients, storage, an exact linear operator."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import InputError, NotFitted, ShapeError
from physdiff.base.saved import read, write
from physdiff.networks.wno import WNO
from physdiff.wavelets.dwt import dwt, idwt


@pytest.mark.parametrize("shape", [(16,), (8, 12), (4, 8, 4)])
def test_shapes_and_gradients(shape):
    torch.manual_seed(0)
    net, x = WNO(2, 3, shape, width=4, wavelet="db2", levels=2), torch.randn(2, 2, *shape, requires_grad=True)
    y = net(x)
    assert y.shape == (2, 3, *shape)
    y.square().sum().backward()
    assert all(p.grad is not None and bool((p.grad != 0).any()) for p in (x, *net.parameters()))


def test_a_layer_by_hand():
    """Two levels: mix the coarsest bands place by place, drop the finer details."""
    torch.manual_seed(0)
    net, v = WNO(1, 1, (16,), periodic=True, width=3, wavelet="db2", levels=2).double(), torch.randn(2, 16, 3, dtype=torch.float64)
    fine = dwt(v, "db2", (1,))
    coarse = dwt(fine["a"], "db2", (1,))
    for number, name in enumerate("ad"):
        coarse[name] = torch.stack([coarse[name][:, k] @ net.weights[0][number, k] for k in range(4)], 1)
    expected = idwt({"a": idwt(coarse, "db2", (1,)), "d": torch.zeros_like(fine["d"])}, "db2", (1,))
    torch.testing.assert_close(net._mixed(v, net.weights[0]), expected, rtol=1e-11, atol=1e-11)  # rounding of float64


def test_with_one_matrix_for_all_places_shifts_by_the_coarsest_cell_commute():
    torch.manual_seed(0)
    net = WNO(1, 1, (16, 8), width=3, levels=2, periodic=True).double()
    x = torch.randn(1, 1, 16, 8, dtype=torch.float64)
    assert (net(x.roll(4, 2)) - net(x).roll(4, 2)).abs().max() > 1e-3  # weights have places
    with torch.no_grad():
        for w in net.weights:
            w.copy_(w[:, :1, :1].expand_as(w).clone())
    torch.testing.assert_close(net(x.roll((4, 4), (2, 3))), net(x).roll((4, 4), (2, 3)), rtol=1e-10, atol=1e-10)


def test_it_belongs_to_its_grid(tmp_path):
    net, x = WNO(1, 1, (8,), periodic=True, width=2, wavelet="haar", levels=1), torch.randn(1, 1, 8)
    with pytest.raises(ShapeError, match="points"):
        net(torch.zeros(1, 1, 16))
    with pytest.raises(InputError, match="shape, or ndim"):
        WNO(1, 1)
    with pytest.raises(NotFitted, match="at\\(shape\\)"):
        WNO(1, 1, ndim=1)(x)
    write(tmp_path / "net", net)
    assert torch.equal(read(tmp_path / "net")[0](x), net(x))


@pytest.mark.parametrize("periodic", [True, False])
def test_any_lengths_are_prolonged_to_whole_coarse_cells(periodic):
    """Circles by their own beginning, others by their last value and an eighth more; `at` gives the weights."""
    net = WNO(2, 1, ndim=2, periodic=periodic, width=4, wavelet="db2").at((13, 3))
    assert net.shape == (13, 3) and net.levels == 3 and net.weights[0].shape[1:3] == (2, 1)
    assert net.at((13, 3)) is net and net.at((3, 2)).levels == 1
    x = torch.randn(2, 2, 13, 3, requires_grad=True)
    y = net(x)
    y.square().sum().backward()
    assert y.shape == (2, 1, 13, 3) and bool((x.grad != 0).all())
