"""``physdiff convert``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from physdiff.cli.options import Select, opened
from physdiff.cli.splits import as_list, ranges_of
from physdiff.data.open import open_dataset
from physdiff.data.regrid import regrid, subset
from physdiff.data.rewrite import rewrite

__all__ = ["Regrid", "convert"]


@dataclass(frozen=True)
class Regrid:
    """Another grid: means over coarser cells, which keep integrals.

    Args:
        region: Ranges of axes that are kept, as in 'latitude 40 to 60, longitude -10 to 20'.
        factor: So many cells of each axis become one.
        resolution: Or the width of the new cells, in degrees or the unit of the axes.
        like: Or a file on the new grid.
    """

    region: str | None = None
    factor: int | None = None
    resolution: float | None = None
    like: str | None = None


def convert(
    data: str | list[str],
    out: str,
    *,
    select: Select = Select(),  # noqa: B008
    grid: Regrid = Regrid(),  # noqa: B008
    frames: int | None = None,
    periodic: str | list[str] | None = None,
) -> None:
    """Write data of any kind that physdiff reads as netCDF (CF, checksums) or Zarr, a chunk at a time.

    Args:
        data: A file, several, a pattern, a folder, or the address of a Zarr store.
        out: File to write, or a store whose name ends in .zarr.
        select: Which part of the data.
        grid: A region, or coarser cells.
        frames: Frames in a chunk; the length of the windows you train on makes them fast. As many as fit into 4 MiB if not given.
        periodic: Cartesian axes that close, as in [x, y].
    """
    ds, closed = opened(data, select), as_list(periodic) or []
    if grid.region is not None:
        ds = subset(ds, ranges_of(grid.region))
    if grid.factor is not None or grid.resolution is not None or grid.like is not None:
        ds = ds.assign_coords({d: ds[d].assign_attrs(periodic="true") for d in closed if d in ds.coords})
        ds = regrid(ds, factor=grid.factor, resolution=grid.resolution, like=None if grid.like is None else open_dataset(grid.like))
    path = rewrite(ds, Path(out), frames=frames, periodic=closed)
    print(f"wrote {path}", flush=True)
