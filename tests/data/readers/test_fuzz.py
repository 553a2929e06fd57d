"""Damaged files of every kind: cut off, bits turned, bytes of headers shuffled. Never a crash, a hang or a bare exception.

A bit that is turned in values without checksums cannot be seen by anybody: the values differ then, and such files are counted. The house's own files
have checksums, so that there values are right, missing or refused.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from physdiff.data.rewrite import rewrite
from physdiff.data.write import write_dataset
from tests.architecture.sources import ROOT
from tests.data.files import box, save

pytestmark = pytest.mark.slow
CASES = 90


def written(folder, kind):
    ds = box(frames=12, ny=8, nx=10)
    path = folder / f"whole.{kind}"
    arrays = {"u": ds["u"].values, "t": ds["time"].values, "x": ds["x"].values, "y": ds["y"].values}
    if kind == "own":
        write_dataset(ds, path)
    elif kind == "classic":
        ds.to_netcdf(path, format="NETCDF3_64BIT", engine="netcdf4")
    elif kind == "netcdf4":
        save(ds, path)
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays)
    elif kind == "torch":
        torch.save({n: torch.from_numpy(v.copy()) for n, v in arrays.items()}, path)
    elif kind == "matlab":
        with path.open("wb") as file:
            pytest.importorskip("scipy.io").savemat(file, arrays)
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            file["tensor"] = ds["u"].values[..., 0, :]
            file["x-coordinate"], file["t-coordinate"] = ds["x"].values, ds["time"].values
    return path


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """One of four kinds of damage."""
    data = bytearray(raw)
    kind = rng.integers(4)
    if kind == 0:
        return bytes(data[: rng.integers(1, len(data))])
    if kind == 1:  # anywhere
        for place in rng.integers(0, len(data), rng.integers(1, 6)):
            data[place] ^= 1 << int(rng.integers(8))
    elif kind == 2:  # in the header
        for place in rng.integers(0, min(len(data), 2000), rng.integers(1, 6)):
            data[place] ^= 1 << int(rng.integers(8))
    else:
        start = int(rng.integers(0, max(1, min(len(data), 4000) - 64)))
        part = data[start : start + 64]
        rng.shuffle(part := np.frombuffer(bytes(part), dtype=np.uint8).copy())
        data[start : start + 64] = part.tobytes()
    return bytes(data)


def looked_at(paths):
    """A line for each file: what `probe` says, in a process that must not crash or hang."""
    run = [sys.executable, "-m", "tests.data.readers.fuzz", *map(str, paths)]
    done = subprocess.run(run, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and len(lines) == len(paths), f"ended at {paths[len(lines)]}: {done.returncode}, {done.stderr[-500:]}"
    assert "sum" in lines[0], lines[0]
    bare = [line for line in lines if "error" in line]
    assert not bare, bare
    return lines


@pytest.mark.parametrize("kind", ["own", "zarr2", "zarr3"])
def test_no_damage_of_a_store_crashes_hangs_or_escapes_in_code(tmp_path, kind):
    """One file of the store is damaged or lost. Our own stores have checksums, and what is lost is missing, not zero."""
    pytest.importorskip("zarr")
    ds, whole, rng = box(frames=12, ny=8, nx=10), tmp_path / "whole.zarr", np.random.default_rng(sum(map(ord, kind)))
    if kind == "own":
        pytest.importorskip("dask")
        rewrite(ds, whole, frames=4, progress=False)
    else:
        ds.to_zarr(whole, zarr_format=int(kind[-1]), consolidated=False)
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    paths = [whole]
    for k in range(70):
        paths.append(tmp_path / f"{k}.zarr")
        shutil.copytree(whole, paths[-1])
        victim = paths[-1] / names[rng.integers(len(names))]
        if rng.random() < 0.1:
            victim.unlink()
        else:
            victim.write_bytes(damaged(victim.read_bytes(), rng))
    lines = looked_at(paths)
    other = [line for line in lines[1:] if "sum" in line and line["sum"] != lines[0]["sum"]]
    print(f"{kind}: {sum('refused' in line for line in lines)} refused, {len(other)} with other values, of 70")
    if kind == "own":
        assert all(line["count"] < lines[0]["count"] for line in other), other


@pytest.mark.parametrize("kind", ["own", "classic", "netcdf4", "pdebench", "npz", "torch", "matlab"])
def test_no_damage_crashes_hangs_or_escapes_in_code(tmp_path, kind):
    whole = written(tmp_path, kind)
    raw, rng, paths = whole.read_bytes(), np.random.default_rng(sum(map(ord, kind))), [whole]
    for k in range(CASES):
        paths.append(tmp_path / f"{k}.{kind}")
        paths[-1].write_bytes(damaged(raw, rng))
    lines = looked_at(paths)
    other = [line for line in lines[1:] if "sum" in line and line["sum"] != lines[0]["sum"]]
    print(f"{kind}: {sum('refused' in line for line in lines)} refused, {len(other)} with other values, of {CASES}")
    if kind == "own":
        # the index of HDF5's chunks has no checksum: a chunk that it no longer finds is missing, and is seen to be
        assert all(line["count"] < lines[0]["count"] for line in other), other
