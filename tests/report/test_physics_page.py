from __future__ import annotations

from physdiff.evaluation.atmosphere_check import atmosphere_check
from physdiff.report.physics_page import physics_report
from tests.evaluation.analyses import balanced


def test_the_page_tells_every_relation_and_shows_a_map_of_each_kind(tmp_path):
    page = physics_report(tmp_path, atmosphere_check(balanced())).read_text()
    assert "hypsometric_500_600" in page and "geostrophic_500" in page and "all 3 relations hold" in page
    assert page.count("data:image/png") == 2
