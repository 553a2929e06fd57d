"""Random windows of 8 steps from trajectory files: job P7, our windows beside direct h5py, xarray and xarray on dask.

    python benchmarks/loading.py --cache <folder of 2 GB> --out benchmarks/results

Files like those of shared/bench/peers/p7_loading.py, with coordinates of their own: `well` (The Well's layout, 4 files), `pdebench` (one HDF5
file, contiguous), `era5` (netCDF-4, int16, chunks of a step, 100 MB a window unpacked) and `era5z` (the same, deflated). Every side reads the
same windows, in batches of 8 (ERA5: 2), in a process of its own, sides in turns so that each meets the same load; files are in the page cache.
The other sides go through torch's DataLoader with processes as workers, ours through `load_batches` with threads. Windows per second are
the most and CPU milliseconds the least over turns; `above_start_mib` is the peak of the resident set, workers summed, less that after
``import torch``.
`ours-reuse` overwrites each batch by the next; `ours-training` is the training loader in Lightning's loop (start: after its import);
`well-dataset` needs `--peer-python` with the_well.
One JSON line per side, data and number of workers goes to ``<out>/loading.jsonl``.
Last, one process reads a file of 666 MiB with 256 MiB left to allocate after its imports, and one reads 10,000 windows and looks for leaks.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - JSON lines and h5py are not typed
import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from loading_files import make, source

W = 8
DATA = ("well", "pdebench", "era5", "era5z")
SIDES = ("ours", "ours-reuse", "ours-training", "h5py", "xarray", "xarray-dask", "well-dataset")
MIB = 2**20


def direct(root: Path, data: str) -> tuple[int, Callable[[int], Any]]:
    """Number of windows, and the direct read of one: handles kept open, no coordinates, no missing values, axes as in the file."""
    import h5py

    kept: dict[Any, Any] = {}

    def file(path: Path) -> Any:
        if path not in kept:
            kept[path] = h5py.File(path, "r")
        return kept[path]

    if data == "pdebench":

        def get(i: int) -> np.ndarray:
            out = np.empty((4, W, 128, 128), np.float32)
            for c, name in enumerate(("density", "pressure", "Vx", "Vy")):
                file(source(root, data))[name].read_direct(out, np.s_[i // 14, i % 14 : i % 14 + W], np.s_[c])
            return out

        return 120 * 14, get
    if data == "well":
        paths = sorted(source(root, data).glob("*.hdf5"))

        def get(i: int) -> np.ndarray:
            j, s = divmod(i % (7 * 94), 94)
            f, out = file(paths[i // (7 * 94)]), np.empty((W, 128, 128, 4), np.float32)
            out[..., 0] = f["t0_fields/density"][j, s : s + W]
            out[..., 1] = f["t0_fields/pressure"][j, s : s + W]
            out[..., 2:] = f["t1_fields/velocity"][j, s : s + W]
            return out

        return 4 * 7 * 94, get

    def get(i: int) -> np.ndarray:
        f, out = file(source(root, data)), np.empty((3, W, 721, 1440), np.float32)
        room = kept.setdefault("room", np.empty((W, 721, 1440), np.int16))
        for c, name in enumerate(("t", "u", "v")):
            f[name].read_direct(room, np.s_[i : i + W])
            np.multiply(room, np.float32(1.2e-4), out=out[c])
        return out

    return (112 if data == "era5" else 28) - W + 1, get


def by_xarray(root: Path, data: str, *, dask: bool) -> tuple[int, Callable[[int], Any]]:
    """The same through xarray; the first dimension is a sample's for PDEBench."""
    import xarray as xr

    if data == "well":
        raise NotImplementedError("groups without named dimensions")
    if data == "pdebench":
        ds = xr.open_dataset(source(root, data), engine="netcdf4")[["density", "pressure", "Vx", "Vy"]]
        b, t = (str(d) for d in ds["density"].dims[:2])
        ds = ds.chunk({b: 1}) if dask else ds
        return 120 * 14, lambda i: _loaded(ds.isel({b: i // 14, t: slice(i % 14, i % 14 + W)}), dask)
    ds = xr.open_dataset(source(root, data), chunks={"time": 1} if dask else None)
    return ds.sizes["time"] - W + 1, lambda i: _loaded(ds[["t", "u", "v"]].isel(time=slice(i, i + W)), dask)


def well_dataset(root: Path) -> tuple[int, Callable[[int], Any]]:
    """The Well's own data set on its layout, windows as half input and half output."""
    from the_well.data import WellDataset

    layout = root / "well-layout" / "data" / "train"
    if not layout.exists():
        layout.parent.mkdir(parents=True, exist_ok=True)
        layout.symlink_to(source(root, "well").absolute())
    ds = WellDataset(path=str(root / "well-layout"), well_split_name="train", n_steps_input=W // 2, n_steps_output=W // 2, use_normalization=False)

    def get(i: int) -> np.ndarray:
        item = ds[i]
        return np.concatenate([np.asarray(item[f"{part}_fields"]) for part in ("input", "output")])

    return len(ds), get


def _loaded(part: Any, dask: bool) -> np.ndarray:
    part = part.load(scheduler="synchronous") if dask else part.load()
    return np.stack([part[name].values for name in part.data_vars]).astype(np.float32, copy=False)


def windows_of(root: Path, data: str) -> Any:
    """Our windows."""
    from physdiff.data.open import open_dataset
    from physdiff.data.windows import TrajectoryWindows

    return TrajectoryWindows(open_dataset(source(root, data)), history=0, horizon=W)


def batches(root: Path, side: str, data: str, *, workers: int, count: int) -> Iterator[Any]:
    """Batches of one side; every side gets the same windows."""
    import torch

    size = 2 if data.startswith("era5") else 8

    def order(n: int) -> list[list[int]]:
        return np.random.default_rng(1).integers(0, n, size=(count // size, size)).tolist()  # type: ignore[no-any-return]

    if side.startswith("ours"):
        from physdiff.data.loader import load_batches

        windows = windows_of(root, data)
        yield from load_batches(windows, order(len(windows)), workers=workers, reuse=True if side == "ours-reuse" else None)
        return
    if side == "well-dataset":
        n, get = well_dataset(root)
    else:
        n, get = direct(root, data) if side == "h5py" else by_xarray(root, data, dask=side == "xarray-dask")

    class Windows(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return n

        def __getitem__(self, i: int) -> Any:
            return torch.from_numpy(get(i))

    yield from torch.utils.data.DataLoader(Windows(), batch_sampler=order(n), num_workers=workers)  # type: ignore[arg-type]


def memory(field: str, pid: str = "self") -> float:
    """Resident memory (VmRSS) or its peak (VmHWM), MiB."""
    try:
        with open(f"/proc/{pid}/status") as file:
            found = dict(line.split(":", 1) for line in file)
        return int(found.get(field, "0 kB").split()[0]) / 1024
    except OSError:
        return 0.0


def children() -> float:
    """Peaks of the processes that this one has started, summed, MiB."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return sum(memory("VmHWM", pid) for pid in file.read().split())


class Meter:
    """What one process measures: the second half of its windows, when everything is warm; memory over all of them."""

    def __init__(self, count: int, start: float) -> None:
        self.count, self.start, self.peak, self.done, self.shape = count, start, 0.0, 0, ()
        self.began = self.cpu = self.at = 0.0

    def see(self, x: Any) -> None:
        """A batch has come."""
        self.done, self.shape = self.done + x.shape[0], tuple(x.shape[1:])
        if self.done * 2 // self.count == 3:
            self.peak = max(self.peak, children())
        if self.began == 0.0 and self.done >= self.count:
            self.began, self.cpu, self.at = time.perf_counter(), _cpu(), self.done

    def row(self, *, cpu: bool) -> dict[str, Any]:
        """The measures."""
        wall, done = time.perf_counter() - self.began, self.done - self.at
        used = {"cpu_ms": 1e3 * (_cpu() - self.cpu) / done} if cpu else {}
        held = memory("VmHWM") + self.peak - self.start
        return {"windows_per_s": done / wall, **used, "above_start_mib": held, "window_mib": 4 * np.prod(self.shape) / MIB}


def one(root: Path, side: str, data: str, *, workers: int, count: int) -> dict[str, Any]:
    """What one process measures."""
    import torch

    torch.set_num_threads(1)
    if side == "ours-training":
        return trained(root, data, workers=workers, count=count)
    meter = Meter(count, memory("VmRSS"))
    for batch in batches(root, side, data, workers=workers, count=2 * count):
        meter.see(batch["x"] if side.startswith("ours") else batch)
    return meter.row(cpu=not workers or side.startswith("ours"))  # processes end with the loader


def trained(root: Path, data: str, *, workers: int, count: int) -> dict[str, Any]:
    """The training loader within Lightning's loop, a model of one weight; memory above that after Lightning's import."""
    import lightning.pytorch as pl
    import torch

    meter = Meter(count, memory("VmRSS"))

    class Weight(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch: Any, _: int) -> Any:
            meter.see(batch["x"])
            return self.weight * batch["x"][0, 0, 0, 0, 0]

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.1)

    from physdiff.training.datamodule import TrajectoryDataModule

    windows = windows_of(root, data)
    size = 2 if data.startswith("era5") else 8
    quiet: dict[str, Any] = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(max_steps=2 * count // size, accelerator="cpu", **quiet)
    trainer.fit(Weight(), TrajectoryDataModule(windows, batch_size=size, num_workers=workers))
    return meter.row(cpu=True)


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def capped(root: Path) -> dict[str, Any]:
    """Every window of `era5` in a process that may not allocate as much as the file holds."""
    from physdiff.data.loader import load_batches

    windows = windows_of(root, "era5")
    windows.fields_at(0)
    limit = int((memory("VmSize") + 256) * MIB)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, total = memory("VmRSS"), 0.0
    for batch in load_batches(windows, [[i] for i in range(len(windows))]):
        total += float(batch["x"][0, 0, 0, 0, 0])
    return {"file_mib": source(root, "era5").stat().st_size / MIB, "cap_mib": 256, "windows": len(windows), "grew_mib": memory("VmRSS") - before}


def leaking(root: Path) -> dict[str, Any]:
    """Resident memory and open files after 1,000 and after 10,000 windows of `pdebench`."""
    from physdiff.data.loader import load_batches

    windows, found = windows_of(root, "pdebench"), {}
    order = np.random.default_rng(0).integers(0, len(windows), size=(1250, 8)).tolist()
    for k, _ in enumerate(load_batches(windows, order, workers=2)):
        if k in (124, 1249):
            found[f"after_{8 * (k + 1)}"] = {"rss_mib": memory("VmRSS"), "files": len(os.listdir("/proc/self/fd"))}
    return found


def asked(args: argparse.Namespace, **words: Any) -> dict[str, Any]:
    """The answer of a process of its own."""
    flags = [f for name, value in words.items() for f in (f"--{name}", str(value))]
    python = args.peer_python if words.get("one", "").startswith("well-dataset") else sys.executable
    command = [python, __file__, "--cache", str(args.cache), *flags]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    if done.returncode:
        return {"error": done.stderr.strip().splitlines()[-1][:200]}
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def settled(turns: list[dict[str, Any]]) -> dict[str, Any]:
    """The best of each measure."""
    if any("error" in t for t in turns):
        return turns[0]
    best = {k: (max if k == "windows_per_s" else min)(t[k] for t in turns) for k in turns[0]}
    return {k: float(f"{v:.4g}") for k, v in best.items()}


def main() -> None:
    """Run the job and append its lines."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--data", default=",".join(DATA))
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--checks", default="cap,leak")
    parser.add_argument("--commit", default="")
    parser.add_argument("--peer-python", default="", help="interpreter with the_well, for the side well-dataset")
    parser.add_argument("--one", default="")
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    root = make(args.cache)
    if args.one:
        jobs = {"cap": lambda: capped(root), "leak": lambda: leaking(root)}
        count = 400 if args.data in ("well", "pdebench") else 12
        print(json.dumps(jobs[args.one]() if args.one in jobs else one(root, args.one, args.data, workers=args.workers, count=count)))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "loading.jsonl").open("a") as lines:

        def emit(row: dict[str, Any]) -> None:
            row |= {"load": round(os.getloadavg()[0], 1), "machine": platform.machine(), "commit": args.commit}
            lines.write(json.dumps(row) + "\n")
            lines.flush()
            print(json.dumps(row), flush=True)

        for data in args.data.split(","):
            for workers in (0, 2):
                sides = [s for s in args.sides.split(",") if not (data == "well" and "xarray" in s)]
                sides = [s for s in sides if s != "well-dataset" or (data == "well" and args.peer_python)]
                turns: dict[str, list[dict[str, Any]]] = {s: [] for s in sides}
                for _ in range(args.turns):
                    for side, found in turns.items():
                        found.append(asked(args, one=side, data=data, workers=workers))
                for side, found in turns.items():
                    emit({"job": "P7", "side": side, "data": data, "workers": workers, "turns": args.turns, **settled(found)})
        for job in filter(None, args.checks.split(",")):
            emit({"job": "P7", "side": "ours", "check": job, **asked(args, one=job)})


if __name__ == "__main__":
    main()
