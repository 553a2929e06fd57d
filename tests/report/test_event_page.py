"""A reliability section says what the counts say."""

from __future__ import annotations

import numpy as np
import xarray as xr

from physdiff.report.event_page import event_section


def counted(hits, others, brier):
    lead = np.arange(1, len(brier) + 1) * np.timedelta64(3600, "s")
    dims = ("variable", "lead_time")
    data = {"hits": ((*dims, "hits_bin"), np.array([hits])), "others": ((*dims, "others_bin"), np.array([others]))}
    data["brier"] = (("variable", "lead_time"), np.array([brier]))
    return xr.Dataset(data, coords={"variable": ["t"], "lead_time": lead, "cases": ("lead_time", [3, 3])})


def test_frequencies_probabilities_and_skill():
    # four members; the event happens in half of all cases, and is foreseen by all or none but for a tenth
    hits, others = [[0.05, 0, 0, 0, 0.45]] * 2, [[0.45, 0, 0, 0, 0.05]] * 2
    section = event_section("t > 3", counted(hits, others, [0.1, 0.1]), variable="t", unit="K")
    assert section.title == "Reliability: t > 3 K" and section.level == 3
    (table,) = section.tables
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["Fair Brier score"] == (0.1, 0.1)
    np.testing.assert_allclose(rows["Skill over its frequency"], 0.6)
    np.testing.assert_allclose(rows["Frequency of the event"], 0.5)
    np.testing.assert_allclose(rows["Mean probability forecast"], 0.5)
    (picture,) = section.figures
    assert "It happened in 50.0 % of all cases; where 80 % of the members or more had it, it happened in 90.0 %" in picture.alt


def test_an_event_that_never_happens_has_no_diagram():
    nothing = event_section("t > 9", counted([[0.0] * 5] * 2, [[1.0, 0, 0, 0, 0]] * 2, [0, 0]), variable="t")
    assert nothing.figures == () and "never happened" in nothing.text[0]
