"""``physdiff infer``."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.rng import Rng
from physdiff.cli.evaluate import standard_scores
from physdiff.cli.options import Select, opened
from physdiff.cli.parse import command_line
from physdiff.data.open import open_dataset
from physdiff.data.write import write_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.evaluate import evaluate
from physdiff.evaluation.optimal_interpolation import field_covariance, optimal_interpolation
from physdiff.forecast.reconstruct import Readings, read_readings, reconstruct
from physdiff.inference.guided import Guided
from physdiff.report.html import run_facts
from physdiff.report.posterior_page import Readings as Shown
from physdiff.report.posterior_page import posterior_report_page

__all__ = ["Against", "infer", "interpolated"]

METHODS = {"Guided": Guided}


@dataclass(frozen=True)
class Against:
    """What the result is compared with, if it is to be.

    Args:
        truth: Data that hold the true fields; gives scores and a report beside the output.
        train: Data from which optimal interpolation takes its covariance.
        stop: Last time of them used.
        seed: Seed of all draws.
        steps: Sampler steps; those of the prior if not given.
    """

    truth: str | None = None
    train: str | None = None
    stop: str | None = None
    seed: int = 0
    steps: int | None = None


def infer(
    prior: str,
    sensors: str,
    out: str,
    *,
    std: float,
    method: str = "Guided",
    members: int = 20,
    initial: str | None = None,
    against: Against = Against(),  # noqa: B008 - a frozen value
) -> None:
    """Draw fields from the posterior given readings of point sensors.

    Args:
        prior: File of the prior: one of single frames (trained with ``--recipe.history 0 --recipe.horizon 1``), or one given known frames.
        sensors: CSV table: places (longitude, latitude or x, y), ``time`` if there are several, and a column per field, as ``t2m [K]``.
        out: netCDF file to write, dims (member, time, space).
        std: Standard deviation of the noise of the readings, in the field's unit.
        method: Posterior sampler; ``Guided``.
        members: Number of draws.
        initial: Data whose last frames are the known ones, for a prior that needs them.
        against: What the result is compared with.
    """
    begin = time.monotonic()
    check_one_of(method, METHODS, "infer method")
    check_positive(std, "infer std")
    model = DiffusionPrior.load(prior)
    readings = read_readings(sensors, model.spec)
    start = None if initial is None else open_dataset(initial, variables=list(model.spec.names))
    sampler = METHODS[method](steps=against.steps)
    result = reconstruct(model, readings, sampler, std=std, members=members, rng=Rng(against.seed), initial=start)
    path = write_dataset(result, out, command=command_line())
    count = readings.values.isfinite().sum()
    print(f"wrote {members} draws at {result.sizes['time']} times from {int(count)} readings to {path} in {time.monotonic() - begin:.0f} s")
    if against.truth is not None:
        _compare(model, readings, result, std=std, against=against, out=path)


def _compare(model: DiffusionPrior, readings: Readings, result: xr.Dataset, *, std: float, against: Against, out: Path) -> None:
    names = list(model.spec.names)
    truth = open_dataset(against.truth or "", variables=names)
    found = {"posterior": result}
    if against.train is not None and readings.times is not None:
        train = opened(against.train, Select(names, None, against.stop))
        found["optimal interpolation"] = interpolated(train, readings, std=std, members=result.sizes["member"], rng=Rng(against.seed).child("oi"))
    tables = {name: evaluate(ds, truth, standard_scores(ds.sizes["member"]), by=()) for name, ds in found.items()}
    for name, table in tables.items():
        for variable in names:
            row = table.sel(variable=variable)
            print(f"{name:24} {variable:10} " + "  ".join(f"{k} {float(v):.3g}" for k, v in row.data_vars.items() if v.ndim == 0))
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    folder = out.with_name(out.name + ".report")
    values = {name: readings.values[c].numpy() for c, name in enumerate(names)}
    shown = Shown(readings.points.numpy(), values, readings.times)
    print(f"wrote {posterior_report_page(folder, result, readings=shown, truth=truth, tables=tables, facts=facts)}")


def interpolated(train: xr.Dataset, readings: Readings, *, std: float, members: int, rng: Rng) -> xr.Dataset:
    """Optimal interpolation of every time's readings, members as the posterior's."""
    law = field_covariance(train, localisation=4.0 if "latitude" in train.dims else None)
    parts = []
    for k, moment in enumerate(readings.moments()):
        now = readings.at(moment)
        analysis = optimal_interpolation(law, now.points, now.values, std=std, time=moment, members=members, rng=rng.child(k))
        parts.append(analysis.members)
    return xr.concat(parts, dim="time")
