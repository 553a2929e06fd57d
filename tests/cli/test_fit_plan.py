"""`fit --plan` says what a fit would take and writes nothing."""

from __future__ import annotations

import re

import pytest

from tests.cli.command import TINY, refuses, untouched, works


def test_it_says_and_writes_nothing(tmp_path, burgers) -> None:
    """28 windows in batches of 16: one step an epoch; the same options as the fit itself."""
    with untouched(tmp_path):
        text = works("fit --plan", *TINY, "--data", burgers, "--out", tmp_path / "a.prior")
    assert "windows  28 of 6 frames, 1 steps an epoch; coefficients (8, 1, 16)" in text
    weights = int(re.search(r"weights  ([\d,]+) parameters", text)[1].replace(",", ""))
    assert 20_000 < weights < 40_000 and f"{20 * weights / 2**20:.1f} MiB with gradient, optimiser and average" in text
    assert float(re.search(r"at most (\d+) MiB \(process\)", text)[1]) >= float(re.search(r"(\d+) MiB before", text)[1]) > 50
    steps, each = re.search(r"time     (\d+) steps of about (\S+) s", text).groups()
    assert steps == "3" and 0 < float(each) < 60


def test_what_has_no_plan_is_not_trained_in_its_place(tmp_path, burgers) -> None:
    with untouched(tmp_path):
        rest = (*TINY, "--data", burgers, "--out", tmp_path / "a.prior")
        assert "expected options of this verb, got --folds 2" in refuses("fit", "--folds 2 --plan", *rest)
        for words in ('--tasks [{"u":[0]}]', "--coarse 2", '--patterns 5 --tasks [{"u":[0]}]'):
            said = refuses("fit", words, "--plan", *rest)
            assert f"expected --plan without {words.split()[0]}" in said


@pytest.mark.slow
def test_budgets(burgers) -> None:
    plain = ("fit --plan --network UNet --network.width 8 --data", burgers)
    assert "time     7 steps" in works(*plain, "--training.batch_size 8 --training.max_steps 7")
    assert "3 steps an epoch" in (text := works(*plain, "--training.batch_size 8 --max_epochs 2")) and "time     6 steps" in text
    assert "got an autoencoder, which is trained first" in refuses("fit", "--plan --transform Autoencoder --data", burgers)
