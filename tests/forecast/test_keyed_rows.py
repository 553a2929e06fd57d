"""Rows with streams of their own."""

from __future__ import annotations

import pytest
import torch

from physdiff.base.errors import ShapeError
from physdiff.base.rng import Rng
from physdiff.diffusion.samplers.sampler import step_noise
from physdiff.forecast.keyed_rows import KeyedRows

ROWS = [Rng(3).child("start", k) for k in range(5)]


def test_a_row_has_the_numbers_of_its_stream_in_any_batch():
    keyed, some = KeyedRows.of(ROWS), KeyedRows.of([ROWS[4], ROWS[1]])
    whole = keyed.child("path", 0).normal((5, 2, 3))
    assert torch.equal(whole[1], ROWS[1].child("path", 0).normal((2, 3)))
    assert torch.equal(some.child("path", 0).normal_each(range(2), (2, 3)), whole[[4, 1]])


def test_a_sampler_gets_noise_by_row():
    x = torch.zeros(2, 1, 1, 4)
    assert torch.equal(step_noise(KeyedRows.of([ROWS[3], ROWS[0]]), 7, x)[1], step_noise(KeyedRows.of(ROWS), 7, torch.zeros(5, 1, 1, 4))[0])


def test_another_number_of_rows_is_refused():
    with pytest.raises(ShapeError, match="5 rows"):
        KeyedRows.of(ROWS).normal((4, 2))
