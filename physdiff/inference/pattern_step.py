r"""One Gauss-Newton step in a few patterns: no iteration, however sharp and many the readings.

With a covariance $\Sigma = E s E^\top$ of r patterns E and no variance beyond them, readings of misfit $y - A(z)$ and noise R, and
$J = R^{-1/2} H E s^{1/2}$ (m, r), where H is the derivative of A at z,

$$ \Sigma H^\top (H \Sigma H^\top + R)^{-1} (y - A) = E s^{1/2} (1 + J^\top J)^{-1} J^\top R^{-1/2} (y - A). $$

J comes column by column from forward derivatives. Reference: Woodbury's identity (Hager, Updating the inverse of a matrix, 1989).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad

__all__ = ["pattern_step"]

_AT_ONCE = 512  # directions that go through the observations at a time


def pattern_step(
    misfit: Callable[[Tensor], tuple[Tensor, Tensor]], z: Tensor, *, patterns: Tensor, variances: Tensor, shared: bool = False
) -> tuple[Tensor, int]:
    """The step of the module's formula, shape of z, and how many times the readings were differentiated.

    Args:
        misfit: y - A(z), (B, m), and the variances of its noise (m,), of coefficients (B, *shape).
        patterns: Orthonormal rows (r, d).
        variances: Variances along them (r,), float64.
        z: Where A is linearised, (B, *shape).
        shared: Linearise at the mean of z instead, once for all.
    """
    moves = (variances.sqrt().to(z)[:, None] * patterns.to(z)).reshape(-1, *z.shape[1:])
    value, noise = misfit(z)
    root, rows = noise.sqrt(), []
    at = z.mean(0, keepdim=True) if shared else z
    total = len(at) * len(moves)
    for start in range(0, total, _AT_ONCE):
        index = torch.arange(start, min(start + _AT_ONCE, total), device=z.device)
        with warnings.catch_warnings(), forward_ad.dual_level():
            warnings.filterwarnings("ignore", ".*torch.jit", DeprecationWarning)  # by which torch loads its own forward derivatives
            dual = forward_ad.make_dual(at[index // len(moves)], moves[index % len(moves)])
            slope = forward_ad.unpack_dual(misfit(dual)[0]).tangent
        # readings of known entries alone do not depend on z at all
        rows.append(torch.zeros(len(index), len(root), dtype=z.dtype, device=z.device) if slope is None else slope)
    jacobian = -torch.cat(rows).reshape(len(at), len(moves), -1).double() / root
    square = jacobian @ jacobian.mT + torch.eye(len(moves), dtype=torch.float64, device=z.device)
    right = jacobian @ (value.double() / root)[..., None]
    weights = torch.cholesky_solve(right, torch.linalg.cholesky(square))[..., 0]
    return torch.tensordot(weights.to(z), moves, dims=1), len(moves)
