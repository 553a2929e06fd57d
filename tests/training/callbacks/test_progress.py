"""One bar for the run, one line for its cost, nothing on the standard output."""

from __future__ import annotations

import pytest

from physdiff.training.callbacks.last_checkpoint import LastCheckpoint
from physdiff.training.callbacks.progress import StepProgress, _readable
from tests.training.callbacks.quadratic import Quadratic, loader, trainer


@pytest.fixture(autouse=True)
def quiet_lightning(caplog):
    caplog.set_level("ERROR", logger="lightning.pytorch")


def test_a_bar_over_epochs_and_an_estimate(capfd) -> None:
    trainer(StepProgress(), max_epochs=3).fit(Quadratic(), loader())
    out, err = capfd.readouterr()
    assert out == "" and "12/12" in err
    assert err.count("steps of about") == 1 and "training 6 steps of about" in err


def test_it_counts_optimiser_steps_from_where_the_run_stands(capfd, tmp_path) -> None:
    trainer(LastCheckpoint(tmp_path), max_steps=3).fit(Quadratic(), loader(8))
    capfd.readouterr()
    run = trainer(StepProgress(), max_steps=8, accumulate_grad_batches=2)
    run.fit(Quadratic(), loader(8), ckpt_path=str(tmp_path / "last.ckpt"), weights_only=True)
    err = capfd.readouterr().err
    assert "3/8" in err and "8/8" in err and "0/8" not in err


def test_it_closes_before_a_traceback(capfd) -> None:
    bar = StepProgress()
    module = Quadratic()
    module.on_train_batch_start = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer(bar, max_steps=3).fit(module, loader())
    assert bar._bar is None


def test_times_are_readable() -> None:
    assert [_readable(s) for s in (3.2, 89.0, 150.0, 7200.0)] == ["3 s", "89 s", "2 min", "2.0 h"]
