"""``physdiff forecast --known --steer``."""

from __future__ import annotations

import time
from dataclasses import dataclass

import xarray as xr

from physdiff.base.errors import InputError
from physdiff.base.rng import Rng
from physdiff.base.saved import read
from physdiff.cli.device import best_device
from physdiff.cli.options import Select, Times, check_at_least, checked_file, cut_to, opened, tasks_of
from physdiff.cli.parse import command_line
from physdiff.data.field_statistics import check_like
from physdiff.data.write import write_dataset
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.steered import Wish, steer_trajectories

__all__ = ["Steer", "forecast_steered"]


@dataclass(frozen=True)
class Steer:
    """Where to.

    Args:
        goal: Data that hold what is wanted, a trajectory for each of the initial ones, or one for all.
        frames: Which frames of which fields should be as there, as in ``{u: [-1]}``.
        strength: Weight of the objective against the prior: a draw with a cost higher by 1 / strength is e times rarer.
        effort: Weight of the mean square of fields, as in ``{force: 0.01}``.
        spread: moments: the denoiser's own covariance; unit: the paper's way.
    """

    goal: str | list[str]
    frames: dict[str, list[int] | str]
    strength: float = 300.0
    effort: dict[str, float] | None = None
    spread: str = "moments"


def forecast_steered(
    prior: str,
    out: str,
    known: dict[str, list[int] | str],
    *,
    steer: Steer,
    initial: str | list[str] | None = None,
    members: int = 20,
    seed: int = 0,
    select: Times = Times(),  # noqa: B008 - a frozen value
) -> None:
    """Draw whole trajectories, state and force together, steered to what is wanted of them; not gone on with after an interruption.

    The state is what the model believes of its force: run the force through the true law before it is trusted.

    Args:
        prior: File of a prior trained with ``--tasks``.
        out: netCDF file to write, as of ``forecast --known``.
        known: Frames that the data know of each field, as in ``{u: [0]}``, or ``{}``.
        steer: What is wanted.
        initial: Data that hold what is known, from the first frame on.
        members: Number of members.
        seed: Seed of the draws.
        select: Which times and region of the data are looked at.
    """
    begin, target = time.monotonic(), checked_file(out)
    for what, value, least in (("members", members, 1), ("seed", seed, 0)):
        check_at_least(value, least, what)
    given, wanted = tasks_of([known], "known")[0], tasks_of([steer.frames], "steer.frames")[0]
    if given and initial is None:
        raise InputError(f"initial: expected data that hold {', '.join(given)}, got none; give --initial FILE, or --known '{{}}'")
    wish = Wish(wanted, steer.strength, steer.effort or {}, steer.spread)
    model = DiffusionPrior.load(prior).to(best_device())
    for name in (*given, *wanted, *wish.effort):
        model.spec.channel(name)
    card = read(prior)[1].get("statistics", {})
    found: list[xr.Dataset | None] = []
    for path, names, what in ((steer.goal, wanted, "steer.goal"), (initial, given, "initial")):
        if path is None or not names:
            found.append(None)
            continue
        part = cut_to(opened(path, Select(list(names), select.start, select.stop, select.region)), model.spec.grid)
        check_like(part, card, what)
        found.append(part)
    goal, data = found
    assert goal is not None
    result = steer_trajectories(model, given, wish, goal=goal, ds=data, members=members, rng=Rng(seed))
    write_dataset(result, target, command=command_line())
    count, frames = result.sizes.get("sample", 1), result.sizes["lead_time"]
    print(f"wrote {count} trajectories of {frames} frames with {members} members, steered, to {target} in {time.monotonic() - begin:.0f} s")
