"""``physdiff inspect`` of a file that physdiff wrote: what a prior is of, what it wants to know, and how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from physdiff.base.saved import read
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.networks.field_network import FieldNetwork
from physdiff.transforms.compose import Compose

__all__ = ["saved_text"]


def saved_text(path: str) -> str:
    """Lines on a saved prior, coder or network.

    Raises:
        SavedError: If the file is damaged or needs classes of its user's, as in `read`.
    """
    found, card = read(path)
    weights = sum(p.numel() for p in found.parameters()) if isinstance(found, nn.Module) else 0
    rows = {"file": f"{path}: {type(found).__name__}, {weights:,} weights"}
    if isinstance(found, WindowPrior):
        rows |= _of_prior(found, path, card)
    if "command" in card:
        rows["made by"] = str(card["command"])
    made = [f"{name} {card[name]}" for name in ("physdiff", "torch", "lightning") if name in card]
    rows |= {"with": ", ".join(made)} if made else {}
    return "\n".join(f"{name:<9}{text}" for name, text in rows.items())


def _of_prior(prior: WindowPrior, path: str, card: Mapping[str, Any]) -> dict[str, str]:
    spec, cond = prior.spec, prior.cond_spec
    parts = list(prior.transform) if isinstance(prior.transform, Compose) else [prior.transform]
    networks = sorted({type(m).__name__ for m in prior.modules() if isinstance(m, FieldNetwork)})
    history = 0 if cond is None else cond.history
    rows = {
        "fields": ", ".join(f"{name} ({unit})" for name, unit in zip(spec.names, spec.units, strict=True)),
        "grid": spec.grid.summary() + ("" if spec.mask is None else f", {int(spec.mask.sum())} points with values"),
        "windows": f"{spec.frames} frames, step {spec.dt:g} {spec.time_unit}".removesuffix(" 1"),
        "draws by": f"{', '.join(networks) or type(prior.model).__name__}, {prior.steps} {'step' if prior.steps == 1 else 'steps'}",
        "after": " > ".join(type(t).__name__ for t in parts),
    }
    rows["windows"] += f", the first {history} known" if history else ""
    if "tasks" in card:
        rows["knows"] = "; ".join(_task(task) for task in card["tasks"])
        rows["use"] = f"physdiff forecast --prior {Path(path)} --known '{_task(card['tasks'][0])}' --initial DATA --out FILE"
    elif history:
        rows["use"] = f"physdiff forecast --prior {Path(path)} --initial DATA --lead {spec.frames - history} --out FILE"
    return rows


def _task(task: Mapping[str, Any]) -> str:
    """As it is written on the command line."""
    return "{" + ", ".join(f"{name}: {frames if isinstance(frames, str) else json.dumps(frames)}" for name, frames in task.items()) + "}"
