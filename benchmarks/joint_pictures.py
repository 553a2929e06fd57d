"""Pictures of `joint_posterior.py`: the viscosity against its truth over the cases, and the first frame of one case.

python benchmarks/joint_pictures.py burgers --work FOLDER --out docs/images
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from joint_posterior import PROBLEMS, Problem, _rows, cases, spec_for
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter

from physdiff.data.convert import to_dataset
from physdiff.plots.colours import TRUTH, line_style
from physdiff.plots.maps import ensemble_maps
from physdiff.plots.style import figure_of, new_axes, one_axes, tidy
from physdiff.scores.coverage import central_interval

SHOWN = {"no law": "readings alone", "law, tolerance": "with the law at its tolerance", "law, std 1": "with the law at std 1", "solver": "solver"}


def main() -> None:
    """Draw, and save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", choices=PROBLEMS)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    problem, work = PROBLEMS[options.problem], options.work / options.problem
    figure_of(viscosities(problem, work)).savefig(options.out / f"joint_{options.problem}_viscosity.png")
    figure_of(state(problem, work)).savefig(options.out / f"joint_{options.problem}_state.png")


def viscosities(problem: Problem, work: Path) -> np.ndarray:
    """Mean and 1.645 standard deviations of the logarithm against the truth, a panel for each method."""
    rows = _rows(work / "cases.jsonl")
    names = [name for name in SHOWN if any(row["method"] == name for row in rows)]
    truth = [float(c.truth[spec_for(problem).channel("viscosity")].flatten()[0]) for c in cases(problem, 1 + max(int(r["case"]) for r in rows))]
    axes = new_axes(1, len(names), size=(3.1, 2.9))
    ends = np.array(problem.viscosity)
    for k, (name, panel) in enumerate(zip(names, axes[0], strict=True)):
        mine = [row for row in rows if row["method"] == name]
        true = np.array([truth[int(row["case"])] for row in mine])
        mean = np.log(true) + np.array([float(row["log_nu_error"]) for row in mine])
        wide = 1.645 * np.array([float(row["log_nu_spread"]) for row in mine])
        low, middle, high = np.exp(mean - wide), np.exp(mean), np.exp(mean + wide)
        panel.errorbar(true, middle, [middle - low, high - middle], fmt="o", ms=3, lw=0.8, color=line_style(k)["color"])
        panel.plot(ends, ends, color=TRUTH, lw=1)
        panel.set(xscale="log", yscale="log", xlim=(ends[0] * 0.8, ends[1] * 1.25), ylim=(ends[0] * 0.3, ends[1] * 3))
        ticks = [ends[0], (ends[0] * ends[1]) ** 0.5, ends[1]]
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(FixedLocator(ticks))
            axis.set_major_formatter(FixedFormatter([f"{t:.2g}" for t in ticks]))
            axis.set_minor_formatter(NullFormatter())
        tidy(panel, x="true viscosity", y="posterior" if k == 0 else "", title=f"{SHOWN[name]}, {len(mine)} cases")
    return axes


def state(problem: Problem, work: Path) -> np.ndarray:
    """The first frame of the first case: truth, sensors, mean, draws and spread with the law at its tolerance."""
    spec, saved = spec_for(problem), torch.load(work / "law_tolerance.pt")
    field, case = spec.channel(problem.field), cases(problem, 1)[0]
    known = case.readings.y[0].isfinite()
    places = case.readings.operator.points[known[0]].numpy()  # type: ignore[attr-defined]  # Sensors have points
    draws = to_dataset(saved["draws"][:, field : field + 1, :1], spec_of(problem), batch="member")[problem.field].isel(time=0, drop=True)
    truth = to_dataset(saved["truth"][None, field : field + 1, :1], spec_of(problem), batch="member")[problem.field].isel(member=0, time=0, drop=True)
    if problem.grid.ndim == 2:
        return ensemble_maps(draws, truth, sensors=places)
    return np.array([[_lines(draws, truth, places[:, 0], case.readings.y[0, 0][known[0]].numpy())]], dtype=object)


def spec_of(problem: Problem):  # noqa: ANN201 - a FieldSpec of one frame
    """One frame of the field alone."""
    spec = spec_for(problem)
    return type(spec)((problem.field,), ("1",), spec.grid, spec.dt, 1, time_unit="1")


def _lines(draws: xr.DataArray, truth: xr.DataArray, places: np.ndarray, readings: np.ndarray):  # noqa: ANN202 - Axes
    axes, x = one_axes(None, size=(6.2, 2.9)), draws["x"].values
    low, high = (b.numpy() for b in central_interval(torch.from_numpy(draws.values), level=0.9))
    axes.fill_between(x, low, high, color=line_style(0)["color"], alpha=0.3, lw=0, label="90 % interval")
    axes.plot(x, draws.mean("member"), color=line_style(0)["color"], label="mean")
    axes.plot(x, truth, color=TRUTH, lw=1, ls="--", label="truth")
    axes.plot(places, readings, "o", color=TRUTH, ms=4, label="readings of this frame")
    tidy(axes, x="x", y="first frame")
    axes.legend(fontsize=7, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, 1.15))
    return axes


if __name__ == "__main__":
    main()
