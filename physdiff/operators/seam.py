r"""Does a field go on across the ends of a periodic box? Fourier series take every field for a periodic one.

Where values jump from the last point of an axis to the first, a series rings in the whole box (Gibbs, 1899) and its derivatives are wrong
everywhere, not near the jump alone. What gives it away is the step across the seam beside the steps between neighbours within,

$$\langle (f_1 - f_n)^2\rangle > J^2 \max_i \langle (f_{i+1} - f_i)^2\rangle,$$

with means over the lines of a sample. Fields that are merely steep pass, noise and fronts wherever they lie included, and constant ones. So do, and
the check knows no better, a field that meets itself with another slope (which harms a series less, and on a grid may be a crest) and a jump no larger
than steps inside (a wake that leaves a box is hidden behind the wall of the body it comes from).
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError
from physdiff.grids.grid import Grid

__all__ = ["check_seam"]

# A ramp over n points jumps by n - 1 of its steps, half a cosine wave by 2n/pi. A periodic front tanh(x/d) centred in the seam jumps by
# 2 tanh(h/2d) / (tanh(3h/2d) - tanh(h/2d)) of the steps beside it: 4 where d = 0.63 h, which no series resolves. Noise comes to 4 only where
# the points of a line fall in order, one chance in n!/2. As the jump is the sum of n - 1 steps, axes of five points or fewer are never refused.
_JUMP = 4.0
_ROUNDING = 64.0


def check_seam(f: Tensor, grid: Grid, what: str) -> None:
    """Refuse a field that jumps where the grid closes on itself.

    Args:
        f: (*S), or (B, ..., *S): each of the B samples is judged by itself, with all its frames and lines.
        grid: The grid of the field; its periodic axes are looked at.
        what: How the error names the field.

    Raises:
        InputError: If a sample jumps; names the axis, and the sample where there are several.
        ShapeError: If the last axes of f are not those of the grid.
    """
    if tuple(f.shape[f.ndim - grid.ndim :]) != grid.shape:
        raise ShapeError(f"{what}: expected the last axes {grid.shape} of the grid, got {tuple(f.shape)}")
    f = f.detach().reshape(f.shape[0] if f.ndim > grid.ndim else 1, -1, *grid.shape)
    floor = (_ROUNDING * torch.finfo(f.dtype).eps * f.abs().amax(tuple(range(1, f.ndim)))).square()
    for i, (axis, periodic) in enumerate(zip(grid.dims, grid.periodic, strict=True)):
        if not periodic or f.shape[i + 2] < 3:
            continue
        lines = f.movedim(i + 2, -1).flatten(1, -2)
        within = lines.diff(dim=-1).square().mean(1).amax(-1)
        across = (lines[..., 0] - lines[..., -1]).square().mean(1)
        bad = (across > _JUMP**2 * within + floor).nonzero()
        if len(bad):
            first = int(bad[0])
            sample = f" in sample {first}" if len(f) > 1 else ""
            raise InputError(
                f"{what}: expected a field that is periodic along {axis}, got a jump of {float(across[first].sqrt()):.3g} from its last point to its "
                f"first{sample}, where neighbours differ by at most {float(within[first].sqrt()):.3g} (root mean square over lines); take "
                "FiniteDifference with a boundary on a grid that is not periodic, or take a trend out of the data"
            )
