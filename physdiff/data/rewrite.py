"""A data set written again, block by block: another format, other chunks, fewer variables; never more than a block in memory."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from physdiff.base.errors import DataError, InputError
from physdiff.data.encoding import chunks_of, zarr_encoding
from physdiff.data.join import FORMATS, check_zarr, in_order
from physdiff.data.write import ready_to_write, write_dataset

__all__ = ["rewrite"]


def rewrite(ds: xr.Dataset, out: str | os.PathLike[str], *, frames: int | None = None, periodic: Sequence[str] = (), progress: bool = True) -> Path:
    """Write a lazy data set (`open_dataset`) to netCDF or Zarr, a chunk at a time; it appears under its name when it is complete.

    Args:
        ds: With dims (sample?, member?, time, *space).
        out: File (netCDF), or a name that ends in ``.zarr``.
        frames: Frames in a chunk, of one sample; as many as fit into 4 MiB if not given. Windows of training read whole chunks.
        periodic: Cartesian axes that close, which files of others do not say.
        progress: Whether to draw a bar.

    Returns:
        The path.

    Raises:
        InputError: If an axis is none, or the number of frames or the name makes no sense.
        DataError: If it cannot be written, or dask (extra ``dask``) is not installed.
    """
    target = Path(out)
    _check(ds, target, frames, periodic)
    from dask import config
    from dask.diagnostics.progress import ProgressBar

    ds = ds.assign_coords({d: ds[d].assign_attrs(periodic="true") for d in periodic})
    chunks = {str(n): chunks_of(v.variable, frames) for n, v in ds.data_vars.items() if v.ndim}
    blocks = {n: v.chunk(dict(zip(v.dims, chunks[str(n)], strict=True))) for n, v in ds.data_vars.items() if v.ndim}
    lazy = ds.assign(blocks)
    # one thread: HDF5 has one lock anyhow, and memory is that of a chunk
    with config.set(scheduler="single-threaded"), ProgressBar(minimum=1.0 if progress else float("inf")):
        return _to_zarr(lazy, target, chunks) if FORMATS[target.suffix] == "zarr" else write_dataset(lazy, target, frames=frames)


def _check(ds: xr.Dataset, target: Path, frames: int | None, periodic: Sequence[str]) -> None:
    if target.suffix not in FORMATS:
        raise InputError(f"{target}: expected a name that ends in {', '.join(s for s in FORMATS if s)}, got {target.suffix!r}")
    if frames is not None and frames < 1:
        raise InputError(f"frames: expected at least 1, got {frames}")
    space = [str(d) for d in ds.dims if d in ("x", "y", "z")]
    wrong = [d for d in periodic if d not in space]
    if wrong:
        raise InputError(f"periodic: expected Cartesian axes of the data ({', '.join(space) or 'none here'}), got {', '.join(wrong)}")
    if importlib.util.find_spec("dask") is None:
        raise DataError(f'{target}: expected the package dask to write block by block, found it not installed; pip install "physdiff[dask]"')
    if FORMATS[target.suffix] == "zarr":
        check_zarr(target)
        if target.exists():
            raise DataError(f"{target}: expected a new store, got one that is there; choose another name or remove it")


def _to_zarr(ds: xr.Dataset, target: Path, chunks: dict[str, tuple[int, ...]]) -> Path:
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        ready = in_order(ready_to_write(ds))
        ready.to_zarr(temporary, encoding=zarr_encoding(ready, chunks), consolidated=False)
        os.replace(temporary, target)
    except OSError as error:
        raise DataError(f"{target}: expected to write a store, got {error}; check the folder and the space left") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return target
