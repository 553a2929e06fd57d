"""The page of a calibration: verdict, pictures, tables."""

from __future__ import annotations

from physdiff.report.calibration_page import calibration_report
from tests.plots.test_posterior_checks import found


def test_page(tmp_path) -> None:
    text = calibration_report(tmp_path, found(), facts={"Command": "physdiff diagnose"}).read_text(encoding="utf-8")
    for said in ("40 cases show no fault", "drawn from the prior", "u at 0, 3", "coverage of 90 %", "contraction", "nfe", "physdiff diagnose"):
        assert said in text
    assert "distance to a random point" in text
    assert "data:image/png" in text
