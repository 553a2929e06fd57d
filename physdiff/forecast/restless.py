"""Which members may lie between the modes of the data: the variance of the denoiser's last estimates, watched while a forecast is drawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import InputError
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.scores.trajectory_variance import trajectory_variance

__all__ = ["Watch"]


class Watch:
    """Keeps the last estimates of a prior's denoiser while a `Rollout` draws: ``with Watch(prior, 10) as watch: Rollout(..., watch=watch).run(ds)``.

    Args:
        prior: A `DiffusionPrior`.
        window: Number of last evaluations, 2 at least.

    Raises:
        InputError: If the window is below 2 or larger than a draw has evaluations, or the prior has no denoiser.
    """

    def __init__(self, prior: WindowPrior, window: int) -> None:
        if not isinstance(prior, DiffusionPrior):
            raise InputError(f"watch: expected a diffusion prior, whose estimates settle or not, got a {type(prior).__name__}; leave it out")
        most = prior.sampler.evaluations(prior.steps)
        if not 2 <= window <= most:
            raise InputError(f"watch: expected 2 to {most} evaluations, as many as a draw has, got {window}")
        self.prior, self.window = prior, window
        self.found: dict[tuple[int, int, int], float] = {}
        self._estimates: deque[Tensor] = deque(maxlen=window)
        self._handle: Any = None

    def __enter__(self) -> Watch:  # noqa: D105
        self._handle = self.prior.model.register_forward_hook(lambda _, __, out: self._estimates.append(out.detach()))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:  # noqa: D105
        self._handle.remove()

    def take(self) -> Tensor:
        """Variance of each row of the draw just made (N,), of coefficients and so without unit."""
        found = trajectory_variance(torch.stack(list(self._estimates)).double(), window=self.window)
        self._estimates.clear()
        return found.cpu()

    def note(self, rows: Sequence[tuple[int, int, int]]) -> None:
        """Keep the largest variance of each (trajectory, start, member) of the draw just made."""
        for row, value in zip(rows, self.take().tolist(), strict=True):
            self.found[row] = max(self.found.get(row, 0.0), value)

    def put_into(self, result: xr.Dataset) -> xr.Dataset:
        """The forecast with ``trajectory_variance`` on its (sample?, init_time, member)."""
        sizes = {d: result.sizes.get(d, 1) for d in ("sample", "init_time", "member")}
        values = np.full(tuple(sizes.values()), np.nan)
        for row, value in self.found.items():
            values[row] = value
        dims = [d for d in sizes if d in result.dims]
        about = {"long_name": f"variance of the last {self.window} estimates of the denoiser", "units": "1"}
        return result.assign(trajectory_variance=(dims, values.reshape([sizes[d] for d in dims]), about))
