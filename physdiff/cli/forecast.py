"""``physdiff forecast``."""

from __future__ import annotations

import time

from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.device import best_device
from physdiff.cli.options import Times, check_at_least, checked_file, opened_for
from physdiff.cli.processes import joined_processes, processes
from physdiff.data.field_statistics import check_like
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.rollout import rollout
from physdiff.inference.sharding import Sharded

__all__ = ["forecast"]


def forecast(
    prior: str,
    initial: str | list[str],
    out: str,
    *,
    lead: int,
    members: int = 20,
    every: int = 1,
    seed: int = 0,
    select: Times = Times(),  # noqa: B008 - a frozen value
) -> None:
    """Forecast an ensemble from every start time of the data; run again to go on after an interruption.

    On several processes (``torchrun --nproc-per-node 4 -m physdiff forecast ...``) each takes its batches; the file is the same to the last bit.

    Args:
        prior: File of the prior.
        initial: Data to start from (netCDF).
        out: netCDF file to write, dims (init_time, member, lead_time, space).
        lead: Number of time steps.
        members: Number of members.
        every: Take every n-th start time.
        seed: Seed of the draws.
        select: Which times are looked at: the first start is the last of the first known frames within them; the fields are those of the prior.
    """
    begin = time.monotonic()
    target = checked_file(out)
    for what, value, least in (("lead", lead, 1), ("members", members, 1), ("every", every, 1), ("seed", seed, 0)):
        check_at_least(value, least, what)
    model = WindowPrior.load(prior).to(best_device())
    ds = opened_for(initial, model, select)
    check_like(ds, read(prior)[1].get("statistics", {}), "initial")
    with joined_processes() as first:
        size = members if processes() == 1 else Sharded(members)
        result = rollout(model, ds, every=every, lead=lead, members=size, rng=Rng(seed), out=target)
        if first:
            starts = result.sizes.get("init_time", 1) * result.sizes.get("sample", 1)
            print(f"wrote {starts} forecasts of {lead} steps with {members} members to {target} in {time.monotonic() - begin:.0f} s")
