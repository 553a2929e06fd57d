"""Raw, post-processed and conformal forecasts of reanalysis in one table: coverage, width, interval score and CRPS by lead time and region.

    python benchmarks/uncertainty.py --out benchmarks/results --pictures docs/images

The training part of each case is cut in two: a baseline is fitted on the first, and its forecasts of the second are the pairs that calibrate it.
Starts overlap in time there and the test part is another month or week: the split conformal rows say what the guarantee is worth then. Rows:

- raw: central 90 % interval of the members (plotting positions)
- members, gaussian, isotonic: the same of the post-processed ensemble (`post_process`)
- split: `calibrate` cell by cell, by spread; field: the same for whole fields
- adaptive, quantiles, regression: `sequential_bands` around the mean, over pairs and test starts in order; only test starts are scored

Every number is over the test starts; brackets of the differences to raw come from a block bootstrap. One JSON line per case and row is added to
``<out>/uncertainty.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import matplotlib as mpl
import numpy as np
import torch
import xarray as xr
from surrogate_cases import CASES, Case

from physdiff.base.rng import Rng
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.linear_inverse import linear_inverse, zonal_regression
from physdiff.evaluation.significance import paired_difference
from physdiff.scores.band import band_coverage, band_holds, band_width, interval_score
from physdiff.scores.coverage import central_interval
from physdiff.scores.crps import crps
from physdiff.uq.calibrate import band_members, calibrate
from physdiff.uq.post_process import post_process
from physdiff.uq.sequential_bands import sequential_bands

LEVEL = 0.9
SHARES = {"msl": 0.65, "t2m": 0.6}  # of the training part that the baseline is fitted on
SCORES = {
    "coverage": band_coverage,
    "width": band_width,
    "interval_score": partial(interval_score, level=LEVEL),
    "whole": band_holds,
}


def main() -> None:
    """Run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="../shared/data", help="folder of the real files")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--cases", nargs="+", default=["msl", "t2m"], choices=list(SHARES))
    parser.add_argument("--rows", nargs="+", help="rows to run beside raw; all if left out")
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--pictures", help="folder for pictures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    for name in options.cases:
        case = CASES[name](Path(options.data))
        lines, bands = [], {}
        for line, row, band in rows(case, options.members, options.rows):
            bands[row] = band
            lines.append({"case": name, "row": row, "members": options.members, "commit": commit, **line})
            print(json.dumps(lines[-1]), flush=True)
        Path(options.out).mkdir(parents=True, exist_ok=True)
        with (Path(options.out) / "uncertainty.jsonl").open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
        if options.pictures:
            picture(case, bands, Path(options.pictures) / f"uncertainty_{name}.png")


def rows(case: Case, members: int, wanted: list[str] | None) -> Iterator[tuple[dict[str, object], str, xr.Dataset]]:
    """Scores, name and band of every row."""
    cut = round(SHARES[case.name] * case.train.sizes["time"])
    early, late = case.train.isel(time=slice(0, cut)), case.train.isel(time=slice(cut, None))
    truth = xr.concat([case.train, case.test], "time").assign_attrs(case.train.attrs)
    steps, shown = case.leads[-1], [k - 1 for k in case.leads]
    baseline: Callable[..., xr.Dataset] = zonal_regression if case.name == "msl" else linear_inverse
    times = truth["time"].values
    starts = times[cut + 1 : times.size - steps]
    forecast = baseline(early, truth, starts, lead=steps, members=members, rng=Rng(0)).isel(lead_time=shown)
    # a pair is known only if its last lead is verified before the first test start
    past = forecast.sel(init_time=slice(None, late["time"].values[-1 - steps]))
    test = forecast.sel(init_time=case.starts)
    pairs = (past, case.train)
    raw = _central(test)
    made: dict[str, Callable[[], tuple[xr.Dataset, xr.Dataset | None]]] = {
        "raw": lambda: (raw, test),
        "members": lambda: _both(post_process(test, with_pairs=pairs)),
        "gaussian": lambda: _both(post_process(test, with_pairs=pairs, method="gaussian")),
        "isotonic": lambda: _both(post_process(test, with_pairs=pairs, method="isotonic")),
        "split": lambda: (calibrate(test, with_pairs=pairs, level=LEVEL), None),
        "field": lambda: (calibrate(test, with_pairs=pairs, level=LEVEL, together="field"), None),
        "adaptive": lambda: (_sequential(forecast, truth, case, "adaptive"), None),
        "quantiles": lambda: (_sequential(forecast, truth, case, "quantiles"), None),
    }
    if case.name == "t2m":
        # a regression in every cell is dear: every fourth row and column, beside the quantiles of the same cells
        few = {"latitude": slice(None, None, 4), "longitude": slice(None, None, 4)}
        made["quantiles_4"] = lambda: (_sequential(forecast.isel(few), truth.isel(few), case, "quantiles"), None)
        made["regression_4"] = lambda: (_sequential(forecast.isel(few), truth.isel(few), case, "regression"), None)
    plain = None
    for name in [n for n in made if not wanted or n in ("raw", *wanted)]:
        make = made[name]
        begin = time.process_time()
        band, ensemble = make()
        seconds = time.process_time() - begin
        table = _scored(band, case)
        plain = table if plain is None else plain
        line = {key: [round(float(v), 5) if np.isfinite(v) else None for v in table[key].mean("init_time")] for key in table.data_vars}
        line["unbounded"] = round(float(np.mean([np.isinf(band[v]).mean() for v in band.data_vars])), 5)
        if not line["unbounded"] and not name.endswith("_4"):
            gain = paired_difference(table[["interval_score"]], plain[["interval_score"]])["interval_score"]
            line["score_minus_raw"] = [[round(float(x), 5) for x in gain.isel(lead_time=k)] for k in range(len(shown))]
        if ensemble is not None:
            line["crps"] = [round(float(v), 5) for v in evaluate(ensemble, case.test, {"c": crps})["c"].isel(variable=0)]
        line.update(_regions(band, case))
        yield {**line, "cases": past.sizes["init_time"], "cpu_s": round(seconds, 1)}, name, band


