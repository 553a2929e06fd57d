"""Banks: blocks of a large batch, and what vmap does with them."""

from __future__ import annotations

import pytest
import torch

from physdiff.wavelets import bank
from physdiff.wavelets.axis_map import analysis
from physdiff.wavelets.bank import analyse, synthesise


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 2, 6, 8, dtype=torch.float64)
    plan = ((-1, analysis("db2", "periodization", 8)), (-3, analysis("haar", "periodization", 2)))
    whole = analyse(plan, x)
    back = synthesise(plan, whole)
    monkeypatch.setattr(bank, "_BLOCK", 100)
    for ours, theirs in zip(analyse(plan, x), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-14)
    torch.testing.assert_close(synthesise(plan, whole), back, rtol=0, atol=1e-14)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-14)


def test_batches_of_vmap_on_any_axis() -> None:
    x = torch.randn(4, 6, 3, dtype=torch.float64)
    plan = ((-1, analysis("db2", "symmetric", 6)),)
    found = torch.func.vmap(lambda row: analyse(plan, row)[1], in_dims=2, out_dims=1)(x)
    torch.testing.assert_close(found, analyse(plan, x.movedim(2, 1))[1], rtol=0, atol=1e-14)
