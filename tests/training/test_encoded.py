"""Encoding once gives what encoding at every step gives."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import default_collate

from physdiff.training import encoded
from physdiff.training.encoded import EncodedWindows, encode_batch
from physdiff.training.recipe import Recipe, prepare
from tests.training.problems import calendar, tiny


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("history", [0, 2])
def test_the_same_coefficients(gaps, history) -> None:
    ds = calendar(70)
    if gaps:
        ds["t2m"][40:45, 1:3, 2] = float("nan")
    prior, data = prepare(ds, Recipe(history=history, horizon=2, gaussian="no"), network=tiny)
    windows = data.train_windows
    held = EncodedWindows(windows, prior)
    assert len(held) == len(windows) > 64  # more than two blocks
    batch = default_collate([windows[i] for i in (0, 33, 42, 66)])
    z, c, weights = encode_batch(prior, batch["x"], batch.get("cond"), guess=batch.get("guess"))
    mine = default_collate([held[i] for i in (0, 33, 42, 66)])
    # another batch size may round differently in the linear guess and the wavelets
    assert torch.allclose(mine["z"], z, atol=1e-5)
    assert mine["index"].tolist() == [0, 33, 42, 66]
    assert ("c" in mine) == (c is not None) == (history > 0)
    assert c is None or torch.allclose(mine["c"], c, atol=1e-5)
    assert ("weights" in mine) == (weights is not None) == gaps
    if weights is not None:
        assert torch.allclose(mine["weights"], weights, atol=1e-6)
        # only the window at 42 has gaps: two points of every frame, each a quarter of its haar cell
        assert mine["weights"][[0, 1, 3]].min() == 1 and 0 < float(mine["weights"][2].min()) < 1
    assert all(part.isfinite().all() for part in mine.values())


def test_large_data_stay_where_they_are(monkeypatch) -> None:
    prior, data = prepare(calendar(), Recipe(history=2, horizon=2), network=tiny)
    size = sum(part.numel() * 4 for part in encode_batch(prior, *(data.train_windows[0][k][None] for k in ("x", "cond")))[:2])
    monkeypatch.setattr(encoded, "_IN_MEMORY", size * len(data.train_windows))
    assert EncodedWindows.fits(data.train_windows, prior)
    monkeypatch.setattr(encoded, "_IN_MEMORY", size * len(data.train_windows) - 1)
    assert not EncodedWindows.fits(data.train_windows, prior)
