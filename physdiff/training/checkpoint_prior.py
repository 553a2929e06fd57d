"""A prior from a checkpoint alone: ``last.ckpt`` holds what it is built from, its weights and how it came about."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from physdiff.base.errors import DataError
from physdiff.base.saved import build
from physdiff.diffusion.window_prior import WindowPrior

__all__ = ["prior_from_checkpoint", "read_checkpoint"]


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU, checked against its checksums; no code of it is run.

    Raises:
        DataError: If it is missing, damaged, or no checkpoint.
    """
    target = Path(path)
    if not target.is_file():
        raise DataError(f"{target}: expected a checkpoint, found none; check the path")
    try:
        with zipfile.ZipFile(target) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise DataError(f"{target}: expected a whole checkpoint, but the checksum of its part {damaged} is wrong; the file is damaged")
        found = torch.load(target, map_location=lambda storage, _: storage, weights_only=True)
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file may raise anything
        text = " ".join(str(error).split())[:200]
        raise DataError(f"{target}: expected a checkpoint, cannot read it ({type(error).__name__}: {text})") from error
    if not isinstance(found, dict):
        raise DataError(f"{target}: expected a checkpoint, got a {type(found).__name__}")
    return found


def prior_from_checkpoint(path: str | os.PathLike[str]) -> tuple[WindowPrior, dict[str, Any]]:
    """The prior as it was at the checkpoint (with averaged weights, where an average is kept), in evaluation mode, and its card.

    Raises:
        DataError: If the checkpoint is missing, damaged, or of something else than a prior that can be described.
        SavedError: If a class of the description is not known.
    """
    found = read_checkpoint(path)
    held = found.get("physdiff")
    if not isinstance(held, dict) or not held.get("description"):
        why = "it is of a part of a prior, of networks of your own or of an older version"
        raise DataError(f"{path}: expected a checkpoint that describes its prior, got one without ({why}); take the .prior file")
    with torch.random.fork_rng(devices=[]):
        prior = build(json.loads(held["description"]), tensors=held["tensors"])
    state = {name.removeprefix("prior."): value for name, value in found["state_dict"].items() if name.startswith("prior.")}
    if not isinstance(prior, WindowPrior) or prior.state_dict().keys() != state.keys():
        raise DataError(f"{path}: expected the weights of the prior it describes, got others; the file is damaged")
    prior.load_state_dict(state)
    card = {**json.loads(held["card"]), "step": int(found["global_step"])}
    return prior.eval(), card
