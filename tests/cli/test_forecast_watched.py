"""``physdiff forecast --watch``: what is kept of each member, and who is named on the page."""

from __future__ import annotations

import xarray as xr

from tests.cli.command import refuses, untouched, works


def test_a_watched_forecast_names_its_restless_members_on_the_page(tmp_path, era, era_prior):
    works("forecast --lead 2 --members 3 --watch 4 --select.every 12 --prior", era_prior, "--initial", era, "--out", tmp_path / "fc.nc")
    with xr.open_dataset(tmp_path / "fc.nc") as file:
        assert file["trajectory_variance"].dims == ("init_time", "member") and float(file["trajectory_variance"].min()) > 0
    works("evaluate --forecast", tmp_path / "fc.nc", "--truth", era, "--out", tmp_path / "page")
    assert "Restless members" in (tmp_path / "page" / "index.html").read_text()


def test_nonsense_is_refused(tmp_path, era, era_prior):
    with untouched(tmp_path):
        for words, said in (("--watch 1", "watch: expected a whole number, at least 2"), ("--watch 999", "watch: expected 2 to")):
            assert said in refuses("forecast", "--lead 2", words, "--prior", era_prior, "--initial", era, "--out", tmp_path / "b.nc")
