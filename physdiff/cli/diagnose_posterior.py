"""``physdiff diagnose --sensors``: whether a posterior sampler can be trusted."""

from __future__ import annotations

import datetime
import logging
import time
from dataclasses import dataclass
from typing import Literal

import torch

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.cli.device import best_device
from physdiff.cli.infer import METHODS
from physdiff.cli.options import check_at_least, checked_folder, opened_for
from physdiff.cli.parse import command_line
from physdiff.data.write import write_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.diagnose import known_frames, windows_of
from physdiff.evaluation.posterior_report import Trials, posterior_report, report_table
from physdiff.forecast.readings import read_readings
from physdiff.forecast.reconstruct import noise_of
from physdiff.inference.observation import Observation
from physdiff.inference.sensors import Sensors
from physdiff.plots.posterior_checks import posterior_checks_plot
from physdiff.plots.style import figure_of
from physdiff.report.calibration_page import calibration_report
from physdiff.report.html import run_facts

log = logging.getLogger(__name__)

__all__ = ["Draws", "diagnose_posterior"]


@dataclass(frozen=True)
class Draws:
    """How truths and members are drawn.

    Args:
        truths: ``prior``: from the prior, so that the sampler alone is tested; ``data``: windows of the data, so that the prior is tested with it.
        seed: Seed of everything random.
        steps: Sampler steps; those of the prior if not given.
    """

    truths: Literal["prior", "data"] = "prior"
    seed: int = 0
    steps: int | None = None


def diagnose_posterior(
    prior: str,
    sensors: str,
    out: str,
    *,
    std: float | list[float],
    method: str = "Guided",
    data: str | list[str] | None = None,
    trials: Trials = Trials(),  # noqa: B008 - a frozen value
    draws: Draws = Draws(),  # noqa: B008
) -> None:
    """Check whether a posterior sampler can be trusted on simulated readings of sensors; write ``calibration.nc``, a picture and ``index.html``.

    Args:
        prior: File of the prior.
        sensors: CSV table as `infer` takes it; its places and which fields are read there count, its values do not. Every frame that is not known
            is read.
        out: Folder to write to; finished cases are kept in it, and the same command goes on with them.
        std: Standard deviation of the noise of the readings, in the field's unit; ``[0.3, 1]`` for two fields, in the prior's order.
        method: Posterior sampler, see ``physdiff infer``.
        data: Data of the prior's kind, best such that it was not trained on: truths, if they are from data, and what a prior with conditions is
            given.
        trials: How much is tried.
        draws: How truths and members are drawn.
    """
    begin = time.monotonic()
    folder = checked_folder(out)
    check_one_of(method, METHODS, "diagnose method")
    for each in [std] if isinstance(std, float | int) else std:
        check_positive(each, "std")
    check_at_least(draws.seed, 0, "draws.seed")
    check_at_least(draws.steps, 1, "draws.steps")
    model = DiffusionPrior.load(prior).to(best_device())
    if data is None and (draws.truths == "data" or model.cond_spec is not None):
        raise InputError("diagnose: expected data, for truths from data and for a prior with conditions, got none; add --data")
    windows, cond = (None, None) if data is None else windows_of(model, opened_for(data, model), trials.cases)
    if windows is not None and len(windows) < trials.cases:
        log.warning("diagnose: %d windows in the data, so %d cases in place of %d", len(windows), len(windows), trials.cases)
    found = posterior_report(
        model,
        _observation(model, sensors, std),
        METHODS[method](steps=draws.steps),
        truths=windows if draws.truths == "data" else None,
        cond=cond,
        trials=trials,
        rng=Rng(draws.seed),
        folder=folder / "cases",
    )
    write_dataset(found, folder / "calibration.nc", command=command_line())
    figure_of(posterior_checks_plot(found)).savefig(folder / "calibration.png")
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"), extra={"Sampler": method})
    page = calibration_report(folder, found, facts=facts)
    print(report_table(found))
    print(f"wrote {folder / 'calibration.nc'} and {page} after {time.monotonic() - begin:.0f} s")


def _observation(model: DiffusionPrior, sensors: str, std: float | list[float]) -> Observation:
    """Every frame that is not known read at the places of the table, at the first of its times if it has several."""
    spec = model.spec
    readings = read_readings(sensors, spec).only_points("diagnose")
    now = readings.at(readings.moments()[0])
    y = torch.where(now.values.isfinite(), 0.0, torch.nan)[:, None].expand(-1, spec.frames, -1).clone()
    y[:, : known_frames(model)] = torch.nan
    noise = torch.tensor(noise_of(std, now, spec), dtype=torch.float64).reshape(-1, 1, 1)
    return Observation(Sensors(spec, now.points), y, std=noise)
