"""``physdiff convert``."""

from __future__ import annotations

from pathlib import Path

from physdiff.cli.options import Select, as_list, opened
from physdiff.data.rewrite import rewrite

__all__ = ["convert"]


def convert(
    data: str | list[str],
    out: str,
    *,
    select: Select = Select(),  # noqa: B008
    frames: int | None = None,
    periodic: str | list[str] | None = None,
) -> None:
    """Write data of any kind that physdiff reads as netCDF (CF, checksums) or Zarr, a chunk at a time.

    Args:
        data: A file, several, a pattern, a folder, or the address of a Zarr store.
        out: File to write, or a store whose name ends in .zarr.
        select: Which part of the data.
        frames: Frames in a chunk; the length of the windows you train on makes them fast. As many as fit into 4 MiB if not given.
        periodic: Cartesian axes that close, as in [x, y].
    """
    path = rewrite(opened(data, select), Path(out), frames=frames, periodic=as_list(periodic) or ())
    print(f"wrote {path}", flush=True)
