"""``physdiff forecast --keep``."""

from __future__ import annotations

import time

from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.device import best_device
from physdiff.cli.forecast_watched import Starts
from physdiff.cli.options import check_at_least, checked_file, opened_for
from physdiff.cli.processes import joined_processes, processes
from physdiff.cli.splits import as_list
from physdiff.data.field_statistics import check_like
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.conserved import Conserved
from physdiff.forecast.rollout import Rollout
from physdiff.inference.sharding import Sharded

__all__ = ["forecast_kept"]


def forecast_kept(
    prior: str,
    initial: str | list[str],
    out: str,
    *,
    keep: str | list[str],
    lead: int,
    members: int = 20,
    seed: int = 0,
    select: Starts = Starts(),  # noqa: B008 - a frozen value
) -> None:
    """Forecast an ensemble that keeps what the law keeps: means of fields, divergence of a flow; run again to go on after an interruption.

    Every frame is moved to the nearest one that has the mean, or the divergence, of the last known one. It obeys the law in this alone: what else is
    wrong stays.

    Args:
        prior: File of the prior.
        initial: Data to start from (netCDF).
        out: netCDF file to write, dims (init_time, member, lead_time, space).
        keep: Fields whose mean over the grid does not change, as in ``[vorticity]`` or ``[h]`` (mass), and ``divergence(u v)`` for a flow without
            sources, in a uniform box with any ends and any mask.
        lead: Number of time steps.
        members: Number of members.
        seed: Seed of the draws.
        select: Which starts are taken.
    """
    begin, target = time.monotonic(), checked_file(out)
    for what, value, least in (("lead", lead, 1), ("members", members, 1), ("select.every", select.every, 1), ("seed", seed, 0)):
        check_at_least(value, least, what)
    model = WindowPrior.load(prior).to(best_device())
    kept = tuple(as_list(keep) or ())
    Conserved(model.spec, kept)  # what cannot be kept is told before the data are read
    data = opened_for(initial, model, select)
    check_like(data, read(prior)[1].get("statistics", {}), "initial")
    with joined_processes() as first:
        size = members if processes() == 1 else Sharded(members)
        run = Rollout(model, lead, size, rng=Rng(seed), keep=kept)
        result = run.run(data, every=select.every, out=target)
        if first:
            starts = result.sizes.get("init_time", 1) * result.sizes.get("sample", 1)
            print(f"wrote {starts} forecasts of {lead} steps with {members} members to {target} in {time.monotonic() - begin:.0f} s")
