"""``physdiff compare``: folders in, a page and a file out; what is no run is refused."""

from __future__ import annotations

import pytest
import xarray as xr

from physdiff.data.write import write_dataset
from tests.cli.command import refuses, untouched, works
from tests.evaluation.test_compare import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, made in {"a": run(), "b": run(shift=0.25, seed=1), "late": run(starts=30)}.items():
        write_dataset(made, folder / name / "scores.nc", command=f"physdiff evaluate {name}")
    write_dataset(run(seed=4), folder / "more" / "a" / "scores.nc")
    return folder


def test_a_page_and_a_file(tmp_path, runs):
    said = works("compare", runs / "a", runs / "b", runs / "more" / "a", "--baselines persistence --out", tmp_path / "page")
    name = runs.name
    assert "best is" in said and f"better by more than chance than {name}/b" in said
    with xr.open_dataset(tmp_path / "page" / "compare.nc") as found:
        assert found["model"].values.tolist() == [f"{name}/a", f"{name}/b", "more/a", "persistence"]
    page = (tmp_path / "page" / "index.html").read_text()
    assert "physdiff evaluate a" in page and "Run more/a" in page


def test_what_cannot_be_compared_is_refused(tmp_path, runs):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "scores.nc").write_text("no data")
    with untouched(tmp_path):
        for words, said in (
            ((runs / "a",), "two evaluated forecasts or more, got a"),
            ((runs / "a", tmp_path / "none"), "expected a folder that physdiff evaluate wrote, got nothing at"),
            ((runs / "a", tmp_path), "a folder without scores.nc"),
            ((runs / "a", tmp_path / "text"), "something else or a damaged file"),
            ((runs / "a", runs / "a"), "expected different runs"),
            ((runs / "a", runs / "late"), "the same starts in all runs, got 40 from"),
            ((runs / "a", runs / "b", "--level 2"), "between 0 and 1"),
        ):
            assert said in refuses("compare", *words, "--out", tmp_path / "page")
        assert "runs" in refuses("compare", "--out", tmp_path / "page")
