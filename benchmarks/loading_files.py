"""The files of job P7 (benchmarks/loading.py): smooth fields in The Well's layout, PDEBench's, and netCDF-4 of int16, plain and deflated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["make", "source"]


def smooth(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """A few random plane waves that travel, and small noise; float32. Files repeat it, shifted: what is stored matters to the deflated file alone."""
    t, y, x = (np.arange(n, dtype=np.float32) for n in shape)
    out = 0.01 * rng.standard_normal(shape, dtype=np.float32)
    for _ in range(3):
        ky, kx, speed, phase = rng.integers(1, 5), rng.integers(1, 5), 0.2 * rng.normal(), rng.uniform(0, 6.28)
        angle = 2 * np.pi * (ky * y[:, None] / shape[1] + kx * x[None] / shape[2]) + phase
        out += np.sin(angle[None] + speed * t[:, None, None]).astype(np.float32)
    return out


def make(folder: Path) -> Path:
    """The files, made once."""
    import h5py
    import netCDF4

    root = folder / "p7-physdiff"
    if (root / "done").exists():
        return root
    (root / "well").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with h5py.File(root / "pdebench.hdf5", "w") as f:
        for name in ("density", "pressure", "Vx", "Vy"):
            made, base = f.create_dataset(name, (120, 21, 128, 128), "f4"), smooth(rng, (21, 128, 128))
            for i in range(120):
                made[i] = np.roll(base, i, axis=2)
        for axis in ("x-coordinate", "y-coordinate"):
            f[axis] = np.linspace(0, 1, 128, dtype=np.float32)
        f["t-coordinate"] = np.arange(21, dtype=np.float32)
    for name, steps, packed in (("era5", 112, False), ("era5z", 28, True)):
        with netCDF4.Dataset(root / f"{name}.nc", "w") as nc:
            for axis, values, units in (
                ("time", np.arange(steps), "hours since 2000-01-01"),
                ("latitude", np.linspace(90, -90, 721), "degrees_north"),
                ("longitude", np.arange(1440) * 0.25, "degrees_east"),
            ):
                nc.createDimension(axis, values.size)
                nc.createVariable(axis, "f8", (axis,))[:] = values
                nc[axis].units = units
            for field, unit in (("t", "K"), ("u", "m s-1"), ("v", "m s-1")):
                options: dict[str, Any] = {"zlib": packed, "complevel": 1, "shuffle": packed, "fill_value": -32767, "chunksizes": (1, 721, 1440)}
                made = nc.createVariable(field, "i2", ("time", "latitude", "longitude"), **options)
                made.scale_factor, made.add_offset, made.units = 1.2e-4, 0.0, unit
                made.set_auto_maskandscale(False)
                base = np.round(smooth(rng, (4, 721, 1440)) / 1.2e-4).astype("i2")
                for a in range(0, steps, 4):
                    made[a : a + 4] = np.roll(base, 3 * a, axis=2)
    for k in range(4):
        well_file(root / "well" / f"part{k}.hdf5", rng)
    (root / "done").touch()
    return root


def well_file(path: Path, rng: np.random.Generator) -> None:
    """Seven trajectories in The Well's layout."""
    import h5py

    with h5py.File(path, "w") as f:
        f.attrs.update(dataset_name="synthetic", grid_type="cartesian", n_spatial_dims=2, n_trajectories=7, simulation_parameters=[])
        group = f.create_group("dimensions")
        group.attrs["spatial_dims"] = ["x", "y"]
        for axis, count in (("time", 101), ("x", 128), ("y", 128)):
            group[axis] = np.linspace(0, 1, count, dtype=np.float32)
            group[axis].attrs["sample_varying"] = False
        f.create_group("scalars").attrs["field_names"] = []
        ends = f.create_group("boundary_conditions")
        for axis in ("x", "y"):
            end = ends.create_group(f"{axis}_periodic")
            end.attrs.update(associated_dims=[axis], associated_fields=[], bc_type="PERIODIC", sample_varying=False, time_varying=False)
            end["mask"] = np.isin(np.arange(128), (0, 127))
        for rank, names in enumerate((["density", "pressure"], ["velocity"], [])):
            group = f.create_group(f"t{rank}_fields")
            group.attrs["field_names"] = names
            for name in names:
                made, base = group.create_dataset(name, (7, 101, 128, 128) + (2,) * rank, "f4"), smooth(rng, (101, 128, 128))
                made.attrs.update(dim_varying=[True, True], sample_varying=True, time_varying=True)
                for j in range(7):
                    parts = [np.roll(base, 11 * j + c, axis=2) for c in range(2 if rank else 1)]
                    made[j] = np.stack(parts, -1) if rank else parts[0]


def source(root: Path, data: str) -> Path:
    """The file or folder."""
    return {"well": root / "well", "pdebench": root / "pdebench.hdf5"}.get(data, root / f"{data}.nc")
