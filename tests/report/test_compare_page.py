"""The page of a comparison: stars where tests say so, the best in bold."""

from __future__ import annotations

from physdiff.evaluation.compare import against_baselines, compare
from physdiff.report.compare_page import compare_report, difference_sections
from physdiff.report.html import write_report
from tests.evaluation.test_compare import in_parts, run
from tests.report.page import Page


def test_stars_stand_where_the_tests_say(tmp_path):
    evil = "<script>alert(1)</script>"
    found = compare({"a": run(), evil: run(shift=0.25, seed=1)})
    page = Page(compare_report(tmp_path, found, facts={"Run a": "x"}))
    page.check_self_contained()
    assert page.texts["h2"] == ["Scores: t2m", "Scores: q", "What was run"] and evil in page.texts["th"]
    stars = [text for text in page.texts["td"] if text.endswith(" *")]
    # the worse model in both scores of both fields at four lead times, and the same in the tables of differences
    assert len(stars) == 2 * (2 * 2 * 4)
    numbers = {f"{v:.3f}" if v < 1 else f"{v:.2f}" for v in found["crps"].sel(model="a", variable="t2m").values}
    assert numbers <= set(page.texts["strong"])
    assert any("Holm's rule over all pairs" in text for text in page.texts["p"])
    assert any("at the last lead time: a " in a["alt"] for a in page.all("img"))


def test_few_starts_say_so(tmp_path):
    page = Page(compare_report(tmp_path, compare({"a": run(starts=3), "b": run(seed=1, starts=3)})))
    assert "h3" not in page.texts and any("nothing can be said of chance" in text for text in page.texts["p"])


def test_a_forecast_beside_its_baselines(tmp_path):
    found = against_baselines(run())
    page = Page(write_report(tmp_path, "Forecast", difference_sections(found)))
    assert page.texts["h2"] == ["Against the baselines: t2m", "Against the baselines: q"]
    # half as large on every start: both scores of both fields at four lead times
    assert sum(text.endswith(" *") for text in page.texts["td"]) == 2 * 2 * 4


def test_regions_seasons_and_events_have_tables_with_stars(tmp_path):
    page = Page(compare_report(tmp_path, compare({"a": in_parts(leads=2), "b": in_parts(shift=0.25, seed=1, leads=2)})))
    assert page.texts["h3"][:2] == ["By region: t2m", "By season: t2m"] and "Events" in page.texts["h2"]
    captions = page.texts["caption"]
    assert "Fair Brier score by event and lead time" in captions and any("by region and lead time" in c for c in captions)
    # b over the whole, in the pairs, in the north and in the season, two scores of two fields at two lead times, and in the event; not in the south
    assert sum(t.endswith(" *") for t in page.texts["td"]) == 4 * (2 * 2 * 2) + 2
