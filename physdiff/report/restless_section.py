"""Members that may lie between the modes of the data, on the page of a forecast that was watched."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from physdiff.data.timeline import show_time
from physdiff.report.html import Cell, Section, Table
from physdiff.scores.trajectory_variance import restless

__all__ = ["restless_section"]

_MOST = 20


def restless_section(variance: xr.DataArray, *, share: float = 0.05) -> Section:
    """The members with the largest variance of the denoiser's last estimates.

    Args:
        variance: ``trajectory_variance`` of a forecast, dims (sample?, init_time, member).
        share: Share of all members that is named, twenty at most.
    """
    values = variance.values.reshape(-1)
    chosen = np.flatnonzero(restless(torch.from_numpy(np.array(values, dtype=np.float64)), share=share).numpy())
    chosen = chosen[np.argsort(-np.nan_to_num(values[chosen], nan=np.inf), kind="stable")][:_MOST]
    middle = float(np.nanmedian(values))
    rows: list[tuple[Cell, ...]] = []
    for place in zip(*np.unravel_index(chosen, variance.shape), strict=True):
        at = variance[place]
        size = float(at)
        rows.append((_named(at), size, size / middle if middle > 0 else None))
    said = (
        "The variance of the denoiser's last estimates of a draw. A draw inside the data has settled by then; one between their modes, where no data "
        "are, may not have. Which are too large is a choice and no test: look at these members."
    )
    table = Table(f"The {len(rows)} most restless of {values.size} members", ("Member", "Variance", "Over the median"), tuple(rows))
    return Section("Restless members", (said,), tables=(table,))


def _named(at: xr.DataArray) -> str:
    parts = [f"start {show_time(at['init_time'].values)}"] if "init_time" in at.coords else []
    parts += [f"sample {at['sample'].item()}"] if "sample" in at.coords else []
    return ", ".join([*parts, f"member {at['member'].item()}" if "member" in at.coords else "member"])
