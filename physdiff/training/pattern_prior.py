"""Whole trajectories drawn as coordinates along their leading patterns: minutes of training where a U-Net takes hours."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import default_collate

from physdiff.base.errors import InputError
from physdiff.data.tasks import TaskWindows
from physdiff.diffusion.analytic import GaussianDenoiser
from physdiff.diffusion.covariance import DiagonalCovariance
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.objective import LogNormalNoise
from physdiff.diffusion.preconditioned import PreconditionedDenoiser
from physdiff.diffusion.schedule import EDMSchedule
from physdiff.networks.mode_network import ModeNetwork
from physdiff.transforms.compose import Compose
from physdiff.transforms.patterns import PatternCondition, Patterns

__all__ = ["in_patterns", "pattern_noise"]

_BATCH, _CONDITIONS, _TOLD_SHARE = 64, 256, 0.005


def in_patterns(
    prior: DiffusionPrior, windows: TaskWindows, most: int = 400, *, told: int = 64, width: int = 512, held: int = 1024, seed: int = 0
) -> DiffusionPrior:
    """The prior with all its draws along the leading patterns of its coefficients, under a fully connected network (`ModeNetwork`).

    Under the network lies the Gaussian of the patterns' variances. The condition goes in as coordinates along patterns of its own. Train it with
    ``DiffusionModule(prior, noise=pattern_noise(prior))``; windows are encoded once, so that a step takes milliseconds.

    Args:
        prior: Of `prepare_trajectories`; its transform and its condition are used, its network is not.
        windows: Training windows.
        most: Patterns at most; fewer where these hold all but 1e-4 of the variance.
        told: Patterns of the condition at most.
        width: Of the network.
        held: Windows at most from which patterns are taken, evenly spaced.
        seed: Seed of the weights.

    Raises:
        InputError: If the prior has no condition or its coefficients are no numbers on cells.
    """
    if prior.cond_transform is None or prior.cond_spec is None:
        raise InputError("in_patterns: expected a prior of prepare_trajectories, got one without a condition")
    coefficients, conditions = _encoded(prior, windows, held)
    patterns, known = Patterns(most).fitted(coefficients), Patterns(told, _TOLD_SHARE).fitted(conditions)
    condition = PatternCondition(prior.cond_transform, known)
    assert patterns.variances is not None
    chain = list(prior.transform) if isinstance(prior.transform, Compose) else [prior.transform]
    rank, *axes = patterns.out_shape(prior.latent_shape)
    largest, least = (float(v) ** 0.5 for v in (patterns.variances.max(), patterns.variances.min()))
    schedule = EDMSchedule(0.05 * least, 5 * largest)
    base = GaussianDenoiser(schedule, torch.zeros(rank, *axes), DiagonalCovariance(patterns.variances.reshape(rank, *axes)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        given = condition.out_shape((len(prior.cond_spec.names), prior.spec.frames, *prior.spec.grid.shape))[0]
        network = ModeNetwork(torch.eye(rank), patterns.variances, ndim=len(axes), width=width, given=given)
    return DiffusionPrior(
        PreconditionedDenoiser(network, schedule, base=base),
        Compose((*chain, patterns)),
        prior.spec,
        sampler=prior.sampler,
        steps=prior.steps,
        cond_transform=condition,
        cond_spec=prior.cond_spec,
    )


def pattern_noise(prior: DiffusionPrior) -> LogNormalNoise:
    """A law of training noise over the standard deviations of the patterns of a prior made by `in_patterns`.

    Raises:
        InputError: If the prior is another.
    """
    last = list(prior.transform)[-1] if isinstance(prior.transform, Compose) else prior.transform
    if not isinstance(last, Patterns) or last.variances is None:
        raise InputError(f"pattern_noise: expected a prior made by in_patterns, got one whose coefficients come from {type(last).__name__}")
    logs = 0.5 * last.variances.double().log()
    return LogNormalNoise(float(logs.max() + logs.min()) / 2, float(logs.max() - logs.min()) / 3)


def _encoded(prior: DiffusionPrior, windows: TaskWindows, most: int) -> tuple[Tensor, Tensor]:
    """Coefficients of `most` windows at most, evenly spaced, and the conditions of all tasks of some 256 of them."""
    tasks = len(windows.tasks)
    count = min(most, len(windows) // tasks)
    rows = torch.linspace(0, len(windows) // tasks - 1, count).round().long().tolist()
    coefficients, conditions = [], []
    for start in range(0, count, _BATCH):
        for task in range(tasks):
            batch = default_collate([windows[row * tasks + task] for row in rows[start : start + _BATCH]])
            completed = prior.complete(batch["cond"])
            if task == 0:
                coefficients.append(prior.encode(batch["x"], completed))
            # they have many times the entries of a window
            encoded = prior.encode_cond(completed[:: max(1, count // _CONDITIONS)] if completed is not None else None)
            assert encoded is not None
            conditions.append(encoded)
    return torch.cat(coefficients), torch.cat(conditions)
