"""``physdiff forecast --watch N``."""

from __future__ import annotations

from dataclasses import dataclass

from physdiff.base.rng import Rng
from physdiff.cli.device import best_device
from physdiff.cli.options import Times, check_at_least, checked_file, opened_for
from physdiff.cli.parse import command_line
from physdiff.data.write import write_dataset
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.restless import Watch
from physdiff.forecast.rollout import Rollout

__all__ = ["Starts", "forecast_watched"]


@dataclass(frozen=True)
class Starts(Times):
    """Which starts are taken.

    Args:
        start: First time looked at (a date, or a number where times are numbers).
        stop: Last time; a date without a time of day is the whole day.
        region: Ranges of axes, as the prior was trained on.
        every: Take every n-th start time.
    """

    every: int = 1


def forecast_watched(
    prior: str,
    initial: str | list[str],
    out: str,
    *,
    watch: int,
    lead: int,
    members: int = 20,
    seed: int = 0,
    select: Starts = Starts(),  # noqa: B008 - a frozen value
) -> None:
    """Forecast an ensemble and keep of each member how far the last denoising steps moved it; not gone on with after an interruption.

    A member inside the data has settled by then; one between their modes may not have. The report of ``physdiff evaluate`` names the most restless.

    Args:
        prior: File of a diffusion prior.
        initial: Data to start from (netCDF).
        out: netCDF file to write, dims (init_time, member, lead_time, space), with ``trajectory_variance`` on (init_time, member).
        watch: Number of last evaluations whose variance is kept, 2 at least.
        lead: Number of time steps.
        members: Number of members.
        seed: Seed of the draws.
        select: Which starts are taken.
    """
    target = checked_file(out)
    for what, value, least in (("watch", watch, 2), ("lead", lead, 1), ("members", members, 1), ("select.every", select.every, 1), ("seed", seed, 0)):
        check_at_least(value, least, what)
    model = WindowPrior.load(prior).to(best_device())
    data = opened_for(initial, model, select)
    with Watch(model, watch) as eye:
        result = eye.put_into(Rollout(model, lead, members, rng=Rng(seed), watch=eye).run(data, every=select.every))
    write_dataset(result, target, command=command_line())
    print(f"wrote {result.sizes.get('init_time', 1)} starts of {lead} steps with {members} members to {target}, watched")