def _both(ensemble: xr.Dataset) -> tuple[xr.Dataset, xr.Dataset]:
    return _central(ensemble), ensemble


def _central(ensemble: xr.Dataset) -> xr.Dataset:
    (name,) = ensemble.data_vars
    ordered = ensemble[name].transpose("member", ...)
    like = ordered.isel(member=0, drop=True)
    ends = zip(("lower", "upper"), central_interval(torch.from_numpy(np.array(ordered.values)), level=LEVEL), strict=True)
    return xr.Dataset({f"{name}_{end}": like.copy(data=v.numpy()) for end, v in ends}, attrs=ensemble.attrs)


def _sequential(forecast: xr.Dataset, truth: xr.Dataset, case: Case, method: str) -> xr.Dataset:
    band = sequential_bands(forecast, truth, level=LEVEL, method=method, window=120, progress=False)
    return band.sel(init_time=case.starts).assign_attrs(forecast.attrs)


def _truth(band: xr.Dataset, case: Case) -> xr.Dataset:
    return case.test.sel(latitude=band["latitude"], longitude=band["longitude"]).assign_attrs(case.test.attrs)


def _scored(band: xr.Dataset, case: Case) -> xr.Dataset:
    return evaluate(band_members(band), _truth(band, case), SCORES, by=("init_time", "lead_time")).isel(variable=0)


def _regions(band: xr.Dataset, case: Case) -> dict[str, object]:
    """Coverage by region and lead."""
    truth = _truth(band, case)
    latitude, longitude = xr.broadcast(truth["latitude"], truth["longitude"])
    if case.name == "msl":
        found = {"north": latitude > 30, "tropics": abs(latitude) <= 30, "south": latitude < -30}
    else:
        found = {"north": latitude > 54, "south": latitude <= 54, "west": longitude < -4, "east": longitude >= -4}
    table = evaluate(band_members(band), truth, {"coverage": band_coverage}, by=("region", "lead_time"), regions=found)
    values = table["coverage"].isel(variable=0)
    return {"coverage_by_region": {r: [round(float(v), 4) for v in values.sel(region=r)] for r in found}}


def picture(case: Case, bands: dict[str, xr.Dataset], path: Path) -> None:
    """Maps of coverage at the longest lead, and one cell in time."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    shown = [r for r in ("raw", "members", "split", "quantiles") if r in bands][:4]
    figure, axes = plt.subplots(2, len(shown), figsize=(3.6 * len(shown), 6), layout="constrained")
    (name,) = case.test.data_vars
    lead = bands["raw"]["lead_time"].values[-1]
    for column, row in enumerate(shown):
        band = bands[row].sel(lead_time=lead)
        truth = case.test[name].sel(time=band["init_time"].values + lead)
        lower, upper = (band[f"{name}_{end}"].transpose("init_time", "latitude", "longitude").values for end in ("lower", "upper"))
        inside = ((lower <= truth.values) & (truth.values <= upper)).mean(0)
        mesh = axes[0, column].pcolormesh(case.test["longitude"], case.test["latitude"], inside, vmin=0.6, vmax=1.0, cmap="viridis")
        axes[0, column].set_title(f"{row}: {inside.mean():.2f} of cells inside")
        i, j = (n // 2 for n in inside.shape)
        valid = truth["time"].values
        axes[1, column].fill_between(valid, lower[:, i, j], upper[:, i, j], alpha=0.35, step="mid", label="90 % band")
        axes[1, column].plot(valid, truth.values[:, i, j], color="black", lw=1, label="truth")
        axes[1, column].tick_params(axis="x", rotation=45)
    figure.colorbar(mesh, ax=axes[0], label="share of starts inside")
    axes[1, 0].set_ylabel(f"{name} in {case.unit}, one cell")
    axes[1, 0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
