"""Texts beside trajectories on the command line: ``--select.captions FILE``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from physdiff.base.errors import DataError, InputError
from physdiff.cli.options import Select, Times
from physdiff.data.captions import HashedWords, known_captions, with_captions
from physdiff.data.convert import to_dataset
from physdiff.data.tasks import Task
from physdiff.grids.field_spec import FieldSpec

__all__ = ["SelectTold", "TimesTold", "caption_fields", "check_encoder", "encoder_name", "no_captions", "read_captions", "spelled_out", "told"]

_NAME = "text"
Encoder = Callable[[str], Tensor]


@dataclass(frozen=True)
class SelectTold(Select):
    """Which part of the data is used, and what is said of it.

    Args:
        captions: A file with one line of text for each trajectory; tasks know it as ``{text: all}``.
        encoder: From a text to a vector, as ``my.module.Class`` with ``--allow-classes``; hashed words if not given.
    """

    captions: str | None = None
    encoder: Callable[..., Any] | None = None

    def plain(self) -> Select:
        """The part of the data alone."""
        return Select(self.variables, self.start, self.stop, self.region, self.mask)


@dataclass(frozen=True)
class TimesTold(Times):
    """Which times are used, and what is said of the trajectories.

    Args:
        captions: A file with one line of text for each trajectory, known as ``{text: all}``.
        encoder: That of the training, where it was no usual one.
    """

    captions: str | None = None
    encoder: Callable[..., Any] | None = None


def read_captions(path: str) -> list[str]:
    """The lines of a file of texts.

    Raises:
        DataError: If there is no such file of text, or a line is empty.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"captions: expected a file of text, one line for each trajectory, got {path}: {error}") from error
    empty = [str(i) for i, line in enumerate(lines, start=1) if not line.strip()]
    if empty or not lines:
        raise DataError(f"captions: expected a text in every line of {path}, got none in {f'line {empty[0]}' if empty else 'the whole file'}")
    return lines


def encoder_name(encoder: Encoder | None, features: int | None = None) -> str:
    """What a prior's card keeps of the encoder."""
    if encoder is None or isinstance(encoder, HashedWords):
        return repr(encoder or HashedWords(*([] if features is None else [features])))
    kind = encoder if hasattr(encoder, "__qualname__") else type(encoder)
    return f"{kind.__module__}.{kind.__qualname__}"


def check_encoder(encoder: Encoder | None, names: Sequence[str], trained: str | None) -> None:
    """Refuse another encoder than that of the training, whose vectors mean something else.

    Args:
        encoder: The one given; None: `HashedWords`.
        names: Fields of the prior.
        trained: What the prior's card keeps of that of the training; None: unknown (a prior from Python).

    Raises:
        InputError: If they differ.
    """
    now = encoder_name(encoder, max(1, len(caption_fields(names))))
    if trained is not None and now != trained:
        raise InputError(f"captions: expected the encoder of the training, {trained}, got {now}; give it as --select.encoder, with --allow-classes")


def told(ds: xr.Dataset | None, captions: str | None, encoder: Encoder | None, *, spec: FieldSpec | None = None) -> xr.Dataset | None:
    """The trajectories with their captions as fields ``text_0``, ``text_1``, ...; as they are without captions.

    Args:
        ds: Trajectories; None: of captions alone, on the grid of `spec`.
        captions: File of the texts, or None.
        encoder: From a text to a vector; None: `HashedWords`, as long as the fields of `spec`.
        spec: That of a prior which is to be told; None in training.

    Raises:
        DataError: If texts and trajectories differ in number, or the prior was told none.
        InputError: If the vectors are not as long as in training.
    """
    if captions is None:
        return ds
    texts = read_captions(captions)
    features = None if spec is None else len(caption_fields(spec.names))
    if features == 0:
        raise DataError("captions: expected a prior that was told texts in training (fit --select.captions), got one without; leave them out")
    if ds is None and spec is not None:
        blank = replace(spec, names=("blank",), units=("1",))
        ds = to_dataset(torch.zeros(len(texts), 1, spec.frames, *spec.grid.shape), blank, np.arange(spec.frames) * spec.dt, batch="sample")
    assert ds is not None
    made = with_captions(ds, texts, encoder or HashedWords(*([] if features is None else [features])), name=_NAME)
    found = len(caption_fields(made.data_vars))
    if features is not None and found != features:
        raise InputError(f"captions: expected vectors of {features} numbers, as in training, got {found}; give the encoder of the training")
    return made


def no_captions() -> InputError:
    """What is said where a task knows texts and none are given."""
    return InputError("text: expected captions for a task that knows them, got none; give --select.captions FILE, a line for each trajectory")


def spelled_out(tasks: Sequence[Task], names: Sequence[str]) -> list[Task]:
    """Tasks that know ``text`` with each of its fields named.

    Raises:
        InputError: If no captions are there, or only some frames of a text are to be known.
    """
    made: list[Task] = []
    for task in tasks:
        if _NAME not in task or _NAME in names:
            made.append(task)
            continue
        count = len(caption_fields(names))
        if not count:
            raise no_captions()
        if task[_NAME] != "all":
            raise InputError(f"text: expected 'all' of a caption, which has no frames, got {task[_NAME]!r}")
        rest: dict[str, Any] = {k: v for k, v in task.items() if k != _NAME}
        made.append({**rest, **known_captions(_NAME, count)})
    return made


def caption_fields(names: Iterable[Any]) -> list[str]:
    """Those of the names that are entries of a caption, ``text_0``, ``text_1``, ..."""
    return [str(n) for n in names if str(n).startswith(f"{_NAME}_") and str(n).removeprefix(f"{_NAME}_").isdigit()]
