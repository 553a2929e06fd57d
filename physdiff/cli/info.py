"""``physdiff info``."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from physdiff.base.errors import DataError, InputError
from physdiff.base.saved import read, write
from physdiff.cli.options import checked_file
from physdiff.diffusion.window_prior import WindowPrior
from physdiff.grids.field_spec import FieldSpec
from physdiff.training.checkpoint_prior import prior_from_checkpoint, read_checkpoint
from physdiff.transforms.compose import Compose

__all__ = ["info"]


def info(path: str, *, out: str | None = None) -> None:
    """Print the card of a file that physdiff wrote: a prior, an autoencoder, a trained PINN, a checkpoint, the state of a run.

    Args:
        path: The file, as a.prior, a.prior.fit/last.ckpt, a.pinn/net.safetensors.
        out: Of a checkpoint: file to write the prior to as it was then.
    """
    target = Path(path)
    if not target.is_file():
        raise DataError(f"{target}: expected a file written by physdiff, found {'a folder' if target.is_dir() else 'none'}; check the path")
    if zipfile.is_zipfile(target):
        _checkpoint(target, out)
        return
    if out is not None:
        raise InputError(f"out: expected none for {target}, which is no checkpoint, got {out}; copy the file")
    obj, card = read(target)
    _show(_lines(obj, card, target))


def _checkpoint(target: Path, out: str | None) -> None:
    found = read_checkpoint(target)
    if "state_dict" not in found or not found.get("physdiff"):
        if out is not None:
            raise InputError(f"out: expected a checkpoint that describes a prior, got {target}, which does not; leave out out")
        kept = [(str(k), _shape(v)) for k, v in found.items()]
        _show([("kind", "state of a run (torch)"), ("size", _size(target)), *kept])
        return
    place = None if out is None else checked_file(out)
    prior, card = prior_from_checkpoint(target)
    _show([("checkpoint", f"after step {card.pop('step')}"), *_lines(prior, card, target)])
    if place is not None:
        print(f"wrote the prior to {write(place, prior, card=card)}")


def _lines(obj: object, card: dict[str, Any], target: Path) -> Iterator[tuple[str, str]]:
    """What there is to say, by name."""
    yield "kind", type(obj).__name__
    yield "size", _size(target)
    if isinstance(obj, nn.Module):
        yield "weights", f"{sum(p.numel() for p in obj.parameters()):,}"
    if isinstance(obj, WindowPrior):
        yield "network", type(obj.model).__name__
        yield from _spec(obj.spec)
        known = "nothing" if obj.cond_spec is None else f"{obj.cond_spec.history} frames; {', '.join(obj.cond_spec.names)}"
        yield "given", known
        chain = list(obj.transform) if isinstance(obj.transform, Compose) else [obj.transform]
        yield "transform", ", ".join(type(part).__name__ for part in chain)
        yield "coefficients", " x ".join(str(n) for n in obj.latent_shape)
        yield "steps", str(obj.steps)
    elif isinstance(getattr(obj, "spec", None), FieldSpec):
        yield from _spec(obj.spec)  # type: ignore[attr-defined]
    for name, value in card.items():
        yield name, value if isinstance(value, str) else json.dumps(value)
    if not card:
        yield "card", "none was written"


def _spec(spec: FieldSpec) -> Iterator[tuple[str, str]]:
    yield "fields", ", ".join(f"{n} [{u}]" for n, u in zip(spec.names, spec.units, strict=True))
    yield "grid", spec.grid.summary()
    yield "window", f"{spec.frames} frames, {spec.dt:g} {spec.time_unit} apart"


def _shape(value: object) -> str:
    if isinstance(value, Tensor):
        return f"tensor {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__} of {len(value) if hasattr(value, '__len__') else 1}"


def _size(target: Path) -> str:
    size = target.stat().st_size
    return f"{size / 2**20:.1f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def _show(lines: Any) -> None:  # noqa: ANN401 - pairs
    for name, text in lines:
        print(f"{name:<13} {text}")
