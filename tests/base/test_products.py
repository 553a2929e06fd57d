"""Products by the quicker library are those of torch."""

import pytest
import torch

from physdiff.base import products
from physdiff.base.products import product


@pytest.mark.parametrize("shape", [(20, 20, 400), (20, 400, 20), (20, 2, 400), (1, 20, 400), (33, 65, 17)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("laid_out", ["as it is", "transposed", "part of a larger one"])
def test_they_are_those_of_torch(shape, dtype, laid_out):
    m, k, n = shape
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(m, k, dtype=dtype, generator=generator), torch.randn(k, n, dtype=dtype, generator=generator)
    if laid_out == "transposed":
        a, b = a.mT.contiguous().mT, b.mT.contiguous().mT
    if laid_out == "part of a larger one":
        a, b = torch.cat((a, a), 1)[:, :k], torch.cat((b, b), 1)[:, :n]
    # k terms of order one, each to a rounding
    torch.testing.assert_close(product(a, b), a @ b, rtol=0, atol=k * torch.finfo(dtype).eps * 4)


def test_without_the_library_it_is_torch(monkeypatch):
    monkeypatch.setattr(products, "_onednn", lambda: None)
    a, b = torch.randn(20, 20), torch.randn(20, 30)
    assert torch.equal(product(a, b), torch.mm(a, b))


def test_torch_has_it_here():
    # what it is quick by is not public: a torch that dropped it must be seen
    assert products._onednn() is not None or not torch.backends.mkldnn.is_available()


def test_where_autograd_looks_on_gradients_are_there():
    a, b = torch.randn(20, 20, requires_grad=True), torch.randn(20, 30)
    (gradient,) = torch.autograd.grad(product(a, b).sum(), a)
    torch.testing.assert_close(gradient, b.sum(1).expand(20, 20))
