"""What a run took, in a file and on one line."""

from __future__ import annotations

import json
import logging

from physdiff.training.callbacks.run_report import RunReport, peak_memory
from physdiff.training.fit import fit
from tests.training.callbacks.quadratic import Quadratic, loader
from tests.training.test_fit import problem


def test_the_report(tmp_path, caplog) -> None:
    module, data = problem()
    with caplog.at_level(logging.INFO, logger="physdiff"):
        fit(module, data, max_steps=4, out=tmp_path)
    found = json.loads((tmp_path / "log" / "report.json").read_text())
    assert found["steps"] == 4 and found["processes"] == 1
    assert found["steps_per_second"] == 4 / found["seconds"] and found["windows_per_second"] == 32 / found["seconds"]
    assert 0 <= found["share_between_steps"] <= 1 and 50 < found["peak_memory_mib"]["process"] < 1e5
    assert sum("trained  4 steps in" in message and "windows/s" in message for message in caplog.messages) == 1


def test_a_resumed_run_counts_its_own_part(tmp_path) -> None:
    def steps() -> int:
        return json.loads((tmp_path / "log" / "report.json").read_text())["steps"]

    fit(Quadratic(), loader(), max_steps=4, out=tmp_path)
    assert steps() == 4
    fit(Quadratic(), loader(), max_steps=7, out=tmp_path)
    assert steps() == 3
    fit(Quadratic(), loader(), max_steps=7, out=tmp_path)  # nothing left to do
    assert steps() == 3


def test_memory_only_grows() -> None:
    first = peak_memory()["process"]
    held = bytearray(30 * 2**20)
    assert peak_memory()["process"] >= first and len(held)
    assert RunReport().path is None
