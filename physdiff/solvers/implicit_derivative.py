r"""Derivatives of a root without those of the iterations that found it: the implicit function theorem.

Where $R(x, \theta) = 0$ defines $x(\theta)$, a gradient $g$ with respect to x becomes

$$\Big(\frac{dx}{d\theta}\Big)^T g = -\Big(\frac{\partial R}{\partial\theta}\Big)^T \lambda, \qquad
\Big(\frac{\partial R}{\partial x}\Big)^T \lambda = g ,$$

one linear solve with the transposed Jacobian, whatever the number of iterations; nothing of them is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from physdiff.base.errors import UnsupportedOperator

__all__ = ["attach_derivative"]


def attach_derivative(root: Tensor, residual: Callable[[Tensor], Tensor], solve_transposed: Callable[[Tensor], Tensor]) -> Tensor:
    """The root with the derivatives the implicit function theorem gives it.

    Args:
        root: x with R(x) = 0 to the tolerance wanted, found without gradients.
        residual: R as a function of x; what else it depends on gets the gradients.
        solve_transposed: g to lambda, the solution of the system with the Jacobian's transpose at the root.

    Returns:
        x, of the same values; first derivatives only: a backward pass with ``create_graph=True`` raises UnsupportedOperator.
    """
    root = root.detach()
    if not torch.is_grad_enabled():
        return root
    left = residual(root)
    made: Tensor = _Root.apply(left, root, solve_transposed) if left.requires_grad else root
    return made


class _Root(torch.autograd.Function):
    """R at the root to the root itself."""

    @staticmethod
    def forward(ctx: Any, left: Tensor, root: Tensor, solve_transposed: Callable[[Tensor], Tensor]) -> Tensor:  # noqa: ANN401 - torch's
        ctx.solve_transposed = solve_transposed
        return root.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401 - torch's
        if torch.is_grad_enabled():  # lambda would pass for a constant
            raise UnsupportedOperator("a second derivative", "attach_derivative", "leave out create_graph=True: here are first derivatives only")
        return -ctx.solve_transposed(grad), None, None
