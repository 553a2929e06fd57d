"""Pictures come when due, and training is what it is without them."""

from __future__ import annotations

import pytest

from physdiff.base.errors import InputError
from physdiff.training.callbacks import window_figure as module_of_figures
from physdiff.training.callbacks.window_figure import WindowFigure
from physdiff.training.fit import fit
from tests.training.test_fit import problem
from tests.training.test_resume import same


def test_pictures_leave_training_alone(tmp_path) -> None:
    module, data = problem()
    module.prior.steps = 2
    fit(module, data, max_steps=3, callbacks=[WindowFigure(data.train_windows, tmp_path / "new", every=2)])
    (picture,) = (tmp_path / "new").iterdir()
    assert picture.name == "t2m_0000002.png" and picture.read_bytes().startswith(b"\x89PNG") and picture.stat().st_size > 10_000
    plain, data = problem()
    fit(plain, data, max_steps=3)
    same(plain.state_dict(), module.state_dict())


def test_bad_input(tmp_path) -> None:
    with pytest.raises(InputError, match="every >= 1 and a window below 3, got 0 and 0"):
        WindowFigure([1, 2, 3], tmp_path, every=0)
    with pytest.raises(InputError, match="got 2 and 3"):
        WindowFigure([1, 2, 3], tmp_path, every=2, index=3)


def test_weights_that_are_shared_out_are_refused_before_the_first_step(tmp_path, monkeypatch) -> None:
    """One process alone would wait for the others for ever."""
    monkeypatch.setattr(module_of_figures, "sharded_mesh", lambda _: object())
    module, data = problem()
    with pytest.raises(InputError, match="expected whole weights in the process that draws, got weights shared out .fsdp.; leave figures out"):
        fit(module, data, max_steps=3, callbacks=[WindowFigure(data.train_windows, tmp_path, every=1)])
