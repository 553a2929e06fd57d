r"""A law solved with a Gaussian process on a large tensor grid, by the Kronecker structure of its covariance.

With $K_i = L_iL_i^\mathsf T$ along each axis and $L_i = U_iS_iW_i^\mathsf T$, the covariance of the grid is
$\otimes_iK_i = \Phi\Phi^\mathsf T$, $\Phi = \otimes_i U_iS_i$: $\sum_i n_i^3$ operations instead of $(\prod_i n_i)^3$. A solution of few
waves needs few columns of $\Phi$. Those that lower the loss most by themselves, by $(J^\mathsf Td)_c^2 / (1 + |J_c|^2)$, are taken in rounds, each
for what those before it leave; products with $\Phi^\mathsf T$ are those of the axes, the norms come from random probes. Then $u = \Phi_r z$, and

$$\hat z = H^{-1}J^\mathsf T(Jz_0 - d_0), \qquad H = I + J^\mathsf TJ, \qquad J = \partial d/\partial z \in \mathbb R^{N\times r},$$

with deviations d of the law at all N points and of known values; with r = N the solution is that of `kernel_solve`. The kernels are trained by its
evidence on a part of the grid. Saatci, Scalable inference for structured Gaussian process models, 2011; Fang and others, Solving high frequency and
multi-scale PDEs with Gaussian processes, 2024.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, ShapeError
from physdiff.base.rng import Rng
from physdiff.pinn.gaussian_solver import Equation, GaussianSolution, checked_known, kernel_solve
from physdiff.pinn.mixture_kernel import KernelOperators, MixtureKernel

__all__ = ["kronecker_solve"]

log = logging.getLogger(__name__)

_COARSE = 1600  # points that the kernels are trained on, at most
_CHUNK = 64
_PROBES = 16
_ROUNDS = 8
_NEWTON = 8


def kronecker_solve(
    equation: Equation,
    axes: Sequence[Tensor],
    known: Tensor,
    *,
    kernels: Sequence[MixtureKernel],
    law_std: float = 1e-3,
    known_std: float = 1e-4,
    rank: int = 1000,
    steps: int = 100,
) -> GaussianSolution:
    """Solve ``equation(u, D) = 0`` as `kernel_solve` does, on grids of some hundred points along each axis.

    Args:
        equation: Residual (..., *S) of fields (..., *S) by the derivatives D; sources are functions of ``D.coordinates``, for the equation is asked
            on a coarser grid too.
        axes: Points along x, y, z (n_i,).
        known: Values (*S), NaN where they are not known.
        kernels: One for each axis, trained in place on at most 1600 of the points, every m-th along each axis.
        law_std: Size of a residual that is taken for zero, in the equation's unit.
        known_std: Standard deviation of known values.
        rank: r. Memory is 8 N r bytes, time N r^2. The standard deviation is that of these columns: it misses what neither law nor values see.
        steps: Of the training of the kernels; 0 to take them as they are.

    Returns:
        The field; ``losses`` are those of the training and, last, -log Z on the whole grid.

    Raises:
        ShapeError: If `known` is not of the grid's shape, or the equation has sources of one grid only.
        InputError: If nothing is known, or a number is not positive.
        Diverged: If the evidence is not finite.
    """
    for value, name in ((law_std, "law_std"), (known_std, "known_std"), (rank, "rank")):
        check_positive(value, f"kronecker_solve {name}")
    checked_known(known, axes, "kronecker_solve")
    losses: tuple[float, ...] = ()
    if steps:
        few, some = _coarse(axes, known)
        _check_equation(equation, few, kernels)
        options = {"law_std": law_std, "known_std": known_std}
        losses = kernel_solve(equation, few, some, kernels=kernels, steps=steps, **options).losses
    with torch.no_grad():
        D = KernelOperators(axes, kernels)
        basis = _Basis(D)
        where = known.isfinite()
        target = known[where].double()

        def deviations(u: Tensor) -> Tensor:
            return torch.cat((equation(u, D).reshape(-1) / law_std, (u[where] - target) / known_std))

        u, root, loss = _fitted(deviations, basis, min(rank, known.numel()))
        if not math.isfinite(loss):
            raise Diverged("evidence", float(steps), "raise law_std, or train the kernels with fewer steps")
        return GaussianSolution(u, _std(basis, root), (*losses, loss), equation(u, D))


def _coarse(axes: Sequence[Tensor], known: Tensor) -> tuple[list[Tensor], Tensor]:
    """Points spread along each axis, its ends among them, and what is known there."""
    share = min(1.0, (_COARSE / known.numel()) ** (1 / len(axes)))
    rows = [torch.linspace(0, len(a) - 1, max(2, math.floor(share * len(a)))).round().long().unique() for a in axes]
    some = known
    for dim, index in enumerate(reversed(rows)):
        some = some.index_select(dim, index)
    return [a[index] for a, index in zip(axes, rows, strict=True)], some


def _check_equation(equation: Equation, axes: Sequence[Tensor], kernels: Sequence[MixtureKernel]) -> None:
    zeros = torch.zeros(tuple(len(a) for a in reversed(axes)), dtype=torch.float64)
    try:
        with torch.no_grad():
            found = equation(zeros, KernelOperators(axes, kernels))
    except RuntimeError as error:
        raise ShapeError(f"kronecker_solve: expected an equation of any grid, with sources by D.coordinates, got one that fails: {error}") from error
    if found.shape != zeros.shape:
        raise ShapeError(f"kronecker_solve: expected residuals {tuple(zeros.shape)}, got {tuple(found.shape)}; take sources from D.coordinates")


class _Basis:
    """Columns of Phi, all of them by their axes or r of them one by one."""

    def __init__(self, D: KernelOperators) -> None:
        parts = [torch.linalg.svd(root)[:2] for root in D.roots]
        self.axes = [(U * s).mT for U, s in parts]  # (n_i columns, n_i points)
        self.shape = tuple(len(a) for a in reversed(self.axes))
        self.index: tuple[Tensor, ...] = ()

    def transposed(self, g: Tensor) -> Tensor:
        """Phi^T g for all columns, (..., *S)."""
        for direction, factor in enumerate(self.axes):
            g = (g.movedim(-1 - direction, -1) @ factor.mT).movedim(-1, -1 - direction)
        return g

    def take(self, score: Tensor, count: int) -> None:
        """The `count` columns with the largest scores (*S) beside those taken before."""
        flat = score.clone()
        if self.index:
            flat[self.index] = -1
        best = torch.unravel_index(flat.reshape(-1).topk(count).indices, self.shape)
        self.index = tuple(torch.cat((a, b)) for a, b in zip(self.index, best, strict=True)) if self.index else tuple(best)

    def __len__(self) -> int:
        return len(self.index[0])

    def columns(self, rows: slice) -> Tensor:
        """Taken columns as fields (chunk, *S)."""
        factors = [factor[i[rows]] for factor, i in zip(self.axes, reversed(self.index), strict=True)]
        out = factors[-1]
        for factor in reversed(factors[:-1]):
            out = out[..., None] * factor.reshape(-1, *(1,) * (out.ndim - 1), factor.shape[1])
        return out

    def field(self, z: Tensor) -> Tensor:
        """Phi_r z, (*S)."""
        total = torch.zeros(self.shape, dtype=z.dtype)
        for start in range(0, len(z), _CHUNK):
            rows = slice(start, start + _CHUNK)
            total += torch.tensordot(z[rows], self.columns(rows), dims=1)
        return total


def _fitted(deviations: Callable[[Tensor], Tensor], basis: _Basis, rank: int) -> tuple[Tensor, Tensor, float]:
    """Columns in rounds, then the field, the factor of H and -log Z."""
    u = torch.zeros(basis.shape, dtype=torch.float64)
    parts = _ROUNDS if _ROUNDS < rank < math.prod(basis.shape) else 1
    for k in range(parts):
        count = rank * (k + 1) // parts - rank * k // parts
        d, pull = torch.func.vjp(deviations, u)[:2]
        gain = basis.transposed(pull(d)[0]).square()
        probes = Rng(0).child("probes", len(basis.index)).normal((_PROBES, len(d))).double()
        norms = torch.stack([basis.transposed(pull(e)[0]).square() for e in probes]).mean(0)
        score = gain / (1 + norms)
        basis.take(score, count)
        u, root, loss = _solved(deviations, basis)
    log.info("kronecker_solve: %d of %d columns; the best one left out had %.2g of the first gain", rank, u.numel(), _left(basis, score))
    return u, root, loss


def _left(basis: _Basis, score: Tensor) -> float:
    out = score.clone()
    out[basis.index] = 0
    return float(out.max() / score.max().clamp(min=1e-300))


def _solved(deviations: Callable[[Tensor], Tensor], basis: _Basis) -> tuple[Tensor, Tensor, float]:
    """The field, the factor of H and -log Z, by Gauss-Newton steps from zero; a linear law takes one."""
    z = torch.zeros(len(basis), dtype=torch.float64)
    for _ in range(_NEWTON):
        u = basis.field(z)
        d0 = deviations(u)
        J = torch.empty(len(d0), len(z), dtype=torch.float64)
        # J^T w is linear in w, its transpose is J v
        pull = torch.func.vjp(deviations, u)[1]
        push = torch.func.vjp(lambda w, pull=pull: pull(w)[0], torch.zeros_like(d0))[1]
        along = torch.func.vmap(lambda v, push=push: push(v)[0])
        for start in range(0, len(z), _CHUNK):
            rows = slice(start, start + _CHUNK)
            J[:, rows] = along(basis.columns(rows)).mT
        H = J.mT @ J
        H.diagonal().add_(1)
        root = torch.linalg.cholesky(H)
        new = torch.cholesky_solve((J.mT @ (J @ z - d0))[:, None], root)[:, 0]
        left = d0 + J @ (new - z)
        del J
        u, z = basis.field(new), new
        found = deviations(u)
        if float((found - left).norm()) <= 1e-6 * float(d0.norm()):  # as foreseen: the law is linear here
            break
    loss = 0.5 * float(left @ left + z @ z) + float(root.diagonal().log().sum())
    return u, root, loss


def _std(basis: _Basis, root: Tensor) -> Tensor:
    """Pointwise standard deviation."""
    columns = basis.columns(slice(None)).reshape(len(root), -1)
    parts = [torch.linalg.solve_triangular(root, part, upper=False).norm(dim=0) for part in columns.split(16384, dim=1)]
    return torch.cat(parts).reshape(basis.shape)
