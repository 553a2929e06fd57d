r"""Kernels that know high frequencies, and derivatives of fields that have such a kernel along every axis.

$$k(d) = \sum_q w_q\, \kappa(\ell_q d) \cos 2\pi f_q d, \qquad
\kappa(s) = e^{-s^2} \text{ or } \big(1 + \sqrt5|s| + \tfrac53 s^2\big) e^{-\sqrt5|s|},$$

the transform of a mixture of Gaussians (Student's t with Matern's kernel) around frequencies $f_q$. A field on a tensor grid has the covariance
$K = K_x \otimes K_y \otimes \dots$, its derivatives are those of the kernel, axis by axis: $\partial_x^2 u = K_x'' K_x^{-1} u$. So these
cost $\sum_i n_i^3$ where the grid has $\prod_i n_i$ points. Wilson and Adams, Gaussian process kernels for pattern discovery and extrapolation, 2013;
Fang and others, Solving high frequency and multi-scale PDEs with Gaussian processes, 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError, ShapeError, UnsupportedOperator
from physdiff.operators.operators import Operators, Vector

__all__ = ["KernelOperators", "MixtureKernel"]

# of the kernel's value at zero; derivatives lose half of what it leaves
_JITTER = 1e-10


class MixtureKernel(nn.Module):
    """Kernel of one axis; its weights, decays and frequencies are trained in logarithms and as they are.

    Args:
        waves: Q; those that are not needed lose their weight.
        highest: Largest frequency at the start, per length; they are spread evenly from zero.
        decay: ell at the start, per length.
        shape: ``"gauss"`` or ``"matern"`` (twice differentiable).

    Raises:
        InputError: If a number is not positive.
    """

    def __init__(self, waves: int = 30, *, highest: float = 20.0, decay: float = 1.0, shape: str = "gauss") -> None:
        super().__init__()
        check_positive(waves, "MixtureKernel waves")
        check_positive(highest, "MixtureKernel highest")
        self.shape = check_one_of(shape, ("gauss", "matern"), "MixtureKernel shape")
        start = math.log(check_positive(decay, "MixtureKernel decay"))
        self.log_weight = nn.Parameter(torch.full((waves,), -math.log(waves), dtype=torch.float64))
        self.log_decay = nn.Parameter(torch.full((waves,), start, dtype=torch.float64))
        # one wave alone has the highest frequency
        self.frequency = nn.Parameter(torch.linspace(highest, 0.0, waves, dtype=torch.float64).flip(0))

    def forward(self, distance: Tensor, order: int = 0) -> Tensor:
        """The kernel's derivative of order 0, 1 or 2 at signed distances of any shape."""
        if order not in (0, 1, 2):
            raise InputError(f"MixtureKernel order: expected 0, 1 or 2, got {order}")
        d, ell, omega = distance[..., None], self.log_decay.exp(), 2 * math.pi * self.frequency
        m = self._decay(d, ell)
        cos, sin = torch.cos(omega * d), torch.sin(omega * d)
        if order == 0:
            value = m[0] * cos
        elif order == 1:
            value = m[1] * cos - omega * m[0] * sin
        else:
            value = (m[2] - omega**2 * m[0]) * cos - 2 * omega * m[1] * sin
        return (value * self.log_weight.exp()).sum(-1)

    def _decay(self, d: Tensor, ell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decay kappa and its first two derivatives in d."""
        if self.shape == "gauss":
            g, a = torch.exp(-((ell * d) ** 2)), 2 * ell**2
            return g, -a * d * g, (a * d * a * d - a) * g
        a = math.sqrt(5) * ell
        s = a * d.abs()
        fall = torch.exp(-s)
        return (1 + s + s**2 / 3) * fall, -(a**2) / 3 * d * (1 + s) * fall, -(a**2) / 3 * (1 + s - s**2) * fall


class KernelOperators(Operators):
    """Derivatives of fields `(..., [nz,] [ny,] nx)` on the tensor grid of axes, each with a kernel of its own.

    Args:
        axes: Points along x, y, z, float64; time can be one of them.
        kernels: One for each axis.

    Raises:
        ShapeError: If their numbers differ.
        InputError: If points coincide, or a kernel's matrix is not positive definite to rounding.
    """

    def __init__(self, axes: Sequence[Tensor], kernels: Sequence[MixtureKernel]) -> None:
        if len(axes) != len(kernels) or not axes or any(a.ndim != 1 for a in axes):
            raise ShapeError(f"KernelOperators: expected one kernel for each axis of points (n,), got {len(axes)} and {len(kernels)}")
        self.axes = tuple(a.double() for a in axes)
        self.roots: list[Tensor] = []
        self._first, self._second = [], []
        for axis, kernel in zip(self.axes, kernels, strict=True):
            if len(axis) > 1 and float(axis.detach().sort().values.diff().min()) <= 0:
                raise InputError("KernelOperators: expected points that differ along each axis, got two alike; leave one out")
            distance = axis[:, None] - axis[None, :]
            K = kernel(distance)
            K = K + _JITTER * K.diagonal().detach().mean() * torch.eye(len(axis), dtype=K.dtype)
            root, failed = torch.linalg.cholesky_ex(K)
            if int(failed):
                raise InputError(
                    "KernelOperators: expected a positive definite kernel, got one that is not, to rounding; take fewer or larger decays"
                )
            self.roots.append(root)
            # K' is odd: (K' K^-1)^T = -K^-1 K'
            self._first.append(torch.cholesky_solve(kernel(distance, 1).mT, root).mT)
            self._second.append(torch.cholesky_solve(kernel(distance, 2).mT, root).mT)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.axes)

    @property
    def coordinates(self) -> Vector:
        """Coordinates x, y, z, each of the grid's shape (nz, ny, nx)."""
        return tuple(reversed(torch.meshgrid(*reversed(self.axes), indexing="ij")))

    @property
    def log_determinant(self) -> Tensor:
        """Of K, the product over the axes: sum_i N/n_i log det K_i."""
        total = math.prod(len(a) for a in self.axes)
        parts = [total / len(root) * 2 * root.diagonal().log().sum() for root in self.roots]
        return torch.stack(parts).sum()

    def coloured(self, z: Tensor) -> Tensor:
        """L z, of covariance K where z is white; (..., *S)."""
        return self._along_all(z, self.roots)

    def whitened(self, u: Tensor) -> Tensor:
        """L^-1 u, the inverse of `coloured`."""
        for direction, root in enumerate(self.roots):
            rows = u.movedim(-1 - direction, -1)
            solved = torch.linalg.solve_triangular(root, rows.reshape(-1, len(root)).mT, upper=False).mT
            u = solved.reshape(rows.shape).movedim(-1, -1 - direction)
        return u

    def _along_all(self, u: Tensor, matrices: Sequence[Tensor]) -> Tensor:
        for direction, matrix in enumerate(matrices):
            u = _applied(matrix, u, direction)
        return u

    def dt(self, f: Tensor) -> Tensor:
        """Not here: time is one of the axes."""
        raise UnsupportedOperator("dt", "KernelOperators", "take time as one of the axes, D.partial(f, axis)")

    def grad(self, f: Tensor) -> Vector:
        """Derivatives along x, y, z."""
        return tuple(_applied(m, f, i) for i, m in enumerate(self._first))

    def div(self, v: Vector) -> Tensor:
        """Divergence."""
        terms = [_applied(self._first[i], c, i) for i, c in enumerate(self.check_vector(v, "div"))]
        return sum(terms[1:], terms[0])

    def lap(self, f: Tensor) -> Tensor:
        """Laplacian."""
        terms = [_applied(m, f, i) for i, m in enumerate(self._second)]
        return sum(terms[1:], terms[0])

    def partial(self, f: Tensor, direction: int, order: int = 1) -> Tensor:
        """First or second derivative along one direction; higher ones by turns."""
        while order >= 2:
            f, order = _applied(self._second[direction], f, direction), order - 2
        return _applied(self._first[direction], f, direction) if order else f


def _applied(matrix: Tensor, u: Tensor, direction: int) -> Tensor:
    """A matrix along direction 0, 1, 2: the last axis, the one before, ..."""
    return (u.movedim(-1 - direction, -1) @ matrix.mT).movedim(-1, -1 - direction)
