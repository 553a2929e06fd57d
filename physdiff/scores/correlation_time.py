r"""How long a forecast stays correlated with the truth: the first time at which the correlation is below a level.

Of chaotic flows it says more than an error at a fixed lead: $T_{0.8} = \min\{t : \rho(t) < 0.8\}$. Reference: Kochkov et al. (2021), "Machine
learning-accelerated computational fluid dynamics".
"""

from __future__ import annotations

import torch
from torch import Tensor

from physdiff.base.errors import InputError, ShapeError

__all__ = ["high_correlation_time"]


def high_correlation_time(correlation: Tensor, times: Tensor, *, level: float = 0.8) -> Tensor:
    """First time with a correlation below `level`.

    A mean over cases of these times is not the time of the mean correlation: ask `evaluate` for `correlation` by start and lead.

    Args:
        correlation: (..., T), as `evaluate` gives it by lead time.
        times: (T,), increasing; lead times in any unit.
        level: Correlation that must be kept.

    Returns:
        (...), in the unit of the times; infinite where the level is kept to the end, NaN where a value is missing before it is lost.

    Raises:
        ShapeError: If there is not one time for each correlation.
        InputError: If times do not increase.
    """
    if times.ndim != 1 or not len(times) or correlation.shape[-1:] != times.shape:
        got = f"{tuple(correlation.shape)} and {tuple(times.shape)}"
        raise ShapeError(f"high_correlation_time: expected correlations (..., T) and times (T,), T >= 1, got {got}")
    if not bool((times.diff() > 0).all()):
        raise InputError(f"high_correlation_time: expected increasing times, got {times.tolist()[:5]}; sort by lead time")
    lost = (correlation < level) | correlation.isnan()
    first = lost.to(torch.int64).argmax(-1, keepdim=True)
    found = times.to(correlation)[first[..., 0]].masked_fill(correlation.gather(-1, first)[..., 0].isnan(), torch.nan)
    return found.masked_fill(~lost.any(-1), torch.inf)
