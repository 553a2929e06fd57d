r"""Selling's decomposition: a plane tensor as a sum of squares of whole offsets, with weights of at least zero.

$$D = \sum_{k=1}^3 \rho_k\, e_k e_k^T, \qquad \rho_k = -v_i\cdot D v_j \ge 0, \qquad e_k = v_k^\perp$$

with whole vectors $v_1 + v_2 + v_3 = 0$ of determinant one whose angles are obtuse in the metric of D. Any such triple is made obtuse by turning one
that is not, $(v_i, v_j, v_k) \to (-v_i, v_j, v_i - v_j)$ where $v_i\cdot D v_j > 0$, again and again. So a second derivative by any tensor is one of
differences between cells without a negative weight. The offsets are as long as the tensor is uneven and oblique. References: Selling, 1874; Conway
and Sloane, 1992; Bonnans and Zidani, 2003.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["selling"]

_TURNS = 64


def selling(xx: Tensor, xy: Tensor, yy: Tensor) -> tuple[Tensor, Tensor]:
    """Whole offsets (3, 2, *S), each as (x, y), and weights (3, *S) of the tensors with the entries xx, xy, yy (*S).

    Where a tensor has (nearly) no second eigenvalue and points between all offsets, turning does not end; it stops with a weight below zero.
    """
    xx, xy, yy = torch.broadcast_tensors(xx, xy, yy)
    one, zero = torch.ones_like(xx, dtype=torch.int64), torch.zeros_like(xx, dtype=torch.int64)
    v = torch.stack([torch.stack([one, zero]), torch.stack([zero, one]), torch.stack([-one, -one])])
    with torch.no_grad():
        small = 1e-14 * (xx + yy)
        for _ in range(_TURNS):
            angles = _angles(v, xx, xy, yy)
            largest, which = angles.max(0)
            turn = largest > small
            if not bool(turn.any()):
                break
            for i in range(3):
                here = turn & (which == i)  # angle i is that between the other two
                j, k = (i + 1) % 3, (i + 2) % 3
                turned = {j: -v[j], k: v[k], i: v[j] - v[k]}
                v = torch.stack([torch.where(here, turned[n], v[n]) for n in range(3)])
    weights = -_angles(v, xx, xy, yy)
    # what is negative by rounding alone is none
    weights = torch.where((weights < 0) & (weights > -1e-13 * (xx + yy)), torch.zeros_like(weights), weights)
    return torch.stack([-v[:, 1], v[:, 0]], dim=1), weights


def _angles(v: Tensor, xx: Tensor, xy: Tensor, yy: Tensor) -> Tensor:
    """Row i: the product of the two others in the metric."""
    f = v.to(xx)
    pairs = ((f[(i + 1) % 3], f[(i + 2) % 3]) for i in range(3))
    return torch.stack([a[0] * (xx * b[0] + xy * b[1]) + a[1] * (xy * b[0] + yy * b[1]) for a, b in pairs])
