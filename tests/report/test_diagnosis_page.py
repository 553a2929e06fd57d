"""The page holds a row for each check and a picture for each field."""

from __future__ import annotations

from physdiff.diffusion.samplers.ddim import DDIM
from physdiff.evaluation.diagnose import CHECKS, Effort, diagnose
from physdiff.inference.exact import plain_prior
from physdiff.report.diagnosis_page import diagnosis_report
from tests.evaluation.test_diagnose import DATA, SPEC, exact


def test_all_checks_stand_on_it(tmp_path) -> None:
    effort = Effort(windows=4, levels=2, cases=2, members=2, steps=8)
    found = diagnose(plain_prior(exact(), SPEC, sampler=DDIM(), steps=4), DATA, effort=effort)
    page = diagnosis_report(tmp_path, found, facts={"command": "physdiff diagnose"}).read_text()
    assert all(check.title in page for check in CHECKS.values()) and page.count("<img") == 1
    assert found.attrs["verdict"] in page
