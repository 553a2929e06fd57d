"""Surrogates beside baselines on reanalysis and a cylinder wake: one table of CRPS, RMSE, spectra, spread and cost by lead time.

    python benchmarks/surrogates.py --work ../surrogates --cases msl --models wavelet pixel --seconds 900
    python benchmarks/surrogates.py --work ../surrogates --cases t2m --seconds 300

Every row is forecast from all starts of the test part and gets the same training budget, in CPU seconds of one thread, so that other jobs on the
machine do not count. Priors, checkpoints and forecasts lie in the work folder, and a run that was interrupted goes on there. One JSON line
per case, row and seed is added to ``<out>/surrogates.jsonl``. RMSE is that of the mean of the members, CRPS the fair one (of a single member its
absolute error), spread-skill sqrt((M + 1)/M variance)/RMSE, and ``spectra_db`` the rms over wavenumbers of 10 log10 of the members' mean
spectrum over that of the truth, both averaged over all starts before.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import xarray as xr
from surrogate_cases import CASES, Case
from surrogate_models import BASELINES, MODELS, Budget, Facts

from physdiff.cli.scoring import standard_scores
from physdiff.data.convert import spec_of
from physdiff.evaluation.evaluate import evaluate
from physdiff.scores.spectrum import isotropic_spectrum, zonal_spectrum


def main() -> None:
    """Run the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="folder for priors and forecasts")
    parser.add_argument("--data", default="../shared/data", help="folder of the real files")
    parser.add_argument("--out", default="benchmarks/results")
    parser.add_argument("--cases", nargs="+", default=["msl", "t2m"], choices=list(CASES))
    parser.add_argument("--models", nargs="*", default=[*BASELINES, *MODELS], help=f"some of {', '.join([*BASELINES, *MODELS])}")
    parser.add_argument("--seconds", type=float, default=900.0, help="CPU seconds of training for each model")
    parser.add_argument("--members", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)  # CPU seconds of one thread compare
    budget = Budget(options.seconds, options.members, Path(options.work), options.seed)
    budget.work.mkdir(parents=True, exist_ok=True)
    rows = {**BASELINES, **MODELS}
    for name in options.cases:
        case = CASES[name](Path(options.data))
        for model in options.models:
            if model == "zonal regression" and not case.zonal:
                continue
            forecast, facts = rows[model](case, budget)
            what = {"case": name, "model": model, "seed": budget.seed, "budget": budget.seconds}
            _report(Path(options.out), {**what, **table(case, forecast), **facts})


def table(case: Case, forecast: xr.Dataset) -> Facts:
    """Scores by the case's leads."""
    members = forecast.sizes["member"]
    shown = [lead - 1 for lead in case.leads]
    found = evaluate(forecast.isel(lead_time=shown), case.test, standard_scores(members))
    scores = {str(k): [float(f"{x:.4g}") for x in v.values.mean(0)] for k, v in found.data_vars.items() if k != "coverage_90"}
    whole = spec_of(case.test, gaps=True, mask=True).mask is None  # a field with a hole has no spectrum
    near = {"spectra_db": [round(spectral_distance(case, forecast.isel(lead_time=k)), 2) for k in shown]} if whole else {}
    return {"unit": case.unit, "members": members, "starts": forecast.sizes["init_time"], "leads": list(case.leads), **scores, **near}


def spectral_distance(case: Case, forecast: xr.Dataset) -> float:
    """Distance in dB of mean spectra, (init_time, member, *space) against the truth at its times."""
    grid, distances = spec_of(case.test, gaps=True, mask=True).grid, []
    times = forecast["init_time"].values + forecast["lead_time"].values
    for name in forecast.data_vars:
        parts = []
        for values in (forecast[name], case.test[name].sel(time=times, method="nearest")):
            fields = torch.from_numpy(np.ascontiguousarray(values.transpose(..., *grid.dims).values)).double()
            fields = fields.flatten(0, -grid.ndim - 1) - fields.mean()
            if case.zonal:
                parts.append(zonal_spectrum(fields, grid.weights())[1].mean(0))
            else:
                parts.append(isotropic_spectrum(fields, space=grid.ndim, periodic=grid.periodic)[1].mean(0))
        ratio = (parts[0] / parts[1])[1:]
        distances.append(float((10 * ratio.log10()).square().mean().sqrt()))
    return float(np.mean(distances))


def _report(out: Path, line: Facts) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    line = {**line, "load": round(os.getloadavg()[0], 1), "commit": commit}
    print(json.dumps(line), flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "surrogates.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
