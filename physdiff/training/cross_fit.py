r"""Errors of a forecast on windows that it has not seen, though all of them train it.

A network forgets nothing of a short record: its errors on the windows it was trained on are too small, and a spread learnt from them is too narrow.
So the windows are cut into K blocks of neighbours; network k is trained on the windows that share no frame with block k, and its errors there,
$r_i = x_i - m_{k(i)}(c_i)$, are honest (cross-fitting). The forecast is the mean of all K, whose errors are a little smaller than
theirs. Reference: Chernozhukov et al. (2018), Double/debiased machine learning, section 3 (cross-fitting); Breiman (1996), Bagging predictors.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, default_collate

from physdiff.base.errors import DataError, InputError
from physdiff.base.rng import Rng
from physdiff.diffusion.centred import CentredDenoiser
from physdiff.diffusion.diffusion_prior import DiffusionPrior
from physdiff.diffusion.forecaster import Forecaster
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.networks.averaged import AveragedNetwork
from physdiff.training.encoded import encode_batch
from physdiff.training.prior_module import shifted
from physdiff.transforms.normalizer import Normalizer

__all__ = ["ResidualWindows", "bands_alike", "cross_fit", "residual_part", "unseen_blocks"]

_BLOCK = 32


def unseen_blocks(size: int, folds: int, frames: int) -> list[tuple[range, list[int]]]:
    """Blocks of neighbouring windows, and beside each the windows that share no frame with it.

    Args:
        size: Number of windows, each one frame after the last.
        folds: Number of blocks.
        frames: Frames of a window.

    Raises:
        InputError: If there are fewer than two blocks.
        DataError: If a block leaves no window.
    """
    if folds < 2:
        raise InputError(f"cross_fit: expected two folds or more, got {folds}; with one nothing is left unseen")
    blocks = []
    for k in range(folds):
        block = range(k * size // folds, (k + 1) * size // folds)
        seen = [i for i in range(size) if i <= block.start - frames or i >= block.stop - 1 + frames]
        if not seen or not block:
            raise DataError(f"cross_fit: expected {folds} blocks with windows that share no frame with them, got {size} windows of {frames} frames")
        blocks.append((block, seen))
    return blocks


class ResidualWindows(Dataset[dict[str, Any]]):
    """What the denoiser of a residual is trained on: ``{"z": residual, "c": encoded condition and mean, "index"}``, in memory.

    Args:
        held: The tensors "z" and "c" of all windows, and "weights" (known shares) where values are missing.
        like: Gives the spec.
    """

    def __init__(self, held: dict[str, Tensor], like: Forecaster) -> None:
        self.held, self.spec, self.cond_spec = held, like.spec, like.cond_spec

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.held["z"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One window."""
        return {**{name: part[index] for name, part in self.held.items()}, "index": index}


def cross_fit(
    windows: Dataset[dict[str, Any]],
    build: Callable[[int], Forecaster],
    train: Callable[[Forecaster, Dataset[dict[str, Any]], Dataset[dict[str, Any]], int], None],
    *,
    folds: int = 4,
    roll: tuple[str, ...] = (),
    copies: int = 0,
    seed: int = 0,
) -> tuple[Forecaster, ResidualWindows]:
    """Train a forecast for each fold, and give their mean and the errors on windows that each has not seen.

    Args:
        windows: Training windows of one trajectory in order, with a condition.
        build: Fold -> an untrained forecast, all with the same transform and condition.
        train: Called with a forecast, its windows, those of its block (which may tell when to stop) and the fold; trains in place.
        folds: Number of folds.
        roll: Periodic axes along which copies are shifted.
        copies: Shifted copies of each window beside itself.
        seed: Of the shifts.

    Returns:
        The forecast by the mean of all networks, and the residual windows for ``DiffusionModule(residual_part(around_residuals(...)))``.

    Raises:
        InputError: If there are fewer than two folds.
        DataError: If a fold leaves no window to train on.
    """
    size, parts, networks = len(windows), [], []  # type: ignore[arg-type]
    frames = build(0).spec.frames
    for k, (block, seen) in enumerate(unseen_blocks(size, folds, frames)):
        mean = build(k)
        train(mean, _part(windows, seen), _part(windows, block), k)
        mean.eval()
        networks.append(mean.map.network)
        parts.append(_errors(mean, windows, block, rolls=(roll, copies), rng=Rng(seed).child("shift", k)))
    whole = Forecaster(AveragedNetwork(tuple(networks)), mean.transform, mean.spec, cond_transform=mean.cond_transform, cond_spec=mean.cond_spec)  # type: ignore[arg-type]
    held = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if bool((held["weights"] == 1).all()):
        del held["weights"]
    return whole.eval(), ResidualWindows(held, whole)


def bands_alike(prior: WindowPrior) -> None:
    """Leave wavelet bands as they come out of the transform, so that a regression's errors of all of them count as those of points do."""
    normalisers = [part for part in prior.transform.modules() if isinstance(part, Normalizer)]
    if len(normalisers) > 1 and normalisers[-1].std is not None:
        normalisers[-1].std.fill_(1.0)


def residual_part(prior: DiffusionPrior) -> DiffusionPrior:
    """The prior of the residual alone, which shares its network with a prior made by `around_residuals`: train it on `ResidualWindows`.

    Raises:
        InputError: If the prior is another.
    """
    if not isinstance(prior.denoiser, CentredDenoiser):
        raise InputError(f"residual_part: expected a prior made by around_residuals, got one with {type(prior.denoiser).__name__}")
    parts = {"cond_transform": prior.cond_transform, "cond_spec": prior.cond_spec, "sampler": prior.sampler, "steps": prior.steps}
    return DiffusionPrior(prior.denoiser.inner, prior.transform, prior.spec, **parts)  # type: ignore[arg-type]


def _part(windows: Dataset[dict[str, Any]], rows: Sequence[int]) -> Dataset[dict[str, Any]]:
    part: Dataset[dict[str, Any]] = Subset(windows, rows)
    for name in ("spec", "cond_spec", "history", "horizon"):
        if hasattr(windows, name):
            setattr(part, name, getattr(windows, name))
    return part


@torch.no_grad()
def _errors(mean: Forecaster, windows: Dataset[dict[str, Any]], block: range, *, rolls: tuple[tuple[str, ...], int], rng: Rng) -> dict[str, Tensor]:
    """Residuals on a block and its shifted copies, with the encoded condition and the mean, and the known shares."""
    found: dict[str, list[Tensor]] = {"z": [], "c": [], "weights": []}
    for copy in range(1 + (rolls[1] if rolls[0] else 0)):
        for start in range(block.start, block.stop, _BLOCK):
            batch = default_collate([windows[i] for i in range(start, min(start + _BLOCK, block.stop))])
            if copy:
                batch = shifted(batch, mean, rolls[0], rng=rng.child(copy))
            z, c, weights = encode_batch(mean, batch["x"], batch["cond"], guess=batch.get("guess"))
            assert c is not None
            guess = mean.map(z, z.new_zeros(()), c).to(z.dtype)
            found["z"].append(z - guess)
            found["c"].append(torch.cat([c.to(guess.dtype), guess], 1))
            found["weights"].append(torch.ones_like(z) if weights is None else weights.to(z).expand_as(z))
    return {name: torch.cat(part) for name, part in found.items()}
