r"""A law solved with a Gaussian process on a tensor grid: for solutions with many scales, whose frequencies are found with them.

With $u = Lz$, $K = LL^\mathsf T = \otimes_i K_i$ and deviations d of the law and of known values in units of their standard deviations, linearised at
$z_0$, $d(z) = d_0 + J(z - z_0)$, the field is the mean of a Gaussian and the kernels' parameters are those of the largest evidence,

$$\hat z = H^{-1} J^\mathsf T (J z_0 - d_0), \quad H = I + J^\mathsf T J, \qquad
-\log Z = \tfrac12 |d(\hat z)|^2 + \tfrac12 |\hat z|^2 + \tfrac12 \log\det H .$$

For laws that are linear in u that is exact; for others every step is a Gauss-Newton step. Fang and others, Solving high frequency and
multi-scale PDEs with Gaussian processes, 2024, maximise the density of u and the kernel together, where the kernel's determinant takes the part of
the evidence.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physdiff.base.checks import check_positive
from physdiff.base.errors import Diverged, InputError, ShapeError
from physdiff.pinn.mixture_kernel import KernelOperators, MixtureKernel

__all__ = ["GaussianSolution", "checked_known", "kernel_solve"]

log = logging.getLogger(__name__)

_MOST = 3000
Equation = Callable[[Tensor, KernelOperators], Tensor]


@dataclass(frozen=True, eq=False)
class GaussianSolution:
    """A field with its standard deviation.

    Args:
        values: (*S).
        std: Pointwise, (*S), given the kernels.
        losses: -log Z over the steps.
        residual: What is left of the equation, (*S).
    """

    values: Tensor
    std: Tensor
    losses: tuple[float, ...]
    residual: Tensor


def kernel_solve(
    equation: Equation,
    axes: Sequence[Tensor],
    known: Tensor,
    *,
    kernels: Sequence[MixtureKernel],
    law_std: float = 1e-3,
    known_std: float = 1e-4,
    steps: int = 200,
    rate: float = 0.05,
) -> GaussianSolution:
    """Solve ``equation(u, D) = 0`` on the tensor grid of `axes`, with known values at some of its points.

    Args:
        equation: Residual (..., *S) of fields (..., *S), by the derivatives D (`KernelOperators`); of torch's functions.
        axes: Points along x, y, z (n_i,); time can be one.
        known: Values (*S) = `([nz,] [ny,] nx)`, NaN where they are not known: boundaries, initial values, readings.
        kernels: One for each axis, trained in place.
        law_std: Size of a residual that is taken for zero, in the equation's unit.
        known_std: Standard deviation of known values.
        steps: Steps of Adam on the kernels, each with one Gauss-Newton step of the field.
        rate: Learning rate.

    Raises:
        ShapeError: If `known` is not of the grid's shape.
        InputError: If nothing is known, the grid has more than 3000 points, or a number is not positive.
        Diverged: If the evidence is not finite.
    """
    for value, name in ((law_std, "law_std"), (known_std, "known_std")):
        check_positive(value, f"kernel_solve {name}")
    shape = checked_known(known, axes, "kernel_solve")
    where = known.isfinite()
    if known.numel() > _MOST:
        raise InputError(f"kernel_solve: expected at most {_MOST} points, got {known.numel()}; take a coarser grid")
    target = known[where].double()

    def deviations(z: Tensor, D: KernelOperators) -> Tensor:
        u = D.coloured(z.reshape(shape))
        return torch.cat((equation(u, D).reshape(-1) / law_std, (u[where] - target) / known_std))

    parameters = [p for kernel in kernels for p in kernel.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1), eta_min=0.02 * rate)
    u, losses = torch.zeros(shape, dtype=torch.float64), []
    for step in range(steps):
        D = KernelOperators(axes, kernels)
        loss, z, _ = _evidence(deviations, D, D.whitened(u).detach().reshape(-1))
        if not bool(loss.isfinite()):
            raise Diverged("evidence", float(step), "lower the rate, or raise law_std")
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        u = D.coloured(z.detach().reshape(shape)).detach()
    return _solution(deviations, equation, KernelOperators(axes, kernels), u, losses)


def checked_known(known: Tensor, axes: Sequence[Tensor], what: str) -> tuple[int, ...]:
    """The shape of the grid, if `known` has it and anything is known; `what` asks.

    Raises:
        ShapeError: If it has another.
        InputError: If nothing is known.
    """
    shape = tuple(len(a) for a in reversed(axes))
    if tuple(known.shape) != shape:
        raise ShapeError(f"{what}: expected known values {shape}, got {tuple(known.shape)}; NaN where nothing is known")
    if not bool(known.isfinite().any()):
        raise InputError(f"{what}: expected known values, as at the boundary, got none")
    return shape


def _solution(
    deviations: Callable[[Tensor, KernelOperators], Tensor], equation: Equation, D: KernelOperators, u: Tensor, losses: list[float]
) -> GaussianSolution:
    with torch.no_grad():
        for _ in range(3):  # more Gauss-Newton steps with the kernels found; a linear law needs one
            _, z, root = _evidence(deviations, D, D.whitened(u).reshape(-1))
            u = D.coloured(z.reshape(u.shape))
        columns = D.coloured(torch.eye(u.numel(), dtype=u.dtype).reshape(-1, *u.shape)).reshape(u.numel(), -1)
        std = torch.linalg.solve_triangular(root, columns, upper=False).norm(dim=0).reshape(u.shape)
        return GaussianSolution(u, std, tuple(losses), equation(u, D))


def _evidence(deviations: Callable[[Tensor, KernelOperators], Tensor], D: KernelOperators, z0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """-log Z, the mean z and the Cholesky factor of H, linearised at z0."""
    d0 = deviations(z0, D)
    J: Tensor = torch.func.jacrev(deviations)(z0, D)
    H = J.mT @ J + torch.eye(len(z0), dtype=J.dtype)
    root = torch.linalg.cholesky(H)
    z = torch.cholesky_solve((J.mT @ (J @ z0 - d0))[:, None], root)[:, 0]
    left = d0 + J @ (z - z0)
    return 0.5 * (left @ left + z @ z) + root.diagonal().log().sum(), z, root
