"""The table and picture of a network's training are whole after every look."""

import csv
import errno
from types import SimpleNamespace

import pytest

from physdiff.base.errors import DataError
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


def test_a_disk_that_is_full_leaves_the_looks_before(tmp_path, monkeypatch):
    module, looks = SimpleNamespace(looks=[{"step": 5, "seconds": 0.1, "residual": 0.2, "loss": 0.3}]), Looks(tmp_path)
    looks.on_train_batch_end(None, module)
    before = (tmp_path / "looks.csv").read_bytes()
    module.looks.append({"step": 9, "seconds": 0.2, "residual": 0.1, "loss": 0.2})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", full)
    with pytest.raises(DataError, match="space"):
        looks.on_train_batch_end(None, module)
    assert (tmp_path / "looks.csv").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["look.png", "looks.csv"]
