r"""The residual of a conservation law in its integrated form: the one that has a meaning across a shock.

Derivatives across a jump grow as the grid is refined, so the pointwise residual of a perfect shock does not vanish. Over a control volume V and
the time from $t_0$ to $t_1$ the law says

$$\frac{1}{|V|\,(t_1 - t_0)}\Big[\int_V u\,dx\,\Big|_{t_0}^{t_1} + \int_{t_0}^{t_1}\!\oint_{\partial V} F\cdot n\,ds\,dt
- \int_{t_0}^{t_1}\!\int_V s\,dx\,dt\Big] = 0,$$

and what is left of it falls like the grid's spacing for a shock in the right place at the right speed (Rankine and Hugoniot's condition), and does
not for any other. Fluxes are those of a finite volume stepper through the faces, the time integral is the trapezoidal rule over the frames.
Reference: LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002.
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.checks import per_axis
from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.field_spec import Fields
from physdiff.solvers.finite_volume import FiniteVolume

__all__ = ["weak_residual"]


def weak_residual(stepper: FiniteVolume, u: Fields, times: Tensor, *, cells: int | tuple[int, ...] = 1) -> dict[str, Tensor]:
    """What is left of the law in control volumes of `cells` cells over all frames, in units of the field per time.

    With one cell a volume it is the local balance of the scheme; take volumes that are large against a shock's few cells to judge the law.

    Args:
        stepper: Finite volumes of the law, with the boundary conditions that the data obey.
        u: Cell means of the law's fields, (B, T, *S).
        times: Of the frames (T,), increasing.
        cells: Cells of a volume along each axis (storage order), dividing the grid's sizes.

    Returns:
        Each field (B, *S / cells).

    Raises:
        ShapeError: If the fields are not (B, T, *S) with one time per frame and at least two.
        InputError: If a field is missing, the times do not increase or the volumes do not divide the grid.
    """
    law, grid = stepper.pde, stepper.grid
    missing = [name for name in law.fields if name not in u]
    if missing:
        raise InputError(f"weak_residual: expected the fields {', '.join(law.fields)} of {type(law).__name__}; missing {', '.join(missing)}")
    sizes = per_axis(cells, grid.ndim, "weak_residual cells")
    if any(n < 1 or total % n for n, total in zip(sizes, grid.shape, strict=True)):
        raise InputError(f"weak_residual cells: expected divisors of the grid's sizes {grid.shape}, got {sizes}")
    first = u[law.fields[0]]
    moments = torch.as_tensor(times, dtype=torch.float64).tolist()
    if first.ndim != grid.ndim + 2 or first.shape[1] != len(moments) or len(moments) < 2:
        raise ShapeError(
            f"weak_residual: expected fields (batch, time, {', '.join(map(str, grid.shape))}) with one time per frame and at least two frames, "
            f"got {tuple(first.shape)} and {len(moments)} times"
        )
    if any(b <= a for a, b in zip(moments, moments[1:], strict=False)):
        raise InputError(f"weak_residual times: expected increasing times, got {moments[:4]}...")
    rates = [stepper.rhs({n: u[n][:, k] for n in law.fields}, t) for k, t in enumerate(moments)]
    left = {}
    for name in law.fields:
        work = torch.zeros_like(first[:, 0])
        for (t, end), rate, after in zip(zip(moments, moments[1:], strict=False), rates, rates[1:], strict=False):
            work = work + (end - t) / 2 * (rate[name] + after[name])
        left[name] = _means((u[name][:, -1] - u[name][:, 0] - work) / (moments[-1] - moments[0]), sizes)
    return left


def _means(f: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Means over volumes of (B, *S)."""
    for axis, n in enumerate(sizes, start=1):
        f = f.unflatten(axis, (-1, n)).mean(axis + 1)
    return f
