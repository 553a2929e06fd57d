"""Kernels with many frequencies: derivatives against autograd, Kronecker products against dense ones, fields of the kernel's own span."""

import pytest
import torch

from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.base.rng import Rng
from physdiff.pinn.mixture_kernel import KernelOperators, MixtureKernel


def axes():
    return torch.linspace(0, 1, 7, dtype=torch.float64), torch.tensor([0.0, 0.2, 0.5, 0.6, 1.1], dtype=torch.float64)


@pytest.mark.parametrize("shape", ["gauss", "matern"])
def test_derivatives_are_those_of_autograd(shape):
    kernel = MixtureKernel(3, highest=2.0, decay=1.3, shape=shape)
    # away from zero, where autograd of |d| has no second derivative
    d = torch.linspace(-1.5, 1.4, 24, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(kernel(d).sum(), d, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), d)
    torch.testing.assert_close(kernel(d, 1).detach(), first.detach(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(kernel(d, 2).detach(), second, rtol=1e-9, atol=1e-9)
    assert float(kernel(torch.zeros(1, dtype=torch.float64)).detach()) == pytest.approx(1.0)


def test_kronecker_products_are_the_dense_ones():
    x, y = axes()
    kernels = [MixtureKernel(2, highest=1.0, decay=4.0), MixtureKernel(2, highest=1.0, decay=4.0)]
    D = KernelOperators((x, y), kernels)
    with torch.no_grad():
        # storage order (y, x)
        K = torch.kron(kernels[1](y[:, None] - y), kernels[0](x[:, None] - x))
        z = Rng(0).normal((3, 5, 7)).double()
        root = torch.kron(D.roots[1], D.roots[0])
        torch.testing.assert_close(root @ root.T, K, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(D.coloured(z).flatten(1), z.flatten(1) @ root.T)
        torch.testing.assert_close(D.whitened(D.coloured(z)), z, rtol=1e-8, atol=1e-8)
        assert float(D.log_determinant) == pytest.approx(float(torch.logdet(root @ root.T)), rel=1e-7)


def test_fields_of_the_kernels_span_have_their_exact_derivatives():
    x, y = axes()
    kernels = [MixtureKernel(2, highest=1.0, decay=3.0), MixtureKernel(2, highest=1.0, decay=3.0)]
    D = KernelOperators((x, y), kernels)
    with torch.no_grad():
        # u = k(x - x_2) k(y - y_1); what the jitter of 1e-10 leaves grows with the condition number
        dx, dy = x - x[2], y - y[1]
        u = kernels[1](dy)[:, None] * kernels[0](dx)
        scale = {"rtol": 1e-4, "atol": 1e-4}
        torch.testing.assert_close(D.grad(u)[0], kernels[1](dy)[:, None] * kernels[0](dx, 1), **scale)
        torch.testing.assert_close(D.partial(u, 1), kernels[1](dy, 1)[:, None] * kernels[0](dx), **scale)
        second = kernels[1](dy)[:, None] * kernels[0](dx, 2) + kernels[1](dy, 2)[:, None] * kernels[0](dx)
        torch.testing.assert_close(D.lap(u), second, **scale)
        torch.testing.assert_close(D.div(D.grad(u)), D.partial(D.grad(u)[0], 0) + D.partial(D.grad(u)[1], 1))
    assert D.ndim == 2 and D.coordinates[0].shape == (5, 7) and torch.equal(D.coordinates[0][0], x)


def test_bad_input_is_refused():
    x, _ = axes()
    kernel = MixtureKernel(2)
    with pytest.raises(ShapeError, match="one kernel for each axis"):
        KernelOperators((x,), (kernel, kernel))
    with pytest.raises(InputError, match="differ"):
        KernelOperators((torch.zeros(3, dtype=torch.float64),), (kernel,))
    with pytest.raises(InputError, match="order"):
        kernel(x, 3)
    with pytest.raises(UnsupportedOperator, match="axes"):
        KernelOperators((x,), (kernel,)).dt(x)
    with pytest.raises(InputError, match="highest"):
        MixtureKernel(2, highest=0.0)
