"""Make the data set of this folder, as spec.yaml says.

    python datasets/kolmogorov_flow/generate.py --out kolmogorov_flow.nc

Sample i depends on the seed and on i alone: fewer samples are the first ones of more. Needs physdiff and nothing else.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch is loaded: waiting threads that spin make shared cores slow

import yaml  # noqa: E402

from physdiff.base.rng import Rng  # noqa: E402
from physdiff.data.generate import generate  # noqa: E402
from physdiff.data.write import write_dataset  # noqa: E402
from physdiff.grids.cartesian import CartesianGrid  # noqa: E402
from physdiff.operators.spectral import Spectral  # noqa: E402
from physdiff.pdes.navier_stokes import KolmogorovForcing, NavierStokes  # noqa: E402
from physdiff.solvers.etdrk import ETDRK4  # noqa: E402
from physdiff.solvers.initial import RandomField  # noqa: E402

__all__ = ["main", "specification"]


def specification() -> dict[str, Any]:
    """The contents of spec.yaml."""
    text = Path(__file__).with_name("spec.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    return found


def main(argv: Sequence[str] | None = None) -> Path:
    """Read the arguments, solve, write one netCDF file; returns its path."""
    spec = specification()
    parser = argparse.ArgumentParser(description="Vorticity of forced two-dimensional turbulence as CF netCDF.")
    parser.add_argument("--out", type=Path, required=True, help="netCDF file to write")
    parser.add_argument("--samples", type=int, default=spec["samples"], help="number of trajectories")
    parser.add_argument("--points", type=int, default=spec["grid"]["points"], help="grid points along each side")
    parser.add_argument("--frames", type=int, default=spec["time"]["frames"], help="frames of each trajectory")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial fields")
    options = parser.parse_args(argv)

    law, time, initial = spec["parameters"], spec["time"], spec["initial"]
    grid = CartesianGrid((options.points, options.points), extent=spec["grid"]["extent"], length_unit="1")
    forcing = KolmogorovForcing(law["forcing_amplitude"], law["forcing_wave_number"])
    pde = NavierStokes(viscosity=law["viscosity"], drag=law["drag"], forcing=forcing)
    ds = generate(
        ETDRK4(pde, Spectral(grid)),
        RandomField(length=initial["length"], std=initial["std"]),
        [k * time["step"] for k in range(options.frames)],
        samples=options.samples,
        rng=Rng(options.seed),
        spin_up=time["spin_up"],
        substeps=time["substeps"],
    )
    path = write_dataset(ds, options.out)
    print(f"wrote {options.samples} trajectories of {options.frames} frames on {options.points} x {options.points} points to {path}")
    return path


if __name__ == "__main__":
    main()
