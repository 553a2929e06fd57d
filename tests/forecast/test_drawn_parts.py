"""Batches of draws on disk: what comes back, what is drawn anew, what is refused."""

from __future__ import annotations

import logging

import pytest
import torch
import xarray as xr

from physdiff.base.errors import DataError
from physdiff.forecast.drawn_parts import DrawnParts, prior_digest
from tests.forecast.test_trajectories import made


def test_a_batch_comes_back_if_all_it_follows_from_is_the_same(tmp_path, caplog) -> None:
    prior, draws = made(), torch.randn(2, 2, 4, 8)
    draws[0, 0, 1] = torch.nan
    given = torch.randn(2, 2, 4, 8)
    parts = DrawnParts(tmp_path / "a.nc", prior_digest(prior, [3]))
    assert parts.take(0, [given]) is None
    parts.keep(0, [given], draws)
    again = DrawnParts(tmp_path / "a.nc", prior_digest(prior, [3]))
    found = again.take(0, [given])
    assert found is not None and torch.equal(found.nan_to_num(7), draws.nan_to_num(7)) and found.dtype == torch.float32
    assert not caplog.records
    with torch.no_grad():
        next(prior.parameters()).add_(1)
    others = [(again, [given + 1]), (again, [given, given]), (again, [given.reshape(1, 4, 4, 8)])]
    others += [(DrawnParts(tmp_path / "a.nc", digest), [given]) for digest in (prior_digest(prior, [3]), prior_digest(made(), [4]))]
    for run, told in others:
        with caplog.at_level(logging.WARNING):
            assert run.take(0, told) is None
        assert "computed anew" in caplog.records[-1].message


def test_the_end_is_one_file(tmp_path) -> None:
    parts = DrawnParts(tmp_path / "a.nc", prior_digest(made(), []))
    parts.keep(0, [], torch.zeros(1))
    parts.finish(xr.Dataset({"u": ("x", [1.0])}))
    assert [p.name for p in tmp_path.iterdir()] == ["a.nc"]


def test_a_folder_in_its_place_is_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="got a folder"):
        DrawnParts(tmp_path, prior_digest(made(), []))
