"""``physdiff diagnose``."""

from __future__ import annotations

import datetime
import time

from physdiff.base.rng import Rng
from physdiff.cli.device import best_device
from physdiff.cli.options import Times, check_at_least, checked_folder, opened_for
from physdiff.cli.parse import command_line
from physdiff.data.write import write_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.diagnose import Effort, check_table, diagnose as check
from physdiff.plots.diagnosis import diagnosis_plot
from physdiff.plots.style import figure_of
from physdiff.report.diagnosis_page import diagnosis_report
from physdiff.report.html import run_facts

__all__ = ["diagnose"]


def diagnose(
    prior: str,
    data: str | list[str],
    out: str,
    *,
    seed: int = 0,
    effort: Effort = Effort(),  # noqa: B008 - a frozen value
    select: Times = Times(),  # noqa: B008
) -> None:
    """Check whether a prior can be trusted: its denoiser, its sampler's steps, its spread; write ``diagnose.nc``, a picture and ``index.html``.

    Args:
        prior: File of the prior.
        data: Data of its kind (netCDF), best such that it was not trained on.
        out: Folder to write to.
        seed: Seed of the draws.
        effort: How much is drawn.
        select: Which times are looked at.
    """
    begin = time.monotonic()
    folder = checked_folder(out)
    check_at_least(seed, 0, "seed")
    model = DiffusionPrior.load(prior).to(best_device())
    found = check(model, opened_for(data, model, select), effort=effort, rng=Rng(seed))
    write_dataset(found, folder / "diagnose.nc", command=command_line())
    figure_of(diagnosis_plot(found)).savefig(folder / "diagnose.png")
    facts = run_facts(command_line(), date=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    page = diagnosis_report(folder, found, facts=facts)
    print(check_table(found))
    print(f"wrote {folder / 'diagnose.nc'} and {page} after {time.monotonic() - begin:.0f} s")
