"""The table of losses: what stands in it, and that a resumed run goes on with it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from physdiff.base.errors import InputError
from physdiff.training.callbacks.last_checkpoint import LastCheckpoint
from physdiff.training.callbacks.metrics_file import MetricsFile
from tests.training.callbacks.quadratic import Quadratic, Validated, loader, trainer


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def loss(step: int) -> float:
    """Loss of the step that starts from `step` steps done: ((3/4)^n)^2 / 2."""
    return 0.5 * 0.75 ** (2 * step)


def test_rows(tmp_path) -> None:
    path = tmp_path / "log" / "metrics.csv"
    trainer(MetricsFile(path, every=3), max_steps=8).fit(Validated(), loader(), loader(1))
    found = rows(path)
    assert [r["step"] for r in found] == ["3", "4", "6", "8"]
    assert [r["epoch"] for r in found] == ["0", "0", "1", "1"]
    # means over the steps since the row before; six digits are written
    spans = [(0, 3), (3, 4), (4, 6), (6, 8)]
    assert [float(r["loss"]) for r in found] == pytest.approx([sum(loss(n) for n in range(a, b)) / (b - a) for a, b in spans], rel=1e-5)
    assert [r["val_loss"] != "" for r in found] == [False, True, False, True]
    assert float(found[1]["val_loss"]) == pytest.approx(loss(4), rel=1e-5) and float(found[0]["lr"]) == 0.25


def test_a_resumed_run_keeps_earlier_rows_and_drops_what_came_after_the_checkpoint(tmp_path) -> None:
    path, checkpoint = tmp_path / "metrics.csv", tmp_path / "last.ckpt"
    trainer(MetricsFile(path, every=1), LastCheckpoint(tmp_path, every=3), max_steps=3).fit(Quadratic(), loader(8))
    with path.open("a") as file:
        file.write("4,0,0.25,99,\n5,0,0.2")  # a step that the checkpoint does not know, and half a row
    run = trainer(MetricsFile(path, every=1), LastCheckpoint(tmp_path), max_steps=6)
    run.fit(Quadratic(), loader(8), ckpt_path=str(checkpoint), weights_only=True)
    assert [r["step"] for r in rows(path)] == list("123456")
    assert [float(r["loss"]) for r in rows(path)] == pytest.approx([loss(n) for n in range(6)], rel=1e-5)
    # a run from the start starts a new table
    trainer(MetricsFile(path, every=1), max_steps=2).fit(Quadratic(), loader(8))
    assert [r["step"] for r in rows(path)] == list("12")


def test_wrong_arguments(tmp_path) -> None:
    with pytest.raises(InputError, match="every"):
        MetricsFile(tmp_path / "m.csv", every=0)
