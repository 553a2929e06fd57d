r"""Whole trajectories steered to what is wanted of them: which force makes some frames of some fields what they should be, with little effort?

For each trajectory `control` draws state and force together towards

$$J = \langle ((x - g) / s)^2 \rangle_{\text{wanted}} + \sum_f w_f \langle (x_f / s_f)^2 \rangle,$$

means over the wanted entries g and over the fields f whose use costs effort, s the standard deviations of the training data. What is known stays.

Reference: P. Hu et al., Wavelet diffusion neural operator, ICLR 2025 (arXiv 2412.04833).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
import xarray as xr
from torch import Tensor
from tqdm.auto import tqdm

from physdiff.base.checks import check_one_of, check_positive
from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.data.tasks import Task, task_condition, task_spec
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.forecast.trajectories import known_windows, laid_out
from physdiff.inference.control import ReadoutObjective, control
from physdiff.transforms.compose import Compose
from physdiff.transforms.normalizer import Normalizer

__all__ = ["Wish", "steer_trajectories"]

_FEW = 256  # wanted entries up to which their matrix is worth its making


@dataclass(frozen=True)
class Wish:
    """What is wanted, and how much.

    Args:
        frames: Frames of fields that should be as in the goal, as in ``{"u": (-1,)}``.
        strength: Weight of the objective against the prior, see `control`.
        effort: Weight of the mean square of fields, as in ``{"force": 0.01}``.
        spread: See `control`.

    Raises:
        InputError: If nothing is wanted or a weight is negative.
    """

    frames: Task
    strength: float = 300.0
    effort: Mapping[str, float] = field(default_factory=dict)
    spread: str = "moments"

    def __post_init__(self) -> None:
        if not self.frames:
            raise InputError('Wish: expected frames of a field, as in {"u": (-1,)}, got none')
        check_positive(self.strength, "Wish strength")
        for name, weight in self.effort.items():
            check_positive(weight, f"Wish effort of {name}", zero=True)
        check_one_of(self.spread, ("moments", "unit"), "Wish spread")


def steer_trajectories(
    prior: DiffusionPrior, known: Task, wish: Wish, *, goal: xr.Dataset, ds: xr.Dataset | None = None, members: int = 1, rng: Rng
) -> xr.Dataset:
    """An ensemble of whole trajectories, each steered to its goal.

    Args:
        prior: Of whole trajectories, by `prepare_trajectories`.
        known: Which frames of which fields are taken from `ds`; best a task that the prior was trained on.
        wish: What is wanted.
        goal: Trajectories that hold what is wanted, one for each of `ds`, or one for all.
        ds: Trajectories that hold what is known; None if nothing is.
        members: Draws of each trajectory.
        rng: Randomness; a draw depends on the number of its trajectory and its member.

    Returns:
        As of `draw_trajectories`. The state is what the model believes: run the force through the true law.

    Raises:
        InputError: If the prior is none of whole trajectories, or a field or frame is not there.
        DataError: If the data or the goal lack what is asked of them.
        GridMismatch: If they are on another grid or have another time step.
    """
    scale = _scale(prior)
    if members < 1:
        raise InputError(f"steer_trajectories: expected members >= 1, got {members}")
    target = known_windows(prior.spec, wish.frames, goal, count=1)
    window = known_windows(prior.spec, known, ds, count=len(target))
    if len(target) not in (1, len(window)):
        raise DataError(f"goal: expected one trajectory, or one for each of {len(window)}, got {len(target)}; select the same samples")
    efforts = {prior.spec.channel(name): weight for name, weight in wish.effort.items()}
    drawn = []
    for k, row in enumerate(tqdm(window, desc="steer", unit="trajectory", disable=None)):
        objective = _objective(target[k % len(target)], scale, efforts)
        cond = task_condition(prior.spec, row[None])
        options = {"strength": wish.strength, "spread": wish.spread, "rng": rng.child("sample", k)}
        drawn.append(control(prior, objective, members, cond=cond, **options).cpu())  # type: ignore[arg-type]
    return laid_out(torch.cat(drawn), prior.spec, goal if ds is None else ds, count=len(window))


def _objective(goal: Tensor, scale: Tensor, efforts: Mapping[int, float]) -> Callable[[Tensor], Tensor]:
    """J of windows (B, C, T, *S); goal (C, T, *S), NaN where nothing is wanted."""
    wanted = goal.isfinite()
    size = scale.reshape(-1, *[1] * (goal.ndim - 1)).expand_as(goal)[wanted]
    aim = goal[wanted]

    def reads(x: Tensor) -> Tensor:
        return x[:, wanted.to(x.device)]

    def missed(read: Tensor) -> Tensor:
        return ((read - aim.to(read)) / size.to(read)).square().mean(1)

    if not any(efforts.values()) and len(aim) <= _FEW:
        return ReadoutObjective(reads, missed)

    def cost(x: Tensor) -> Tensor:
        total = missed(reads(x))
        for c, weight in efforts.items():
            total = total + weight * (x[:, c] / float(scale[c])).square().flatten(1).mean(1)
        return total

    return cost


def _scale(prior: DiffusionPrior) -> Tensor:
    """Standard deviation of each field in the training data, (C,)."""
    parts = list(prior.transform) if isinstance(prior.transform, Compose) else [prior.transform]
    first = parts[0]
    whole = prior.cond_spec is not None and prior.cond_spec.names == task_spec(prior.spec).names
    if not whole or not isinstance(first, Normalizer) or first.std is None or first.std.numel() != len(prior.spec.names):
        raise InputError("steer_trajectories: expected a prior of whole trajectories, by prepare_trajectories, got another")
    return first.std.detach().float().cpu().flatten()
