"""``physdiff tune``."""

from __future__ import annotations

import time

from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.device import best_device
from physdiff.cli.options import Times, check_at_least, checked_file, opened_for
from physdiff.cli.parse import command_line
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.evaluation.tune_sampler import TuningEffort, tune_sampler, tuning_table

__all__ = ["tune"]


def tune(
    prior: str,
    data: str | list[str],
    out: str,
    *,
    evaluations: int = 12,
    seed: int = 0,
    effort: TuningEffort = TuningEffort(),  # noqa: B008 - a frozen value
    select: Times = Times(),  # noqa: B008
) -> None:
    """Find the sampler and time grid that a number of evaluations is best spent on; write the prior with them.

    Args:
        prior: File of the prior.
        data: Data of its kind (netCDF), best such that it was not trained on.
        out: File to write the prior to.
        evaluations: Evaluations of the network for one draw, at most.
        seed: Seed of the draws.
        effort: How much is drawn.
        select: Which times are looked at.
    """
    begin = time.monotonic()
    target = checked_file(out)
    check_at_least(evaluations, 1, "evaluations")
    check_at_least(seed, 0, "seed")
    model = DiffusionPrior.load(prior).to(best_device())
    fields = opened_for(data, model, select)
    found = tune_sampler(model, evaluations, fields, effort=effort, rng=Rng(seed))
    card = read(prior)[1] | {"tuned": {"command": command_line(), "candidate": found.table.attrs["best"], "evaluations": evaluations}}
    written = found.put_into(model).save(target, card=card)
    print(tuning_table(found))
    print(f"wrote {written} after {time.monotonic() - begin:.0f} s")
