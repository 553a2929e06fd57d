"""Matrix-free linear solvers, batched over the first dimension.

`cg` is the conjugate gradient method (Hestenes and Stiefel, 1952) for symmetric positive definite maps, `gmres` the generalised minimal
residual method (Saad and Schultz, 1986) for any invertible map. Both see the map as a function of a tensor (B, ...) and solve every
sample of the batch on its own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physdiff.base.errors import InputError

__all__ = ["cg", "gmres"]

LinearMap = Callable[[Tensor], Tensor]


def _dot(a: Tensor, b: Tensor) -> Tensor:
    # float64: the square of a small float32 number is zero
    return (a.double() * b.double()).reshape(a.shape[0], -1).sum(1).reshape(-1, *([1] * (a.ndim - 1)))


def _norm(a: Tensor) -> Tensor:
    return a.double().square().sum(1).sqrt()


def _goal(of_b: Tensor, of_residual: Tensor) -> Tensor:
    """What residuals are measured against: b, or where that is zero the first residual."""
    return torch.where(of_b > 0, of_b, of_residual)


def cg(
    matvec: LinearMap, b: Tensor, *, x0: Tensor | None = None, rtol: float = 1e-8, max_iter: int = 200, precondition: LinearMap | None = None
) -> Tensor:
    r"""Solve $A x = b$ for symmetric positive definite $A$, sample by sample.

    Args:
        matvec: $x \mapsto A x$ on tensors (B, ...); must not mix samples.
        b: Right-hand side (B, ...).
        x0: First guess; zero if not given.
        rtol: Stop when $|b - A x| \le$ rtol $|b|$ for every sample (where b = 0: rtol times the first residual).
        max_iter: Largest number of iterations.
        precondition: An approximate inverse of A, itself symmetric and positive definite; none if not given.

    Returns:
        The solution, (B, ...). The last iterate is returned if `max_iter` is reached: it has the smallest error in the norm of A.

    Raises:
        InputError: If the map is not positive definite along a search direction.
    """
    x = torch.zeros_like(b) if x0 is None else x0
    r = b - matvec(x) if x0 is not None else b
    z = r if precondition is None else precondition(r)
    p, rr, rz = z, _dot(r, r), _dot(r, z)
    target = rtol**2 * _goal(_dot(b, b), rr)
    for _ in range(max_iter):
        active = rr > target
        if not bool(active.any()):
            break
        ap = matvec(p)
        curvature = _dot(p, ap)
        if bool((active & (curvature <= 0)).any()):
            raise InputError("cg: expected a positive definite map, got p'Ap <= 0; use gmres or check the map's sign")
        step = torch.where(active, rz / torch.where(active, curvature, torch.ones_like(curvature)), torch.zeros_like(rz))
        x, r = x + step.to(b) * p, r - step.to(b) * ap
        z = r if precondition is None else precondition(r)
        new, rr = _dot(r, z), _dot(r, r)
        p = z + torch.where(active, new / torch.where(active, rz, torch.ones_like(rz)), torch.zeros_like(rz)).to(b) * p
        rz = new
    return x


def gmres(matvec: LinearMap, b: Tensor, *, x0: Tensor | None = None, rtol: float = 1e-8, max_iter: int = 50) -> Tensor:
    r"""Solve $A x = b$ for any invertible $A$, sample by sample, without restart.

    Args:
        matvec: $x \mapsto A x$ on tensors (B, ...); must not mix samples.
        b: Right-hand side (B, ...).
        x0: First guess; zero if not given.
        rtol: Stop when the residual norm is below rtol $|b|$ for every sample (where b = 0: rtol times the first residual).
        max_iter: Largest dimension of the Krylov space, 1 or more.

    Returns:
        The minimiser of $|b - A x|$ over the Krylov space, (B, ...).
    """
    x = torch.zeros_like(b) if x0 is None else x0
    r = b - matvec(x) if x0 is not None else b
    shape, r = b.shape, r.reshape(b.shape[0], -1)
    size = _norm(r)
    scale = _goal(_norm(b.reshape(r.shape)), size)
    if max_iter < 1 or not bool((size > rtol * scale).any()):
        return x
    # every sample in units of its first residual: small float32 numbers keep their squares
    unit = size.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    scale, beta, tiny = scale / unit[:, 0], (size / unit[:, 0]).to(b), torch.finfo(b.dtype).tiny
    basis = [(r.double() / unit).to(b)]
    h = b.new_zeros(b.shape[0], max_iter + 1, max_iter)
    rhs = b.new_zeros(b.shape[0], max_iter + 1, 1)
    rhs[:, 0, 0] = beta
    # the left null vector of h, first entry 1: the residual of least squares is beta over its length (one product per iteration)
    null, length = [torch.ones_like(beta)], torch.ones_like(beta, dtype=torch.float64)
    for k in range(min(max_iter, r.shape[1])):
        w = matvec(basis[k].reshape(shape)).reshape(r.shape)
        for _ in range(2):  # twice: classical Gram-Schmidt loses orthogonality in one pass
            stack = torch.stack(basis, dim=1)
            c = torch.einsum("bkn,bn->bk", stack, w)
            h[:, : k + 1, k] += c
            w = w - torch.einsum("bk,bkn->bn", c, stack)
        norm = w.norm(dim=1)
        h[:, k + 1, k] = norm
        basis.append(w / norm.clamp_min(tiny)[:, None])
        # a sample whose space is exhausted is solved: its null vector has no end
        null.append(-torch.einsum("kb,bk->b", torch.stack(null), h[:, : k + 1, k]) / norm.clamp_min(tiny))
        longer = torch.where(norm > tiny, (length**2 + null[-1].double() ** 2).sqrt(), torch.inf)
        length = torch.fmax(length, longer)  # it only grows; entries that overflow after that are passed over
        if bool((beta / length <= rtol * scale).all()):
            break
    y = torch.linalg.pinv(h[:, : k + 2, : k + 1]) @ rhs[:, : k + 2]
    update = torch.einsum("bkn,bk->bn", torch.stack(basis[: y.shape[1]], dim=1), y[..., 0])
    return x + (update.double() * unit).to(b).reshape(shape)
