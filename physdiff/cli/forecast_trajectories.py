"""``physdiff forecast --known``."""

from __future__ import annotations

import time

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.captions import TimesTold, check_encoder, no_captions, spelled_out, told
from physdiff.cli.device import best_device
from physdiff.cli.options import Select, check_at_least, checked_file, cut_to, opened, tasks_of
from physdiff.cli.processes import joined_processes, processes
from physdiff.data.field_statistics import check_like
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.forecast.trajectories import draw_trajectories
from physdiff.inference.sharding import Sharded

__all__ = ["forecast_trajectories"]


def forecast_trajectories(
    prior: str,
    out: str,
    known: dict[str, list[int] | str],
    *,
    initial: str | list[str] | None = None,
    coarse: str | list[str] | None = None,
    members: int = 20,
    seed: int = 0,
    select: TimesTold = TimesTold(),  # noqa: B008 - a frozen value
) -> None:
    """Draw whole trajectories from what is known of them: simulation, control, resolution; run again to go on after an interruption.

    On several processes (``torchrun --nproc-per-node 4 -m physdiff forecast ...``) each takes its batches.

    Args:
        prior: File of a prior trained with ``--tasks`` or ``--coarse``.
        out: netCDF file to write, dims (sample, init_time, member, lead_time, space), the first frame at lead time 0.
        known: Frames that the data know of each field, as in ``{u: [0], force: all}`` (simulation), ``{u: [0, -1]}`` (which force leads there?) or
            ``{}`` (nothing).
        initial: Data that hold what is known, from the first frame on.
        coarse: Coarse trajectories, for a prior trained with ``--coarse``.
        members: Number of members.
        seed: Seed of the draws.
        select: Which times and region of the data are looked at, and texts.
    """
    begin = time.monotonic()
    target = checked_file(out)
    for what, value, least in (("members", members, 1), ("seed", seed, 0)):
        check_at_least(value, least, what)
    given = tasks_of([known], "known")[0]
    asked = {name: frames for name, frames in given.items() if name != "text" or select.captions is None}
    if asked and initial is None:
        raise InputError(f"initial: expected data that hold {', '.join(asked)}, got none; give --initial FILE, or --known '{{}}'")
    model = WindowPrior.load(prior).to(best_device())
    if "text" in asked and "text" not in model.spec.names:
        raise no_captions()
    given = spelled_out([given], model.spec.names)[0]
    for name in given:
        model.spec.channel(name)
    card = read(prior)[1]
    statistics = card.get("statistics", {})
    data = low = None
    if initial is not None and asked:
        data = opened(initial, Select(list(asked), select.start, select.stop, select.region))
        data = data if coarse is not None else cut_to(data, model.spec.grid)
        check_like(data, statistics, "initial")
    if select.captions is not None:
        check_encoder(select.encoder, model.spec.names, card.get("encoder"))
        data = told(data, select.captions, select.encoder, spec=model.spec)
    if coarse is not None:
        low = opened(coarse, Select(list(model.spec.names), select.start, select.stop, select.region))
        check_like(low, statistics, "coarse")
    with joined_processes() as writes:
        size = members if processes() == 1 else Sharded(members)
        result = draw_trajectories(model, given, data, coarse=low, members=size, rng=Rng(seed), out=target)
        if writes:
            count, frames = result.sizes.get("sample", 1), result.sizes["lead_time"]
            print(f"wrote {count} trajectories of {frames} frames with {members} members to {target} in {time.monotonic() - begin:.0f} s")
