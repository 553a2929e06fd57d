"""Pictures of `reanalysis_posterior.py`: truth and sensors beside what two methods make of them, for one test frame of a case.

python benchmarks/sparse_pictures.py --work ../sparse --case t2m --share 0.05 --out docs/images/sparse_t2m.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from reanalysis_posterior import laws_of, methods_of, read
from sparse_cases import CASES, Case
from torch import Tensor

from physdiff.base.rng import Rng
from physdiff.plots.colours import colour_scale, spread_scale
from physdiff.plots.maps import map_plot, sensor_marks
from physdiff.plots.style import figure_of, new_axes, quantity, tidy
from physdiff.scores.coverage import central_interval

NAMES = {"optimal interpolation": "OI", "Guided": "Guided", "TwistedSMC": "TwistedSMC"}


def main() -> None:
    """Draw, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--case", required=True)
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--frame", type=int, default=0)
    parser.add_argument("--methods", nargs="+", default=["optimal interpolation", "Guided"])
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    case = CASES[options.case](Path(options.data), Path(options.work))
    laws = laws_of(case, Path(options.work), seed=0, steps=None)
    frame, truth = read(case, options.share, options.frame, 0)
    found = {m: methods_of()[m](laws)(frame, Rng(0).child("draws", options.frame)) for m in options.methods}
    draw = _lines if truth.ndim == 2 else _maps
    draw(case, truth, found, places=frame.points.numpy(), readings=frame.readings.numpy(), path=Path(options.out))


def _maps(case: Case, truth: Tensor, found: dict[str, Tensor], *, places: np.ndarray, readings: np.ndarray, path: Path) -> None:
    like = case.test[case.names[0]].isel(time=0)

    def plane(x: Tensor) -> xr.DataArray:
        return like.copy(data=x.numpy())

    means = {"truth": plane(truth[0]), **{f"{NAMES[m]}, mean": plane(x[:, 0].mean(0)) for m, x in found.items()}}
    spreads = {f"{NAMES[m]}, std": plane(x[:, 0].std(0)) for m, x in found.items()}
    scale, wide = colour_scale([m.values for m in means.values()]), spread_scale([s.values for s in spreads.values()])
    axes = new_axes(1, len(means) + len(spreads), size=(2.9, 2.5))[0]
    for k, (name, field) in enumerate([*means.items(), *spreads.items()]):
        last = name in (list(means)[-1], list(spreads)[-1])
        map_plot(field, axes[k], scale=scale if name in means else wide, title=name, colorbar=last)
        if name == "truth":
            sensor_marks(places, axes[k])
    figure_of(axes[0]).savefig(path)


def _lines(case: Case, truth: Tensor, found: dict[str, Tensor], *, places: np.ndarray, readings: np.ndarray, path: Path) -> None:
    x = case.test["x"].values
    axes = new_axes(1, len(found), size=(4.2, 2.9))[0]
    for panel, (method, members) in zip(axes, found.items(), strict=True):
        low, high = central_interval(members[:, 0], level=0.9)
        panel.fill_between(x, low.numpy(), high.numpy(), color="#9ecae1", label="90 % interval")
        for k in range(3):
            panel.plot(x, members[k, 0].numpy(), color="#3182bd", linewidth=0.7, label="draws" if k == 0 else None)
        panel.plot(x, truth[0].numpy(), color="#000000", linewidth=1.3, label="truth")
        panel.plot(places[:, 0], readings[0], "o", color="#d95f02", markersize=4, label="readings")
        tidy(panel, x="x", y=quantity(case.names[0], case.unit), title=NAMES[method])
    axes[0].legend(fontsize="x-small")
    figure_of(axes[0]).savefig(path)


if __name__ == "__main__":
    main()
