"""Padding against torch's own and against plain indexing; gradients against finite differences."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from physdiff.base.errors import InputError, ShapeError
from physdiff.networks.padding import channels_last, pad, pad_end


def by_index(x: Tensor, periodic: tuple[bool, ...], width: int, edges: str) -> Tensor:
    """The definition, cell by cell of each axis."""
    for axis, circle in enumerate(periodic, start=2):
        n = x.shape[axis]
        cells = torch.arange(-width, n + width)
        inside = ((cells >= 0) & (cells < n)) | circle | (edges == "replicate")
        x = x.index_select(axis, cells % n if circle else cells.clamp(0, n - 1))
        x = x * inside.to(x.dtype).reshape(-1, *(1,) * (x.ndim - axis - 1))
    return x


@pytest.mark.parametrize("layout", [Tensor.contiguous, channels_last])
@pytest.mark.parametrize("edges", ["replicate", "zeros"])
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("shape", [(4,), (3, 5), (1, 2), (4, 1, 3)])
def test_equals_plain_indexing(shape, width, edges, layout):
    for periodic in itertools.product((False, True), repeat=len(shape)):
        x = layout(torch.arange(1, 6 * math.prod(shape) + 1, dtype=torch.float64).reshape(2, 3, *shape))
        assert torch.equal(pad(x, periodic, width=width, edges=edges), by_index(x, periodic, width, edges))


@pytest.mark.parametrize("mode", ["circular", "replicate"])
def test_equals_torch_where_torch_has_it(mode):
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = functional.pad(x, (2, 2, 2, 2), mode=mode)
    assert torch.equal(pad(x, (mode == "circular",) * 2, width=2), expected)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")  # torch's own forward mode
@pytest.mark.parametrize("layout", [Tensor.contiguous, channels_last])
@pytest.mark.parametrize(("shape", "width", "edges"), [((3,), 1, "replicate"), ((3, 2), 1, "zeros"), ((2, 1, 3), 1, "replicate")])
def test_first_and_second_derivatives_and_forward_mode(shape, width, edges, layout):
    generator = torch.Generator().manual_seed(1)
    for periodic in itertools.product((False, True), repeat=len(shape)):
        x = layout(torch.randn(1, 2, *shape, dtype=torch.float64, generator=generator)).requires_grad_()

        def f(x, periodic=periodic):
            return pad(x, periodic, width=width, edges=edges).sin()

        assert torch.autograd.gradcheck(f, (x,), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(f, (x,))


def test_gradient_is_the_adjoint():
    # <P x, g> = <x, P^T g> to rounding; P^T comes from backward.
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2, 3, 4, 5, 3, dtype=torch.float64, generator=generator, requires_grad=True)
    y = pad(x, (True, False, True), width=2)
    g = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    (adjoint,) = torch.autograd.grad(y, x, g)
    torch.testing.assert_close((adjoint * x).sum(), (y * g).sum(), rtol=1e-12, atol=1e-12)


def test_works_under_vmap_and_keeps_the_layout():
    x = torch.randn(3, 2, 4, 5, 6, generator=torch.Generator().manual_seed(3))
    each = torch.stack([pad(one, (True, False)) for one in x])
    assert torch.equal(torch.func.vmap(lambda one: pad(one, (True, False)))(x), each)
    assert pad(channels_last(x[0]), (True, False)).stride(1) == 1
    assert pad(x[0], (True, False)).stride(-1) == 1


def test_refuses_what_it_cannot_do():
    x = torch.zeros(1, 1, 4)
    with pytest.raises(ShapeError, match="one `periodic` per axis"):
        pad(x, (True, True))
    with pytest.raises(InputError, match="replicate"):
        pad(x, (False,), edges="replicat")
    with pytest.raises(InputError, match="width"):
        pad(x, (False,), width=-1)


@pytest.mark.parametrize("edges", ["replicate", "zeros"])
@pytest.mark.parametrize("width", [1, 2, 7])
def test_what_the_compiler_sees_is_the_same(edges, width, monkeypatch):
    x = torch.arange(120, dtype=torch.float64).sin().reshape(2, 3, 5, 4)
    expected = pad(x, (True, False), width=width, edges=edges)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert torch.equal(pad(x, (True, False), width=width, edges=edges), expected)


def test_the_end_is_prolonged_by_the_beginning_of_a_circle_or_by_the_edge():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]).unsqueeze(0)
    assert pad_end(x, (1, 3), (True, False))[0, 0].tolist() == [[1, 2, 2, 2, 2], [3, 4, 4, 4, 4], [1, 2, 2, 2, 2]]
