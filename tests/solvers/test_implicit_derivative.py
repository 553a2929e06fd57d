"""Derivatives of a root: a scalar equation with a known root."""

import pytest
import torch

from physdiff.base.errors import UnsupportedOperator
from physdiff.solvers.implicit_derivative import attach_derivative


def cube_root(theta):
    root = theta.detach() ** (1 / 3)
    return attach_derivative(root, lambda x: x**3 - theta, lambda g: g / (3 * root**2))


def test_the_derivative_of_a_cube_root():
    theta = torch.tensor([8.0, 27.0], dtype=torch.float64, requires_grad=True)
    x = cube_root(theta)
    (slope,) = torch.autograd.grad(x.sum(), theta)
    assert torch.allclose(x, torch.tensor([2.0, 3.0]).double()) and torch.allclose(slope, torch.tensor([1 / 12, 1 / 27]).double())


def test_without_gradients_it_is_the_root_itself():
    assert not cube_root(torch.tensor([8.0])).requires_grad
    with torch.no_grad():
        assert not cube_root(torch.tensor([8.0], requires_grad=True)).requires_grad


def test_a_second_derivative_is_refused():
    theta = torch.tensor([8.0], dtype=torch.float64, requires_grad=True)
    with pytest.raises(UnsupportedOperator, match="create_graph"):
        torch.autograd.grad(cube_root(theta).sum(), theta, create_graph=True)
