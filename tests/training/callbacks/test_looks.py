"""The table and picture of a network's training are whole after every look."""

import csv
from types import SimpleNamespace

from physdiff.training.callbacks.looks import Looks


def test_rows_are_written_when_there_are_new_ones(tmp_path):
    module, looks = SimpleNamespace(looks=[]), Looks(tmp_path / "run")
    looks.on_train_batch_end(None, module)
    assert not (tmp_path / "run").exists()
    module.looks.append({"step": 5, "seconds": 0.1, "residual": 0.2, "loss": 0.3, "viscosity": 0.01})
    looks.on_train_batch_end(None, module)
    rows = list(csv.DictReader((tmp_path / "run" / "looks.csv").read_text().splitlines()))
    assert rows == [{"step": "5", "seconds": "0.1", "residual": "0.2", "loss": "0.3", "viscosity": "0.01"}]
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["look.png", "looks.csv"]
    Looks(None).on_train_batch_end(None, module)
